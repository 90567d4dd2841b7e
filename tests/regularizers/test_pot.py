"""POT in the training step: modes, rows, budgets, refusals and warnings."""

from __future__ import annotations

import dataclasses
import warnings

import method_runs
import pytest
import torch
import torch.nn.functional as F
from torch_geometric.nn import GraphSAGE

import gcl
from gcl.augment import AdaptiveEdgeDrop, CommunalEdgeDrop, Compose, EdgeDrop, FeatureMask, PyGTransform
from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.core.view import View
from gcl.data.load import load_dataset
from gcl.encoders.gcn import GCN
from gcl.encoders.mlp import MLP
from gcl.encoders.pyg_encoder import as_encoder
from gcl.evaluate.compactness import compactness
from gcl.methods.csgcl import CSGCL
from gcl.methods.grace import GRACE
from gcl.ops.propagation import Propagation
from gcl.ops.propagation_bounds import PropagationBounds
from gcl.regularizers.pot import POT

SMALL = {
    "encoder": {"name": "gcn", "out_channels": 6, "activation": "prelu"},
    "projector": {"name": "mlp", "hidden_channels": 6},
}
VIEWS = {
    "view1": {"edge": {"name": "edge_drop", "drop_prob": 0.4}},
    "view2": {"edge": {"name": "edge_drop", "drop_prob": 0.2}},
}
MODES = ("reference", "target", "relaxed", "certified")


def ready(method, graph, seed=0, dtype=torch.float64):
    method, streams = method_runs.ready(method, graph, seed)
    return method.to(dtype), streams


