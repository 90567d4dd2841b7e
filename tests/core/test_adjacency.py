from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import WEIGHTS, adjacencies, edge_indices, masks, matrices
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.compressed import by_sorting, counted
from gcl.core.errors import DataError
from gcl.ops.sparse_product import sparse_product


def check_invariants(adjacency: Adjacency) -> None:
    """What every Adjacency promises of its arrays."""
    num_rows, num_cols = adjacency.shape
    for ptr, col, size in (
        (adjacency.row_ptr, adjacency.col, num_rows),
        (adjacency.t_row_ptr, adjacency.t_col, num_cols),
    ):
        assert ptr.numel() == size + 1
        assert int(ptr[0]) == 0
        assert int(ptr[-1]) == col.numel()
        for s in range(size):
            part = col[ptr[s] : ptr[s + 1]].tolist()
            assert part == sorted(set(part))  # ascending, no duplicates
        assert ptr.dtype == col.dtype == torch.int32
    assert sorted(adjacency.t_perm.tolist()) == list(range(adjacency.num_arcs))
    assert torch.equal(adjacency.row[adjacency.t_perm.long()], adjacency.t_col)
    pairs = set(zip(adjacency.row.tolist(), adjacency.col.tolist(), strict=True))
    if adjacency.symmetric:
        assert pairs == {(j, i) for i, j in pairs}


def pairs_to_dense(edge_index: Tensor, shape: tuple[int, int], weight: Tensor | None = None) -> Tensor:
    weight = torch.ones(edge_index.shape[1]) if weight is None else weight
    matrix = scipy.sparse.coo_matrix((weight.double().numpy(), edge_index.flip(0).numpy()), shape=shape)
    return torch.from_numpy(matrix.toarray())


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_from_edge_index_equals_scipy(data):
    edge_index, shape = data.draw(edge_indices(bipartite=True, min_nodes=0))
    weights = st.lists(WEIGHTS, min_size=edge_index.shape[1], max_size=edge_index.shape[1])
    weight = torch.tensor(data.draw(weights)) if data.draw(st.booleans()) else None
    adjacency = Adjacency.from_edge_index(edge_index, shape, weight)
    check_invariants(adjacency)
    dense = pairs_to_dense(edge_index, shape, weight)
    assert torch.equal(adjacency.to_dense(), dense)
    csr = scipy.sparse.csr_matrix(dense.numpy())
    assert np.array_equal(adjacency.row_ptr, csr.indptr)
    assert np.array_equal(adjacency.col, csr.indices)
    assert np.array_equal(adjacency.values(torch.float64), csr.data)
    csc = csr.tocsc()
    assert np.array_equal(adjacency.t_row_ptr, csc.indptr)
    assert np.array_equal(adjacency.t_col, csc.indices)
    assert np.array_equal(adjacency.values(torch.float64)[adjacency.t_perm], csc.data)


@settings(max_examples=40, deadline=None)
@given(edge_indices(bipartite=True), st.randoms(use_true_random=False))
def test_order_of_the_edges_does_not_matter(case, random):
    edge_index, shape = case
    order = list(range(edge_index.shape[1]))
    random.shuffle(order)
    a, b = (Adjacency.from_edge_index(e, shape) for e in (edge_index, edge_index[:, order]))
    for name in ("row_ptr", "col", "t_row_ptr", "t_col", "t_perm"):
        assert torch.equal(getattr(a, name), getattr(b, name))


@settings(max_examples=40, deadline=None)
@given(adjacencies(bipartite=True))
def test_edge_index_round_trip_in_pyg_order(adjacency):
    edge_index = adjacency.edge_index()
    assert edge_index.dtype == torch.int64
    target_then_source = list(zip(edge_index[1].tolist(), edge_index[0].tolist(), strict=True))
    assert target_then_source == sorted(target_then_source)
    again = Adjacency.from_edge_index(edge_index, adjacency.shape, adjacency.edge_weight())
    assert torch.equal(again.to_dense(), adjacency.to_dense())
    assert torch.equal(again.edge_index(), edge_index)


def test_row_receives_from_column():
    adjacency = Adjacency.from_edge_index(torch.tensor([[2], [0]]), (3, 3))  # 2 -> 0
    assert adjacency.to_dense()[0, 2] == 1
    assert adjacency.to_dense().sum() == 1


