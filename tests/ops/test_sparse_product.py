from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies, matrices

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.ops.sparse_product import dot_arcs, sparse_product


def random_adjacency(num_rows: int, num_cols: int, density: float, seed: int = 0) -> Adjacency:
    generator = torch.Generator().manual_seed(seed)
    row, col = (torch.rand(num_rows, num_cols, generator=generator) < density).nonzero().unbind(1)
    weight = torch.rand(row.numel(), generator=generator, dtype=torch.float64)
    return Adjacency.from_edge_index(torch.stack([col, row]), (num_rows, num_cols), weight)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_equals_the_dense_product(data):
    adjacency = data.draw(adjacencies(bipartite=True, min_nodes=0))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    x = data.draw(matrices(adjacency.shape[1], data.draw(st.integers(0, 3)), dtype))
    y = sparse_product(adjacency, x)
    assert y.dtype == dtype
    assert torch.equal(y, adjacency.to_dense(dtype) @ x)  # quarters: no rounding


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_gradients_equal_those_of_the_dense_product(data):
    adjacency = data.draw(adjacencies(bipartite=True))
    x = data.draw(matrices(adjacency.shape[1], 2)).requires_grad_()
    values = adjacency.values(torch.float64).requires_grad_()
    upstream = data.draw(matrices(adjacency.shape[0], 2))
    grads = torch.autograd.grad(sparse_product(adjacency, x, values), (x, values), upstream)
    dense = torch.zeros(adjacency.shape, dtype=torch.float64)
    dense = dense.index_put((adjacency.row.long(), adjacency.col.long()), values)
    expected = torch.autograd.grad(dense @ x, (x, values), upstream)
    assert all(torch.equal(a, b) for a, b in zip(grads, expected, strict=True))


@pytest.mark.parametrize("width", [1, 3])
def test_gradcheck(width):
    adjacency = random_adjacency(5, 7, 0.4)
    x = torch.randn(7, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    values = adjacency.values(torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, v: sparse_product(adjacency, x, v), (x, values))


def test_expanded_gradient_and_strided_input():
    adjacency = random_adjacency(6, 5, 0.5)
    storage = torch.randn(4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = storage.t()[::2].requires_grad_()  # [5, 4], neither row- nor column-major
    y = sparse_product(adjacency, x)
    torch.testing.assert_close(y, adjacency.to_dense() @ x)
    (grad,) = torch.autograd.grad(y.sum(), x)  # the upstream gradient has stride 0
    torch.testing.assert_close(grad, adjacency.to_dense().t() @ torch.ones(6, 4, dtype=torch.float64))


def test_only_the_gradients_asked_for_are_made():
    adjacency = random_adjacency(4, 4, 0.5)
    x = torch.ones(4, 2, dtype=torch.float64)
    values = adjacency.values(torch.float64)
    assert not sparse_product(adjacency, x, values).requires_grad
    values.requires_grad_()
    sparse_product(adjacency, x, values).sum().backward()
    assert x.grad is None
    torch.testing.assert_close(values.grad, torch.full_like(values, 2.0))


@pytest.mark.parametrize("with_values", [True, False])
def test_second_derivatives(with_values):
    adjacency = random_adjacency(5, 7, 0.4)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 3, dtype=torch.float64, generator=generator).requires_grad_()
    values = adjacency.values(torch.float64).requires_grad_()
    if with_values:
        assert torch.autograd.gradgradcheck(lambda x, v: sparse_product(adjacency, x, v), (x, values))
    else:
        assert torch.autograd.gradgradcheck(lambda x: sparse_product(adjacency, x).square(), (x,))


def test_arc_dots_and_their_derivatives():
    adjacency = random_adjacency(5, 7, 0.4)
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(5, 3, dtype=torch.float64, generator=generator).requires_grad_()
    b = torch.randn(7, 3, dtype=torch.float64, generator=generator).requires_grad_()
    expected = (a @ b.t())[adjacency.row.long(), adjacency.col.long()]
    torch.testing.assert_close(dot_arcs(adjacency, a, b), expected)
    assert torch.autograd.gradcheck(lambda a, b: dot_arcs(adjacency, a, b), (a, b))
    assert torch.autograd.gradgradcheck(lambda a, b: dot_arcs(adjacency, a, b), (a, b))


def test_an_unknown_backend_is_refused():
    with pytest.raises(ConfigError, match="backend"):
        sparse_product(random_adjacency(3, 3, 0.5), torch.ones(3, 1), backend="cuda")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_float32_equals_the_dense_product_with_values_and_their_gradients(data):
    adjacency = data.draw(adjacencies(bipartite=True, min_nodes=0))
    x = data.draw(matrices(adjacency.shape[1], data.draw(st.integers(0, 9)), torch.float32)).requires_grad_()
    values = adjacency.values().requires_grad_()
    upstream = data.draw(matrices(adjacency.shape[0], x.shape[1], torch.float32))
    own, given_values = sparse_product(adjacency, x), sparse_product(adjacency, x, values)
    dense = adjacency.to_dense(torch.float32)
    for product in (own, given_values):
        assert torch.equal(product, dense @ x)
        assert torch.equal(torch.autograd.grad(product, x, upstream, retain_graph=True)[0], dense.t() @ upstream)
    (grad,) = torch.autograd.grad(given_values, values, upstream)
    assert torch.equal(grad, (upstream @ x.t())[adjacency.row.long(), adjacency.col.long()])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads):
    adjacency = random_adjacency(300, 200, 0.1)
    x = torch.randn(200, 37, generator=torch.Generator().manual_seed(1))
    expected = sparse_product(adjacency, x)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert torch.equal(sparse_product(adjacency, x), expected)
    finally:
        torch.set_num_threads(before)