@pytest.fixture(scope="module")
def graph():
    whole = load_dataset("karate").graph.for_training()
    dense = torch.rand(34, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return with_features(whole, dense)


def with_features(graph, x):
    return dataclasses.replace(graph, features={"node": x})


def step(method, graph, streams, epoch=1):
    return method.training_step(Batch(graph), Clock(epoch=epoch), streams)


def grace(**regularizer):
    return GRACE(**SMALL, augment=VIEWS, regularizer={"name": "pot", **regularizer})


def phi(x, slope):
    return torch.where(x >= 0, x, slope * x)


def textbook(method, graph, streams, epoch, rows=None):
    """The authors' score with dense N by N matrices, cut to ``rows`` by ``rows`` as their program does."""
    views = [a(graph, generator=streams.generator("augment", 0, epoch, 0, i)) for i, a in enumerate(method.augmenters_)]
    z = [method.encoder_(view) for view in views]
    (w1, w2), (b1, b2) = method.encoder_.layers_.weights, method.encoder_.layers_.biases
    slope = float(method.encoder_.layers_.activation.negative_slope.detach())
    x, arcs = views[0].x, graph.adjacency.to_dense()
    degree, eye = arcs.sum(1) + 1, torch.eye(34, dtype=torch.float64)
    clean = Propagation(graph.adjacency).dense()
    r1 = x @ w1
    q2 = phi(clean @ r1 + b1, slope) @ w2
    rows = torch.arange(34) if rows is None else rows
    block = torch.meshgrid(rows, rows, indexing="ij")
    losses = []
    for v, (view, p) in enumerate(zip(views, (0.4, 0.2), strict=True)):
        budget = torch.minimum(torch.round((degree - 1) * p), (degree - 2).clamp(min=0))
        root = (degree - budget).rsqrt()
        upper = ((arcs + eye) * root[:, None] * root)[block]
        lower = torch.diag(1 / degree)[block]
        a = Propagation(view.relation()).dense().t()[block]

        def lines(r, bias, upper=upper, lower=lower):
            low = upper @ r.clamp(max=0) + lower @ r.clamp(min=0) + bias
            high = upper @ r.clamp(min=0) + lower @ r.clamp(max=0) + bias
            s = torch.where(low >= 0, 1.0, torch.where(high <= 0, slope, (high - slope * low) / (high - low)))
            stable = (low >= 0) | (high <= 0)
            return s, torch.where(stable, 0.0, (slope - 1) * high * low / (high - low))

        other = F.normalize(z[1 - v][rows])
        w = other - (other.sum(0) - other) / (len(rows) - 1)
        (s1, t1), (s2, t2) = lines(r1[rows], b1), lines(q2[rows], b2)
        lam2 = s2 * w
        back = lam2 @ w2.t()
        lam1 = s1 * back
        k2 = lam2 @ b2 + (w.clamp(max=0) * t2).sum(1)
        k1 = lam1 @ b1 + (back.clamp(max=0) * t1).sum(1)
        c = a @ (a @ (r1[rows] * lam1).sum(1) + k1) + k2
        losses.append(F.binary_cross_entropy_with_logits(c, torch.ones_like(c)))
    return (losses[0] + losses[1]) / 2


def test_the_reference_is_the_dense_textbook_form_with_its_gradients(graph):
    method, streams = ready(grace(weight=1.0), graph)
    for bias in method.encoder_.layers_.biases:
        torch.nn.init.normal_(bias, std=0.2, generator=torch.Generator().manual_seed(4))
    expected = textbook(method, graph, streams, epoch=3)
    output = step(method, graph, streams, epoch=3)
    torch.testing.assert_close(output.loss, expected, rtol=1e-9, atol=0)
    parameters = [*method.encoder_.layers_.weights, *method.encoder_.layers_.biases]
    found = torch.autograd.grad(output.loss, parameters)
    torch.testing.assert_close(found, torch.autograd.grad(expected, parameters), rtol=1e-7, atol=1e-10)


def test_block_rows_leave_out_neighbours_as_the_authors_program_does(graph):
    method, streams = ready(grace(weight=1.0, rows="block", batch_size=13), graph)
    rows = torch.randperm(34, generator=streams.generator("pot", 0, 2, 0))[:13].sort().values
    output = step(method, graph, streams, epoch=2)
    torch.testing.assert_close(output.loss, textbook(method, graph, streams, 2, rows), rtol=1e-9, atol=0)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_full_rows_is_the_mean_over_its_nodes(graph, mode):
    whole, streams = ready(grace(weight=1.0, mode=mode), graph)
    few, _ = ready(grace(weight=1.0, mode=mode, batch_size=5), graph)
    few.load_state_dict(whole.state_dict())
    size = 400
    values = [float(step(few, graph, streams, epoch=1).loss.detach()) for _ in range(2)]
    assert values[0] == values[1]
    # over epochs with the same views: draw the nodes anew only
    draws = []
    for epoch in range(size):
        context = {}

        def keep(step_context, context=context, epoch=epoch):
            context["value"] = POT.forward(
                few.regularizer_, dataclasses.replace(step_context, clock=Clock(epoch=epoch))
            )
            return context["value"]

        few.regularizer_.forward = keep
        step(few, graph, streams, epoch=1)
        draws.append(float(context["value"].detach()))
    draws = torch.tensor(draws)
    full = float(step(whole, graph, streams, epoch=1).parts["regularizer"])
    assert abs(float(draws.mean()) - full) < 4 * float(draws.std()) / size**0.5


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_those_of_finite_differences(graph, mode):
    method, streams = ready(grace(weight=1.0, mode=mode), graph)
    for bias in method.encoder_.layers_.biases:
        torch.nn.init.normal_(bias, std=0.3, generator=torch.Generator().manual_seed(4))
    for parameter in [*method.encoder_.layers_.weights, *method.encoder_.layers_.biases]:
        (gradient,) = torch.autograd.grad(step(method, graph, streams).loss, parameter)
        along = torch.randn(parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-7 * along
                values.append(float(step(method, graph, streams).loss))
                parameter -= sign * 1e-7 * along
        assert (values[0] - values[1]) / 2e-7 == pytest.approx(float((gradient * along).sum()), rel=2e-4, abs=1e-8)


@pytest.mark.parametrize("mode", MODES)
def test_relabelling_the_nodes_changes_nothing(graph, mode):
    method, streams = ready(grace(weight=1.0, mode=mode), graph)
    method.augmenters_ = [lambda g, generator=None: unchanged(g)] * 2
    value = step(method, graph, streams).loss
    order = torch.randperm(34, generator=torch.Generator().manual_seed(5))
    moved = graph.subgraph(order)
    torch.testing.assert_close(step(method, moved, streams).loss, value)


def unchanged(graph):
    return View.of(graph)


@pytest.mark.parametrize("mode", MODES)
def test_scores_computed_again_give_the_same_gradient(graph, mode, monkeypatch):
    method, streams = ready(grace(weight=0.5, mode=mode), graph)
    values = []
    for limit in (2**24, 0):
        monkeypatch.setattr("gcl.regularizers.pot.RECOMPUTED", limit)
        loss = step(method, graph, streams).loss
        values.append((loss, *torch.autograd.grad(loss, list(method.encoder_.parameters()), allow_unused=True)))
    for one, other in zip(*values, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


@pytest.mark.parametrize("mode", MODES)
def test_the_encoders_own_products_are_used_where_it_has_them(graph, mode):
    """Features narrower than the hidden layer are propagated first, others multiplied first: the term is the same."""
    wide = with_features(graph, torch.cat([graph.x, torch.zeros(34, 20, dtype=torch.float64)], 1))
    method, streams = ready(grace(weight=1.0, mode=mode), wide)
    found = step(method, wide, streams).loss
    with torch.no_grad():
        narrow, _ = ready(grace(weight=1.0, mode=mode), graph)
        narrow.encoder_.layers_.weights[0].copy_(method.encoder_.layers_.weights[0][:5])
        for mine, theirs in zip(narrow.encoder_.layers_.weights[1:], method.encoder_.layers_.weights[1:], strict=True):
            mine.copy_(theirs)
    torch.testing.assert_close(step(narrow, graph, streams).loss, found)


def test_weight_0_is_the_method_without_it_and_weight_1_is_pot_alone(graph):
    without, streams = ready(GRACE(**SMALL, augment=VIEWS), graph)
    base = step(without, graph, streams)
    for weight in (0.0, 0.3, 1.0):
        method, _ = ready(grace(weight=weight), graph)
        output = step(method, graph, streams)
        torch.testing.assert_close(output.parts["contrast"], base.loss.detach(), rtol=0, atol=0)
        expected = (1 - weight) * base.loss + weight * output.parts["regularizer"]
        torch.testing.assert_close(output.loss, expected, rtol=1e-14, atol=0)
    method, _ = ready(grace(weight=0.0), graph)
    step(method, graph, streams).loss.backward()
    base.loss.backward()
    for one, other in zip(method.parameters(), without.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_at_the_start_the_term_is_about_ln_2(graph):
    for mode in MODES:
        method, streams = ready(grace(mode=mode), graph)
        assert float(step(method, graph, streams).parts["regularizer"]) == pytest.approx(0.693, abs=0.15)


@pytest.mark.parametrize("mode", MODES)
def test_training_raises_the_scores(graph, mode):
    method, streams = ready(grace(weight=1.0, mode=mode), graph)
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    values = []
    for epoch in range(1, 41):
        optimizer.zero_grad()
        loss = step(method, graph, streams, epoch).loss
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert sum(values[-5:]) < sum(values[:5]) - 0.05


def test_bounds_of_a_step_order_as_they_must(graph):
    """certified <= relaxed-and-value: a certificate is below the value at every admissible view."""
    scores = {}
    for mode in ("relaxed", "certified"):
        method, streams = ready(grace(weight=1.0, mode=mode), graph)
        method.augmenters_ = [lambda g, generator=None: unchanged(g)] * 2  # the graph itself is admissible
        scores[mode] = float(step(method, graph, streams).loss.detach())
    z = method.encoder_(unchanged(graph))
    unit = F.normalize(z)
    w = unit - (unit.sum(0) - unit) / 33
    value = F.softplus(-(z * w).sum(1)).mean()
    assert float(value.detach()) < scores["relaxed"] < scores["certified"]  # of softplus(-score)


@pytest.mark.parametrize("mode", MODES)
def test_an_encoder_that_keeps_no_trace_gives_the_same_term(graph, mode):
    class Silent(GCN):
        def forward(self, view, *, trace=None):
            return super().forward(view)

    values = []
    for encoder in (GCN(out_channels=6, activation="prelu"), Silent(out_channels=6, activation="prelu")):
        regularizer = {"name": "pot", "mode": mode}
        method = GRACE(encoder=encoder, projector=SMALL["projector"], augment=VIEWS, regularizer=regularizer)
        method, streams = ready(method, graph)
        values.append(step(method, graph, streams).parts["regularizer"])
    torch.testing.assert_close(*values, rtol=1e-12, atol=0)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("mode", ["relaxed", "certified"])
def test_scores_of_a_step_are_bounds_at_sampled_directed_views(mode, batch_size, symmetric, monkeypatch):
    """Budgets as large as the in-degrees admit every view that is drawn: no score may exceed the value there."""
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        pairs = torch.combinations(torch.arange(12))
        pairs = pairs[torch.rand(len(pairs), generator=generator) < 0.25].t()
        arcs = torch.cat([pairs, pairs.flip(0)], dim=1)
        x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
        graph = Graph.homogeneous(x, Adjacency.from_edge_index(arcs, (12, 12)))
        edge = {"name": "edge_drop", "symmetric": symmetric}
        views = {f"view{index}": {"edge": {**edge, "drop_prob": p}} for index, p in ((1, 0.5), (2, 0.3))}
        regularizer = {"name": "pot", "mode": mode, "weight": 1.0, "keep_neighbor": False, "batch_size": batch_size}
        method, streams = ready(GRACE(**SMALL, augment=views, regularizer=regularizer), graph, seed)
        with torch.no_grad():
            for bias in method.encoder_.layers_.biases:
                bias.normal_(0, 0.4, generator=generator)
        degree = graph.adjacency.row_ptr.diff().long()
        method.regularizer_state_ = {**method.regularizer_state_, "budget1": degree, "budget2": degree}
        scores = []

        def noting(x, scores=scores, softplus=F.softplus):
            scores.append(-x.detach())
            return softplus(x)

        with monkeypatch.context() as patched:
            patched.setattr(F, "softplus", noting)
            step(method, graph, streams)
        rows = torch.arange(12)
        if batch_size is not None:
            rows = torch.randperm(12, generator=streams.generator("pot", 0, 1, 0))[:batch_size].sort().values
        drawn = [a(graph, generator=streams.generator("augment", 0, 1, 0, v)) for v, a in enumerate(method.augmenters_)]
        with torch.no_grad():
            z = [method.encoder_(view) for view in drawn]
        for view in range(2):
            unit = F.normalize(z[1 - view])
            value = (z[view] * (unit - (unit.sum(0) - unit) / 11)).sum(1)[rows]
            assert float((scores[view] - value).max()) < 1e-9


def test_the_bounds_of_a_step_are_those_of_the_deletions_that_the_augmenter_makes():
    """On a star whose centre alone has a budget, arcs into a leaf stay and edges of the centre may go."""
    leaves = torch.arange(1, 6)
    arcs = torch.stack([torch.cat([leaves, leaves * 0]), torch.cat([leaves * 0, leaves])])
    graph = Graph.homogeneous(torch.rand(6, 3, dtype=torch.float64), Adjacency.from_edge_index(arcs, (6, 6)))
    for symmetric in (False, True):
        edge = {"name": "edge_drop", "drop_prob": 0.4, "symmetric": symmetric}
        views = {"view1": {"edge": edge}, "view2": {"edge": edge}}
        method, streams = ready(GRACE(**SMALL, augment=views, regularizer={"name": "pot", "mode": "certified"}), graph)
        step(method, graph, streams)
        budget = method.regularizer_state_["budget1"]
        assert budget.tolist() == [2, 0, 0, 0, 0, 0]
        found = next(made for key, (_, made) in graph.adjacency.memo.items() if key[:2] == ("pot", 0))
        expected = PropagationBounds.of(graph.adjacency, budget, deletion="edges" if symmetric else "arcs", tight=True)
        other = PropagationBounds.of(graph.adjacency, budget, deletion="arcs" if symmetric else "edges", tight=True)
        assert torch.equal(found.upper, expected.upper)
        assert torch.equal(found.lower, expected.lower)
        assert not (torch.equal(found.upper, other.upper) and torch.equal(found.lower, other.lower))
        graph.adjacency.memo.clear()


def test_an_encoder_with_another_matrix_is_refused_in_the_first_step(graph):
    class RowGCN(GCN):
        def forward(self, view, *, trace=None):
            return self.layers_(view, Propagation(view.relation(), normalize="row"), trace)

    for mode in MODES:
        regularizer = {"name": "pot", "mode": mode}
        method = GRACE(encoder=RowGCN(out_channels=4), augment=VIEWS, regularizer=regularizer)
        with pytest.raises(ConfigError, match="RowGCN does not give what its affine_layers"):
            step(*(ready(method, graph)[0], graph, Streams(0)))


def test_a_masked_graph_is_refused(graph):
    """A budget counts the arcs that are stored, and a bound would credit those that the mask hides."""
    keep = torch.ones(graph.adjacency.num_arcs, dtype=torch.bool)
    keep[3] = False
    masked = dataclasses.replace(graph, relations={"edge": graph.adjacency.masked(keep)})
    with pytest.raises(DataError, match="a mask hides some"):
        grace().prepare(masked, Streams(0))
    with pytest.raises(DataError, match="a mask hides some"):
        compactness(GCN(out_channels=3).build(masked.spec), masked)


def test_the_warning_of_masks_promises_a_bound_only_where_there_is_one():
    views = [Compose({"edge": EdgeDrop(0.2), "mask": FeatureMask(0.3)})]
    assert "its score" in POT(mode="reference").caveats(views)[0]
    assert "its bound" in POT(mode="relaxed").caveats(views)[0]


def test_zero_features_give_finite_gradients():
    whole = load_dataset("karate").graph.for_training()
    graph = with_features(whole, torch.zeros(34, 3, dtype=torch.float64))
    for mode in MODES:
        method, streams = ready(grace(mode=mode, weight=0.5), graph)
        output = step(method, graph, streams)
        output.loss.backward()
        for parameter in method.parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all()


def test_budgets_are_those_of_the_augmenters(graph):
    pot, fitted = POT(), CommunalEdgeDrop(0.4)
    fitted.fit(graph, generator=torch.Generator().manual_seed(0))
    prepared = pot.prepare(graph, [Compose([EdgeDrop(0.3)]), Compose([fitted, FeatureMask(0.2)])])
    degree = graph.adjacency.row_ptr.diff().double()
    assert torch.equal(prepared["budget1"], torch.minimum(torch.round(0.3 * degree), degree - 1).long())
    drop = torch.zeros(34, dtype=torch.float64).index_add_(0, graph.adjacency.row.long(), fitted.edge_drop_prob(graph))
    assert torch.equal(prepared["budget2"], torch.minimum(drop.round(), degree - 1).long())
    assert (int(prepared["edges1"]), int(prepared["edges2"])) == (0, 0)
    both = pot.prepare(graph, [EdgeDrop(0.3, symmetric=True)])
    assert int(both["edges1"]) == 1


def test_the_order_of_training_does_not_change_the_term(graph):
    values = []
    for order in ("stored", "community"):
        method = GRACE(**SMALL, augment=VIEWS, regularizer={"name": "pot"}, node_order=order)
        method, streams = ready(method, graph)
        method.augmenters_ = [lambda g, generator=None: unchanged(g)] * 2
        values.append(step(method, graph, streams).parts["regularizer"])
    torch.testing.assert_close(*values)


def test_it_plugs_into_csgcl_with_a_warning_of_masks(graph):
    method = CSGCL(**SMALL, regularizer={"name": "pot", "weight": 0.3})
    with pytest.warns(UserWarning, match="features are masked .* POT looks at deletions of edges only"):
        method.check(graph.spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method, streams = ready(method, graph)
    output = step(method, graph, streams)
    output.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_caveats_reach_into_nested_parts_and_are_said_where_nothing_is_dropped():
    mask, drop = {"name": "feature_mask", "drop_prob": 0.3}, {"name": "edge_drop", "drop_prob": 0.2}
    nested = Compose({"both": {"name": "compose", "parts": {"edge": drop, "mask": mask}}})
    (sentence,) = POT().caveats([Compose({"edge": drop}), nested])
    assert "(view2.both.mask)" in sentence
    nothing = [Compose({"edge": EdgeDrop(0.0)}), Compose({})]
    for regularizer, exact in (
        (POT(), False),
        (POT(mode="target"), False),
        (POT(mode="relaxed"), True),
        (POT(mode="certified"), True),
        (POT(mode="certified", tight=False), False),
    ):
        (sentence,) = regularizer.caveats(nothing)
        assert "no view drops edges, so the budgets of POT are 0" in sentence
        assert ("its bounds are the values themselves" in sentence) == exact
    assert POT().caveats([Compose({"edge": drop})] * 2) == []


def test_masked_columns_are_masked_in_the_bounds_of_the_view(graph):
    """With mode relaxed, the score stays a lower bound at the view that masks and deletes."""
    views = {key: {**parts, "feature": {"name": "feature_mask", "drop_prob": 0.5}} for key, parts in VIEWS.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method, streams = ready(
            GRACE(**SMALL, augment=views, regularizer={"name": "pot", "mode": "relaxed", "weight": 1.0}), graph
        )
    zero = torch.zeros(34, dtype=torch.int64)
    method.regularizer_state_ = {**method.regularizer_state_, "budget1": zero, "budget2": zero}
    edges = [part.augmenters.pop("edge") for part in method.augmenters_]
    assert len(edges) == 2
    output = step(method, graph, streams)  # no deletion, no budget: the score is the value, exactly
    z = [
        method.encoder_(a(graph, generator=streams.generator("augment", 0, 1, 0, i)))
        for i, a in enumerate(method.augmenters_)
    ]
    terms = []
    for one, other in ((z[0], F.normalize(z[1])), (z[1], F.normalize(z[0]))):
        w = other - (other.sum(0) - other) / 33
        terms.append(F.softplus(-(one * w).sum(1)).mean())
    torch.testing.assert_close(output.loss, (terms[0] + terms[1]) / 2)


@pytest.mark.parametrize("weight", [-0.1, 1.01, float("nan"), True])
def test_a_weight_outside_0_to_1_is_refused(weight):
    with pytest.raises(ConfigError, match="must be from 0 to 1"):
        POT(weight)


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="certified"):
        POT(mode="certifed")
    with pytest.raises(ConfigError, match="no bound"):
        POT(mode="relaxed", rows="block")
    with pytest.raises(ConfigError, match="batch_size"):
        POT(batch_size=1)


def built(encoder, spec):
    return encoder.build(spec)


def test_what_cannot_be_bounded_is_refused_by_name(graph):
    edge, pot, spec = Compose([EdgeDrop(0.3)]), POT(), graph.spec
    gcn = built(GCN(out_channels=4), spec)
    with pytest.raises(ConfigError, match="encoder MLP"):
        pot.check(built(MLP(out_channels=4), spec), [edge, edge])
    with pytest.raises(ConfigError, match="encoder PyGEncoder"):
        pot.check(built(as_encoder(GraphSAGE(5, 4, 2)), spec), [edge, edge])
    with pytest.raises(ConfigError, match="'elu' is not linear below 0"):
        pot.check(built(GCN(out_channels=4, activation="elu"), spec), [edge, edge])
    with pytest.raises(ConfigError, match="without dropout"):
        pot.check(built(GCN(out_channels=4, dropout=0.1), spec), [edge, edge])
    deep = built(GCN(out_channels=4, num_layers=3), spec)
    with pytest.raises(ConfigError, match="needs an encoder of 2 layers, got 3; use mode='certified'"):
        pot.check(deep, [edge, edge])
    POT(mode="certified").check(deep, [edge, edge])
    with pytest.raises(ConfigError, match=r"view2.*probability 1"):
        pot.check(gcn, [edge, Compose([EdgeDrop(1.0)])])
    with pytest.raises(ConfigError, match=r"PyGTransform at view1\.part0"):
        pot.check(gcn, [Compose([PyGTransform(lambda data: data)]), edge])


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda arcs: torch.full((arcs,), float("nan")), "probabilities from 0 to 1"),
        (lambda arcs: torch.full((arcs,), -0.5), "probabilities from 0 to 1"),
        (lambda arcs: torch.ones(arcs, dtype=torch.int64), "must give floating point"),
        (lambda arcs: torch.rand(arcs - 1), r"must give floating point \[156\], got torch.float32 \[155\]"),
        (lambda arcs: [0.5] * arcs, "got <class 'list'>"),
        (lambda arcs: torch.ones(arcs), "drops every edge with probability 1"),
    ],
)
def test_what_an_augmenter_says_of_its_deletions_is_checked(graph, answer, text):
    class Own(EdgeDrop):
        def edge_drop_prob(self, graph):
            return answer(graph.adjacency.num_arcs)

    with pytest.raises(ConfigError, match=f"view2 \\(Own\\).*{text}|view2 \\(Own\\) {text}"):
        POT().prepare(graph, [EdgeDrop(0.3), Own(0.3)])


def test_an_augmenter_that_drops_some_edges_for_certain_is_taken(graph):
    adaptive = AdaptiveEdgeDrop(1.0, max_drop_prob=1.0)
    adaptive.fit(graph, generator=torch.Generator().manual_seed(0))
    gcn = built(GCN(out_channels=4), graph.spec)
    POT().check(gcn, [adaptive, adaptive])
    assert bool((POT().prepare(graph, [adaptive, adaptive])["budget1"] > 0).any())


def test_dropout_as_a_module_is_refused(graph):
    gcn = built(GCN(out_channels=4), graph.spec)
    gcn.dropout = torch.nn.Dropout(0.5)
    with pytest.raises(ConfigError, match="without dropout"):
        POT().check(gcn, [EdgeDrop(0.3)])


def test_a_weighted_graph_is_refused(graph):
    adjacency = graph.adjacency.with_weight(torch.rand(graph.adjacency.num_arcs))
    weighted = dataclasses.replace(graph, relations={"edge": adjacency})
    with pytest.raises(DataError, match="edge weights"):
        POT().prepare(weighted, [EdgeDrop(0.3), EdgeDrop(0.3)])


# -- precision and objects ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["grace", "gca", "progcl", "costa"])
@pytest.mark.parametrize("mode", ["reference", "target", "relaxed", "certified"])
def test_mixed_precision_trains_with_every_mode(method, mode):
    """The bounds are never in half precision: what autocast made of embeddings and products is brought back."""
    plain = {"view1": {"feature": None}, "view2": {"feature": None}}
    result = gcl.pipeline(
        method, "karate", regularizer={"name": "pot", "mode": mode}, evaluate=False, floors=False,
        trainer={"epochs": 2, "precision": "bf16-mixed"}, augment=plain,
    )  # fmt: skip
    assert bool(result.outputs.main.isfinite().all())


def test_an_encoder_given_as_an_object_is_checked_and_left_unbuilt():
    encoder = GCN(out_channels=8)
    method = GRACE(encoder=encoder, regularizer={"name": "pot"}, augment=VIEWS)
    method.check(load_dataset("karate").graph.spec)
    assert not hasattr(encoder, "layers_")
    with pytest.raises(ConfigError, match="elu"):
        GRACE(encoder=GCN(out_channels=8, activation="elu"), regularizer="pot", augment=VIEWS).check(
            load_dataset("karate").graph.spec
        )


@pytest.mark.parametrize("mode", ["reference", "target", "relaxed", "certified"])
def test_a_decayed_unit_has_finite_gradients(mode):
    graph = load_dataset("karate").graph.for_training()
    method = GRACE(
        encoder={"name": "gcn", "out_channels": 6}, augment=VIEWS,
        regularizer={"name": "pot", "mode": mode},
    )  # fmt: skip
    streams = Streams(0)
    method.build(graph.spec, method.prepare(graph, streams))
    with torch.no_grad():
        method.encoder_.layers_.weights[0][:, 0] = 1e-24
        method.encoder_.layers_.biases[0][0] = 0.01
    method.training_step(Batch(graph), Clock(epoch=1), streams).loss.backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name
