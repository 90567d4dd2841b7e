"""AdaMEOW's loss against dense automatic differentiation in float64, and what its learned weights do to it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import gcl
from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError, NotFittedError
from gcl.core.resolve import describe, resolve
from gcl.losses.adaptive_infonce import AdaptiveInfoNCE

T = 0.6


def random_pair(num_nodes=12, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    z1 = torch.randn(num_nodes, dim, generator=generator, dtype=dtype)
    return z1.requires_grad_(), (z1.detach() + torch.randn(num_nodes, dim, generator=generator)).to(
        dtype
    ).requires_grad_()


def built(dim=4, *, seed=0, scale=3.0, **options):
    torch.manual_seed(seed)
    loss = AdaptiveInfoNCE(**{"temperature": T, "hidden_channels": 5, **options}).build(dim).double()
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.mul_(scale)
    return loss


def dense_weights(loss, h1, h2):
    """Formula (13), from the sum of the two rows of every pair."""
    hidden = torch.tanh((h1[:, None] + h2[None]) @ loss.first_.weight.t() + loss.first_.bias)  # [N, N, h]
    return torch.sigmoid((hidden @ loss.second_.weight.t() + loss.second_.bias).squeeze(2))


def dense_rows(loss, z1, z2, *, normalize=False):
    """Formula (14) of each anchor."""
    h1, h2 = (z / z.norm(dim=1, keepdim=True) for z in (z1, z2))
    weight, similarity = dense_weights(loss, h1, h2), h1 @ h2.t() / T
    if normalize:
        weight = weight / weight.mean(dim=1, keepdim=True)
    return (weight * similarity.exp()).sum(dim=1).log() - similarity.diagonal()


def everything(loss, z1, z2):
    return (z1, z2, *loss.parameters())


def same_with_gradients(found, expected, inputs):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    ours, theirs = torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


# -- values and gradients -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
def test_value_and_every_gradient_equal_the_dense_ones(scale, normalize):
    loss, (z1, z2) = built(scale=scale, normalize_weights=normalize), random_pair()
    expected = dense_rows(loss, z1, z2, normalize=normalize).mean()
    same_with_gradients(loss(z1, z2), expected, everything(loss, z1, z2))


@pytest.mark.parametrize("normalize", [False, True])
def test_both_directions_are_averaged(normalize):
    loss, (z1, z2) = built(normalize_weights=normalize, symmetric=True), random_pair()
    forth, back = (dense_rows(loss, *pair, normalize=normalize) for pair in ((z1, z2), (z2, z1)))
    same_with_gradients(loss(z1, z2), (forth + back).mean() / 2, everything(loss, z1, z2))


@pytest.mark.parametrize("options", [{}, {"normalize_weights": True}, {"symmetric": True}])
def test_gradients_by_finite_differences(options):
    loss, (z1, z2) = built(3, seed=1, hidden_channels=2, **options), random_pair(5, 3)
    names = [name for name, _ in loss.named_parameters()]
    context = LossContext(anchors=torch.tensor([4, 0, 0]), counts=torch.tensor([1.0, 2.0, 0.5]))

    def value(a, b, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(loss, given, (a, b), {"context": context})

    assert torch.autograd.gradcheck(value, (z1, z2, *(p.detach().clone().requires_grad_() for p in loss.parameters())))


def test_many_rows_in_several_tiles():
    loss, (z1, z2) = built(), random_pair(400)
    same_with_gradients(loss(z1, z2), dense_rows(loss, z1, z2).mean(), everything(loss, z1, z2))


# -- the weights ------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.01, 300))
def test_weights_from_two_products_equal_those_of_the_summed_rows(seed, scale):
    loss, (z1, z2) = built(seed=seed, scale=scale), random_pair(7, seed=seed)
    h1, h2 = F.normalize(z1.detach()), F.normalize(z2.detach())
    pairs = loss.pair_weight(h1, h2)
    expected = dense_weights(loss, h1, h2)
    with torch.no_grad():
        torch.testing.assert_close(pairs.weight(pairs.row, pairs.col, pairs.shared), expected, rtol=1e-8, atol=1e-300)
        found = pairs.log_weight(pairs.row, pairs.col, pairs.shared).exp()
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-300)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), bias=st.floats(-8, 8))
def test_without_a_second_layer_it_is_infonce_and_the_logarithm_of_the_weight(seed, bias):
    loss, (z1, z2) = built(seed=seed), random_pair(8, seed=seed)
    with torch.no_grad():
        loss.second_.weight.zero_()
        loss.second_.bias.fill_(bias)
    logits = F.normalize(z1) @ F.normalize(z2).t() / T
    infonce = F.cross_entropy(logits, torch.arange(8))
    weight = 1 / (1 + math.exp(-bias))
    found = loss(z1, z2)
    assert found.item() == pytest.approx(infonce.item() + math.log(weight), rel=1e-9, abs=1e-9)
    grads = torch.autograd.grad(found, (z1, z2, loss.second_.bias))
    torch.testing.assert_close(grads[:2], torch.autograd.grad(infonce, (z1, z2)), rtol=1e-8, atol=1e-10)
    assert grads[2].item() == pytest.approx(1 - weight, rel=1e-8)


def test_a_common_factor_of_a_rows_weights_shifts_it_by_its_logarithm():
    loss, (z1, z2) = built(), random_pair()
    with torch.no_grad():
        loss.second_.bias.fill_(-40.0)
    found, bias = loss(z1, z2), loss.second_.bias
    grads = torch.autograd.grad(found, (z1, z2, loss.first_.weight))
    with torch.no_grad():
        bias.sub_(1.5)
    lower = loss(z1, z2)
    assert lower.item() == pytest.approx(found.item() - 1.5, abs=1e-12)
    torch.testing.assert_close(torch.autograd.grad(lower, (z1, z2, loss.first_.weight)), grads, rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 20))
def test_the_loss_sinks_with_the_last_bias_without_end(seed, scale):
    loss, (z1, z2) = built(seed=seed, scale=scale), random_pair(6, seed=seed)
    (slope,) = torch.autograd.grad(loss(z1, z2), loss.second_.bias)
    assert slope.item() > 0
    values = []
    for bias in (0.0, -10.0, -100.0, -1000.0):
        with torch.no_grad():
            loss.second_.bias.fill_(bias)
        values.append(loss(z1, z2).item())
    assert values == sorted(values, reverse=True)
    assert values[-1] < -800


def test_weights_over_their_mean_do_not_sink():
    loss, (z1, z2) = built(normalize_weights=True), random_pair()
    values, slopes = [], []
    for bias in (-40.0, -45.0, -400.0):
        with torch.no_grad():
            loss.second_.bias.fill_(bias)
        value = loss(z1, z2)
        values.append(value.item())
        slopes.append(torch.autograd.grad(value, loss.second_.bias)[0].item())
    assert values == pytest.approx([values[0]] * 3, abs=1e-11)
    assert slopes == pytest.approx([0.0] * 3, abs=1e-12)
    with torch.no_grad():
        loss.second_.weight.zero_()
    logits = F.normalize(z1) @ F.normalize(z2).t() / T
    torch.testing.assert_close(loss(z1, z2), F.cross_entropy(logits, torch.arange(12)))


def test_training_the_network_alone_weighs_similar_pairs_less():
    loss, (z1, z2) = built(2, scale=1.0, normalize_weights=True, hidden_channels=16), random_pair(20, 2)
    z1, z2 = z1.detach(), z2.detach()
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(z1, z2).backward()
        optimizer.step()
    h1, h2 = F.normalize(z1), F.normalize(z2)
    with torch.no_grad():
        weight, similarity = dense_weights(loss, h1, h2), h1 @ h2.t()
    assert float(torch.corrcoef(torch.stack([weight.log().flatten(), similarity.flatten()]))[0, 1]) < -0.2


# -- anchors ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"normalize_weights": True}, {"symmetric": True}])
def test_all_subsets_of_anchors_average_to_the_whole(options):
    loss, (z1, z2) = built(**options), random_pair(6)
    subsets = [torch.tensor(chosen) for chosen in itertools.combinations(range(6), 2)]
    values = [loss(z1, z2, context=LossContext(anchors=anchors)) for anchors in subsets]
    same_with_gradients(torch.stack(values).mean(), loss(z1, z2), everything(loss, z1, z2))


@pytest.mark.parametrize("normalize", [False, True])
def test_counted_and_shared_out_anchors_equal_the_dense_ones(normalize):
    loss, (z1, z2) = built(normalize_weights=normalize), random_pair()
    rows = dense_rows(loss, z1, z2, normalize=normalize)
    counted = LossContext(anchors=torch.tensor([7, 2]), counts=torch.tensor([1, 3]))
    same_with_gradients(loss(z1, z2, context=counted), (rows[7] + 3 * rows[2]) / 4, everything(loss, z1, z2))
    shards = (torch.arange(5), torch.arange(5, 12), torch.arange(0))
    parts = [loss(z1, z2, context=LossContext(anchors=part, num_anchors=12)) for part in shards]
    rows = dense_rows(loss, z1, z2, normalize=normalize)
    same_with_gradients(sum(parts), rows.mean(), everything(loss, z1, z2))


# -- degenerate input ---------------------------------------------------------------------------------------------------------


def test_one_node_and_zero_rows():
    loss = built(2)
    one = torch.tensor([[3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    expected = dense_weights(loss, one.detach() / 5, one.detach() / 5).log().item()
    assert loss(one, one.detach()).item() == pytest.approx(expected)
    for normalize in (False, True):
        loss = built(4, normalize_weights=normalize)
        zeros = torch.zeros(6, 4, dtype=torch.float64, requires_grad=True)
        value = loss(zeros, random_pair(6)[1])
        value.backward()
        assert math.isfinite(value.item())
        assert bool(zeros.grad.isfinite().all())


def test_the_order_of_nodes_and_the_lengths_of_rows_do_not_matter():
    loss, (z1, z2) = built(normalize_weights=True), random_pair()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(z1[order], z2[order]), loss(z1, z2))
    torch.testing.assert_close(loss(3 * z1, z2 / 7), loss(z1, z2))


def test_the_same_input_gives_the_same_bits():
    z1, z2 = random_pair(dtype=torch.float32)
    loss = built().float()
    assert torch.equal(loss(z1, z2), loss(z1, z2))


MEMORY_PROBE = """
import resource, sys, torch
from gcl.losses.adaptive_infonce import AdaptiveInfoNCE
torch.set_num_threads(1)
loss = AdaptiveInfoNCE().build(4)
z1, z2 = (torch.randn(6000, 4, requires_grad=True) for _ in range(2))
loss(z1[:64], z2[:64]).backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
loss(z1, z2).backward()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) // (1024 if sys.platform != "darwin" else 1024 ** 2))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
def test_no_matrix_of_all_pairs_exists():
    # The weights of all pairs alone would take 137 MiB in float32, the hidden units 16 times that.
    root = Path(gcl.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", MEMORY_PROBE], capture_output=True, text=True, check=True, cwd=root)
    assert int(done.stdout) < 120  # MiB


# -- misuse -------------------------------------------------------------------------------------------------------------------


def test_wrong_input_is_refused():
    z1, z2 = random_pair()
    with pytest.raises(NotFittedError, match=r"call build\(channels\)"):
        AdaptiveInfoNCE()(z1, z2)
    loss = built()
    with pytest.raises(ConfigError, match="two views"):
        loss(z1)
    for first, second in ((z1, z2[:5]), (z1[0], z2[0]), (z1[:0], z2[:0])):
        with pytest.raises(DataError, match=r"same shape \[N, d\]"):
            loss(first, second)
    with pytest.raises(DataError, match="additive_mlp needs shapes"):
        loss(z1[:, :3], z2[:, :3])
    for wrong in (torch.tensor([12]), torch.tensor([0.0])):
        with pytest.raises(DataError, match="anchors"):
            loss(z1, z2, context=dataclasses.replace(LossContext(), anchors=wrong))
    for options in ({"temperature": 0.0}, {"hidden_channels": 0}, {"hidden_channels": True}, {"hidden_channels": 2.0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            AdaptiveInfoNCE(**options)


def test_configuration_resolves_and_describes():
    loss = AdaptiveInfoNCE(0.3, hidden_channels=4, normalize_weights=True)
    record = describe(loss)
    again = resolve("loss", record)
    assert type(again) is AdaptiveInfoNCE
    assert describe(again) == record
    assert "normalize_weights=True" in repr(again.build(3))


def test_the_network_begins_as_linear_layers_do():
    torch.manual_seed(3)
    loss = AdaptiveInfoNCE(hidden_channels=7).build(5)
    torch.manual_seed(3)
    first, second = torch.nn.Linear(5, 7), torch.nn.Linear(7, 1)
    for ours, theirs in zip(loss.parameters(), [*first.parameters(), *second.parameters()], strict=True):
        assert torch.equal(ours, theirs)
