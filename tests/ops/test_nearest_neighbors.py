from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from gcl.core.errors import ConfigError, DataError
from gcl.ops.nearest_neighbors import nearest_neighbors

METRICS = ["euclidean", "cosine", "dot"]


def by_loop(x: Tensor, k: int, metric: str, include_self: bool) -> tuple[list[list[int]], list[list[float]]]:
    """Every pair in exact rational arithmetic; sorted by (score, index)."""
    rows = [[Fraction(value) for value in row] for row in x.double().tolist()]
    indices, values = [], []
    for i, a in enumerate(rows):
        scored = []
        for j, b in enumerate(rows):
            if j == i and not include_self:
                continue
            dot = sum(p * q for p, q in zip(a, b, strict=True))
            size = sum(p * p for p in a) * sum(q * q for q in b)
            if metric == "euclidean":
                square = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
                scored.append((square, j, math.sqrt(square)))
            elif metric == "cosine":  # sign(cos) cos^2 is rational and has the order of cos
                signed = dot * abs(dot) / size if size else Fraction(0)
                scored.append((-signed, j, math.copysign(math.sqrt(abs(signed)), signed)))
            else:
                scored.append((-dot, j, float(dot)))
        scored.sort(key=lambda entry: entry[:2])
        indices.append([entry[1] for entry in scored[:k]])
        values.append([entry[2] for entry in scored[:k]])
    return indices, values


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("include_self", [False, True])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_equals_exact_arithmetic_with_many_ties(metric, include_self, data):
    num_rows, width = data.draw(st.integers(2, 10)), data.draw(st.integers(1, 3))
    entries = st.lists(st.integers(-3, 3), min_size=num_rows * width, max_size=num_rows * width)
    x = torch.tensor(data.draw(entries), dtype=torch.float32).reshape(num_rows, width) / 16
    k = data.draw(st.integers(1, num_rows if include_self else num_rows - 1))
    block = data.draw(st.sampled_from([None, 1, 3]))
    index, value = nearest_neighbors(x, k, metric=metric, include_self=include_self, block=block)
    expected_index, expected_value = by_loop(x, k, metric, include_self)
    assert index.tolist() == expected_index
    torch.testing.assert_close(value, torch.tensor(expected_value))


@pytest.mark.parametrize("metric", METRICS)
def test_digits_have_their_ties_in_order_of_the_index(metric):
    x = torch.from_numpy(load_digits().data[:120] / 16)
    index, _ = nearest_neighbors(x, 10, metric=metric, block=37)
    expected, _ = by_loop(x[:, 18:30].contiguous(), 10, metric, False)
    index_of_part, _ = nearest_neighbors(x[:, 18:30], 10, metric=metric)
    assert index_of_part.tolist() == expected
    assert torch.equal(index, nearest_neighbors(x, 10, metric=metric)[0])


def test_digits_equal_a_numpy_loop_over_all_rows():
    x = load_digits().data / 16
    index, distance = nearest_neighbors(torch.from_numpy(x), 10)
    ties = 0
    for i in range(x.shape[0]):
        square = ((x - x[i]) ** 2).sum(1)
        square[i] = np.inf
        order = np.argsort(square, kind="stable")
        assert index[i].tolist() == order[:10].tolist()
        np.testing.assert_allclose(distance[i], np.sqrt(square[order[:10]]), rtol=1e-15)
        ties += square[order[9]] == square[order[10]]
    assert ties > 10  # the case is not vacuous


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_equals_scikit_learn_where_there_are_no_ties(metric, dtype):
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    model = NearestNeighbors(n_neighbors=7, algorithm="brute", metric=metric).fit(x.double())
    expected_distance, expected = model.kneighbors()
    index, value = nearest_neighbors(x, 7, metric=metric)
    assert torch.equal(index, torch.from_numpy(expected))
    assert value.dtype == dtype
    expected_value = torch.from_numpy(expected_distance if metric == "euclidean" else 1 - expected_distance)
    torch.testing.assert_close(value, expected_value.to(dtype))


