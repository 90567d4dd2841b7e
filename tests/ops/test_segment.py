from __future__ import annotations

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gcl.core.errors import ConfigError, DataError, MissingDependencyError
from gcl.ops import segment
from gcl.ops.segment import segment_max, segment_mean, segment_softmax, segment_sum

FAMILY = [segment_sum, segment_mean, segment_max, segment_softmax]


def by_loop(name: str, values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """One segment after the other, in plain Python floats."""
    width = math.prod(values.shape[1:])
    columns = values.reshape(values.shape[0], width).tolist()
    out = [[0.0 if name != "max" else -math.inf] * width for _ in range(num_segments)]
    soft = [[0.0] * width for _ in range(values.shape[0])]
    for s in range(num_segments):
        members = [e for e, i in enumerate(index.tolist()) if i == s]
        for c in range(width if members else 0):
            column = [columns[e][c] for e in members]
            total = math.fsum(math.exp(v) for v in column)
            out[s][c] = {"sum": sum(column), "mean": sum(column) / len(column), "max": max(column)}.get(name, 0.0)
            for e, v in zip(members, column, strict=True):
                soft[e][c] = math.exp(v) / total
    result = torch.tensor(soft if name == "softmax" else out, dtype=values.dtype)
    return result.reshape(values.shape[0] if name == "softmax" else num_segments, *values.shape[1:])


@st.composite
def segments(draw) -> tuple[Tensor, Tensor, int]:
    num_segments = draw(st.integers(1, 6))
    index = draw(st.lists(st.integers(0, num_segments - 1), max_size=15))
    shape = (len(index), *draw(st.sampled_from([(), (1,), (3,)])))
    entries = draw(st.lists(st.integers(-8, 8), min_size=math.prod(shape), max_size=math.prod(shape)))
    values = torch.tensor(entries, dtype=torch.float64).reshape(shape) / 4
    dtype = draw(st.sampled_from([torch.int32, torch.int64]))
    return values, torch.tensor(index, dtype=dtype), num_segments


@pytest.mark.parametrize("function", FAMILY)
@settings(max_examples=40, deadline=None)
@given(case=segments())
def test_equals_a_loop(function, case):
    values, index, num_segments = case
    name = function.__name__.removeprefix("segment_")
    torch.testing.assert_close(function(values, index, num_segments), by_loop(name, values, index, num_segments))


@pytest.mark.parametrize("function", FAMILY)
@settings(max_examples=25, deadline=None)
@given(case=segments())
def test_row_pointer_equals_index(function, case):
    values, index, num_segments = case
    index = index.sort().values
    counts = torch.bincount(index, minlength=num_segments)
    row_ptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]).to(index.dtype)
    assert torch.equal(function(values, row_ptr=row_ptr), function(values, index, num_segments))


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("shape", [(6,), (6, 2)])
def test_gradcheck(function, shape):
    index = torch.tensor([3, 0, 3, 1, 0, 3])  # segment 2 is empty
    values = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def finite(values: Tensor) -> Tensor:
        out = function(values, index, 4)
        return out.masked_fill(out == -torch.inf, 0.0)

    assert torch.autograd.gradcheck(finite, (values,))


def test_empty_segments():
    values = torch.ones(1, 2, requires_grad=True)
    index = torch.tensor([1])
    assert torch.equal(segment_sum(values, index, 3)[[0, 2]], torch.zeros(2, 2))
    assert torch.equal(segment_mean(values, index, 3)[[0, 2]], torch.zeros(2, 2))
    top = segment_max(values, index, 3)
    assert torch.equal(top[[0, 2]], torch.full((2, 2), -torch.inf))
    top[1].sum().backward()
    assert torch.equal(values.grad, torch.ones(1, 2))


@pytest.mark.parametrize("function", FAMILY)
def test_no_values_at_all(function):
    empty = torch.zeros(0, 2)
    out = function(empty, torch.zeros(0, dtype=torch.int64), 3)
    assert out.shape == ((0, 2) if function is segment_softmax else (3, 2))
    assert function(empty, row_ptr=torch.zeros(1, dtype=torch.int64)).shape == (0, 2)