def test_duplicates_are_refused_summed_or_the_first_kept():
    edge_index = torch.tensor([[1, 0, 1, 1], [2, 0, 2, 2]])
    weight = torch.tensor([1.0, 5.0, 2.0, 4.0])
    with pytest.raises(DataError, match="edge 1 -> 2 is listed more than once; pass duplicates="):
        Adjacency.from_edge_index(edge_index, (3, 3), weight)
    for policy, value in (("sum", 7.0), ("first", 1.0)):
        merged = Adjacency.from_edge_index(edge_index, (3, 3), weight, duplicates=policy)
        check_invariants(merged)
        assert merged.num_arcs == 2
        assert merged.to_dense()[2, 1] == value
        assert merged.to_dense()[0, 0] == 5
    assert Adjacency.from_edge_index(edge_index, (3, 3), duplicates="sum").to_dense()[2, 1] == 3
    assert Adjacency.from_edge_index(edge_index, (3, 3), duplicates="first").weight is None


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_sum_of_duplicates_equals_scipy(data):
    shape = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    arc = st.tuples(st.integers(0, shape[1] - 1), st.integers(0, shape[0] - 1))
    edge_index = torch.tensor(data.draw(st.lists(arc, max_size=20)), dtype=torch.int64).reshape(-1, 2).t()
    adjacency = Adjacency.from_edge_index(edge_index, shape, duplicates="sum")
    check_invariants(adjacency)
    assert torch.equal(adjacency.to_dense(), pairs_to_dense(edge_index, shape))


@settings(max_examples=50, deadline=None)
@given(adjacencies(bipartite=True))
def test_transpose(adjacency):
    transposed = adjacency.t()
    check_invariants(transposed)
    assert torch.equal(transposed.to_dense(), adjacency.to_dense().t())
    assert torch.equal(transposed.t().to_dense(), adjacency.to_dense())
    ids = {
        (i, j): e
        for i, j, e in zip(*(v.tolist() for v in (adjacency.row, adjacency.col, adjacency.arc_ids())), strict=True)
    }
    for i, j, e in zip(*(v.tolist() for v in (transposed.row, transposed.col, transposed.arc_ids())), strict=True):
        assert ids[j, i] == e


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_masked_and_compacted_are_the_same_matrix(data):
    adjacency = data.draw(adjacencies(bipartite=True))
    keep = data.draw(masks(adjacency.num_arcs))
    x = data.draw(matrices(adjacency.shape[1], 2))
    upstream = data.draw(matrices(adjacency.shape[0], 2))
    dense = adjacency.to_dense()
    dense[adjacency.row.long()[~keep], adjacency.col.long()[~keep]] = 0
    arcs = None
    for compact in (True, False, None):
        masked = adjacency.masked(keep, compact=compact)
        check_invariants(masked)
        assert torch.equal(masked.to_dense(), dense)
        assert torch.equal(masked.t().to_dense(), dense.t())
        leaf = x.clone().requires_grad_()
        y = sparse_product(masked, leaf)
        y.backward(upstream)
        assert torch.equal(y, dense @ x)
        assert torch.equal(leaf.grad, dense.t() @ upstream)
        arcs = masked.edge_index() if arcs is None else arcs
        assert torch.equal(masked.edge_index(), arcs)
        kept_ids = masked.arc_ids() if masked.keep is None else masked.arc_ids()[masked.keep]
        still = keep if adjacency.keep is None else keep & adjacency.keep
        assert torch.equal(kept_ids, adjacency.arc_ids()[still])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_masks_add_up(data):
    adjacency = data.draw(adjacencies(masked=False))
    first, second = data.draw(masks(adjacency.num_arcs)), data.draw(masks(adjacency.num_arcs))
    twice = adjacency.masked(first, compact=False).masked(second, compact=data.draw(st.booleans()))
    assert torch.equal(twice.to_dense(), adjacency.masked(first & second, compact=False).to_dense())


def test_masking_never_sorts_and_compacts_when_asked():
    edge_index = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    adjacency = Adjacency.from_edge_index(edge_index, (4, 4))
    keep = torch.tensor([True, True, False, False])
    with torch.profiler.profile() as profile:
        compacted = adjacency.masked(keep, compact=True)
        masked = adjacency.masked(keep)
    assert not any("sort" in event.key for event in profile.key_averages())
    assert compacted.num_arcs == 2
    assert compacted.keep is None
    assert masked.num_arcs == 4
    assert masked.col is adjacency.col
    assert masked.row is adjacency.row
    assert adjacency.keep is None  # immutable