@pytest.mark.parametrize("metric", METRICS)
def test_equals_a_direct_float64_comparison_where_expansion_cancels(metric):
    generator = torch.Generator().manual_seed(0)
    x = 1e6 + 1e-3 * torch.randn(60, 5, generator=generator, dtype=torch.float64)  # |x|^2 + |y|^2 - 2 x.y loses all
    x = torch.cat([x, x[:20]])  # and exact duplicates
    index, _ = nearest_neighbors(x, 5, metric=metric)
    if metric == "euclidean":
        square = (x.unsqueeze(1) - x).square().sum(2).fill_diagonal_(torch.inf)
        assert torch.equal(index, square.argsort(dim=1, stable=True)[:, :5])
        assert torch.equal(index[:20, 0], torch.arange(60, 80))
    assert torch.equal(index, nearest_neighbors(x, 5, metric=metric, block=7)[0])
    assert torch.equal(index, nearest_neighbors(x, 5, metric=metric, block=1)[0])


@pytest.mark.parametrize("metric", METRICS)
def test_all_rows_equal(metric):
    for fill in (0.0, 0.1):
        index, value = nearest_neighbors(torch.full((6, 3), fill), 2, metric=metric)
        assert index.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1], [0, 1]]
        assert torch.isfinite(value).all()
        assert not torch.signbit(value).any()


def test_itself_comes_after_an_equal_row_of_smaller_index():
    index, distance = nearest_neighbors(torch.tensor([[1.0], [5.0], [1.0]]), 2, include_self=True)
    assert index.tolist() == [[0, 2], [1, 0], [0, 2]]
    assert distance.tolist() == [[0, 0], [0, 4], [0, 0]]


def test_integers_and_strides_are_taken():
    x = torch.tensor([[0, 3, 10], [7, 7, 7]]).t()
    index, distance = nearest_neighbors(x, 1)
    assert index.tolist() == [[1], [0], [1]]
    assert distance.dtype == torch.float64
    assert distance.tolist() == [[3], [3], [7]]


@pytest.mark.parametrize("metric", METRICS)
def test_relabelling_relabels_the_answer(metric):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator)
    order = torch.randperm(40, generator=generator)
    index, value = nearest_neighbors(x, 3, metric=metric)
    index_of_shuffled, value_of_shuffled = nearest_neighbors(x[order], 3, metric=metric)
    assert torch.equal(order[index_of_shuffled], index[order])
    assert torch.equal(value_of_shuffled, value[order])


@pytest.mark.parametrize("k", [0, 4, -1, 2.0, True])
def test_k_out_of_range_is_refused(k):
    with pytest.raises(ConfigError, match="k must be an integer from 1 to 3 for 4 rows"):
        nearest_neighbors(torch.zeros(4, 2), k)


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'cosine'"):
        nearest_neighbors(torch.zeros(4, 2), 1, metric="cosin")
    with pytest.raises(DataError, match="finite matrix"):
        nearest_neighbors(torch.tensor([[torch.nan], [0.0]]), 1)
    with pytest.raises(DataError, match=r"got torch.float32 \[4\]"):
        nearest_neighbors(torch.zeros(4), 1)
    with pytest.raises(ConfigError, match="k must be an integer from 1 to 0 for 1 rows"):
        nearest_neighbors(torch.zeros(1, 2), 1)


def test_memory_stays_bounded():
    code = """
import resource, torch
from gcl.ops.nearest_neighbors import nearest_neighbors
torch.set_num_threads(1)
x = torch.randn(6000, 16, generator=torch.Generator().manual_seed(0))  # N x N in float64: 275 MiB
nearest_neighbors(x[:100], 5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for metric in ("euclidean", "cosine", "dot"):
    nearest_neighbors(x, 5, metric=metric)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 100  # MiB
