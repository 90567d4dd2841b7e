"""Losses by neighbours and clusters: the invariants of PamC's specification, against dense formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError
from gcl.losses.block_infonce import BlockInfoNCE
from gcl.losses.blocks import block_repulsion, meta_node_repulsion
from gcl.losses.infonce import InfoNCE
from gcl.losses.neighbor_contrast import NeighborContrast, all_pairs_repulsion, neighbor_attraction
from gcl.losses.pamc import PamCLoss
from gcl.methods.grace import GRACE
from gcl.ops.kmeans import lloyd
from gcl.ops.transition_weights import transition_weights

F64 = torch.float64
SCALES = st.sampled_from([0.25, 0.5, 1.0, 2.25])
WRONG = (0, -1.0, math.nan, math.inf, True)


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def cosines(z):
    unit = z / z.norm(dim=1, keepdim=True)
    return (unit @ unit.t()).masked_fill(torch.eye(len(z), dtype=torch.bool), 0.0)


def slow_attraction(z, gamma, scale):
    return -(gamma * (scale * cosines(z)).exp()).sum(dim=1).log().mean()


def slow_repulsion(z, scale):
    return (scale * cosines(z)).exp().sum(dim=1).log().mean()


def slow_meta_nodes(z, labels, scale):
    sums = [z[labels == k].sum(dim=0) for k in labels.unique()]
    total = 0.0
    for a, s in enumerate(sums):
        total += math.log(
            sum(
                1.0 if a == b else math.exp(scale * float(torch.cosine_similarity(s, t, dim=0)))
                for b, t in enumerate(sums)
            )
        )
    return total / len(sums)


def natural(h, scale):
    """F: the mean log-sum-exp over all keys, the own one among them."""
    return (scale * h @ h.t()).logsumexp(dim=1).mean()


def unit(z):
    return z / z.norm(dim=1, keepdim=True)


def blobs(spread, *, per_cluster=(40, 40, 40), d=6, seed=0):
    centres, labels = drawn(len(per_cluster), d, seed=seed), torch.repeat_interleave(torch.tensor(per_cluster))
    return centres[labels] + spread * drawn(len(labels), d, seed=seed + 1), labels


# -- the exact loss --------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(adjacencies(min_nodes=2, masked=False), st.integers(1, 3), SCALES, st.integers(0, 99))
def test_the_exact_loss_is_the_dense_formula(graph, order, scale, seed):
    z, gamma = drawn(graph.shape[0], 3, seed=seed), transition_weights(graph, order)
    expected = slow_attraction(z, gamma.to_dense(), scale) + slow_repulsion(z, scale)
    found = NeighborContrast(scale)(z, context=LossContext(positives=gamma))
    assert float(found) == pytest.approx(float(expected), rel=1e-9)
    longer = z * torch.rand(len(z), 1, dtype=F64, generator=torch.Generator().manual_seed(seed)).add(0.1)
    assert float(NeighborContrast(scale)(longer, context=LossContext(positives=gamma))) == pytest.approx(float(found))


def test_repeated_pairs_add_up():
    arcs, weight = torch.tensor([[0, 0, 1, 2], [1, 1, 0, 2]]), torch.tensor([0.5, 1.5, 1.0, 1.0], dtype=F64)
    twice = Adjacency.from_edge_index(arcs, (3, 3), weight, duplicates="sum")
    assert float(neighbor_attraction(unit(drawn(3, 2)), twice, scale=0.5)) == pytest.approx(
        float(slow_attraction(drawn(3, 2), twice.to_dense(), 0.5))
    )


def test_an_isolated_node_gets_no_attraction():
    gamma = transition_weights(Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), (3, 3)), 4)
    z = drawn(3, 4).requires_grad_()
    neighbor_attraction(unit(z), gamma, scale=0.5).backward()
    assert float(gamma.to_dense()[2, 2]) == pytest.approx(4)
    assert float(z.grad[2].abs().max()) == 0
    assert float(z.grad[0].abs().max()) > 0


def test_no_pair_keeps_more_than_one_number_for_the_gradient():
    draw = torch.Generator().manual_seed(0)
    arcs = torch.randint(2000, (2, 60_000), generator=draw)
    gamma = Adjacency.from_edge_index(arcs, (2000, 2000), duplicates="first")
    z, labels = torch.randn(2000, 16, generator=draw).requires_grad_(), torch.randint(5, (2000,), generator=draw)
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda same: same):
        PamCLoss(0.5)(z, context=LossContext(positives=gamma, clusters=labels))
    assert sum(kept.values()) < 4 * gamma.num_arcs + 8 * 4 * z.numel()  # E × d would be 16 times as much


# -- meta-nodes ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), SCALES, st.integers(0, 999))
def test_meta_nodes_are_the_formula_whatever_the_numbers_of_the_clusters(size, k, scale, seed):
    draw = torch.Generator().manual_seed(seed)
    z, labels = drawn(size, 3, seed=seed), torch.randint(k, (size,), generator=draw)
    found = meta_node_repulsion(z, labels, scale=scale)
    assert float(found) == pytest.approx(slow_meta_nodes(z, labels, scale), rel=1e-9)
    names = torch.randperm(50, generator=draw)[:k] - 7  # gaps, and numbers below 0
    order = torch.randperm(size, generator=draw)
    assert float(meta_node_repulsion(z[order], names[labels[order]], scale=scale)) == pytest.approx(float(found))
    assert float(meta_node_repulsion(3.7 * z, labels, scale=scale)) == pytest.approx(float(found))
    kinds = len(labels.unique())
    low, high = (math.log(1 + (kinds - 1) * math.exp(sign * scale)) for sign in (-1, 1))
    assert low - 1e-9 <= float(found) <= high + 1e-9


def test_each_node_its_own_cluster_is_the_exact_loss_and_one_cluster_is_nothing():
    z, alone = drawn(9, 4).requires_grad_(), torch.arange(9)
    gamma = transition_weights(Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), (9, 9)), 2)
    context = LossContext(positives=gamma, clusters=alone)
    exact = NeighborContrast(0.5)(z, context=context)
    torch.testing.assert_close(PamCLoss(0.5)(z, context=context), exact)
    torch.testing.assert_close(PamCLoss(0.5, weights="size")(z, context=context), exact)
    h = unit(z)
    torch.testing.assert_close(block_repulsion(h, alone, scale=0.5), natural(h, 0.5))
    torch.testing.assert_close(block_repulsion(h, alone, scale=0.5, rows="nodes"), natural(h, 0.5))
    for value in (
        meta_node_repulsion(z, torch.zeros(9, dtype=torch.int64), scale=0.5),
        block_repulsion(h, torch.zeros(9, dtype=torch.int64), scale=0.5, own_cluster="drop"),
    ):
        assert float(value.detach()) == pytest.approx(0, abs=1e-12)
        assert float(torch.autograd.grad(value, z, retain_graph=True)[0].abs().max()) < 1e-12


def test_the_gradient_of_meta_nodes_is_that_of_the_specification():
    z, labels, scale = drawn(10, 4).requires_grad_(), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 2]), 0.7
    (grad,) = torch.autograd.grad(meta_node_repulsion(z, labels, scale=scale), z)
    sums = torch.stack([z.detach()[labels == k].sum(dim=0) for k in range(3)])
    length, unit_sums = sums.norm(dim=1), unit(sums)
    similarity = (unit_sums @ unit_sums.t()).fill_diagonal_(0)
    omega = (scale * similarity).softmax(dim=1).fill_diagonal_(0)
    both = omega + omega.t()
    for a in range(3):
        expected = sum(both[a, b] * (unit_sums[b] - similarity[a, b] * unit_sums[a]) for b in range(3) if b != a)
        expected = expected * scale / (3 * length[a])
        torch.testing.assert_close(grad[labels == a], expected.expand(int((labels == a).sum()), 4))
        assert float(sums[a] @ expected) == pytest.approx(0, abs=1e-12)


def test_the_gradient_of_the_positives_is_that_of_the_specification():
    graph = Adjacency.from_edge_index(torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]]), (6, 6))
    gamma, z, scale = transition_weights(graph, 3), drawn(6, 4).requires_grad_(), 0.7
    (grad,) = torch.autograd.grad(neighbor_attraction(unit(z), gamma, scale=scale), z)
    z = z.detach()
    similarity, weight = cosines(z), gamma.to_dense()
    rho = (weight * (scale * similarity).exp()).sum(dim=1, keepdim=True)
    inner = (-scale / 6 * weight * (scale * similarity).exp() / rho).fill_diagonal_(0)
    both = inner + inner.t()
    expected = (both @ unit(z) - (both * similarity).sum(dim=1, keepdim=True) * unit(z)) / z.norm(dim=1, keepdim=True)
    torch.testing.assert_close(grad, expected, rtol=1e-6, atol=1e-9)  # the weights are float32


@pytest.mark.parametrize(
    "loss",
    [
        PamCLoss(0.5),
        PamCLoss(0.5, assign="soft"),
        PamCLoss(0.5, weights="size"),
        PamCLoss(0.5, weights="size", own_cluster="keep", second_order=True),
        PamCLoss(0.5, weights="size", second_order=True),
        NeighborContrast(0.5),
    ],
)
def test_gradients_and_relabelling(loss):
    graph = Adjacency.from_edge_index(torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]]), (7, 7))
    gamma, labels = transition_weights(graph, 2), torch.tensor([0, 0, 4, 4, 2, 2, 2])
    soft = drawn(7, 3, seed=4).softmax(dim=1)
    context = LossContext(positives=gamma, clusters=labels, assignment=soft)
    z = drawn(7, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: loss(rows, context=context), (z,), atol=1e-6)
    order = torch.tensor([3, 6, 0, 2, 5, 1, 4])
    other = LossContext(
        positives=gamma.subgraph(order), clusters=9 - labels[order], assignment=soft[order][:, [2, 0, 1]]
    )
    torch.testing.assert_close(loss(z[order], context=other), loss(z, context=context))


def test_soft_sums_weigh_all_rows_and_take_hard_ones_as_they_are():
    z, labels = drawn(8, 3), torch.tensor([0, 1, 1, 2, 0, 2, 2, 1])
    one_hot = torch.nn.functional.one_hot(labels, 4).double()  # the last cluster has no member
    torch.testing.assert_close(meta_node_repulsion(z, one_hot, scale=0.5), meta_node_repulsion(z, labels, scale=0.5))
    soft = drawn(8, 3, seed=3).softmax(dim=1)
    sums = unit(soft.t() @ z)
    expected = (0.5 * (sums @ sums.t()).fill_diagonal_(0)).logsumexp(dim=1).mean()
    torch.testing.assert_close(meta_node_repulsion(z, soft, scale=0.5), expected)


def test_long_rows_weigh_more_in_sums_and_not_in_means_of_unit_rows():
    z, labels = drawn(8, 3), torch.tensor([0, 1, 1, 2, 0, 2, 2, 1])
    long = z.clone()
    long[0] *= 9
    ring = torch.stack([torch.arange(8), (torch.arange(8) + 1) % 8])
    positives = transition_weights(Adjacency.from_edge_index(torch.cat([ring, ring.flip(0)], dim=1), (8, 8)), 1)
    context = LossContext(positives=positives, clusters=labels)
    sums, means = PamCLoss(0.5), PamCLoss(0.5, meta="unit-mean")
    assert not torch.isclose(sums(z, context=context), sums(long, context=context))
    torch.testing.assert_close(means(z, context=context), means(long, context=context))
    torch.testing.assert_close(means(z, context=context), sums(unit(z), context=context))


# -- the block bound -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 20), st.integers(1, 5), SCALES, st.integers(0, 999))
def test_the_block_bound_never_exceeds_the_exact_term(size, k, scale, seed):
    h = unit(drawn(size, 3, seed=seed))
    labels = torch.randint(k, (size,), generator=torch.Generator().manual_seed(seed))
    exact, by_nodes, by_clusters = (
        float(value)
        for value in (
            natural(h, scale),
            block_repulsion(h, labels, scale=scale, rows="nodes"),
            block_repulsion(h, labels, scale=scale),
        )
    )
    assert by_clusters <= by_nodes + 1e-9
    assert by_nodes <= exact + 1e-9


def test_the_block_bound_is_the_formula():
    z, labels = blobs(1.0, per_cluster=(3, 5, 2))
    h, scale = unit(z), 0.8
    means = torch.stack([h[labels == k].mean(dim=0) for k in range(3)])
    sizes = torch.tensor([3.0, 5.0, 2.0], dtype=F64)
    for own, diagonal in (("keep", None), ("drop", 1.0)):
        table = sizes * (scale * means @ means.t()).exp()
        by_node = sizes * (scale * h @ means.t()).exp()
        if diagonal is not None:
            table.fill_diagonal_(diagonal)
            by_node[torch.arange(10), labels] = diagonal
        found = block_repulsion(h, labels, scale=scale, own_cluster=own)
        torch.testing.assert_close(found, (sizes / 10 * table.sum(dim=1).log()).sum())
        found = block_repulsion(h, labels, scale=scale, rows="nodes", own_cluster=own)
        torch.testing.assert_close(found, by_node.sum(dim=1).log().mean())
        weight = torch.rand(10, dtype=F64, generator=torch.Generator().manual_seed(2))
        found = block_repulsion(h, labels, scale=scale, rows="nodes", own_cluster=own, row_weight=weight)
        torch.testing.assert_close(found, weight @ by_node.sum(dim=1).log())
        found = block_repulsion(h, labels, scale=scale, own_cluster=own, row_weight=weight)
        by_cluster = torch.stack([weight[labels == k].sum() for k in range(3)])
        torch.testing.assert_close(found, by_cluster @ table.sum(dim=1).log())


def test_equal_rows_make_the_bound_exact_and_give_the_closed_form():
    centres, labels = unit(drawn(3, 5)), torch.tensor([0, 0, 1, 2, 2, 2, 2])
    h, scale = centres[labels], 1.3
    sizes, similarity = torch.tensor([2.0, 1.0, 4.0], dtype=F64), centres @ centres.t()
    torch.testing.assert_close(block_repulsion(h, labels, scale=scale), natural(h, scale))
    torch.testing.assert_close(block_repulsion(h, labels, scale=scale, second_order=True), natural(h, scale))
    expected = 0.0
    for a in range(3):
        others = sum(float(sizes[b]) * math.exp(scale * float(similarity[a, b])) for b in range(3) if b != a)
        expected += float(sizes[a]) / 7 * math.log((float(sizes[a]) - 1) * math.exp(scale) + 1 + others)
    assert float(all_pairs_repulsion(h, scale=scale)) == pytest.approx(expected)


def test_the_gap_closes_with_the_spread_and_the_second_order_closes_most_of_it():
    gaps = []
    for spread in (0.5, 0.2, 0.1, 0.03):
        z, labels = blobs(spread)
        h = unit(z)
        exact = float(natural(h, 1.0))
        gap, rest = (
            abs(exact - float(block_repulsion(h, labels, scale=1.0, second_order=second))) for second in (False, True)
        )
        assert rest < gap / 3
        gaps.append(gap)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 2e-2 * gaps[0]


def test_the_bound_points_where_the_exact_gradient_does_and_the_proxy_only_roughly():
    def direction(value, z):
        return torch.autograd.grad(value, z, retain_graph=True)[0].flatten()

    z, labels = blobs(0.5)
    z = z.requires_grad_()
    exact = direction(all_pairs_repulsion(unit(z), scale=2.0), z)
    cosine = {
        name: float(torch.cosine_similarity(exact, direction(value, z), dim=0))
        for name, value in {
            "published": meta_node_repulsion(z, labels, scale=2.0),
            "clusters": block_repulsion(unit(z), labels, scale=2.0),
            "nodes": block_repulsion(unit(z), labels, scale=2.0, rows="nodes"),
        }.items()
    }
    assert cosine["published"] < cosine["clusters"] < cosine["nodes"]
    assert cosine["clusters"] > 0.95


# -- in losses of two views ------------------------------------------------------------------------------------------


def test_with_a_cluster_for_each_row_of_both_views_block_infonce_is_infonce_with_the_own_key():
    z1, z2 = drawn(6, 3).requires_grad_(), drawn(6, 3, seed=1).requires_grad_()
    h1, h2 = unit(z1), unit(z2)
    whole = natural(torch.cat([h1, h2]), 1 / 0.5)
    # two rows of a node share a cluster, so let them coincide
    loss = BlockInfoNCE(0.5)(z1, z1, context=LossContext(clusters=torch.arange(6)))
    expected = natural(torch.cat([h1, h1]), 1 / 0.5) - 1 / 0.5
    torch.testing.assert_close(loss, expected)
    bound = BlockInfoNCE(0.5)(z1, z2, context=LossContext(clusters=torch.arange(6)))
    assert float(bound) <= float(whole - (h1 * h2).sum(dim=1).mean() / 0.5)


@pytest.mark.parametrize("options", [{}, {"rows": "clusters"}, {"own_cluster": "drop"}])
def test_anchors_average_to_the_whole(options):
    z1, z2, clusters = drawn(8, 3), drawn(8, 3, seed=1), torch.arange(8) % 3
    loss = BlockInfoNCE(0.5, **options)
    whole = loss(z1, z2, context=LossContext(clusters=clusters))
    parts = [loss(z1, z2, context=LossContext(clusters=clusters, anchors=torch.tensor([i]))) for i in range(8)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_its_own_clusters_come_from_the_epoch_and_need_none():
    z1, z2 = drawn(60, 3), drawn(60, 3, seed=1)
    loss = BlockInfoNCE(0.5, num_clusters=5)
    assert loss.needs == ()
    assert BlockInfoNCE().needs == ("clusters",)
    values = [float(loss(z1, z2, context=LossContext(epoch=epoch))) for epoch in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
    exact = float(InfoNCE(0.5)(z1, z2))
    assert abs(float(BlockInfoNCE(0.5, num_clusters=60)(z1, z2)) - exact) < abs(values[0] - exact)


def test_methods_of_two_views_give_it_their_communities():
    import gcl
    from gcl.data.load import load_dataset

    graph = load_dataset("karate").graph
    for options in ({}, {"subset": 20}, {"anchors": 9}, {"node_order": "community"}):
        result = gcl.pipeline(
            "grace", "karate", loss={"name": "block_infonce"}, trainer={"epochs": 2}, seeds=[0], floors=False, **options
        )
        assert result.runs[0].outputs.main.shape[0] == graph.num_nodes
    GRACE(loss={"name": "block_infonce", "num_clusters": 4, "proxy": "meta_nodes"}).check(graph.spec)


# -- Lloyd's iteration -----------------------------------------------------------------------------------------------


def test_lloyd_finds_what_is_apart_and_lowers_the_spread():
    z, labels = blobs(0.05, per_cluster=(30, 50, 20))
    found = lloyd(z, 3, iterations=20, generator=torch.Generator().manual_seed(3))
    assert len(torch.stack([labels, found]).unique(dim=1).t()) == 3  # the same partition
    z = drawn(500, 4)

    def spread(iterations):
        code = lloyd(z, 8, iterations=iterations, generator=torch.Generator().manual_seed(0))
        return sum(float((z[code == k] - z[code == k].mean(dim=0)).square().sum()) for k in code.unique())

    assert spread(20) < spread(3) < spread(1)
    assert lloyd(z[:4], 9).tolist() == [0, 1, 2, 3]


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PamCLoss(0.0), "scale"),
        (lambda: NeighborContrast(math.nan), "scale"),
        (lambda: PamCLoss(weights="even"), "weights"),
        (lambda: PamCLoss(assign="fuzzy"), "assign"),
        (lambda: PamCLoss(own_cluster="keep"), "belong to weights='size'"),
        (lambda: PamCLoss(weights="size", assign="soft"), "belongs to weights='uniform'"),
        (lambda: BlockInfoNCE(0), "temperature"),
        (lambda: BlockInfoNCE(proxy="all"), "proxy"),
        (lambda: BlockInfoNCE(num_clusters=0), "num_clusters"),
        (lambda: BlockInfoNCE(proxy="meta_nodes", rows="clusters"), "belong to proxy='blocks'"),
        (lambda: BlockInfoNCE(second_order=True), "second_order belongs"),
        *((lambda scale=scale: block_repulsion(drawn(2, 2), torch.arange(2), scale=scale), "scale") for scale in WRONG),
        *(
            (lambda scale=scale: meta_node_repulsion(drawn(2, 2), torch.arange(2), scale=scale), "scale")
            for scale in WRONG
        ),
        (lambda: block_repulsion(drawn(2, 2), torch.arange(2), scale=1.0, rows="all"), "rows"),
        (lambda: block_repulsion(drawn(2, 2), torch.arange(2), scale=1.0, rows="nodes", second_order=True), "second"),
        (lambda: PamCLoss()(drawn(3, 2), drawn(3, 2)), "one view"),
        (lambda: PamCLoss()(drawn(3, 2)), "needs positives"),
        (lambda: BlockInfoNCE()(drawn(3, 2), drawn(3, 2)), "needs clusters"),
        (lambda: GRACE(loss="pamc").check(__import__("gcl").load_dataset("karate").graph.spec), "needs positives"),
        (lambda: lloyd(drawn(3, 2), 0), "k must be"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_bad_shapes_are_refused():
    gamma = transition_weights(Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), (3, 3)), 1)
    context = LossContext(positives=gamma)
    with pytest.raises(ConfigError, match="PamCLoss needs clusters"):
        PamCLoss()(drawn(3, 2), context=context)
    with pytest.raises(DataError, match=r"positives \[N, N\]"):
        PamCLoss()(drawn(4, 2), context=context)
    with pytest.raises(ConfigError, match="leave anchors out"):
        NeighborContrast()(drawn(3, 2), context=LossContext(positives=gamma, anchors=torch.tensor([0])))
    for clusters in (torch.arange(4), torch.ones(3), torch.ones(3, 2, dtype=torch.int64)):
        with pytest.raises(DataError, match=r"clusters must be|memberships"):
            meta_node_repulsion(drawn(3, 2), clusters, scale=1.0)
    with pytest.raises(DataError, match="one entry a node"):
        BlockInfoNCE()(drawn(3, 2), drawn(3, 2), context=LossContext(clusters=torch.arange(4)))
    with pytest.raises(DataError, match="one cluster a node"):
        block_repulsion(drawn(3, 2), torch.ones(3, 2), scale=1.0)
