"""Certificates of trained encoders: sound, reported honestly, and refused where there are none."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

import gcl
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.data.load import load_dataset
from gcl.encoders.gcn import GCN
from gcl.encoders.mlp import MLP
from gcl.evaluate.compactness import compactness
from gcl.evaluate.deletion_attack import DeletionAttack
from gcl.ops.certificate import _lower_slopes, _lower_step
from gcl.ops.compactness import BoundedLayer
from gcl.ops.propagation import Propagation
from gcl.ops.propagation_bounds import covering_budget


def random_graph(size, seed, density=0.5):
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(torch.arange(size))
    pairs = pairs[torch.rand(len(pairs), generator=generator) < density][:7]
    arcs = torch.cat([pairs, pairs.flip(1)]).t()
    x = torch.randn(size, 3, generator=generator)
    return Graph.homogeneous(x, Adjacency.from_edge_index(arcs, (size, size)))


def encoder_of(graph, **arguments):
    torch.manual_seed(0)
    encoder = GCN(out_channels=4, **arguments).build(graph.spec)
    for bias in encoder.layers_.biases:
        torch.nn.init.normal_(bias, std=0.2)
    return encoder


def direction(z):
    unit = torch.nn.functional.normalize(z)
    return unit - (unit.sum(0) - unit) / (len(z) - 1)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(4, 6), st.integers(0, 10**6), st.sampled_from([0.2, 0.4, 0.6]), st.sampled_from(["arcs", "edges"]),
    st.booleans(), st.sampled_from([1, 2, 3]),
)  # fmt: skip
def test_no_admissible_graph_breaks_the_lower_bound_and_some_attains_the_upper(size, seed, p, deletion, keep, depth):
    graph = random_graph(size, seed)
    encoder = encoder_of(graph, num_layers=depth, activation="prelu")
    found = compactness(
        encoder, graph, drop_prob=p, deletion=deletion, keep_neighbor=keep, num_samples=15,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    encoder = encoder.double()
    double = dataclasses.replace(graph, features={"node": graph.x.double()})
    w = direction(encoder.embed(double))
    adjacency, values = graph.adjacency, []
    row, col = adjacency.row.long(), adjacency.col.long()
    free = (row < col).nonzero().squeeze(1) if deletion == "edges" else torch.arange(adjacency.num_arcs)
    if len(free) > 10:  # 14 arcs: some of them only
        free = free[torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))[:10]]
    for gone in itertools.product([False, True], repeat=len(free)):
        drop = torch.zeros(adjacency.num_arcs, dtype=torch.bool)
        drop[free[torch.tensor(gone, dtype=torch.bool)]] = True
        if deletion == "edges":
            drop |= drop[adjacency.t_perm.long()]
        lost = torch.zeros(size, dtype=torch.int64).index_add_(0, row, drop.long())
        if (lost <= found.budget).all():
            view = View.of(double).with_adjacency("edge", adjacency.masked(~drop))
            values.append((encoder.embed(view) * w).sum(1))
    least = torch.stack(values).amin(0)
    assert (found.lower <= least + 1e-9).all()
    assert (found.lower <= found.upper + 1e-12).all()
    assert (found.upper <= found.value).all()
    if len(free) == adjacency.num_arcs or deletion == "edges":  # all admissible graphs were seen
        assert (found.upper >= least - 1e-6).all()
    torch.testing.assert_close(found.value, (encoder.embed(double) * w).sum(1), rtol=1e-6, atol=1e-7)


def test_without_deletions_the_bounds_meet_the_value():
    graph = load_dataset("karate").graph.for_training()
    found = compactness(encoder_of(graph), graph, drop_prob=0.0)
    torch.testing.assert_close(found.lower, found.value)
    assert torch.equal(found.upper, found.value)
    assert found.summary()["certified"] == found.summary()["positive"]


def test_more_deletions_certify_less_and_more_graphs_refute_more():
    graph = load_dataset("karate").graph.for_training()
    encoder = encoder_of(graph)
    shares = [compactness(encoder, graph, drop_prob=p).lower for p in (0.1, 0.3, 0.5)]
    assert (shares[0] >= shares[1] - 1e-12).all()
    assert (shares[1] >= shares[2] - 1e-12).all()
    few, many = (
        compactness(encoder, graph, num_samples=n, generator=torch.Generator().manual_seed(0)).upper for n in (1, 60)
    )
    assert (many <= few).all()
    assert (many < few).any()
    paths = compactness(encoder, graph, paths=True).lower
    assert (paths >= compactness(encoder, graph, paths=False).lower - 1e-12).all()


def test_collapsed_embeddings_certify_nothing():
    """All values are 0 up to rounding, of either sign: neither certified nor refuted, and said so."""
    karate = load_dataset("karate").graph.for_training()
    graph = dataclasses.replace(karate, features={"node": torch.ones(34, 3)})
    for seed in range(4):
        torch.manual_seed(seed)
        encoder = GCN(out_channels=8).build(graph.spec)
        for p in (0.0, 0.2):
            found = compactness(encoder, graph, drop_prob=p, num_samples=5)
            if p == 0.0 and not bool(found.value.abs().max() < 1e-9):
                continue  # degrees differ, so constant features need not collapse
            assert found.summary()["certified"] == 0
    regular = Graph.homogeneous(
        torch.ones(6, 3),
        Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 3, 4, 5], [1, 0, 3, 2, 5, 4]]), (6, 6)),
    )
    found = compactness(encoder_of(regular), regular, drop_prob=0.3, keep_neighbor=False)
    assert found.summary()["certified"] == found.summary()["refuted"] == 0
    assert found.summary()["unclear"] == found.summary()["open"] == 1
    assert bool((found.margin < 1e-9).all())


def test_the_margin_is_far_below_what_is_certified():
    graph = load_dataset("karate").graph.for_training()
    found = compactness(encoder_of(graph), graph, drop_prob=0.1)
    assert bool((found.margin > 0).all())
    assert float((found.margin / found.value.abs().clamp(min=1e-3)).max()) < 1e-8
    assert found.summary()["unclear"] == 0


def test_an_encoder_with_another_matrix_is_refused():
    """Its affine layers are GCN's, what it multiplies by is not: the bounds would be of another network."""

    class RowGCN(GCN):
        def forward(self, view, *, trace=None):
            return self.layers_(view, Propagation(view.relation(), normalize="row"), trace)

    graph = load_dataset("karate").graph.for_training()
    with pytest.raises(ConfigError, match="RowGCN does not give what its affine_layers"):
        compactness(RowGCN(out_channels=4).build(graph.spec), graph)