def test_prepared_products_belong_to_one_adjacency_and_are_made_once():
    adjacency = random_adjacency(6, 6, 0.5)
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    sparse_product(adjacency, x)
    (matrix,) = adjacency.memo.values()
    sparse_product(adjacency, x)
    assert next(iter(adjacency.memo.values())) is matrix
    heavier = adjacency.with_weight(adjacency.weight * 2)
    torch.testing.assert_close(sparse_product(heavier, x), 2 * sparse_product(adjacency, x))
    keep = torch.arange(adjacency.num_arcs) % 2 == 0
    masked = adjacency.masked(keep)
    assert masked.row is adjacency.row  # what depends on the structure alone is shared
    torch.testing.assert_close(sparse_product(masked, x), masked.to_dense(torch.float32) @ x)
    assert not adjacency.to("meta").derived


def test_half_precision_is_summed_in_float32():
    count = 4096  # in bfloat16 a running sum of ones stops at 256
    edge_index = torch.stack([torch.arange(count), torch.zeros(count, dtype=torch.int64)])
    adjacency = Adjacency.from_edge_index(edge_index, (1, count))
    x = torch.ones(count, 1, dtype=torch.bfloat16, requires_grad=True)
    y = sparse_product(adjacency, x)
    assert y.dtype == torch.bfloat16
    assert y.item() == count
    y.sum().backward()
    assert x.grad.dtype == torch.bfloat16


def test_inside_autocast():
    adjacency = random_adjacency(5, 5, 0.5)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    values = adjacency.values().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = sparse_product(adjacency, x, values)
        y.sum().backward()
    torch.testing.assert_close(y, adjacency.to_dense(torch.float32) @ x)


def test_repeats_are_equal_bit_for_bit():
    adjacency = random_adjacency(200, 200, 0.1)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(200, 33, generator=generator)
    first = sparse_product(adjacency, x)
    junk = []
    for size in range(1, 40):  # other addresses and alignments
        junk.append(torch.empty(size * 7))
        copy = torch.empty(200 * 33 + size)[size:].view(200, 33).copy_(x)
        assert torch.equal(sparse_product(adjacency, copy), first)


def test_relabelling_of_nodes_permutes_the_result():
    generator = torch.Generator().manual_seed(0)
    adjacency = random_adjacency(9, 9, 0.4)
    order = torch.randperm(9, generator=generator)
    x = torch.randn(9, 2, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(sparse_product(adjacency.subgraph(order), x[order]), sparse_product(adjacency, x)[order])


def test_memory_of_the_gradient_to_values_stays_far_below_arcs_by_channels():
    code = """
import resource, torch
from gcl.core.adjacency import Adjacency
from gcl.ops.sparse_product import sparse_product
torch.set_num_threads(1)
n, degree, d = 2000, 200, 256                      # E x d in float32: 400 MiB
col = torch.arange(n * degree) % n
edge_index = torch.stack([(col * 7 + col // n) % n, torch.arange(n).repeat_interleave(degree)])
adjacency = Adjacency.from_edge_index(edge_index, (n, n), duplicates="first")
x = torch.ones(n, d, requires_grad=True)
values = adjacency.values().requires_grad_()
sparse_product(adjacency, x[:, :1], values).sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sparse_product(adjacency, x, values).sum().backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 60  # MiB


def test_torch_does_not_warn_of_beta_support_and_filters_stay():
    code = """
import warnings, torch
from gcl.core.adjacency import Adjacency
from gcl.ops.sparse_product import sparse_product
warnings.simplefilter("error")
filters = list(warnings.filters)
adjacency = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2))
sparse_product(adjacency, torch.ones(2, 1, requires_grad=True)).sum().backward()
assert warnings.filters == filters
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.ones(3, 2), r"\[4, d\].*\[3, 2\]"),
        (torch.ones(4), r"got torch.float32 \[4\]"),
        (torch.ones(4, 2, dtype=torch.int64), "got torch.int64"),
    ],
)
def test_wrong_x_is_refused(x, words):
    with pytest.raises(DataError, match=words):
        sparse_product(random_adjacency(4, 4, 0.5), x)


def test_wrong_values_are_refused():
    with pytest.raises(DataError, match="one an arc"):
        sparse_product(random_adjacency(4, 4, 0.5), torch.ones(4, 1), torch.ones(1))


def test_no_warning_escapes_in_this_process():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparse_product(random_adjacency(3, 3, 0.5), torch.ones(3, 1))


def test_nothing_is_sorted():
    adjacency = random_adjacency(20, 20, 0.3)
    x = torch.ones(20, 2, dtype=torch.float64, requires_grad=True)
    with torch.profiler.profile() as profile:
        sparse_product(adjacency, x).sum().backward()
    names = {event.key for event in profile.key_averages()}
    assert any("mm" in name for name in names)
    assert not any("sort" in name for name in names)
