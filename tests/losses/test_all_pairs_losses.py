"""InfoNCE, NT-Xent and Team-up against loops in float64, golden values, and their invariances."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gcl
from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError
from gcl.core.resolve import describe, resolve
from gcl.losses.infonce import InfoNCE
from gcl.losses.nt_xent import NTXent
from gcl.losses.team_up import TeamUp

H1 = torch.tensor([[1, 0], [0.6, 0.8], [0, 1]], dtype=torch.float64)
H2 = torch.tensor([[0.8, 0.6], [0, 1], [-0.6, 0.8]], dtype=torch.float64)
STRENGTH = torch.tensor([0.1, 0.05, 0], dtype=torch.float64)
GOLDEN = {
    0.0: ([0.758431, 1.481810, 1.473399], [1.366006, 1.473399, 0.961708], 1.252459),
    2.0: ([0.636687, 1.527983, 1.676108], [1.182026, 1.412318, 1.113509], 1.258105),
}


def unit(rows: list[float]) -> list[float]:
    norm = max(math.sqrt(sum(value * value for value in rows)), 1e-12)
    return [value / norm for value in rows]


def dot(a, b) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def slow_rows(z1, z2, temperature, *, intra=True, own=False, gamma=0.0, strength=None, textbook=False) -> list[float]:
    """l_i from view 1 to view 2 as the papers write it: exponentials and sums, no log-sum-exp, row bias on request."""
    h1, h2 = [unit(row) for row in z1.tolist()], [unit(row) for row in z2.tolist()]
    s = [0.0] * len(h1) if strength is None else strength.tolist()
    losses = []
    for i in range(len(h1)):

        def weigh(similarity, j, i=i):
            return math.exp((similarity + gamma * (s[j] + (s[i] if textbook else 0.0))) / temperature)

        total = sum(weigh(dot(h1[i], h2[j]), j) for j in range(len(h2)))
        if intra:
            total += sum(weigh(dot(h1[i], h1[j]), j) for j in range(len(h1)) if own or j != i)
        losses.append(-math.log(weigh(dot(h1[i], h2[i]), i) / total))
    return losses


def slow(z1, z2, temperature, weights=None, **options) -> float:
    """The mean of both directions; ``weights`` say how often each anchor counts."""
    forth, back = slow_rows(z1, z2, temperature, **options), slow_rows(z2, z1, temperature, **options)
    weights = [1.0] * len(forth) if weights is None else weights
    return sum(w * (a + b) / 2 for w, a, b in zip(weights, forth, back, strict=True)) / sum(weights)


def random_pair(num_nodes=24, dim=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    z1 = torch.randn(num_nodes, dim, generator=generator, dtype=dtype)
    return z1, z1 + 0.7 * torch.randn(num_nodes, dim, generator=generator, dtype=dtype)


def random_strength(num_nodes=24, seed=7):
    return 0.2 * torch.rand(num_nodes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Every way to call these losses: (loss, context, options of the slow form).
CASES = {
    "infonce": (InfoNCE(0.4), LossContext(), {}),
    "inter_view": (InfoNCE(0.4, intra_view=False), LossContext(), {"intra": False}),
    "compat": (InfoNCE(0.4, compat="pygcl-0.1.2"), LossContext(), {"own": True}),
    "nt_xent": (NTXent(0.4), LossContext(), {}),
    "team_up": (
        TeamUp(0.4, ramp_start=10, ramp_max=5.0),
        LossContext(epoch=160, node_weight=random_strength()),
        {"gamma": 1.5, "strength": random_strength()},
    ),
}
all_cases = pytest.mark.parametrize(("loss", "context", "options"), CASES.values(), ids=CASES)


# -- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_golden_values(gamma):
    forth, back, mean = GOLDEN[gamma]
    context = LossContext(epoch=300, node_weight=STRENGTH)
    loss = TeamUp(0.5, ramp_start=100, ramp_max=gamma)
    assert loss.gamma(300) == gamma
    assert float(loss(H1, H2, context=context)) == pytest.approx(mean, abs=1e-6)
    if gamma == 0:
        assert float(InfoNCE(0.5)(H1, H2)) == pytest.approx(mean, abs=1e-6)
    for i in range(3):  # one anchor: both directions of that row
        anchored = loss(H1, H2, context=dataclasses.replace(context, anchors=torch.tensor([i])))
        assert float(anchored) == pytest.approx((forth[i] + back[i]) / 2, abs=1e-6)
    options = {"gamma": gamma, "strength": STRENGTH}
    assert slow_rows(H1, H2, 0.5, **options) == pytest.approx(forth, abs=1e-6)  # the oracle itself
    assert slow_rows(H2, H1, 0.5, **options) == pytest.approx(back, abs=1e-6)


@all_cases
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_equals_the_loops(loss, context, options, scale):
    z1, z2 = random_pair()
    expected = slow(scale * z1, z2, 0.4, **options)
    assert float(loss(scale * z1, z2, context=context)) == pytest.approx(expected, rel=1e-12)
    assert float(loss(z1.float(), z2.float(), context=context)) == pytest.approx(expected, rel=1e-5)


@all_cases
def test_gradient_by_finite_differences(loss, context, options):
    z1, z2 = (z[:7].clone().requires_grad_() for z in random_pair())
    weight = None if context.node_weight is None else context.node_weight[:7]
    contexts = (
        dataclasses.replace(context, node_weight=weight),
        dataclasses.replace(
            context, node_weight=weight, anchors=torch.tensor([4, 0, 0]), counts=torch.tensor([1.0, 2.0, 0.5])
        ),
    )
    for each in contexts:
        assert torch.autograd.gradcheck(lambda a, b, each=each: loss(a, b, context=each), (z1, z2))


def test_temperatures_from_sharp_to_flat():
    z1, z2 = random_pair()
    for temperature in (0.02, 0.1, 1, 10.0):
        assert float(InfoNCE(temperature)(z1, z2)) == pytest.approx(slow(z1, z2, temperature), rel=1e-10)
    sharp = InfoNCE(0.001)(*random_pair(dtype=torch.float32))  # exp(1000) is beyond the type
    assert math.isfinite(float(sharp))


def test_many_rows_in_several_tiles():
    z1, z2 = (z.requires_grad_() for z in random_pair(1500, 4))
    h1, h2 = (torch.nn.functional.normalize(z, dim=1) for z in (z1, z2))
    logits = torch.cat([h1, h2]) @ torch.cat([h1, h2]).t() / 0.3
    logits = logits.masked_fill(torch.eye(3000, dtype=torch.bool), -math.inf)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(3000).roll(1500))
    grads = torch.autograd.grad(expected, (z1, z2))
    for loss in (InfoNCE(0.3), NTXent(0.3)):
        value = loss(z1, z2)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(torch.autograd.grad(value, (z1, z2)), grads)


# -- relations between losses ----------------------------------------------------------------------------------------


def test_nt_xent_is_infonce_on_pairs_and_on_a_stacked_batch():
    z1, z2 = random_pair()
    context = LossContext(anchors=torch.tensor([3, 5, 20]))
    for each in (None, context):
        expected = InfoNCE(0.3)(z1, z2, context=each)
        torch.testing.assert_close(NTXent(0.3)(z1, z2, context=each), expected)
        torch.testing.assert_close(NTXent(0.3)(torch.cat([z1, z2]), context=each), expected)


def test_team_up_before_the_ramp_is_infonce():
    z1, z2 = (z.requires_grad_() for z in random_pair())
    team_up, infonce = TeamUp(0.4), InfoNCE(0.4)
    for anchors in (None, torch.tensor([1, 9])):
        context = LossContext(epoch=500, node_weight=random_strength(), anchors=anchors)
        ours, theirs = team_up(z1, z2, context=context), infonce(z1, z2, context=context)
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(torch.autograd.grad(ours, (z1, z2)), torch.autograd.grad(theirs, (z1, z2)))


@settings(max_examples=25, deadline=None)
@given(gamma=st.floats(0, 10), seed=st.integers(0, 99), shift=st.floats(-3, 3))
def test_team_up_is_the_textbook_form_and_blind_to_a_constant(gamma, seed, shift):
    z1, z2 = random_pair(9, seed=seed)
    strength = random_strength(9, seed)
    loss = TeamUp(0.3, ramp_start=0, ramp_max=gamma, ramp_length=1)
    value = loss(z1, z2, context=LossContext(epoch=10, node_weight=strength))
    assert float(value) == pytest.approx(
        slow(z1, z2, 0.3, gamma=gamma, strength=strength, textbook=True), rel=1e-9, abs=1e-9
    )
    moved = loss(z1, z2, context=LossContext(epoch=10, node_weight=strength + shift))
    assert float(moved) == pytest.approx(float(value), rel=1e-9, abs=1e-9)


def test_team_up_ramp():
    loss = TeamUp(ramp_start=500, ramp_max=2.5)
    assert [loss.gamma(epoch) for epoch in (1, 500, 501, 600, 750, 751, 9999)] == [0, 0, 0.01, 1, 2.5, 2.5, 2.5]
    assert TeamUp(ramp_start=0, ramp_max=0.0).gamma(1000) == 0


def test_the_terms_add_up_and_another_negative_term_can_stand_in():
    class Softer(InfoNCE):
        def negative_term(self, h1, h2, context):
            return 0.5 * super().negative_term(h1, h2, context)

    z1, z2 = random_pair()
    h1, h2 = (torch.nn.functional.normalize(z, dim=1) for z in (z1, z2))
    loss, context = InfoNCE(0.4), LossContext()
    positive, negative = loss.positive_term(h1, h2, context), loss.negative_term(h1, h2, context)
    assert float(positive) == pytest.approx(-float((h1 * h2).sum(dim=1).mean()) / 0.4)
    torch.testing.assert_close(loss(z1, z2), positive + negative)
    torch.testing.assert_close(Softer(0.4)(z1, z2), positive + 0.5 * negative)


def test_compat_adds_the_own_similarity_to_every_denominator():
    z1, z2 = random_pair()
    h = torch.nn.functional.normalize(torch.cat([z1, z2]), dim=1)
    similarity = (h @ h.t() / 0.2).exp()  # PyGCL's: all 2N columns, the own one included
    expected = -(similarity.roll(24, 1).diagonal() / similarity.sum(dim=1)).log().mean()
    for anchors in (None, torch.arange(24)):
        value = InfoNCE(0.2, compat="pygcl-0.1.2")(z1, z2, context=LossContext(anchors=anchors))
        torch.testing.assert_close(value, expected)
        assert value > InfoNCE(0.2)(z1, z2)


# -- invariances -----------------------------------------------------------------------------------------------------


@all_cases
def test_permutation_and_swap_change_nothing(loss, context, options):
    z1, z2 = random_pair()
    value = loss(z1, z2, context=context)
    torch.testing.assert_close(loss(z2, z1, context=context), value)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    weight = None if context.node_weight is None else context.node_weight[order]
    permuted = dataclasses.replace(context, node_weight=weight)
    torch.testing.assert_close(loss(z1[order], z2[order], context=permuted), value)


@all_cases
def test_lengths_of_the_rows_do_not_matter(loss, context, options):
    z1, z2 = random_pair()
    lengths = torch.rand(24, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.1
    torch.testing.assert_close(loss(lengths * z1, z2 / lengths, context=context), loss(z1, z2, context=context))


# -- anchors ---------------------------------------------------------------------------------------------------------


@all_cases
def test_anchors_equal_the_loops_over_those_rows(loss, context, options):
    z1, z2 = random_pair()
    anchors, counts = torch.tensor([7, 2, 19]), torch.tensor([2, 1, 3])
    weights = [0.0] * 24
    for anchor, count in zip(anchors.tolist(), counts.tolist(), strict=True):
        weights[anchor] = float(count)
    expected = slow(z1, z2, 0.4, weights, **options)
    counted = dataclasses.replace(context, anchors=anchors, counts=counts)
    repeated = dataclasses.replace(context, anchors=anchors.repeat_interleave(counts))
    everywhere = dataclasses.replace(context, counts=torch.tensor(weights))
    for each in (counted, repeated, everywhere):
        assert float(loss(z1, z2, context=each)) == pytest.approx(expected, rel=1e-12)


@all_cases
def test_shards_of_anchors_add_up(loss, context, options):
    z1, z2 = (z.requires_grad_() for z in random_pair())
    full = loss(z1, z2, context=context)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    shards = (order[:5], order[5:], order[:0])  # an empty one too
    parts = [loss(z1, z2, context=dataclasses.replace(context, anchors=shard, num_anchors=24)) for shard in shards]
    torch.testing.assert_close(sum(parts), full)
    assert float(parts[2].detach()) == 0
    torch.testing.assert_close(torch.autograd.grad(sum(parts), (z1, z2)), torch.autograd.grad(full, (z1, z2)))


@all_cases
def test_random_anchors_are_unbiased(loss, context, options):
    z1, z2 = (z.requires_grad_() for z in random_pair())
    full = loss(z1, z2, context=context)
    full_grad = torch.cat(torch.autograd.grad(full, (z1, z2)))
    generator = torch.Generator().manual_seed(11)
    values, grads = [], []
    for _ in range(2000):
        anchors = torch.randperm(24, generator=generator)[:6]
        value = loss(z1, z2, context=dataclasses.replace(context, anchors=anchors))
        values.append(value.detach())
        grads.append(torch.cat(torch.autograd.grad(value, (z1, z2))))
    for draws, expected in ((torch.stack(values), full.detach()), (torch.stack(grads), full_grad)):
        error = draws.std(dim=0) / math.sqrt(2000)
        z_score = (draws.mean(dim=0) - expected) / error
        # 241 numbers: a few beyond 3.9 would be no surprise, none is beyond 4 unless there is a bias
        assert float(z_score.abs().max()) < 4


# -- degenerate input ------------------------------------------------------------------------------------------------


@all_cases
def test_one_node_and_zero_rows(loss, context, options):
    one = dataclasses.replace(context, node_weight=None if context.node_weight is None else torch.ones(1))
    z = torch.tensor([[3.0, 4.0]], requires_grad=True)
    value = loss(z, z.detach(), context=one)  # the positive pair is alone, but for the own pair of compat
    own = math.log(2) if options.get("own") else 0.0
    assert float(value.detach()) == pytest.approx(own, abs=1e-6)
    zeros = torch.zeros(24, 5, requires_grad=True)
    mixed = torch.cat([torch.zeros(12, 5), torch.ones(12, 5)]).requires_grad_()
    for first, second in ((zeros, zeros), (zeros, mixed), (mixed, mixed)):
        value = loss(first, second, context=context)
        value.backward()
        assert math.isfinite(float(value.detach()))
    assert bool(zeros.grad.isfinite().all())
    assert bool(mixed.grad.isfinite().all())


@all_cases
def test_the_same_input_gives_the_same_bits(loss, context, options):
    z1, z2 = random_pair(dtype=torch.float32)
    assert torch.equal(loss(z1, z2, context=context), loss(z1, z2, context=context))


@all_cases
def test_half_precision_is_summed_in_single(loss, context, options):
    z1, z2 = (z.bfloat16().requires_grad_() for z in random_pair())
    value = loss(z1, z2, context=context)
    value.backward()
    assert value.dtype == torch.float32
    assert z1.grad.dtype == torch.bfloat16
    assert float(value.detach()) == pytest.approx(slow(z1.detach(), z2.detach(), 0.4, **options), rel=1e-2)


MEMORY_PROBE = """
import resource, sys, torch
from gcl.core.context import LossContext
from gcl.losses.{module} import {name}
torch.set_num_threads(1)
context = LossContext(epoch=1000, node_weight=torch.rand(8000))
z1, z2 = (torch.randn(8000, 8, requires_grad=True) for _ in range(2))
{name}(0.5)(z1[:64], z2[:64], context=LossContext(epoch=1000, node_weight=torch.rand(64))).backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{name}(0.5)(z1, z2, context=context).backward()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) // (1024 if sys.platform != "darwin" else 1024 ** 2))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
@pytest.mark.parametrize(("module", "name"), [("infonce", "InfoNCE"), ("team_up", "TeamUp")])
def test_no_matrix_of_all_pairs_exists(module, name):
    # The stacked matrix alone would take 977 MiB in float32, autograd several of them.
    probe = MEMORY_PROBE.format(module=module, name=name)
    root = Path(gcl.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=root)
    assert int(done.stdout) < 400  # MiB


