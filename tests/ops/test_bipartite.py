"""Users and items as one symmetric graph, against the dense block matrix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.ops.bipartite import SIDE, joined_adjacency, joined_graph
from gcl.ops.propagation import Propagation


@settings(max_examples=40, deadline=None)
@given(adjacencies(bipartite=True, weighted=False))
def test_equals_the_block_matrix_and_what_sorting_gives(adjacency):
    dense = adjacency.to_dense()
    m, n = adjacency.shape
    block = torch.zeros(m + n, m + n, dtype=torch.float64)
    block[:m, m:] = dense
    block[m:, :m] = dense.t()
    joined = joined_adjacency(adjacency)
    assert torch.equal(joined.to_dense(), block)
    sorted_anew = Adjacency.from_edge_index(block.nonzero().t().flip(0), (m + n, m + n))
    for name in ("row_ptr", "col", "t_row_ptr", "t_col", "t_perm", "symmetric", "shape"):
        one, two = getattr(joined, name), getattr(sorted_anew, name)
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two, name


@settings(max_examples=40, deadline=None)
@given(adjacencies(bipartite=True, weighted=False, masked=False), st.integers(1, 3))
def test_symmetric_normalisation_is_that_of_the_rectangle(adjacency, width):
    m, n = adjacency.shape
    x = torch.randn(m + n, width, dtype=torch.float64)
    whole = Propagation(joined_adjacency(adjacency), normalize="symmetric").matmul(x)
    rectangle = Propagation(adjacency, normalize="symmetric")
    parts = torch.cat([rectangle.matmul(x[m:]), rectangle.t().matmul(x[:m])])
    torch.testing.assert_close(whole, parts)


def test_is_made_once_and_says_which_side_a_node_is_on():
    relation = Adjacency.from_edge_index(torch.tensor([[0, 2], [1, 0]]), (2, 3))
    graph = Graph(
        relations={"interaction": relation},
        relation_types={"interaction": ("item", "user")},
        num_nodes_by_type={"user": 2, "item": 3},
        target="user",
    )
    joined = joined_graph(graph)
    assert joined.adjacency is joined_graph(graph).adjacency
    assert joined.attr(SIDE).tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(DataError, match="two node types"):
        joined_graph(joined)