def test_weights_that_are_not_finite_are_refused():
    graph = load_dataset("karate").graph.for_training()
    encoder = encoder_of(graph)
    with torch.no_grad():
        encoder.layers_.weights[1][0, 0] = torch.nan
    with pytest.raises(ConfigError, match="not finite"):
        compactness(encoder, graph)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([-1.3, -0.4, 0.0, 0.25, 1.0, 1.8]))
def test_every_lower_line_lies_below_the_activation(seed, slope):
    """PReLU learns slopes below 0 and above 1, where other lines are valid than for ReLU."""
    generator = torch.Generator().manual_seed(seed)
    middle, v = (torch.randn(200, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    radius = 2 * torch.rand(200, 1, generator=generator, dtype=torch.float64)
    layer = BoundedLayer(torch.zeros(1, 1).double(), torch.zeros(1).double(), slope)
    for line in _lower_slopes(middle, radius, slope):
        weights, constant = _lower_step(middle, radius, v, layer, line)
        for t in torch.linspace(-1, 1, 41, dtype=torch.float64):
            x = middle + t * radius
            activated = torch.where(x >= 0, x, slope * x)
            assert float(((v * activated).sum(1) - (weights * x).sum(1) - constant).min()) > -1e-12


def test_dropout_and_double_precision_do_not_stand_in_the_way_of_a_trained_encoder():
    graph = load_dataset("karate").graph.for_training()
    plain = compactness(encoder_of(graph), graph, drop_prob=0.2)
    dropping = compactness(encoder_of(graph, dropout=0.5), graph, drop_prob=0.2)
    double = compactness(encoder_of(graph).double(), graph, drop_prob=0.2)
    assert torch.equal(plain.lower, dropping.lower)
    assert torch.equal(plain.lower, double.lower)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.8]), st.sampled_from(["arcs", "edges"]))
def test_attacks_are_admissible_and_spend_the_budgets(seed, p, deletion):
    """No edge could go on top of those that went: every edge left has an end whose budget is spent."""
    graph = random_graph(12, seed, density=0.4)
    adjacency = graph.adjacency
    row, col = adjacency.row.long(), adjacency.col.long()
    degree = adjacency.row_ptr.diff().long()
    budget = torch.minimum((p * degree).round().long(), (degree - 1).clamp(min=0))
    keys = torch.rand(adjacency.num_arcs, generator=torch.Generator().manual_seed(seed))
    if deletion == "edges":
        keys = torch.maximum(keys, keys[adjacency.t_perm.long()])
    left = DeletionAttack(adjacency, budget, deletion).without(keys, budget)
    gone = ~left.keep
    lost = torch.zeros_like(budget).index_add_(0, row, gone.long())
    assert bool((lost <= budget).all())
    if deletion == "edges":
        assert torch.equal(gone, gone[adjacency.t_perm.long()])
        open_ = (lost < budget)[row] & (lost < budget)[col] & ~gone
        assert not bool(open_.any())
    else:
        assert torch.equal(lost, budget)
        for node in range(12):
            mine = keys[row == node]
            assert set(keys[gone & (row == node)].tolist()) == set(mine.sort().values[: int(budget[node])].tolist())