def test_softmax_does_not_overflow_and_takes_minus_infinity():
    values = torch.tensor([1e4, 1e4, -1e4, -torch.inf, -torch.inf, 0.0], requires_grad=True)
    index = torch.tensor([0, 0, 1, 2, 2, 1])
    out = segment_softmax(values, index, 3)
    assert torch.equal(out, torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0, 1.0]))
    out.square().sum().backward()
    assert torch.isfinite(values.grad).all()


def test_ties_of_the_maximum_share_the_gradient():
    values = torch.tensor([2.0, 2.0, 1.0], requires_grad=True)
    segment_max(values, torch.zeros(3, dtype=torch.int64), 1).sum().backward()
    assert torch.equal(values.grad, torch.tensor([0.5, 0.5, 0.0]))


def test_half_precision_is_summed_in_float32():
    values = torch.ones(4096, dtype=torch.bfloat16)
    index = torch.zeros(4096, dtype=torch.int64)
    assert segment_sum(values, index, 1).item() == 4096
    assert segment_mean(torch.full((100,), 60000.0, dtype=torch.float16), index[:100], 1).item() == 60000
    assert segment_softmax(values, index, 1).dtype == torch.bfloat16


def test_integers_are_summed_as_integers():
    total = segment_sum(torch.tensor([1, 2, 3]), torch.tensor([1, 0, 1]), 2)
    assert total.tolist() == [2, 4]
    assert total.dtype == torch.int64


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_parity_with_torch_scatter(function, shape):
    pytest.importorskip("torch_scatter")
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, 7, (50,), generator=generator)  # segments 7 and 8 are empty
    values = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    ours = function(values, index, 9, backend="torch")
    theirs = function(values, index, 9, backend="scatter")
    torch.testing.assert_close(theirs, ours)
    upstream = torch.randn(ours.shape, dtype=torch.float64, generator=generator)
    grads = [torch.autograd.grad(out, values, upstream)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("function", FAMILY)
def test_missing_torch_scatter_is_named_with_its_extra(function, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_scatter", None)
    segment._import_torch_scatter.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"torch-gcl\[scatter\]"):
        function(torch.ones(1), torch.tensor([0]), 1, backend="scatter")
    function(torch.ones(1), torch.tensor([0]), 1, backend="auto")
    segment._import_torch_scatter.cache_clear()


@pytest.mark.parametrize("function", FAMILY)
def test_wrong_arguments_are_refused(function):
    values, index = torch.ones(3), torch.tensor([0, 1, 1])
    with pytest.raises(ConfigError, match="unknown segment backend 'tensorflow'"):
        function(values, index, 2, backend="tensorflow")
    with pytest.raises(DataError, match="one integer a value"):
        function(values, index[:2], 2)
    with pytest.raises(DataError, match=r"got torch.float32"):
        function(values, index.float(), 2)
    with pytest.raises(DataError, match="not by both"):
        function(values, index, 2, row_ptr=torch.tensor([0, 3]))
    with pytest.raises(DataError, match="from 0 to the number of values, 3"):
        function(values, row_ptr=torch.tensor([0, 2]))
    with pytest.raises(DataError, match="need index and num_segments"):
        function(values, index)
    with pytest.raises(DataError, match=r"\[E\] or \[E, d\]"):
        function(torch.ones(3, 1, 1), index, 2)
    if function in (segment_max, segment_softmax):
        with pytest.raises(DataError, match="floating point"):
            function(index, index, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize(
    ("row_ptr", "message"),
    [([0, 4, 2, 5], "not decrease"), ([1, 2, 5], "run from 0"), ([0, 2, 4], "run from 0"), ([], "run from 0")],
)
def test_wrong_row_pointers_are_refused(row_ptr, message, backend, dtype):
    if backend == "triton":
        pytest.importorskip("triton")
    with pytest.raises(DataError, match=message):
        segment_sum(torch.ones(5, 2, dtype=dtype), row_ptr=torch.tensor(row_ptr, dtype=torch.int64), backend=backend)


def test_pointer_sums_under_autocast_and_inference():
    values, row_ptr = torch.randn(5, 3), torch.tensor([0, 2, 2, 5])
    plain = segment_sum(values, row_ptr=row_ptr)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(segment_sum(values, row_ptr=row_ptr), plain)
    with torch.inference_mode():
        assert torch.equal(segment_sum(values, row_ptr=row_ptr), plain)
