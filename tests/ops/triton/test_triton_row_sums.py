"""Segment sums, sparse products, neighbour log-sum-exps and meta-node sums: interpreted kernels against float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

import itertools

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
from gcl.ops.meta_nodes import meta_node_sum
from gcl.ops.neighbor_logsumexp import neighbor_logsumexp
from gcl.ops.segment import segment_sum
from gcl.ops.sparse_product import sparse_product
from gcl.ops.triton.meta_node_sum import MAX_CLUSTERS
from gcl.ops.triton.rows import longest_first, row_tiling

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
WIDTHS = [1, 7, 64, 300]  # one column, no power of 2, exactly a block, more than one block


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pointer(lengths: list[int], index: torch.dtype) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(index)


def close(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Within a few roundings of the largest entry."""
    assert actual.shape == expected.shape
    scale = max(1.0, float(expected.detach().abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=TOLERANCE[dtype] * scale)


def strided(rows: Tensor, layout: str) -> Tensor:
    """The same numbers with other strides."""
    if layout == "transposed":
        return rows.T.contiguous().T
    if layout == "sliced":
        return torch.cat([rows, rows], dim=1)[:, : rows.shape[1]]
    return rows


# -- segment sums ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced"])
def test_segment_sum(dtype, index, d, layout):
    row_ptr = pointer([0, 3, 1, 0, 70, 2, 0], index)
    values = torch.randn(int(row_ptr[-1]), d, generator=draw()).to(dtype)
    total = segment_sum(strided(values, layout), row_ptr=row_ptr, backend="triton")
    ends = row_ptr.tolist()
    expected = torch.stack([values[first:last].double().sum(0) for first, last in itertools.pairwise(ends)])
    assert total.dtype == dtype
    close(total, expected, dtype)
    assert torch.equal(total, segment_sum(values, row_ptr=row_ptr, backend="triton"))  # the same bits


@pytest.mark.parametrize("shape", [(0,), (0, 3), (5, 0), (5,)])
def test_segment_sum_of_odd_shapes(shape):
    row_ptr = torch.tensor([0, 0, shape[0], shape[0]])
    values = torch.ones(shape)
    total = segment_sum(values, row_ptr=row_ptr, backend="triton")
    assert torch.equal(total, segment_sum(values, row_ptr=row_ptr, backend="torch"))
    assert segment_sum(torch.ones(0, 2), row_ptr=torch.zeros(1, dtype=torch.int64), backend="triton").shape == (0, 2)


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(6,), (6, 2)])
def test_segment_sum_gradients(backend, dtype, shape):
    row_ptr = torch.tensor([0, 2, 2, 6], dtype=torch.int32)
    values = torch.randn(shape, generator=draw(), dtype=dtype).requires_grad_()
    upstream = torch.randn(3, *shape[1:], generator=draw(1), dtype=dtype).requires_grad_()
    (grad,) = torch.autograd.grad(
        segment_sum(values, row_ptr=row_ptr, backend=backend), values, upstream, create_graph=True
    )
    assert torch.equal(grad, upstream[[0, 0, 2, 2, 2, 2]])
    (second,) = torch.autograd.grad(grad.square().sum(), upstream)  # every value counts once, 2 up each
    assert torch.allclose(second, 2 * upstream * torch.tensor([2, 0, 4], dtype=dtype).view(3, *[1] * (len(shape) - 1)))


# -- sparse products ---------------------------------------------------------------------------------------------------


def graph(rows: int = 9, cols: int = 13, *, form: str = "plain", dtype: torch.dtype = torch.float64) -> Adjacency:
    """Some rows empty, one full; weights with a 0; a mask with or without compaction."""
    present = torch.rand(rows, cols, generator=draw(3)) < 0.3
    present[0], present[3], present[rows - 1] = False, True, False
    row, col = present.nonzero().T
    weight = None
    if "weighted" in form:
        weight = torch.rand(row.numel(), generator=draw(4), dtype=dtype) + 0.1
        weight[1] = 0
    adjacency = Adjacency.from_edge_index(torch.stack([col, row]), (rows, cols), weight)
    if "masked" in form:
        keep = torch.rand(adjacency.num_arcs, generator=draw(5)) < 0.6
        adjacency = adjacency.masked(keep, compact="compact" in form)
    return adjacency