def test_summaries_partition_the_nodes():
    data = load_dataset("karate")
    found = compactness(encoder_of(data.graph), data.graph, drop_prob=0.4)
    for groups in (found.by_degree(), found.by_class(data.y)):
        assert sum(group["nodes"] for group in groups.values()) == 34
        for group in groups.values():
            assert group["certified"] + group["open"] + group["refuted"] == pytest.approx(1)
            assert group["lower"] <= group["upper"] <= group["value"]
    assert list(found.by_degree()) == ["1", "2", "3-4", "5-8", "9-16", "17-32"]
    mean = sum(g["nodes"] * g["lower"] for g in found.by_degree().values()) / 34
    assert mean == pytest.approx(found.summary()["lower"])
    assert found.to_json(data.y)["by_class"]


def test_covering_budgets_are_binomial_quantiles():
    degree = torch.tensor([0, 1, 2, 10, 100])
    budget = covering_budget(0.3, degree, 0.95, keep_neighbor=False)
    for d, q in zip(degree.tolist(), budget.tolist(), strict=True):
        assert binom.cdf(q, d, 0.3) >= 0.95
        assert q == 0 or binom.cdf(q - 1, d, 0.3) < 0.95
    assert covering_budget(0.9, degree, 0.99).tolist()[:3] == [0, 0, 1]
    graph = load_dataset("karate").graph.for_training()
    encoder = encoder_of(graph)
    wide = compactness(encoder, graph, coverage=0.95, keep_neighbor=False)
    assert (wide.lower <= compactness(encoder, graph).lower + 1e-9).all()


def test_a_coverage_is_reached_at_every_node_unless_a_neighbour_must_stay():
    graph = load_dataset("karate").graph.for_training()
    encoder = encoder_of(graph)
    for keep, reached in ((None, True), (False, True), (True, False)):
        found = compactness(encoder, graph, drop_prob=0.3, coverage=0.95, keep_neighbor=keep, num_samples=0)
        share = binom.cdf(found.budget.numpy(), found.degree.numpy(), 0.3)
        assert bool((share >= 0.95).all()) == reached
        assert found.protocol["keep_neighbor"] is (keep is True)


def test_what_cannot_be_certified_is_refused():
    graph = load_dataset("karate").graph.for_training()
    encoder = encoder_of(graph)
    for arguments, match in (
        ({"drop_prob": 1.0}, "below 1"),
        ({"drop_prob": float("nan")}, "below 1"),
        ({"coverage": 1.0}, "coverage"),
        ({"num_samples": -1}, "num_samples"),
        ({"keep_neighbor": "no"}, "keep_neighbor"),
        ({"paths": 1}, "paths"),
    ):
        with pytest.raises(ConfigError, match=match):
            compactness(encoder, graph, **arguments)
    with pytest.raises(ConfigError, match="a certificate cannot bound the encoder MLP"):
        compactness(MLP(out_channels=4).build(graph.spec), graph)
    with pytest.raises(ConfigError, match="elu"):
        compactness(encoder_of(graph, activation="elu"), graph)
    weighted = dataclasses.replace(graph, relations={"edge": graph.adjacency.with_weight(torch.rand(156))})
    with pytest.raises(DataError, match="edge weights"):
        compactness(encoder, weighted)


def test_a_run_and_a_result_are_certified_alike(tmp_path):
    result = gcl.pipeline(
        "grace", "karate", trainer={"epochs": 3}, evaluate=False, floors=False, out=tmp_path / "run",
        regularizer={"name": "pot", "mode": "certified"}, augment={"view1": {"feature": None}, "view2": {"feature": None}},
    )  # fmt: skip
    one, two = gcl.certify(result, drop_prob=0.2), gcl.certify(tmp_path / "run", drop_prob=0.2)
    assert torch.equal(one.lower, two.lower)
    assert torch.equal(one.upper, two.upper)
    other = gcl.certify(tmp_path / "run", load_dataset("karate"), drop_prob=0.2)
    assert torch.equal(one.lower, other.lower)
    with pytest.raises(DataError, match="feature columns"):
        gcl.certify(result, "digits")
