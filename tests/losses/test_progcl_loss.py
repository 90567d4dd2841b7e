"""ProGCL's loss against loops, and its mixture against a loop and against what it was drawn from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError
from gcl.losses.infonce import InfoNCE
from gcl.losses.progcl import Direction, NegativeWeights, ProGCLLoss, mean_weight
from gcl.ops.beta_mixture import BetaMixture

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# -- the mixture --------------------------------------------------------------------------------------------------------


def slow_fit(x, steps, second=0.05):
    alpha, beta, weight = [1.0, 2.0], [2.0, 1.0], [1 - second, second]
    for _ in range(steps):
        share = np.maximum([weight[k] * stats.beta.pdf(x, alpha[k], beta[k]) for k in range(2)], 0)
        share = np.maximum(share / share.sum(0), 1e-12)
        share = share / share.sum(0)
        for k in range(2):
            mean = (share[k] * x).sum() / share[k].sum()
            variance = (share[k] * (x - mean) ** 2).sum() / share[k].sum()
            alpha[k] = mean * (mean * (1 - mean) / variance - 1)
            beta[k] = alpha[k] * (1 - mean) / mean
        if beta[1] < 1:
            beta[1] = 1.01
        weight = share.sum(1) / share.sum()
    return alpha, beta, weight


def drawn(size, seed=0):
    rng = np.random.RandomState(seed)
    low = rng.beta(3, 9, size)
    return np.where(rng.rand(size) < 0.7, low, rng.beta(12, 3, size))


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_the_fit_is_em_by_moments(steps):
    x = drawn(500)
    found = BetaMixture.fit(torch.from_numpy(x), num_steps=steps)
    alpha, beta, weight = (np.array(part) for part in slow_fit(x, steps))
    order = np.argsort(alpha / (alpha + beta))
    alpha, beta, weight = alpha[order], beta[order], weight[order]
    np.testing.assert_allclose(found.alpha, alpha, rtol=1e-8)
    np.testing.assert_allclose(found.beta, beta, rtol=1e-8)
    np.testing.assert_allclose(found.weight, weight, rtol=1e-8)


def test_a_mixture_of_separate_components_is_found_again():
    rng = np.random.RandomState(0)
    x = np.where(rng.rand(20000) < 0.7, rng.beta(5, 25, 20000), rng.beta(25, 5, 20000))
    found = BetaMixture.fit(torch.from_numpy(x), num_steps=50)
    np.testing.assert_allclose(found.weight, [0.7, 0.3], atol=0.02)
    np.testing.assert_allclose(found.alpha, [5, 25], rtol=0.1)
    np.testing.assert_allclose(found.beta, [25, 5], rtol=0.1)
    low, high = found.posterior(torch.tensor([0.1, 0.95]))
    assert low > 0.99
    assert high < 0.01


def test_values_that_cannot_be_fitted_are_refused():
    for bad, match in (([], "finite"), ([0.1, float("nan")], "finite"), ([0.2, 1.2], "finite"), ([0.5, 0.5], "differ")):
        with pytest.raises(DataError, match=match):
            BetaMixture.fit(torch.tensor(bad))
    with pytest.raises(ConfigError, match="second_weight"):
        BetaMixture.fit(torch.rand(9), second_weight=0.0)
    at_ends = BetaMixture.fit(torch.cat([torch.rand(50, generator=seeded()), torch.tensor([0.0, 1.0])]))
    assert torch.isfinite(at_ends.posterior(torch.linspace(0, 1, 9))).all()


# -- the loss -----------------------------------------------------------------------------------------------------------


def weights_of(size, seed=0, points=257, dtype=F64):
    u, v = (F.normalize(torch.randn(size, 4, generator=seeded(seed + k), dtype=dtype)) for k in range(2))
    grid = torch.linspace(0, 1, points, dtype=dtype)
    tables = [0.1 + grid.square(), 1.2 - grid]
    pairs = ((u, v, tables[0]), (v, u, tables[1]))
    return NegativeWeights(tuple(Direction(a, b, t, mean_weight(a, b, t)) for a, b, t in pairs))


def slow_weight(direction, i, j):
    s = float(direction.row[i] @ direction.col[j])
    steps = direction.table.numel() - 1
    position = (s + 1) / 2 * steps
    cell = min(int(position), steps - 1)
    part = position - cell
    return float(direction.table[cell]) * (1 - part) + float(direction.table[cell + 1]) * part


def slow(z1, z2, tau, weights, mode, k=1000, order=None):
    """One anchor at a time, by the formulas."""
    h = [F.normalize(z) for z in (z1, z2)]
    size, total = len(z1), 0.0
    for side in range(2):
        mine, other, direction = h[side], h[1 - side], weights.directions[side]
        for i in range(size):
            rest = [j for j in range(size) if j != i]
            b = {j: slow_weight(direction, i, j) for j in rest}
            mean = sum(b.values()) / len(rest)
            a = {j: float(mine[i] @ other[j]) for j in range(size)}
            c = {j: float(mine[i] @ mine[j]) for j in rest}
            positive = math.exp(a[i] / tau)
            if mode == "weight":
                denominator = positive + sum(b[j] / mean * (math.exp(a[j] / tau) + math.exp(c[j] / tau)) for j in rest)
            else:
                denominator = positive + sum(math.exp(a[j] / tau) + math.exp(c[j] / tau) for j in rest)
                top = sorted(rest, key=lambda j: -b[j])[:k]
                for at, j in enumerate(top):
                    p = top[order[at]]
                    denominator += math.exp((b[j] * a[j] + b[p] * a[p]) / (b[j] + b[p] + 1e-12) / tau)
            total -= math.log(positive / denominator) / (2 * size)
    return total


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(0, 10**6), st.floats(0.2, 2), st.booleans())
def test_weighted_negatives_are_those_of_the_formula(size, seed, tau, kept):
    z1, z2 = (torch.randn(size, 3, generator=seeded(seed + k), dtype=F64) for k in range(2))
    weights, loss = weights_of(size, seed), ProGCLLoss(tau)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gcl.losses.progcl.STORED", 2**20 if kept else 0)
        for _ in range(2):  # the second time from what was kept
            found = loss(z1, z2, context=LossContext(negative_weights=weights))
            assert float(found) == pytest.approx(slow(z1, z2, tau, weights, "weight"), rel=1e-6)


def test_other_weights_are_not_mistaken_for_those_that_were_kept():
    z1, z2 = (torch.randn(8, 3, generator=seeded(k), dtype=F64) for k in range(2))
    loss = ProGCLLoss(0.5)
    for seed in range(3):
        weights = weights_of(8, seed)
        found = loss(z1, z2, context=LossContext(negative_weights=weights))
        assert float(found) == pytest.approx(slow(z1, z2, 0.5, weights, "weight"), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 9), st.integers(0, 10**6), st.integers(1, 12))
def test_mixed_negatives_are_those_of_the_formula(size, seed, count):
    z1, z2 = (torch.randn(size, 3, generator=seeded(seed + k), dtype=F64) for k in range(2))
    plain = weights_of(size, seed)
    weights = NegativeWeights(plain.directions, seeded(5))
    order = torch.randperm(min(count, size - 1), generator=seeded(5)).tolist()
    found = ProGCLLoss(0.5, mode="mix", num_mixed=count)(z1, z2, context=LossContext(negative_weights=weights))
    assert float(found) == pytest.approx(slow(z1, z2, 0.5, weights, "mix", count, order), rel=1e-9)


@pytest.mark.parametrize(("mode", "kept"), [("weight", 0), ("weight", 2**20), ("mix", 0)])
def test_gradients(mode, kept, monkeypatch):
    monkeypatch.setattr("gcl.losses.progcl.STORED", kept)
    monkeypatch.setattr("gcl.losses.progcl.BLOCK", 14)  # two anchors at a time
    z1, z2 = (torch.randn(7, 3, generator=seeded(k), dtype=F64, requires_grad=True) for k in range(2))
    plain, loss = weights_of(7), ProGCLLoss(0.5, mode=mode, num_mixed=4)

    def value(a, b):
        return loss(a, b, context=LossContext(negative_weights=NegativeWeights(plain.directions, seeded(1))))

    assert torch.autograd.gradcheck(value, (z1, z2))


def test_before_the_fit_it_is_infonce():
    z1, z2 = (torch.randn(12, 3, generator=seeded(k)) for k in range(2))
    for context in (None, LossContext(epoch=3), LossContext(anchors=torch.tensor([3, 5]))):
        assert torch.equal(ProGCLLoss(0.4)(z1, z2, context=context), InfoNCE(0.4)(z1, z2, context=context))


@pytest.mark.parametrize("mode", ["weight", "mix"])
def test_equal_weights_are_infonce_or_double_it(mode):
    z1, z2 = (torch.randn(8, 3, generator=seeded(k), dtype=F64) for k in range(2))
    u = F.normalize(torch.randn(8, 3, generator=seeded(3), dtype=F64))
    table = torch.full((5,), 0.3, dtype=F64)
    one = Direction(u, u, table, mean_weight(u, u, table))
    found = ProGCLLoss(0.5, mode=mode)(z1, z2, context=LossContext(negative_weights=NegativeWeights((one, one))))
    plain = InfoNCE(0.5)(z1, z2)
    assert float(found) == pytest.approx(float(plain)) if mode == "weight" else float(found) > float(plain)


@pytest.mark.parametrize("mode", ["weight", "mix"])
def test_anchors_average_to_the_whole_and_relabelling_changes_nothing(mode):
    z1, z2 = (torch.randn(9, 3, generator=seeded(k), dtype=F64) for k in range(2))
    weights, loss = weights_of(9), ProGCLLoss(0.5, mode=mode)

    def value(anchors=None, order=None):
        part, a, b = weights, z1, z2
        if order is not None:
            part = NegativeWeights(
                tuple(Direction(d.row[order], d.col[order], d.table, d.log_mean[order]) for d in weights.directions)
            )
            a, b = z1[order], z2[order]
        part = NegativeWeights(part.directions, seeded(2))
        return float(loss(a, b, context=LossContext(anchors=anchors, negative_weights=part)))

    whole = value()
    assert sum(value(torch.tensor([i])) for i in range(9)) / 9 == pytest.approx(whole)
    assert value(order=torch.randperm(9, generator=seeded(7))) == pytest.approx(whole)
    assert value() == whole


def test_wrong_arguments_are_refused():
    for arguments, match in (
        ({"mode": "wieght"}, "weight"),
        ({"num_mixed": 0}, "num_mixed"),
        ({"temperature": 0}, "temp"),
    ):
        with pytest.raises(ConfigError, match=match):
            ProGCLLoss(**arguments)
    z = torch.randn(5, 3)
    with pytest.raises(DataError, match="weights are of 9 nodes"):
        ProGCLLoss()(z, z, context=LossContext(negative_weights=weights_of(9, dtype=torch.float32)))