def test_a_wrong_mask_is_refused():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2))
    with pytest.raises(DataError, match=r"boolean mask of shape \[1\], got torch.bool \[2\]"):
        adjacency.masked(torch.tensor([True, False]))
    with pytest.raises(DataError, match=r"got torch\.float32"):
        adjacency.masked(torch.ones(1))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_subgraph_equals_dense_indexing(data):
    adjacency = data.draw(adjacencies(bipartite=True))
    num_rows, num_cols = adjacency.shape
    rows = data.draw(st.lists(st.integers(0, num_rows - 1), unique=True))
    cols = data.draw(st.lists(st.integers(0, num_cols - 1), unique=True))
    rows, cols = (torch.tensor(nodes, dtype=torch.int64) for nodes in (rows, cols))
    part = adjacency.subgraph(rows, cols)
    check_invariants(part)
    assert torch.equal(part.to_dense(), adjacency.to_dense()[rows][:, cols])
    ids = adjacency.with_weight(adjacency.arc_ids().double() + 1).to_dense()  # arc id + 1 as the entry; 0 = dropped
    assert torch.equal(part.with_weight(part.arc_ids().double() + 1).to_dense(), ids[rows][:, cols])
    if num_rows == num_cols:
        assert torch.equal(adjacency.subgraph(rows).to_dense(), adjacency.to_dense()[rows][:, rows])


def test_subgraph_of_a_subgraph_keeps_the_first_ids():
    edge_index = torch.tensor([[0, 1, 2, 3, 3], [1, 2, 3, 0, 1]])
    adjacency = Adjacency.from_edge_index(edge_index, (4, 4))
    part = adjacency.subgraph(torch.tensor([3, 1, 0])).subgraph(torch.tensor([2, 0]))  # nodes 0 and 3
    assert part.edge_index().tolist() == [[1], [0]]  # 3 -> 0
    arc = part.arc_ids()[0]
    assert adjacency.edge_index()[:, arc].tolist() == [3, 0]


def test_subgraph_refuses_a_mask_and_a_node_twice():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (3, 3))
    with pytest.raises(DataError, match="boolean mask"):
        adjacency.subgraph(torch.tensor([True, False, True]))
    with pytest.raises(DataError, match="listed twice"):
        adjacency.subgraph(torch.tensor([0, 1, 0]))


@settings(max_examples=30, deadline=None)
@given(adjacencies())
def test_without_self_loops(adjacency):
    clean = adjacency.without_self_loops()
    check_invariants(clean)
    dense = adjacency.to_dense()
    assert torch.equal(clean.to_dense(), dense - torch.diag(dense.diagonal()))
    assert clean.is_loop is None
    if adjacency.is_loop is None:
        assert clean is adjacency
    else:
        assert torch.equal(adjacency.is_loop, adjacency.row == adjacency.col)


@settings(max_examples=40, deadline=None)
@given(adjacencies(masked=False, weighted=False))
def test_symmetric_is_detected(adjacency):
    dense = adjacency.to_dense()
    assert adjacency.symmetric == torch.equal(dense, dense.t())
    assert adjacency.t().symmetric == adjacency.symmetric


@settings(max_examples=30, deadline=None)
@given(adjacencies(masked=False, undirected=True))
def test_undirected_graphs_are_symmetric_and_the_permutation_is_the_reverse_arc(adjacency):
    assert adjacency.symmetric
    assert adjacency.t_col is adjacency.col  # stored once
    reverse = adjacency.t_perm.long()
    assert torch.equal(adjacency.row[reverse], adjacency.col)
    assert torch.equal(adjacency.col[reverse], adjacency.row)


def test_a_rectangle_has_no_loops_and_is_not_symmetric():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0], [0]]), (1, 2))
    assert adjacency.is_loop is None
    assert not adjacency.symmetric


@pytest.mark.parametrize(
    ("edge_index", "words"),
    [
        (torch.tensor([[0, 7], [1, 0]]), "source node id 7, out of range for 3 nodes"),
        (torch.tensor([[0, 1], [1, 9]]), "target node id 9, out of range for 2 nodes"),
        (torch.tensor([[0, -4], [1, 0]]), "negative source node id -4"),
        (torch.tensor([[0, 1], [1, -1]]), "negative target node id -1"),
        (torch.tensor([[0.5], [1.0]]), "must hold integers, got torch.float32"),
        (torch.tensor([[True], [False]]), "got torch.bool"),
        (torch.tensor([0, 1]), r"shape \[2, E\], got \[2\]"),
        (torch.zeros(3, 2, dtype=torch.int64), r"shape \[2, E\], got \[3, 2\]"),
    ],
)
def test_wrong_edges_are_refused_in_one_sentence(edge_index, words):
    with pytest.raises(DataError, match=words) as error:
        Adjacency.from_edge_index(edge_index, (2, 3))
    assert "\n" not in str(error.value)
    assert ". " not in str(error.value)


def test_weights_of_another_length_are_refused():
    with pytest.raises(DataError, match=r"shape \[1\], got \[2\]"):
        Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2), torch.ones(2))
    with pytest.raises(DataError, match=r"shape \[1\], got \[2\]"):
        Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2)).with_weight(torch.ones(2))


