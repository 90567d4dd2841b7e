from __future__ import annotations

import itertools
from collections import Counter

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
from gcl.ops.distinct_offsets import distinct_offsets
from gcl.ops.neighbor_sampler import NeighborSampler


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(3, 40), max_size=6), st.integers(1, 3), st.integers(0, 5))
def test_offsets_are_distinct_and_below_the_degree(degrees, size, seed):
    degree = torch.tensor(degrees, dtype=torch.int64)
    offsets = distinct_offsets(degree, size, generator=generator(seed))
    assert offsets.shape == (size, len(degrees))
    for column, limit in zip(offsets.t().tolist(), degrees, strict=True):
        assert len(set(column)) == size
        assert all(0 <= number < limit for number in column)


@pytest.mark.parametrize(("degree", "size"), [(5, 2), (6, 3), (4, 4)])
def test_every_subset_is_as_likely(degree, size):
    draws = 40_000
    offsets = distinct_offsets(torch.full((draws,), degree), size, generator=generator())
    counts = Counter(map(tuple, offsets.sort(0).values.t().tolist()))
    subsets = list(itertools.combinations(range(degree), size))
    assert set(counts) == set(subsets)
    expected = draws / len(subsets)
    chi_square = sum((counts[subset] - expected) ** 2 / expected for subset in subsets)
    freedom = len(subsets) - 1
    assert chi_square <= freedom + 5 * (2 * max(freedom, 1)) ** 0.5


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_sample_is_a_part_of_the_graph(data):
    adjacency = data.draw(adjacencies(min_nodes=1))
    num_nodes = adjacency.shape[0]
    fanout = data.draw(st.lists(st.sampled_from([1, 2, 3, -1]), min_size=1, max_size=3))
    order = data.draw(st.permutations(range(num_nodes)))
    seeds = torch.tensor(order[: data.draw(st.integers(1, num_nodes))])
    sampler = NeighborSampler(adjacency, fanout)
    nodes, part = sampler(seeds, generator=generator())

    assert nodes[: seeds.numel()].tolist() == seeds.tolist()
    assert len(set(nodes.tolist())) == nodes.numel() == part.shape[0] == part.shape[1]
    # each arc is the one that its id names, and none comes twice
    row, col = nodes[part.row.long()], nodes[part.col.long()]
    ids = {int(arc): at for at, arc in enumerate(adjacency.arc_ids().tolist())}
    place = torch.tensor([ids[arc] for arc in part.arc_ids().tolist()], dtype=torch.int64)
    assert torch.equal(row, adjacency.row.long()[place])
    assert torch.equal(col, adjacency.col.long()[place])
    assert place.unique().numel() == place.numel()
    assert adjacency.keep is None or bool(adjacency.keep[place].all())
    assert torch.equal(part.values(), adjacency.values()[place])
    dense = part.to_dense()
    assert torch.equal(part.t().to_dense(), dense.t())
    for first, last in itertools.pairwise(part.row_ptr.tolist()):
        assert part.col[first:last].tolist() == sorted(part.col[first:last].tolist())

    # as many neighbours as the hop of each node asks for, and what lies beyond the last hop has none
    degree = (adjacency.values() != 0).new_zeros(num_nodes, dtype=torch.int64)
    kept = torch.ones_like(adjacency.col, dtype=torch.bool) if adjacency.keep is None else adjacency.keep
    degree.index_add_(0, adjacency.row.long(), kept.long())
    hop, seen = seeds.tolist(), set(seeds.tolist())
    drawn = part.row_ptr.diff().tolist()
    at = 0
    for size in fanout:
        reached = set()
        for node in hop:
            assert int(nodes[at]) == node
            assert drawn[at] == (int(degree[node]) if size == -1 else min(size, int(degree[node])))
            reached |= set(nodes[part.col[part.row_ptr[at] : part.row_ptr[at + 1]].long()].tolist())
            at += 1
        hop = sorted(reached - seen)
        seen |= reached
    assert nodes[at:].tolist() == hop
    assert not any(drawn[at:])

    again, same = sampler(seeds, generator=generator())  # a draw leaves nothing behind
    assert torch.equal(nodes, again)
    assert torch.equal(part.arc_ids(), same.arc_ids())


def test_all_neighbours_are_the_ball_of_networkx():
    graph = nx.gnp_random_graph(60, 0.05, seed=3)
    edge_index = torch.tensor(list(graph.to_directed().edges)).t()
    adjacency = Adjacency.from_edge_index(edge_index, (60, 60))
    for seed in range(60):
        nodes, part = NeighborSampler(adjacency, [-1, -1])(torch.tensor([seed]))
        assert set(nodes.tolist()) == set(nx.ego_graph(graph, seed, 2).nodes)
        inner = list(nx.ego_graph(graph, seed, 1).nodes)
        assert part.num_arcs == sum(graph.degree(node) for node in inner)


def test_many_and_few_new_nodes_are_found_alike():
    """Few are sorted, many are marked: both give them ascending."""
    wide = 5000
    edge_index = torch.stack([torch.arange(1, wide), torch.zeros(wide - 1, dtype=torch.int64)])
    adjacency = Adjacency.from_edge_index(edge_index, (wide, wide))
    for size in (3, 70, 2000):
        nodes, part = NeighborSampler(adjacency, [size])(torch.tensor([0]), generator=generator())
        assert nodes.numel() == size + 1
        assert nodes[1:].tolist() == sorted(set(nodes[1:].tolist()))
        assert part.num_arcs == size


@pytest.mark.parametrize("fanout", [[], [0], [-2], [2.0], [True], 3, "33", None])
def test_a_wrong_fanout_is_one_sentence(fanout):
    square = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2))
    with pytest.raises(ConfigError, match="fanout must list"):
        NeighborSampler(square, fanout)


def test_a_rectangle_has_no_neighbours_of_neighbours():
    with pytest.raises(ConfigError, match="square"):
        NeighborSampler(Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 3)), [1])
