"""COSTA and GCA as methods: steps against dense references, and POT on top."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_runs import ready

from gcl.core.context import Batch, Clock
from gcl.core.errors import ConfigError, DataError
from gcl.data.load import load_dataset
from gcl.methods.costa import COSTA
from gcl.methods.gca import GCA
from gcl.ops import gaussian_sketch as sketches
from gcl.ops.gaussian_sketch import gaussian_sketch

SMALL = {"encoder": {"name": "gcn", "out_channels": 8}, "projector": {"name": "mlp", "hidden_channels": 8}}


@pytest.fixture
def graph():
    return load_dataset("karate").graph.for_training()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# -- the sketch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 2**24])
@pytest.mark.parametrize("block", [7, 100, 2**22])
def test_a_sketch_is_one_gaussian_matrix_in_both_passes(monkeypatch, kept, block):
    monkeypatch.setattr(sketches, "KEPT", kept)
    monkeypatch.setattr(sketches, "BLOCK", block)
    z = torch.randn(9, 4, dtype=torch.float64, generator=seeded(1), requires_grad=True)
    found = gaussian_sketch(z, 5, scale=0.3, generator=seeded())
    p = gaussian_sketch(torch.eye(9, dtype=torch.float64), 5, scale=0.3, generator=seeded())
    torch.testing.assert_close(found, p @ z)
    weight = torch.randn(5, 4, dtype=torch.float64, generator=seeded(2))
    torch.testing.assert_close(torch.autograd.grad((found * weight).sum(), z)[0], p.t() @ weight)
    assert torch.autograd.gradcheck(lambda x: gaussian_sketch(x, 5, scale=0.3, generator=seeded()), z)


def test_a_sketch_keeps_the_covariance_on_average():
    z = torch.randn(12, 3, generator=seeded(1), dtype=torch.float64)
    generator = seeded()
    mean = torch.stack(
        [(s := gaussian_sketch(z, 6, scale=6**-0.5, generator=generator)).t() @ s for _ in range(3000)]
    ).mean(0)
    torch.testing.assert_close(mean, z.t() @ z, rtol=0.05, atol=0.5)


def test_a_sketch_refuses_what_it_cannot_take():
    with pytest.raises(DataError, match="floating-point matrix"):
        gaussian_sketch(torch.ones(3, dtype=torch.int64), 2, scale=1.0)
    with pytest.raises(DataError, match="num_rows"):
        gaussian_sketch(torch.ones(3, 2), 0, scale=1.0)
    assert gaussian_sketch(torch.ones(3, 2), 2, scale=1.0).shape == (2, 2)


# -- COSTA --------------------------------------------------------------------------------------------------------------


def views_of(method, graph, streams, epoch):
    return [a(graph, generator=streams.generator("augment", 0, epoch, 0, i)) for i, a in enumerate(method.augmenters_)]


@pytest.mark.parametrize("subset", [None, 6])
def test_costas_loss_equals_a_dense_textbook_step(graph, subset):
    method, streams = ready(COSTA(**SMALL, subset=subset), graph)
    z1, z2 = (method.encoder_(view) for view in views_of(method, graph, streams, 3))
    rows = subset or 17
    p = gaussian_sketch(torch.eye(34), rows, scale=17**-0.5, generator=streams.generator("sketch", 0, 3, 0))
    h1, h2 = (F.normalize(method.projector_(p @ z)) for z in (z1, z2))
    logits = h1 @ h2.t() / 0.4
    target = torch.arange(rows)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2
    found = method.training_step(Batch(graph), Clock(epoch=3), streams).loss
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_single_view_is_encoded_once_and_sketched_twice(graph):
    method, streams = ready(COSTA(**SMALL, views="single", sketch_correlation=0.6), graph)
    calls = []
    forward = method.encoder_.forward
    method.encoder_.forward = lambda *args, **kwargs: calls.append(1) or forward(*args, **kwargs)
    loss = method.training_step(Batch(graph), Clock(epoch=1), streams).loss
    loss.backward()
    assert len(calls) == 1
    assert method.two_views(graph, streams) is None
    z = torch.randn(34, 8, generator=seeded())
    first, second = [], []
    for epoch in range(300):
        one, two = method.contrasted((z,), None, Clock(epoch=epoch), streams)
        first.append(one)
        second.append(two)
    one, two = torch.stack(first).flatten(), torch.stack(second).flatten()
    assert float((one * two).mean() / one.square().mean()) == pytest.approx(0.6, abs=0.03)
    assert float(two.square().mean() / one.square().mean()) == pytest.approx(1, abs=0.05)


def test_pot_draws_from_all_nodes_of_costa(graph):
    method, streams = ready(COSTA(**SMALL, subset=5, regularizer={"name": "pot", "weight": 0.2}), graph)
    seen = []
    forward = method.regularizer_.forward
    method.regularizer_.forward = lambda context: seen.append(context.index) or forward(context)
    output = method.training_step(Batch(graph), Clock(epoch=1), streams)
    assert seen == [None]
    expected = 0.8 * output.parts["contrast"] + 0.2 * output.parts["regularizer"]
    torch.testing.assert_close(output.loss.detach(), expected)
    output.loss.backward()


def test_what_costa_cannot_do_is_refused(graph):
    with pytest.raises(ConfigError, match="subset in place of anchors"):
        COSTA(anchors=5)
    with pytest.raises(ConfigError, match="sketch_ratio"):
        COSTA(sketch_ratio=0.0)
    with pytest.raises(ConfigError, match="two graph views"):
        COSTA(views="single", regularizer="pot")
    with pytest.raises(ConfigError, match="node_weight"):
        COSTA(loss="team_up").check(graph.spec)


# -- GCA ----------------------------------------------------------------------------------------------------------------


def test_gca_is_grace_with_other_views(graph):
    method, streams = ready(GCA(**SMALL), graph)
    views = views_of(method, graph, streams, 2)
    h1, h2 = (F.normalize(method.projector_(method.encoder_(view))) for view in views)

    def one_way(a, b):
        intra, inter = torch.exp(a @ a.t() / 0.3), torch.exp(a @ b.t() / 0.3)
        return -torch.log(inter.diag() / (intra.sum(1) + inter.sum(1) - intra.diag()))

    expected = ((one_way(h1, h2) + one_way(h2, h1)) / 2).mean()
    found = method.training_step(Batch(graph), Clock(epoch=2), streams).loss
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    hub = int(graph.adjacency.row_ptr.diff().argmax())
    for view in views:  # no arc into the most central node goes
        adjacency = view.adjacency["edge"]
        assert adjacency.keep[adjacency.row == hub].all()


def test_gcas_budgets_follow_its_probabilities(graph):
    views = {view: {"feature": None} for view in ("view1", "view2")}
    for view, parts in views.items():
        parts["edge"] = {"name": "adaptive_edge_drop", "drop_prob": 0.3 if view == "view1" else 0.5}
    method, streams = ready(GCA(**SMALL, augment=views, regularizer="pot"), graph)
    drop = method.augmenters_[0].edge_drop_prob(graph)
    expected = torch.zeros(34, dtype=torch.float64).index_add_(0, graph.adjacency.row.long(), drop).round()
    degree = graph.adjacency.row_ptr.diff()
    budget = method.regularizer_state_["budget1"]
    assert torch.equal(budget, torch.minimum(expected.long(), degree - 1))
    method.training_step(Batch(graph), Clock(epoch=1), streams).loss.backward()


# -- both ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [COSTA, GCA, lambda **parts: COSTA(views="single", **parts)])
def test_a_seed_repeats_a_step_and_another_does_not(graph, make):
    losses = []
    for seed in (1, 1, 2):
        method, streams = ready(make(**SMALL), graph, seed)
        loss = method.training_step(Batch(graph), Clock(epoch=1), streams).loss
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())
        losses.append(loss.item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("method", [COSTA, GCA])
def test_views_without_dropping_are_the_graph(graph, method):
    name = "adaptive_edge_drop" if method is GCA else "edge_drop"
    parts = {"edge": {"name": name, "drop_prob": 0.0}}
    ready_method, streams = ready(method(**SMALL, augment={"view1": parts, "view2": parts}), graph)
    embedding = ready_method.outputs(graph).embeddings["embedding"]
    for view in views_of(ready_method, graph, streams, 1):
        torch.testing.assert_close(ready_method.encoder_.embed(view), embedding)
