"""Uniform edge dropping and feature masking."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.augment import EdgeDrop, FeatureMask, NodeDrop
from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.ops.bipartite import joined_graph


def ring(num_nodes=200):
    nodes = torch.arange(num_nodes)
    index = torch.stack([nodes, (nodes + 1) % num_nodes])
    return Adjacency.from_edge_index(torch.cat([index, index.flip(0)], 1), (num_nodes, num_nodes))


def is_kept(adjacency, num_arcs):
    ids = adjacency.arc_ids() if adjacency.keep is None else adjacency.arc_ids()[adjacency.keep]
    return torch.zeros(num_arcs, dtype=torch.bool).index_fill_(0, ids, True)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("drop_prob", [0.2, 0.7])
def test_rate_and_independence_of_arcs(drop_prob, symmetric):
    graph, generator = Graph.homogeneous(None, ring()), torch.Generator().manual_seed(0)
    augmenter = EdgeDrop(drop_prob, symmetric=symmetric)
    reverse = graph.adjacency.t_perm.long()
    kept = torch.stack([is_kept(augmenter(graph, generator=generator).relation(), 400) for _ in range(100)])
    draws = kept.numel() / (2 if symmetric else 1)
    keep_prob = 1 - drop_prob
    assert abs(float(kept.float().mean()) - keep_prob) <= 5 * (keep_prob * drop_prob / draws) ** 0.5
    both = (kept & kept[:, reverse]).float().mean()
    expected = keep_prob if symmetric else keep_prob**2
    assert abs(float(both) - expected) <= 5 * (expected * (1 - expected) / (kept.numel() / 2)) ** 0.5
    if symmetric:
        assert torch.equal(kept, kept[:, reverse])


@given(adjacencies(undirected=True, masked=False), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_symmetric_views_stay_symmetric_one_after_another(adjacency, first, second, seed):
    """Also where the first view was compacted and its structure is not marked as symmetric any more."""
    generator = torch.Generator().manual_seed(seed)
    view = EdgeDrop(first, symmetric=True)(Graph.homogeneous(None, adjacency), generator=generator)
    view = EdgeDrop(second, symmetric=True)(view, generator=generator)
    arcs = set(map(tuple, view.edge_index.t().tolist()))
    assert arcs == {(v, u) for u, v in arcs}


def test_symmetric_needs_an_undirected_graph():
    graph = Graph.homogeneous(None, Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 2]]), (3, 3)))
    with pytest.raises(DataError, match="undirected"):
        EdgeDrop(0.3, symmetric=True)(graph)


@pytest.mark.parametrize("cls", [EdgeDrop, FeatureMask])
def test_the_ends_of_the_range_keep_all_and_nothing(cls):
    graph = Graph.homogeneous(torch.ones(200, 6), ring())
    none, everything = cls(0.0)(graph), cls(1.0)(graph)
    assert torch.equal(none.edge_index, graph.adjacency.edge_index())
    assert torch.equal(none.x, graph.x)
    assert everything.edge_index.numel() == 0 or everything.x.sum() == 0


def test_mask_rate_and_columns():
    graph = Graph.homogeneous(torch.rand(3, 1000) + 1, Adjacency.from_edge_index(torch.empty(2, 0).long(), (3, 3)))
    view = FeatureMask(0.3)(graph, generator=torch.Generator().manual_seed(0))
    gone = view.x == 0
    assert torch.equal(gone, gone[:1].expand_as(gone))
    assert torch.equal(view.x[~gone], graph.x[~gone])
    assert abs(float(gone.float().mean()) - 0.3) < 5 * (0.21 / 1000) ** 0.5


def test_every_relation_and_type_is_drawn():
    generator = torch.Generator().manual_seed(0)
    papers = Adjacency.from_edge_index((torch.rand(30, 20, generator=generator) < 0.5).nonzero().t().flip(0), (30, 20))
    graph = Graph(
        features={"paper": torch.ones(30, 40), "author": torch.ones(20, 50)},
        relations={"writes": papers, "written": papers.t()},
        relation_types={"writes": ("author", "paper"), "written": ("paper", "author")},
        target="paper",
    )
    view = EdgeDrop(0.5)(FeatureMask(0.5)(graph))
    for name in graph.relations:
        assert view.relation(name).edge_index().shape[1] < papers.num_arcs
    assert {kind: mask.shape for kind, mask in view.feature_mask.items()} == {"paper": (40,), "author": (50,)}
    assert all(not bool(mask.all()) for mask in view.feature_mask.values())


def test_masking_without_features_is_refused():
    with pytest.raises(DataError, match="features"):
        FeatureMask(0.3)(Graph.homogeneous(None, ring()))


def test_weights_and_features_stay():
    adjacency = ring().with_weight(torch.rand(400))
    graph = Graph.homogeneous(torch.rand(200, 4), adjacency)
    view = EdgeDrop(0.3)(graph)
    kept = is_kept(view.relation(), 400)
    assert torch.equal(view.edge_weight, adjacency.weight[kept])
    assert torch.equal(view.edge_index, adjacency.edge_index()[:, kept])
    assert view.x is graph.x


# -- exact numbers -----------------------------------------------------------------------------------------------------


@given(adjacencies(undirected=True, self_loops=False, masked=False), st.floats(0, 1), st.integers(0, 99), st.booleans())
@settings(max_examples=60, deadline=None)
def test_exact_dropping_keeps_the_floor_of_the_share(adjacency, drop_prob, seed, symmetric):
    """Of the arcs (of the edges, if symmetric) that an earlier view had left."""
    generator = torch.Generator().manual_seed(seed)
    # an earlier view that leaves whole edges
    view = EdgeDrop(0.3, symmetric=True)(Graph.homogeneous(None, adjacency.with_weight(None)), generator=generator)
    before = set(map(tuple, view.edge_index.t().tolist()))
    whole = {arc for arc in before if arc[::-1] in before}
    if symmetric and whole != before:
        return
    after = set(
        map(
            tuple,
            EdgeDrop(drop_prob, symmetric=symmetric, exact=True)(view, generator=generator).edge_index.t().tolist(),
        )
    )
    count = len(before) // 2 if symmetric else len(before)
    assert after <= before
    assert len(after) == math.floor(round((1 - drop_prob) * count, 6)) * (2 if symmetric else 1)
    if symmetric:
        assert after == {(v, u) for u, v in after}


def test_exact_dropping_is_uniform_and_a_rounded_share_costs_no_arc():
    graph, generator = Graph.homogeneous(None, ring(10)), torch.Generator().manual_seed(0)
    augmenter = EdgeDrop(0.1 + 0.2, exact=True)  # 0.30000000000000004
    kept = torch.stack([is_kept(augmenter(graph, generator=generator).relation(), 20) for _ in range(3000)])
    assert bool((kept.sum(1) == 14).all())
    assert float((kept.float().mean(0) - 0.7).abs().max()) < 5 * (0.21 / 3000) ** 0.5


def test_node_drop_takes_edges_and_features_and_leaves_the_row():
    graph = Graph.homogeneous(torch.ones(50, 2), ring(50))
    view = NodeDrop(0.4)(graph, generator=torch.Generator().manual_seed(1))
    gone = ~view.node_mask
    assert 0 < int(gone.sum()) < 50
    assert view.num_nodes == 50
    assert bool((view.x[gone] == 0).all())
    assert bool((view.x[~gone] == 1).all())
    ends = view.edge_index.flatten().unique()
    assert not bool(gone[ends].any())
    expected = {tuple(arc) for arc in graph.adjacency.edge_index().t().tolist() if not bool(gone[arc].any())}
    assert set(map(tuple, view.edge_index.t().tolist())) == expected
    again = NodeDrop(0.4)(view, generator=torch.Generator().manual_seed(2))
    assert bool((again.node_mask <= view.node_mask).all())


@pytest.mark.parametrize("drop_prob", [0.0, 0.3, 1.0])
def test_exact_node_drop_counts_users_and_items_apart(drop_prob):
    relation = Adjacency.from_edge_index(torch.tensor([[0, 3, 6], [2, 0, 9]]), (10, 7))
    graph = joined_graph(
        Graph(
            relations={"interaction": relation},
            relation_types={"interaction": ("item", "user")},
            num_nodes_by_type={"user": 10, "item": 7},
            target="user",
        )
    )
    keep = NodeDrop(drop_prob, exact=True)(graph, generator=torch.Generator().manual_seed(0)).node_mask
    assert int(keep[:10].sum()) == math.floor((1 - drop_prob) * 10)
    assert int(keep[10:].sum()) == math.floor((1 - drop_prob) * 7)
    plain = NodeDrop(drop_prob, exact=True)(Graph.homogeneous(None, ring(10)), generator=torch.Generator())
    assert int(plain.node_mask.sum()) == math.floor((1 - drop_prob) * 10)
