"""Soft assignment and its target, by their formulas."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcl.core.errors import DataError
from gcl.ops.soft_assignment import (
    assignment_divergence,
    squared_distances,
    student_t_assignment,
    target_distribution,
)

F64 = torch.float64


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 99), st.sampled_from([0.5, 1.0, 3.0]))
def test_assignment_target_and_divergence_are_the_formulas(size, k, seed, degrees):
    z, centers = drawn(size, 3, seed=seed), drawn(k, 3, seed=seed + 1)
    squared = squared_distances(z, centers)
    torch.testing.assert_close(squared, torch.cdist(z, centers).square())
    kernel = (1 + squared / degrees) ** (-(degrees + 1) / 2)
    q = student_t_assignment(squared, degrees=degrees)
    torch.testing.assert_close(q, kernel / kernel.sum(dim=1, keepdim=True))
    p = target_distribution(q)
    sharp = torch.stack([torch.stack([q[i, j] ** 2 / q[:, j].sum() for j in range(k)]) for i in range(size)])
    torch.testing.assert_close(p, sharp / sharp.sum(dim=1, keepdim=True))
    divergence = assignment_divergence(p, q)
    expected = (p * (p.log() - q.log())).sum() / size
    torch.testing.assert_close(divergence, expected)
    assert float(divergence) >= -1e-12


def test_equal_masses_are_sharpened_and_the_target_is_a_constant():
    q = torch.tensor([[0.7, 0.3], [0.3, 0.7]], dtype=F64, requires_grad=True)
    p = target_distribution(q)
    assert not p.requires_grad
    assert float(p[0, 0]) > 0.7
    assert torch.autograd.gradcheck(lambda value: assignment_divergence(p, value), (q,))
    z, centers = drawn(4, 2).requires_grad_(), drawn(3, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: student_t_assignment(squared_distances(a, b)), (z, centers))


def test_far_rows_and_clusters_without_mass_stay_finite():
    z = torch.tensor([[1e18, 0.0], [0.0, 0.0]])
    q = student_t_assignment(squared_distances(z, torch.tensor([[0.0, 0.0], [1.0, 0.0]])))
    assert bool(q.isfinite().all())
    q = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert torch.equal(target_distribution(q), q)
    assert float(assignment_divergence(q, q)) == 0


def test_distances_keep_rows_and_centres_alone_for_the_gradient():
    z, centers = torch.randn(500, 8, requires_grad=True), torch.randn(40, 8, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda same: same
    ):
        squared_distances(z, centers)
    assert sum(kept) == z.numel() + centers.numel()


@pytest.mark.parametrize("case", ["far from 0", "a far centre"])
def test_gradients_in_single_precision_are_those_in_double(case):
    z, centers, weight = drawn(300, 8).float(), drawn(5, 8, seed=1).float(), drawn(300, 5, seed=2).float()
    if case == "far from 0":
        z, centers = z + 1e4, centers + 1e4
    else:
        centers[2] = 1e6
        weight[:, 2] = 0
    found = []
    for dtype in (torch.float32, F64):
        rows = [given.to(dtype).requires_grad_() for given in (z, centers)]
        value = (weight.to(dtype) * squared_distances(*rows)).sum()
        found.append(torch.autograd.grad(value, rows))
    for ours, exact in zip(*found, strict=True):
        assert ours.dtype == torch.float32
        assert float((ours - exact).norm() / exact.norm()) < 1e-6


def test_half_precision_is_computed_in_single_and_keeps_its_gradients():
    z, centers = drawn(40, 4).to(torch.bfloat16).requires_grad_(), drawn(3, 4, seed=1).float().requires_grad_()
    squared = squared_distances(z, centers)
    torch.testing.assert_close(squared, torch.cdist(z.float(), centers).square())
    squared.square().sum().backward()
    assert (z.grad.dtype, centers.grad.dtype) == (torch.bfloat16, torch.float32)
    wide = z.detach().float().requires_grad_()
    (expected,) = torch.autograd.grad(squared_distances(wide, centers).square().sum(), wide)
    assert torch.equal(z.grad, expected.to(torch.bfloat16))


def test_no_clusters_pull_nothing():
    z = drawn(4, 2).requires_grad_()
    squared_distances(z, drawn(0, 2)).sum().backward()
    assert float(z.grad.abs().max()) == 0


def test_widths_that_differ_are_refused():
    with pytest.raises(DataError, match=r"\[N, d\] and \[K, d\]"):
        squared_distances(torch.ones(2, 3), torch.ones(2, 2))
