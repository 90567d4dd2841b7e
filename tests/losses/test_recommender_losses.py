"""BPR and one-way InfoNCE against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError
from gcl.losses.bpr import bpr_loss
from gcl.losses.one_way_infonce import OneWayInfoNCE
from gcl.ops.kmeans import lloyd


def random_views(num=12, dim=4, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, num, dim, generator=generator, dtype=torch.float64) * scale
    return z[0], z[1]


def slow(z1, z2, anchors, temperature, *, normalize, clip=None, floor=0.0):
    """LightGCL's formula (and SGL's where it is normalised and not clipped), by loops."""
    rows = [[z.tolist() for z in view] for view in (z1, z2)]
    if normalize:
        rows = [[[value / math.hypot(*row) for value in row] for row in view] for view in rows]
    total = 0.0
    for i in anchors:
        scores = [sum(a * b for a, b in zip(rows[0][i], key, strict=True)) / temperature for key in rows[1]]
        positive = scores[i] if clip is None else min(max(scores[i], -clip), clip)
        total += math.log(sum(math.exp(score) for score in scores) + floor) - positive
    return total / len(anchors)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("clip", [None, 0.7, 5.0])
def test_equals_the_loops(normalize, clip):
    z1, z2 = random_views()
    loss = OneWayInfoNCE(0.5, normalize=normalize, positive_clip=clip)
    anchors = [3, 0, 7, 3, 3]
    for chosen in (range(12), anchors):
        context = LossContext(anchors=None if chosen is not anchors else torch.tensor(anchors))
        expected = slow(z1, z2, list(chosen), 0.5, normalize=normalize, clip=clip)
        assert float(loss(z1, z2, context=context)) == pytest.approx(expected, rel=1e-9)


def test_the_floor_of_the_published_program_is_below_rounding():
    """It adds 1e-8 inside the logarithm, which says nothing wherever some logit is above -10."""
    z1, z2 = random_views()
    plain = float(OneWayInfoNCE(0.2, normalize=False, positive_clip=5.0)(z1, z2))
    assert plain == pytest.approx(slow(z1, z2, range(12), 0.2, normalize=False, clip=5.0, floor=1e-8), rel=1e-8)


def test_repeats_merged_by_counts_change_neither_value_nor_gradient():
    z = [view.requires_grad_() for view in random_views()]
    loss, anchors = OneWayInfoNCE(0.3, normalize=False, positive_clip=5.0), torch.tensor([5, 1, 5, 5, 9, 1])
    unique, counts = anchors.unique(return_counts=True)
    contexts = LossContext(anchors=anchors), LossContext(anchors=unique, counts=counts)
    values = [loss(*z, context=context) for context in contexts]
    torch.testing.assert_close(*values)
    for one, two in zip(*(torch.autograd.grad(value, z) for value in values), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("normalize", [True, False])
def test_gradients_of_both_views(normalize):
    z1, z2 = (view.requires_grad_() for view in random_views(6, 3))
    loss = OneWayInfoNCE(0.8, normalize=normalize, positive_clip=0.9)
    context = LossContext(anchors=torch.tensor([0, 4, 4]))
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, context=context), (z1, z2))


def test_the_positive_has_no_gradient_outside_the_clip():
    """dL/ds_ii is softmax - 1 inside and softmax alone outside: the pull is gone, the push stays."""
    z1, z2 = torch.eye(2, dtype=torch.float64) * 3, torch.eye(2, dtype=torch.float64).requires_grad_()
    slopes = {}
    for clip in (2.0, 4.0):  # the positives' logit is 3
        value = OneWayInfoNCE(1.0, normalize=False, positive_clip=clip)(z1, z2)
        (slopes[clip],) = torch.autograd.grad(value, z2)
    share = math.exp(3) / (math.exp(3) + 1)
    assert float(slopes[2.0][0, 0]) == pytest.approx(3 * share / 2)
    assert float(slopes[4.0][0, 0]) == pytest.approx(3 * (share - 1) / 2)


def test_inner_products_of_100_at_temperature_0_2_stay_finite():
    """The plain formula overflows in float32 from logits of 88 on; these are 500."""
    z = torch.full((50, 4), 5.0, requires_grad=True)
    assert float(z.detach()[0] @ z.detach()[1]) == 100
    value = OneWayInfoNCE(0.2, normalize=False, positive_clip=5.0)(z, z)
    (slope,) = torch.autograd.grad(value, z)
    assert float(value) == pytest.approx(500 + math.log(50) - 5, rel=1e-6)
    assert bool(slope.isfinite().all())


@pytest.mark.parametrize(("noise", "temperature"), [(0.1, 0.1), (0.5, 0.2), (2.0, 0.5)])
def test_sampled_keys_estimate_the_sum_over_all(noise, temperature):
    """Also where views are aligned, and the positive is most of the sum; of all keys it is exact."""
    z1, other = random_views(800, 8)
    z2 = z1 + noise * other
    z1, z2 = z1.requires_grad_(), z2.requires_grad_()
    loss, anchors = OneWayInfoNCE(temperature), torch.arange(40)
    whole = loss(z1, z2, context=LossContext(anchors=anchors))
    every = LossContext(anchors=anchors, keys=torch.randperm(800))
    torch.testing.assert_close(loss(z1, z2, context=every), whole)
    generator, values, slopes = torch.Generator().manual_seed(0), [], []
    for _ in range(60):
        keys = torch.randperm(800, generator=generator)[:80]
        value = loss(z1, z2, context=LossContext(anchors=anchors, keys=keys))
        values.append(float(value.detach()))
        slopes.append(torch.autograd.grad(value, z1)[0])
    # a logarithm of an unbiased sum is a little too low, the less the larger the sample
    assert sum(values) / 60 == pytest.approx(float(whole.detach()), rel=0.1, abs=0.05)
    (slope,) = torch.autograd.grad(whole, z1)
    assert float((torch.stack(slopes).mean(0) - slope).norm() / slope.norm()) < 0.25


def test_sampled_keys_by_their_formula():
    z1, z2 = random_views(9, 3)
    keys, anchors = torch.tensor([7, 2, 5]), torch.tensor([2, 4])
    value = OneWayInfoNCE(0.5, normalize=False)(z1, z2, context=LossContext(anchors=anchors, keys=keys))
    expected = 0.0
    for anchor in (2, 4):
        score = (z2 @ z1[anchor] / 0.5).tolist()
        others = [key for key in (7, 2, 5) if key != anchor]
        total = math.exp(score[anchor]) + 8 / len(others) * sum(math.exp(score[key]) for key in others)
        expected += (math.log(total) - score[anchor]) / 2
    assert float(value) == pytest.approx(expected)
    alone = LossContext(anchors=torch.tensor([7]), keys=torch.tensor([7]))
    assert float(OneWayInfoNCE(0.5)(z1, z2, context=alone)) == pytest.approx(0.0, abs=1e-12)


def test_rows_of_the_anchors_alone_are_enough():
    z1, z2 = random_views()
    loss, anchors = OneWayInfoNCE(0.2), torch.tensor([2, 8])
    context = LossContext(anchors=anchors)
    torch.testing.assert_close(loss.contrast(z1[anchors], z2, context), loss(z1, z2, context=context))
    with pytest.raises(DataError, match="one row an anchor"):
        loss.contrast(z1, z2, context)


@pytest.mark.parametrize("clip", [0, -1.0, math.inf, True])
def test_refuses_a_clip_that_is_none(clip):
    with pytest.raises(ConfigError, match="positive_clip"):
        OneWayInfoNCE(0.2, positive_clip=clip)


def test_bpr_equals_the_formula_and_stays_finite():
    generator = torch.Generator().manual_seed(0)
    users, positives, negatives = torch.randn(3, 7, 4, generator=generator, dtype=torch.float64)
    expected = sum(
        -math.log(1 / (1 + math.exp(-float(u @ p - u @ n))))
        for u, p, n in zip(users, positives, negatives, strict=True)
    )
    assert float(bpr_loss(users, positives, negatives)) == pytest.approx(expected / 7)
    assert float(bpr_loss(users, positives, positives)) == pytest.approx(math.log(2))
    assert float(bpr_loss(users * 1e4, -users, users)) == pytest.approx(2e4 * float(users.square().sum()) / 7)
    inputs = [part.clone().requires_grad_() for part in (users, positives, negatives)]
    assert torch.autograd.gradcheck(bpr_loss, inputs)
    with pytest.raises(DataError, match="one shape"):
        bpr_loss(users, positives[:3], negatives)


@pytest.mark.parametrize("normalize", [True, False])
def test_clusters_of_the_keys_give_a_lower_bound_that_closes(normalize):
    z1, z2 = (view.requires_grad_() for view in random_views(num=40, dim=3))
    exact = float(OneWayInfoNCE(0.5, normalize=normalize)(z1, z2).detach())
    values = [
        float(OneWayInfoNCE(0.5, normalize=normalize, num_clusters=k)(z1, z2).detach()) for k in (1, 4, 16, 40, 99)
    ]
    assert all(value <= exact + 1e-9 for value in values)
    assert values[0] < values[1] < values[2] < exact
    assert values[3] == values[4] == pytest.approx(exact, rel=1e-12)  # each key its own cluster


def test_clusters_of_the_keys_by_their_formula_with_anchors_and_repeats():
    z1, z2 = random_views(num=20, dim=3)
    anchors, counts = torch.tensor([1, 5, 7]), torch.tensor([2, 1, 1])
    loss = OneWayInfoNCE(0.5, normalize=False, num_clusters=4)
    context = LossContext(epoch=3, anchors=anchors, counts=counts)
    labels = lloyd(z2, 4, generator=torch.Generator().manual_seed(3))
    total = 0.0
    for anchor, count in zip(anchors.tolist(), counts.tolist(), strict=True):
        parts = [z2[labels == c] for c in labels.unique()]
        terms = [len(part) * math.exp(float(z1[anchor] @ part.mean(dim=0)) / 0.5) for part in parts]
        total += count / 4 * (math.log(sum(terms)) - float(z1[anchor] @ z2[anchor]) / 0.5)
    assert float(loss(z1, z2, context=context)) == pytest.approx(total, rel=1e-9)
    assert float(loss.contrast(z1[anchors], z2, context)) == pytest.approx(total, rel=1e-9)
    with pytest.raises(ConfigError, match="num_clusters"):
        OneWayInfoNCE(num_clusters=0)


def test_clusters_of_the_keys_do_not_go_with_a_sample_of_them():
    z1, z2 = random_views()
    loss, context = OneWayInfoNCE(num_clusters=3), LossContext(keys=torch.tensor([0, 4]))
    for work in (lambda: loss(z1, z2, context=context), lambda: loss.contrast(z1, z2, context)):
        with pytest.raises(ConfigError, match=r"sample of the keys and num_clusters=3.*leave one of them out"):
            work()


@pytest.mark.parametrize("anchors", [[0, 12], [-1], [[0, 1]]])
def test_anchors_that_are_no_rows_are_refused_in_a_sentence(anchors):
    z1, z2 = random_views()
    with pytest.raises(DataError, match="anchors must be row"):
        OneWayInfoNCE()(z1, z2, context=LossContext(anchors=torch.tensor(anchors)))


def test_rows_that_are_no_matrix_are_refused_in_a_sentence():
    with pytest.raises(DataError, match="one row an anchor"):
        OneWayInfoNCE()(torch.ones(3), torch.ones(3))