# -- misuse ----------------------------------------------------------------------------------------------------------


@all_cases
def test_refuses_tensors_that_do_not_fit(loss, context, options):
    z1, z2 = random_pair()
    for first, second in ((z1, z2[:5]), (z1[0], z2[0]), (z1[:0], z2[:0])):
        with pytest.raises(DataError, match=r"same shape \[N, d\]"):
            loss(first, second, context=context)
    if not isinstance(loss, NTXent):
        with pytest.raises(ConfigError, match="two views"):
            loss(z1, context=context)
    mask = torch.ones(24, dtype=torch.bool)
    for wrong in (torch.tensor([0.0]), torch.tensor([[0]]), mask, torch.tensor([-1]), torch.tensor([24])):
        with pytest.raises(DataError, match="anchors"):
            loss(z1, z2, context=dataclasses.replace(context, anchors=wrong))
    with pytest.raises(DataError, match="counts"):
        loss(z1, z2, context=dataclasses.replace(context, counts=torch.ones(3)))
    with pytest.raises(ConfigError, match="no anchors"):
        loss(z1, z2, context=dataclasses.replace(context, anchors=torch.zeros(0, dtype=torch.int64)))


def test_refuses_an_odd_stack():
    with pytest.raises(DataError, match="stacked"):
        NTXent()(torch.ones(3, 2))


