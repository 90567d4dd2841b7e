from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from gcl.evaluate import softmax_regression
from gcl.evaluate.softmax_regression import TOLERANCE, softmax_regressions

GRID = [1e-3, 1.0, 1e3]


def task(n, d, classes, *, seed=0, noise=1.0, scale=1.0, offset=0.0):
    draw = torch.Generator().manual_seed(seed)
    target = torch.cat([torch.arange(classes), torch.randint(classes, (n - classes,), generator=draw)])
    centres = torch.randn(classes, d, generator=draw, dtype=torch.float64)
    z = centres[target] + noise * torch.randn(n, d, generator=draw, dtype=torch.float64)
    return scale * z + offset, target


def objective(z, target, strength, weight, bias):
    """Mean loss with its penalty, written as in the docstring."""
    twice = 2 if int(target.max()) == 1 else 1
    return F.cross_entropy(z @ weight + bias, target) + twice * weight.square().sum() / (2 * strength * len(z))


def gradient_norm(z, target, strength, weight, bias):
    leaves = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    grads = torch.autograd.grad(objective(z, target, strength, *leaves), leaves)
    return float(torch.cat([grad.flatten() for grad in grads]).norm())


TASKS = {
    "many rows": task(90, 8, 4),
    "wide": task(30, 70, 3, seed=1),
    "two classes": task(40, 6, 2, seed=2, noise=3.0),
    "two classes, wide": task(20, 50, 2, seed=3),
    "separable": task(60, 5, 5, seed=4, noise=0.01),
    "large and far from 0": task(80, 7, 3, seed=5, scale=20.0, offset=100.0),
    "small": task(50, 5, 3, seed=6, scale=1e-3),
}


@pytest.mark.parametrize("name", TASKS)
def test_solutions_are_optima_in_the_columns_that_were_given(name):
    z, target = TASKS[name]
    (solution,) = softmax_regressions([z], [target], GRID)
    assert solution.unconverged == 0
    for strength, weight, bias in zip(GRID, solution.weight, solution.bias, strict=True):
        assert gradient_norm(z, target, strength, weight, bias) <= 1.01 * TOLERANCE


@pytest.mark.parametrize("name", ["many rows", "wide", "two classes", "two classes, wide"])
def test_agrees_with_scikit_learn(name):
    z, target = TASKS[name]
    (solution,) = softmax_regressions([z], [target], GRID, tolerance=1e-9)
    for strength, weight, bias in zip(GRID, solution.weight, solution.bias, strict=True):
        model = LogisticRegression(C=strength, tol=1e-10, max_iter=100_000).fit(z.numpy(), target.numpy())
        theirs = torch.from_numpy(model.predict_proba(z.numpy()))
        torch.testing.assert_close((z @ weight + bias).softmax(1), theirs, rtol=0, atol=1e-6)
        coefficients = torch.from_numpy(model.coef_.T)
        ours = weight[:, 1:] - weight[:, :1] if weight.shape[1] == 2 else weight
        torch.testing.assert_close(ours, coefficients, rtol=0, atol=1e-3 * float(coefficients.abs().max()))
        value = objective(z, target, strength, weight, bias)
        assert value <= objective(z, target, strength, *_theirs(model)) + 1e-12


def _theirs(model):
    weight, bias = torch.from_numpy(model.coef_.T), torch.from_numpy(model.intercept_)
    return (
        (weight, bias) if weight.shape[1] > 1 else (torch.cat([-weight, weight], 1) / 2, torch.cat([-bias, bias]) / 2)
    )


def test_solving_together_changes_nothing(monkeypatch):
    rows, targets = zip(*TASKS.values(), strict=True)  # other numbers of rows, columns and classes are padded
    wide = [F.pad(z, (0, 70 - z.shape[1])) for z in rows]
    together = softmax_regressions(wide, targets, GRID, tolerance=1e-8)
    monkeypatch.setattr(softmax_regression, "MAX_BYTES", 0)
    apart = softmax_regressions(wide, targets, GRID, tolerance=1e-8)
    for one, other, z in zip(together, apart, wide, strict=True):
        assert one.weight.shape == other.weight.shape
        for left, right in zip(one.weight, other.weight, strict=True):
            torch.testing.assert_close(z @ left, z @ right, rtol=0, atol=1e-3 * max(1.0, float((z @ left).abs().max())))


def test_groups_keep_within_their_bytes(monkeypatch):
    targets = [torch.arange(3).repeat(count) for count in (2, 2, 50, 1, 1)]
    monkeypatch.setattr(softmax_regression, "MAX_BYTES", 3 * 6 * 2 * 8 * 3)
    groups = list(softmax_regression._groups(targets, 2))
    assert groups == [[0, 1], [2], [3, 4]]


@pytest.mark.parametrize("name", ["many rows", "wide", "large and far from 0"])
def test_without_eigenvectors(name, monkeypatch):
    monkeypatch.setattr(softmax_regression, "LARGEST_BASIS", 0)
    z, target = TASKS[name]
    (solution,) = softmax_regressions([z], [target], GRID)
    assert solution.unconverged == 0
    for strength, weight, bias in zip(GRID, solution.weight, solution.bias, strict=True):
        assert gradient_norm(z, target, strength, weight, bias) <= 1.01 * TOLERANCE


def test_collinear_and_constant_columns_and_equal_rows():
    z, target = task(40, 3, 3)
    z = torch.cat([z, z[:, :2], torch.ones(40, 2, dtype=torch.float64), torch.zeros(40, 1, dtype=torch.float64)], 1)
    z[5:9] = z[5]
    (solution,) = softmax_regressions([z], [target], GRID)
    assert solution.unconverged == 0
    torch.testing.assert_close(solution.weight[:, 0], solution.weight[:, 3], rtol=0, atol=1e-6)
    torch.testing.assert_close(solution.weight[:, 5:], torch.zeros(3, 3, 3, dtype=torch.float64))


def test_equal_rows_leave_the_bias_alone():
    target = torch.tensor([0, 0, 0, 1, 2, 2])
    (solution,) = softmax_regressions([torch.ones(6, 4, dtype=torch.float64)], [target], [1.0], tolerance=1e-9)
    assert torch.equal(solution.weight, torch.zeros(1, 4, 3, dtype=torch.float64))
    share = torch.tensor([[3, 1, 2]], dtype=torch.float64) / 6
    torch.testing.assert_close(solution.bias.softmax(1), share)


def test_what_is_short_of_the_tolerance_is_counted():
    z, target = TASKS["many rows"]
    (solution,) = softmax_regressions([z], [target], GRID, max_iterations=2)
    assert 1 <= solution.unconverged <= 3
    assert torch.isfinite(solution.weight).all()


@settings(max_examples=30, deadline=None)
@given(n=st.integers(6, 60), d=st.integers(1, 40), classes=st.integers(2, 5), seed=st.integers(0, 99))
def test_always_converges(n, d, classes, seed):
    z, target = task(n, d, classes, seed=seed)
    (solution,) = softmax_regressions([z], [target], [1e-2, 1e5])
    assert solution.unconverged == 0
    torch.testing.assert_close(
        solution.weight.sum(2),
        torch.zeros(2, d, dtype=torch.float64),
        rtol=0,
        atol=1e-9 * float(solution.weight.abs().max()),
    )
    for strength, weight, bias in zip([1e-2, 1e5], solution.weight, solution.bias, strict=True):
        assert gradient_norm(z, target, strength, weight, bias) <= 1.01 * TOLERANCE
