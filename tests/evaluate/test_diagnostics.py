from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import matrices

from gcl.core.errors import ConfigError, DataError
from gcl.evaluate.diagnostics import alignment, diagnostics, effective_rank, uniformity


def unit(z):
    return torch.nn.functional.normalize(z.double(), dim=1)


def dense_uniformity(z, t):
    distance = torch.cdist(unit(z), unit(z), compute_mode="donot_use_mm_for_euclid_dist").square()
    others = ~torch.eye(len(z), dtype=torch.bool)
    return math.log(float(torch.exp(-t * distance[others]).mean()))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9).flatmap(lambda n: matrices(n, 3)), st.sampled_from([0.5, 2.0, 5.0]))
def test_uniformity_is_the_dense_formula(z, t):  # rows of zeros included
    assert uniformity(z, t) == pytest.approx(dense_uniformity(z, t), abs=1e-12)


def test_uniformity_of_float32_input_is_computed_in_float64():
    z = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
    assert uniformity(z) == pytest.approx(dense_uniformity(z, 2.0), abs=1e-12)


def test_uniformity_of_known_points():
    assert uniformity(torch.ones(4, 2)) == pytest.approx(0.0, abs=1e-12)
    assert uniformity(torch.tensor([[1.0], [-3.0]])) == pytest.approx(-8.0)


def test_uniformity_prefers_spread():
    z = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    assert uniformity(z) < uniformity(z + 3) < 0


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_alignment_is_the_dense_formula(alpha):
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(20, 5, generator=draw), torch.randn(20, 5, generator=draw)
    expected = sum(float((unit(a)[i] - unit(b)[i]).norm()) ** alpha for i in range(20)) / 20
    assert alignment(a, b, alpha) == pytest.approx(expected, abs=1e-12)
    assert alignment(a, 3 * a) == pytest.approx(0.0, abs=1e-12)
    assert alignment(a, -a) == pytest.approx(4.0)


def test_effective_rank_of_known_matrices():
    assert effective_rank(torch.eye(5)) == pytest.approx(5.0)
    assert effective_rank(torch.ones(6, 3)) == pytest.approx(1.0, abs=1e-6)
    assert effective_rank(torch.zeros(4, 3)) == 0.0
    singular = torch.tensor([4.0, 2.0, 1.0, 1.0])
    share = singular / 8
    assert effective_rank(torch.diag(singular)) == pytest.approx(
        math.exp(-float((share * share.log()).sum())), abs=1e-6
    )


@settings(max_examples=25, deadline=None)
@given(matrices(6, 4))
def test_effective_rank_lies_between_one_and_the_rank(z):
    rank = int(torch.linalg.matrix_rank(z))
    value = effective_rank(z)
    assert (value == 0.0) if rank == 0 else 1 - 1e-9 <= value <= rank + 1e-6
    assert effective_rank(3 * z.t()) == pytest.approx(value)


def test_diagnostics_are_json_numbers():
    z = torch.randn(10, 3)
    assert set(diagnostics(z)) == {"effective_rank", "mean_norm", "uniformity"}
    full = diagnostics(z, (z, z))
    assert full["alignment"] == 0.0
    assert all(isinstance(value, float) and math.isfinite(value) for value in full.values())
    assert "uniformity" not in diagnostics(z[:1])


def test_of_many_rows_a_spaced_sample_is_compared(monkeypatch):
    from gcl.evaluate import diagnostics as module

    z = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    exact = diagnostics(z)
    monkeypatch.setattr(module, "MOST_ROWS", 30)
    found = diagnostics(z)
    assert found["uniformity"] == uniformity(z[::3])
    assert found["uniformity"] != exact["uniformity"]
    assert found["effective_rank"] == exact["effective_rank"]
    monkeypatch.setattr(module, "MOST_ROWS", 90)
    assert diagnostics(z) == exact


def test_memory_is_linear():
    # torch counts no bytes on the CPU, so watch the largest tensor that any operation returns
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for part in result if isinstance(result, tuple | list) else (result,):
                if isinstance(part, torch.Tensor):
                    Largest.size = max(Largest.size, part.numel())
            return result

    with Largest():
        uniformity(torch.randn(6000, 4))
    assert 6000 * 4 <= Largest.size < 6000 * 6000 / 10


def test_bad_input_is_refused():
    z = torch.randn(4, 2)
    with pytest.raises(DataError, match="at least 2 rows"):
        uniformity(z[:1])
    with pytest.raises(DataError, match="same shape"):
        alignment(z, z[:3])
    with pytest.raises(DataError, match="NaN or infinite"):
        effective_rank(z / 0)
    with pytest.raises(ConfigError, match="positive"):
        uniformity(z, 0.0)
    with pytest.raises(ConfigError, match="positive"):
        alignment(z, z, -1.0)