def test_team_up_says_what_it_needs():
    z1, z2 = random_pair()
    assert TeamUp.needs == ("epoch", "node_weight")
    with pytest.raises(ConfigError, match="node_weight"):
        TeamUp()(z1, z2)
    with pytest.raises(ConfigError, match="epoch"):
        TeamUp()(z1, z2, context=LossContext(node_weight=random_strength()))
    with pytest.raises(DataError, match="one entry a node"):
        TeamUp()(z1, z2, context=LossContext(epoch=1, node_weight=random_strength(5)))


@pytest.mark.parametrize("loss", [InfoNCE, NTXent, TeamUp])
@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan, True, "0.5"])
def test_refuses_a_bad_temperature(loss, temperature):
    with pytest.raises(ConfigError, match="temperature"):
        loss(temperature)


def test_refuses_bad_options():
    with pytest.raises(ConfigError, match="compat"):
        InfoNCE(compat="pygcl")
    with pytest.raises(ConfigError, match="intra_view"):
        InfoNCE(intra_view=False, compat="pygcl-0.1.2")
    for name, value in (("ramp_start", -1), ("ramp_max", math.nan), ("ramp_length", 0)):
        with pytest.raises(ConfigError, match=name):
            TeamUp(**{name: value})


@all_cases
def test_configuration_resolves_and_describes(loss, context, options):
    record = describe(loss)
    again = resolve("loss", record)
    assert type(again) is type(loss)
    assert describe(again) == record
