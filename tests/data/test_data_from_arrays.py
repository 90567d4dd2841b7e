"""The one door: what it accepts, merges and refuses."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, GCLError
from gcl.core.graph import Graph
from gcl.data.features import SPARSE_BELOW, as_features, require_features
from gcl.data.from_arrays import from_arrays

EDGES = np.array([[0, 1, 2], [1, 2, 2]])
X = np.arange(12, dtype=np.float64).reshape(4, 3)


def dense_adjacency(edges, num_nodes, weights=None, directed=False):
    """Row i receives from column j; an edge counts once."""
    matrix = np.zeros((num_nodes, num_nodes))
    for at, (source, target) in enumerate(edges):
        value = 1.0 if weights is None else weights[at]
        matrix[target, source] = value
        if not directed:
            matrix[source, target] = value
    return matrix


def test_a_small_graph_comes_in_whole():
    graph = from_arrays(EDGES, X, [0, 1, 1, -1], splits=[0, 1, 2, 3])
    assert graph.num_nodes == 4
    assert graph.adjacency.symmetric
    np.testing.assert_array_equal(graph.adjacency.to_dense(), dense_adjacency(EDGES.T, 4))
    assert graph.x.dtype == torch.float32
    np.testing.assert_array_equal(graph.x, X)
    assert graph.attr("y").dtype == torch.int64
    assert graph.attr("splits").dtype == torch.uint8
    assert graph.attr("splits").tolist() == [[0], [1], [2], [3]]


@pytest.mark.parametrize("kind", ["list", "numpy", "int32", "uint8", "torch", "torch32"])
def test_all_kinds_of_arrays_give_the_same_graph(kind):
    convert = {
        "list": lambda a: a.tolist(),
        "numpy": lambda a: a,
        "int32": lambda a: a.astype(np.int32),
        "uint8": lambda a: a.astype(np.uint8),
        "torch": lambda a: torch.from_numpy(a.copy()),
        "torch32": lambda a: torch.from_numpy(a.copy()).int(),
    }[kind]
    graph = from_arrays(convert(EDGES), convert(X.astype(int)), convert(np.array([0, 1, 2, 3])))
    np.testing.assert_array_equal(graph.adjacency.to_dense(), dense_adjacency(EDGES.T, 4))
    np.testing.assert_array_equal(graph.x, X)
    assert graph.attr("y").tolist() == [0, 1, 2, 3]


def test_a_directed_edge_goes_from_source_to_target():
    graph = from_arrays([[0], [1]], num_nodes=3, directed=True)
    assert graph.adjacency.edge_index().tolist() == [[0], [1]]
    assert graph.adjacency.to_dense()[1, 0] == 1
    assert not graph.adjacency.symmetric
    assert graph.num_nodes == 3


def test_arrays_of_the_caller_are_not_aliased_by_later_changes():
    edges, y = EDGES.copy(), np.array([0, 1, 1, 0])
    graph = from_arrays(edges, X, y)
    edges[:], y[:] = 0, 7
    assert graph.adjacency.num_arcs == 5
    assert graph.attr("y").tolist() == [0, 1, 1, 0]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_listing_direction_order_and_repeats_do_not_matter(data):
    num_nodes = data.draw(st.integers(1, 6))
    node = st.integers(0, num_nodes - 1)
    edges = data.draw(st.lists(st.tuples(node, node), min_size=1, max_size=12))
    flips = data.draw(st.lists(st.booleans(), min_size=len(edges), max_size=len(edges)))
    flipped = [(b, a) if flip else (a, b) for (a, b), flip in zip(edges, flips, strict=True)]
    order = data.draw(st.permutations(edges + flipped))
    graph = from_arrays(np.array(order).T, num_nodes=num_nodes, duplicates="merge")
    np.testing.assert_array_equal(graph.adjacency.to_dense(), dense_adjacency(edges, num_nodes))
    assert graph.adjacency.weight is None
    assert graph.adjacency.symmetric


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_sum_counts_every_listing(data):
    num_nodes = data.draw(st.integers(1, 5))
    node = st.integers(0, num_nodes - 1)
    edges = data.draw(st.lists(st.tuples(node, node), min_size=1, max_size=10))
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(edges), max_size=len(edges)))
    expected = np.zeros((num_nodes, num_nodes))
    for (source, target), weight in zip(edges, weights, strict=True):
        expected[target, source] += weight
        if source != target:
            expected[source, target] += weight
    edge_index = np.array(edges).T
    graph = from_arrays(edge_index, num_nodes=num_nodes, edge_weight=weights, duplicates="sum")
    np.testing.assert_allclose(graph.adjacency.to_dense(), expected)
    counted = from_arrays(edge_index, num_nodes=num_nodes, duplicates="sum").adjacency.to_dense()
    np.testing.assert_array_equal(counted > 0, expected > 0)


def test_both_directions_are_no_duplicate_but_a_repeat_is():
    assert from_arrays([[0, 1], [1, 0]]).adjacency.num_arcs == 2
    with pytest.raises(DataError, match="0 -> 1"):
        from_arrays([[0, 1, 0], [1, 2, 1]])


def test_weights_are_kept_on_both_arcs_and_must_agree():
    graph = from_arrays([[0, 1, 2], [1, 0, 2]], edge_weight=[2.0, 2.0, 5.0])
    np.testing.assert_array_equal(graph.adjacency.to_dense(), [[0, 2, 0], [2, 0, 0], [0, 0, 5]])
    with pytest.raises(DataError, match=r"0 - 1 .* 2 and 3|0 - 1 .* 3 and 2"):
        from_arrays([[0, 1], [1, 0]], edge_weight=[2.0, 3.0])
    directed = from_arrays([[0, 1], [1, 0]], edge_weight=[2.0, 3.0], directed=True)
    np.testing.assert_array_equal(directed.adjacency.to_dense(), [[0, 3], [2, 0]])


def _x(row, column, value):
    x = X.copy()
    x[row, column] = value
    return x


BAD = {
    "nan": ({"x": _x(2, 1, np.nan)}, DataError, "1 values.*nan in row 2, column 1"),
    "inf": ({"x": _x(3, 0, -np.inf)}, DataError, "-inf in row 3, column 0"),
    "overflow": ({"x": _x(0, 2, 1e300)}, DataError, "float32.*inf in row 0, column 2"),
    "sparse nan": ({"x": sp.csr_matrix(_x(2, 1, np.nan))}, DataError, "nan in row 2, column 1"),
    "text features": ({"x": [["a", "b"]] * 4}, DataError, "real numbers.*<U1"),
    "object features": ({"x": np.array([[None]] * 4)}, DataError, "object"),
    "complex features": ({"x": torch.ones(4, 2, dtype=torch.complex64)}, DataError, "complex"),
    "ragged features": ({"x": [[1], [1, 2], [1], [1]]}, DataError, "different lengths"),
    "flat features": ({"x": np.ones(4)}, DataError, r"\[4\]"),
    "no columns": ({"x": np.ones((4, 0))}, DataError, "no columns"),
    "too few rows": ({"x": X[:2]}, DataError, "node id 2 .*out of range for 2 nodes"),
    "other count": ({"x": X, "num_nodes": 5}, DataError, "4 rows for 5 nodes"),
    "negative id": ({"edge_index": [[0, -3], [1, 1]]}, DataError, r"-3 \(edge 1"),
    "out of range": ({"edge_index": [[0, 1], [1, 9]], "num_nodes": 4}, DataError, r"node id 9 \(edge 1"),
    "float ids": ({"edge_index": [[0.0, 1.0], [1.0, 2.0]]}, DataError, "integers, got float64"),
    "bool ids": ({"edge_index": np.ones((2, 2), bool)}, DataError, "bool"),
    "transposed": ({"edge_index": np.zeros((5, 2), int)}, DataError, "transpose"),
    "ragged ids": ({"edge_index": [[0], [1, 2]]}, DataError, "different lengths"),
    "foreign keys": ({"edge_index": [[0], [9_000_000_000]]}, DataError, "9000000000 but only 1 edges"),
    "no edges": ({"edge_index": np.zeros((2, 0), int)}, DataError, "no edges"),
    "no nodes": ({"x": np.zeros((0, 3))}, DataError, "no nodes"),
    "no labels": ({"y": []}, DataError, "no nodes"),
    "zero nodes": ({"num_nodes": 0}, DataError, "from 1, got 0"),
    "float labels": ({"y": [0.0, 1.0, 2.0]}, DataError, "whole numbers, got float64"),
    "half labels": ({"y": torch.tensor([0.5, 1, 2])}, DataError, "0.5"),
    "text labels": ({"y": ["cat", "dog", "cat"]}, DataError, "cat"),
    "short labels": ({"x": X, "y": [0, 1]}, DataError, "2 entries for 4 nodes"),
    "label table": ({"x": X, "y": np.zeros((4, 3), int)}, DataError, r"\[4, 3\]"),
    "label -2": ({"x": X, "y": [0, 1, -2, 0]}, DataError, "node 2 has the label -2"),
    "split 4": ({"x": X, "splits": [0, 1, 2, 4]}, DataError, "got 4"),
    "short split": ({"x": X, "splits": [0, 1, 2]}, DataError, r"\[3, 1\]"),
    "weight length": ({"x": X, "edge_weight": [1.0]}, DataError, r"\[3\].*\[1\]"),
    "lost weight": (
        {"x": X, "edge_weight": [1.0, 1e-60, 1.0]},
        DataError,
        "like 1e-60 of edge 1, which in float32 is 0",
    ),
    "weight nan": ({"x": X, "edge_weight": [1.0, np.nan, 1.0]}, DataError, "nan at edge 1"),
    "weight negative": ({"x": X, "edge_weight": [1.0, 1.0, -2.0]}, DataError, "-2 at edge 2"),
    "policy": ({"duplicates": "drop"}, ConfigError, "drop"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_with_the_value(case):
    arguments, error, match = BAD[case]
    arguments = {"edge_index": EDGES, **arguments}
    with pytest.raises(error, match=match) as caught:
        from_arrays(**arguments)
    assert isinstance(caught.value, GCLError)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_sparse_and_dense_features_hold_the_same_values():
    generator = torch.Generator().manual_seed(0)
    for density in (0.0, 0.01, 0.039, 0.05, 0.5):
        mask = torch.rand(50, 40, generator=generator) < density
        x = torch.randn(50, 40, generator=generator) * mask
        matrix = as_features(x)
        share = int(torch.count_nonzero(x)) / x.numel()
        assert isinstance(matrix, Adjacency) == (share < SPARSE_BELOW)
        for value in (x, x.numpy(), sp.csr_matrix(x.numpy()), sp.coo_array(x.numpy()), x.to_sparse(), as_features(x)):
            sparse, dense = as_features(value, sparse=True), as_features(value, sparse=False)
            assert isinstance(sparse, Adjacency)
            assert isinstance(dense, torch.Tensor)
            assert dense.dtype == torch.float32
            torch.testing.assert_close(sparse.to_dense(torch.float32), x, rtol=0, atol=0)
            torch.testing.assert_close(dense, x, rtol=0, atol=0)


def test_unsorted_sparse_features_with_duplicates_are_summed():
    matrix = sp.csr_matrix((np.array([1, 2, 4], np.uint8), np.array([3, 0, 3]), np.array([0, 3, 3])), shape=(2, 5))
    np.testing.assert_array_equal(as_features(matrix, sparse=False), [[2, 0, 0, 5, 0], [0] * 5])
    assert matrix.nnz == 3  # the caller's matrix is untouched


def test_features_can_be_required():
    graph = from_arrays(EDGES)
    with pytest.raises(DataError, match="features="):
        require_features(graph)
    require_features(from_arrays(EDGES, X))


def test_one_node_with_a_loop_is_a_graph():
    graph = from_arrays([[0], [0]], [[1.0]], [0])
    assert isinstance(graph, Graph)
    assert graph.adjacency.num_arcs == 1


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("duplicates", ["error", "merge", "sum"])
def test_a_weight_of_0_is_no_edge(directed, duplicates):
    graph = from_arrays(
        [[0, 1, 2, 2], [1, 2, 0, 2]],
        num_nodes=3,
        edge_weight=[2.0, 0.0, 1.0, 0.0],
        directed=directed,
        duplicates=duplicates,
    )
    expected = torch.tensor([[0.0, 0, 1], [2, 0, 0], [0, 0, 0]])
    assert torch.equal(graph.adjacency.to_dense(), expected if directed else torch.maximum(expected, expected.t()))
    assert graph.adjacency.num_arcs == (2 if directed else 4)
