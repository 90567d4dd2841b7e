"""What a Gaussian sketch promises about P: one for all columns, one for both passes, fresh each time, never whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gcl
from gcl.ops import gaussian_sketch as sketches
from gcl.ops.gaussian_sketch import gaussian_sketch, sketch_scale


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kept", [0, 2**24])
def test_both_passes_use_the_same_numbers_bit_for_bit(monkeypatch, dtype, kept):
    monkeypatch.setattr(sketches, "KEPT", kept)
    monkeypatch.setattr(sketches, "BLOCK", 50)
    # Products with the identity add zeros only, so they show P itself.
    z = torch.eye(23, dtype=dtype, requires_grad=True)
    forward = gaussian_sketch(z, 23, scale=0.5, generator=seeded())
    (backward,) = torch.autograd.grad(forward, z, torch.eye(23, dtype=dtype))
    assert torch.equal(backward, forward.detach().t())


def test_drawing_again_or_keeping_gives_the_same_gradient(monkeypatch):
    gradients = []
    for kept in (0, 2**24):
        monkeypatch.setattr(sketches, "KEPT", kept)
        z = torch.randn(40, 6, generator=seeded(1), requires_grad=True)
        gaussian_sketch(z, 15, scale=0.2, generator=seeded()).square().sum().backward()
        gradients.append(z.grad)
    assert torch.equal(*gradients)


def test_matrices_side_by_side_share_one_matrix():
    z1, z2 = torch.randn(30, 4, generator=seeded(1)), torch.randn(30, 7, generator=seeded(2))
    both = gaussian_sketch(torch.cat([z1, z2], 1), 9, scale=0.3, generator=seeded())
    for part, z in zip(both.split([4, 7], dim=1), (z1, z2), strict=True):
        torch.testing.assert_close(part, gaussian_sketch(z, 9, scale=0.3, generator=seeded()))


def test_a_generator_moves_on_and_a_seed_repeats():
    z, generator = torch.eye(20), seeded()
    first = gaussian_sketch(z, 10, scale=1.0, generator=generator)
    second = gaussian_sketch(z, 10, scale=1.0, generator=generator)
    assert not torch.equal(first, second)
    assert torch.equal(first, gaussian_sketch(z, 10, scale=1.0, generator=seeded()))
    torch.manual_seed(3)
    unnamed = gaussian_sketch(z, 10, scale=1.0)
    torch.manual_seed(3)
    assert torch.equal(unnamed, gaussian_sketch(z, 10, scale=1.0))


def test_the_backward_pass_leaves_the_generator_alone(monkeypatch):
    monkeypatch.setattr(sketches, "KEPT", 0)
    generator = seeded()
    z = torch.randn(12, 3, generator=seeded(1), requires_grad=True)
    sketch = gaussian_sketch(z, 5, scale=1.0, generator=generator)
    state = generator.get_state()
    sketch.sum().backward()
    assert torch.equal(generator.get_state(), state)


def test_entries_are_independent_normal_numbers():
    scale = sketch_scale(400)
    p = gaussian_sketch(torch.eye(300), 400, scale=scale, generator=seeded())
    assert scale == 0.05
    assert float(p.mean()) == pytest.approx(0, abs=5 * scale / p.numel() ** 0.5)
    assert float(p.std()) == pytest.approx(scale, rel=0.02)
    assert float((p / scale).pow(4).mean()) == pytest.approx(3, abs=0.1)
    correlation = torch.corrcoef(p)
    assert float(correlation.fill_diagonal_(0).abs().max()) < 6 / 300**0.5


SMALL_PROCESS = """
import resource, torch
from gcl.ops.gaussian_sketch import gaussian_sketch
torch.set_num_threads(1)
z = torch.randn(12000, 16, requires_grad=True)
gaussian_sketch(z[:100], 10, scale=1.0).sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
gaussian_sketch(z, 6000, scale=0.01).sum().backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss counts in kilobytes on Linux")
def test_the_matrix_never_exists_whole():
    done = subprocess.run(
        [sys.executable, "-c", SMALL_PROCESS],
        cwd=Path(gcl.__file__).parents[1], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(done.stdout) < 100  # MiB; P has 275