def test_gradient_reaches_the_weights():
    weight = torch.tensor([2.0, 3.0], requires_grad=True)
    adjacency = Adjacency.from_edge_index(torch.tensor([[1, 0], [0, 1]]), (2, 2), weight)
    sparse_product(adjacency, torch.tensor([[1.0], [10.0]])).sum().backward()
    assert weight.grad.tolist() == [10.0, 1.0]


def test_is_frozen_and_says_what_it_is():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), (2, 2), torch.ones(2))
    with pytest.raises(AttributeError):
        adjacency.col = adjacency.col
    masked = adjacency.masked(torch.tensor([True, False]), compact=False)
    assert repr(masked) == "Adjacency(shape=(2, 2), arcs=2, kept=1, symmetric, weighted)"
    assert adjacency.to("cpu") is adjacency


# -- from CSR arrays ---------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(adjacencies(bipartite=True, masked=False), st.sampled_from([torch.int32, torch.int64]))
def test_csr_arrays_give_what_the_edges_give(adjacency, dtype):
    arrays = adjacency.row_ptr.to(dtype), adjacency.col.to(dtype)
    again = Adjacency.from_csr(*arrays, adjacency.shape, adjacency.weight)
    check_invariants(again)
    for name in ("row_ptr", "col", "t_row_ptr", "t_col", "t_perm"):
        assert torch.equal(getattr(again, name), getattr(adjacency, name))
        assert getattr(again, name).dtype == torch.int32
    assert again.symmetric == adjacency.symmetric
    assert again.weight is adjacency.weight
    if dtype == torch.int32:
        assert again.col is arrays[1]  # taken over


@settings(max_examples=40, deadline=None)
@given(adjacencies(bipartite=True, masked=False))
def test_both_ways_to_the_transpose_agree(adjacency):
    for found in (way(adjacency.row_ptr, adjacency.col, adjacency.shape) for way in (counted, by_sorting)):
        for part, name in zip(found, ("t_row_ptr", "t_col", "t_perm"), strict=True):
            assert torch.equal(part, getattr(adjacency, name))
            assert part.dtype == torch.int32


@pytest.mark.parametrize(
    ("row_ptr", "col", "message"),
    [
        ([0, 1], [0], "row_ptr must be 3 numbers that do not fall, from 0 to the 1 arcs"),
        ([1, 1, 1], [0], "row_ptr must be 3 numbers"),
        ([0, 1, 2], [0], "row_ptr must be 3 numbers"),
        ([0, 2, 1], [0], "row_ptr must be 3 numbers"),
        ([0, 1, 2], [0, 3], "col must be from 0 to 2, got 0 to 3"),
        ([0, 1, 2], [-1, 0], "col must be from 0 to 2, got -1 to 0"),
        ([0, 2, 2], [1, 0], "col must ascend inside each row, without repetition; use from_edge_index"),
        ([0, 0, 2], [1, 1], "col must ascend"),
        ([0.0, 1, 1], [0], "row_ptr must be a vector of int32 or int64, got torch.float32"),
        ([0, 1, 1], [[0]], r"col must be a vector of int32 or int64, got torch.int64 \[1, 1\]"),
    ],
)
def test_csr_arrays_that_are_none_are_refused(row_ptr, col, message):
    with pytest.raises(DataError, match=message):
        Adjacency.from_csr(torch.tensor(row_ptr), torch.tensor(col), (2, 3))


def test_weights_of_csr_arrays_are_one_an_arc():
    with pytest.raises(DataError, match=r"weights must have shape \[1\], got \[2\]"):
        Adjacency.from_csr(torch.tensor([0, 1]), torch.tensor([0]), (1, 1), torch.ones(2))
    empty = torch.tensor([0]), torch.tensor([], dtype=torch.int64)
    assert Adjacency.from_csr(*empty, (0, 3)).to_dense().shape == (0, 3)


def test_a_pickle_and_a_copy_carry_nothing_that_was_computed():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 2], [1, 0, 2, 0]]), (3, 3), torch.rand(4))
    assert adjacency.is_loop is not None
    adjacency.memo["product"] = lambda: None  # no function inside another can be pickled
    for other in (pickle.loads(pickle.dumps(adjacency)), copy.deepcopy(adjacency)):
        assert (other.memo, other.derived) == ({}, {})
        assert torch.equal(other.to_dense(), adjacency.to_dense())
        assert torch.equal(other.t().to_dense(), adjacency.to_dense().t())
        assert torch.equal(other.is_loop, adjacency.is_loop)
