from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies, graphs

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.ops.node_order import community_order, inverse_order, reorder_nodes
from gcl.ops.propagation import Propagation


@settings(max_examples=30, deadline=None)
@given(adjacencies(min_nodes=0), st.data())
def test_members_of_a_community_are_side_by_side_in_their_own_order(adjacency, data):
    num_nodes = adjacency.shape[0]
    labels = torch.tensor(
        data.draw(st.lists(st.integers(0, 3), min_size=num_nodes, max_size=num_nodes)), dtype=torch.int64
    )
    order = community_order(adjacency, labels)
    assert order.tolist() == sorted(range(num_nodes), key=lambda node: (labels[node].item(), node))


def test_communities_are_found_where_none_are_given():
    cliques = torch.block_diag(*[torch.ones(6, 6) - torch.eye(6)] * 3)
    shuffle = torch.randperm(18, generator=torch.Generator().manual_seed(0))
    dense = cliques[shuffle][:, shuffle]
    adjacency = Adjacency.from_edge_index(dense.nonzero().t().flip(0), (18, 18))
    order = community_order(adjacency)
    assert torch.equal(dense[order][:, order], cliques)
    assert torch.equal(order, community_order(adjacency))


@settings(max_examples=30, deadline=None)
@given(graphs(), st.randoms(use_true_random=False))
def test_everything_goes_with_the_nodes_and_the_way_back_is_exact(graph, random):
    order = list(range(graph.num_nodes))
    random.shuffle(order)
    order = torch.tensor(order, dtype=torch.int64)
    ordered = reorder_nodes(graph, order)
    assert torch.equal(ordered.x, graph.x[order])
    assert torch.equal(ordered.attr("y"), graph.attr("y")[order])
    assert torch.equal(ordered.node_id["node"], order)
    assert torch.equal(ordered.adjacency.to_dense(), graph.adjacency.to_dense()[order][:, order])
    back = inverse_order(order)
    y = Propagation(graph.adjacency).matmul(graph.x.double())
    torch.testing.assert_close(Propagation(ordered.adjacency).matmul(ordered.x.double())[back], y)
    again = reorder_nodes(ordered, back)
    assert torch.equal(again.x, graph.x)
    assert torch.equal(again.adjacency.edge_index(), graph.adjacency.edge_index())
    assert torch.equal(again.adjacency.arc_ids(), graph.adjacency.arc_ids())
    assert torch.equal(again.node_id["node"], torch.arange(graph.num_nodes))


def test_what_is_no_permutation_or_no_labelling_is_refused():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2))
    with pytest.raises(DataError, match="whole numbers"):
        community_order(adjacency, torch.ones(2))
    with pytest.raises(DataError, match=r"whole numbers \[2\]"):
        community_order(adjacency, torch.zeros(3, dtype=torch.int64))