def dense(adjacency: Adjacency, values: Tensor | None = None) -> Tensor:
    values = adjacency.values(torch.float64) if values is None else values.double()
    matrix = torch.zeros(adjacency.shape, dtype=torch.float64)
    return matrix.index_put((adjacency.row.long(), adjacency.col.long()), values)


FORMS = ["plain", "weighted", "masked", "weighted masked", "weighted masked compact"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("form", FORMS)
def test_sparse_product(dtype, d, form):
    adjacency = graph(form=form)
    x = torch.randn(adjacency.shape[1], d, generator=draw()).to(dtype).requires_grad_()
    product = sparse_product(adjacency, strided(x, "transposed"), backend="triton")
    assert product.dtype == dtype
    close(product, dense(adjacency) @ x.double(), dtype)
    upstream = torch.randn(product.shape, generator=draw(1)).to(dtype)
    (grad,) = torch.autograd.grad(product, x, upstream)
    assert grad.dtype == dtype
    close(grad, dense(adjacency).T @ upstream.double(), dtype)


@pytest.mark.parametrize("d", [5, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_of_the_values(d, dtype):
    adjacency = graph()
    values = torch.randn(adjacency.num_arcs, generator=draw(2)).requires_grad_()
    x = torch.randn(adjacency.shape[1], d, generator=draw()).to(dtype)
    product = sparse_product(adjacency, x, values, backend="triton")
    upstream = torch.randn(product.shape, generator=draw(1)).to(dtype)
    (grad,) = torch.autograd.grad(product, values, upstream)
    close(grad, (upstream.double() @ x.double().T)[adjacency.row.long(), adjacency.col.long()], torch.float32)


def test_derivatives_of_both_orders():
    adjacency = graph(4, 5)
    x = torch.randn(5, 3, dtype=torch.float64, generator=draw(), requires_grad=True)
    values = torch.randn(adjacency.num_arcs, dtype=torch.float64, generator=draw(2), requires_grad=True)

    def product(x, values):
        return sparse_product(adjacency, x, values, backend="triton")

    assert torch.autograd.gradcheck(product, (x, values))
    assert torch.autograd.gradgradcheck(product, (x, values))


def test_a_dropped_row_is_not_read():
    adjacency = graph(form="masked")
    lost = torch.ones(adjacency.shape[1], dtype=torch.bool)
    lost[adjacency.col[adjacency.keep].long()] = False
    assert lost.any()
    x = torch.ones(adjacency.shape[1], 2)
    x[lost] = torch.nan
    assert torch.isfinite(sparse_product(adjacency, x, backend="triton")).all()


@pytest.mark.parametrize(("rows", "cols", "d"), [(3, 4, 0), (0, 4, 2), (3, 0, 2)])
def test_nothing_to_multiply(rows, cols, d):
    nothing = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (rows, cols))
    assert torch.equal(sparse_product(nothing, torch.ones(cols, d), backend="triton"), torch.zeros(rows, d))


# -- neighbour log-sum-exps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("diagonal", [None, -0.5])
def test_neighbor_logsumexp(dtype, d, form, diagonal):
    adjacency = graph(12, 12, form=form)
    weight = adjacency.weight
    a, b = (torch.randn(12, d, generator=draw(seed)).div(d**0.5).to(dtype) for seed in (0, 1))
    wide = torch.promote_types(dtype, torch.float32)

    def run(a, b, weight, backend):
        leaves = [a.detach().requires_grad_(), b.detach().requires_grad_()]
        leaves += [] if weight is None else [weight.detach().requires_grad_()]
        own = adjacency if weight is None else adjacency.with_weight(leaves[2])
        lse = neighbor_logsumexp(*leaves[:2], own, temperature=0.3, diagonal=diagonal, backend=backend)
        there = lse > -math.inf
        upstream = torch.randn(12, generator=draw(6), dtype=torch.float64).to(lse.dtype)
        return lse.detach(), torch.autograd.grad(lse[there], leaves, upstream[there])

    lse, grads = run(strided(a, "transposed"), strided(b, "sliced"), weight, "triton")
    expected, goals = run(a.double(), b.double(), weight, "torch")  # which the loop of its own test has checked
    assert lse.dtype == wide
    assert torch.equal(lse == -math.inf, expected == -math.inf)
    assert (lse == -math.inf).any()
    there = lse > -math.inf
    close(lse[there], expected[there], wide)
    for grad, goal in zip(grads, goals, strict=True):
        close(grad, goal, dtype)


def test_neighbor_logsumexp_of_huge_logits_and_long_rows():
    n = 90
    everyone = Adjacency.from_edge_index(torch.ones(n, n).nonzero().T, (n, n))
    a = 40 * torch.randn(n, 8, generator=draw(), dtype=torch.float64)
    lse = neighbor_logsumexp(a, None, everyone, temperature=0.5, backend="triton")
    assert float(lse.max()) > 1e4
    torch.testing.assert_close(lse, (a @ a.T / 0.5).logsumexp(1), rtol=1e-12, atol=0)


def test_neighbor_logsumexp_without_arcs():
    nothing = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (3, 4))
    a, b = torch.ones(3, 2, requires_grad=True), torch.ones(4, 2, requires_grad=True)
    lse = neighbor_logsumexp(a, b, nothing, backend="triton")
    assert torch.equal(lse, torch.full((3,), -math.inf))
    grads = torch.autograd.grad(lse, (a, b), torch.ones(3))
    assert all(torch.equal(grad, torch.zeros_like(leaf)) for grad, leaf in zip(grads, (a, b), strict=True))


def test_rows_too_wide_for_a_program():
    adjacency = graph(4, 4)
    a = torch.ones(4, 4096)
    with pytest.raises(ConfigError, match="cannot do what was asked"):
        neighbor_logsumexp(a, None, adjacency, backend="triton")
    assert neighbor_logsumexp(a, None, adjacency).shape == (4,)


# -- meta-node sums ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 10, 70])
@pytest.mark.parametrize("num_clusters", [1, 5, MAX_CLUSTERS, MAX_CLUSTERS + 1, 200])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_meta_node_sum(dtype, d, num_clusters, index):
    labels = torch.randint(-1, max(num_clusters - 1, 1), (150,), generator=draw()).to(index)  # the last is empty
    z = torch.randn(150, d, generator=draw(1)).to(dtype).requires_grad_()
    total = meta_node_sum(strided(z, "transposed"), labels, num_clusters, backend="triton")
    member = (labels == torch.arange(num_clusters).unsqueeze(1)).double()
    assert total.dtype == dtype
    close(total, member @ z.double(), dtype)
    upstream = torch.randn(total.shape, generator=draw(2)).to(dtype)
    (grad,) = torch.autograd.grad(total, z, upstream)
    assert torch.equal(grad.double(), member.T @ upstream.double())


@pytest.mark.parametrize("shape", [(0, 3), (4, 0)])
def test_meta_nodes_of_nothing(shape):
    labels = torch.zeros(shape[0], dtype=torch.int64)
    assert torch.equal(meta_node_sum(torch.ones(shape), labels, 2, backend="triton"), torch.zeros(2, shape[1]))
    assert meta_node_sum(torch.ones(3, 2), torch.full((3,), -1), 0, backend="triton").shape == (0, 2)


# -- launches ----------------------------------------------------------------------------------------------------------


def test_long_rows_start_first():
    lengths = [3, 1500, 0, 4000, 5]
    row = torch.repeat_interleave(torch.arange(5), torch.tensor(lengths))
    col = torch.cat([torch.arange(length) for length in lengths])
    adjacency = Adjacency.from_edge_index(torch.stack([col, row]), (5, 4000))
    assert longest_first(adjacency).tolist() == [3, 1, 0, 2, 4]
    assert longest_first(adjacency, transposed=True).tolist() == list(range(4000))


@pytest.mark.parametrize("d", [0, 1, 2, 3, 16, 100, 256, 257, 2048])
@pytest.mark.parametrize("whole", [False, True])
def test_row_tilings_are_powers_of_two_that_cover(d, whole):
    tiling = row_tiling(d, whole=whole)
    for size in (tiling.arcs, tiling.width, tiling.num_warps):
        assert size & (size - 1) == 0
        assert size > 0
    assert tiling.width >= d or (not whole and tiling.width == 256)
