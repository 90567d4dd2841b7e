"""HeCo's loss against dense sums in float64, and its two ends: one positive a node, and all."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import edge_indices

from gcl.core.adjacency import Adjacency
from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError
from gcl.core.resolve import describe, resolve
from gcl.losses.multi_positive import MultiPositive

T = 0.5


def random_pair(num_nodes=10, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    z1 = torch.randn(num_nodes, dim, generator=generator, dtype=dtype)
    return z1.requires_grad_(), (z1.detach() + torch.randn(num_nodes, dim, generator=generator)).to(
        dtype
    ).requires_grad_()


def adjacency_of(dense):
    row, col = torch.as_tensor(dense).nonzero().t()
    return Adjacency.from_edge_index(torch.stack([col, row]), tuple(dense.shape))


def random_positives(num_nodes=10, seed=0):
    chosen = torch.rand(num_nodes, num_nodes, generator=torch.Generator().manual_seed(seed)) < 0.25
    return chosen.fill_diagonal_(True)


def dense_loss(z1, z2, positives, balance=0.5):
    """Formula (15) without the program's 1e-8, node by node."""
    similarity = ((F.normalize(z1) @ F.normalize(z2).t()) / T).exp()
    total = 0.0
    for share, matrix in ((balance, similarity), (1 - balance, similarity.t())):
        for i in range(len(z1)):
            if bool(positives[i].any()):
                total = total - share * (matrix[i][positives[i]].sum() / matrix[i].sum()).log()
    return total / len(z1)


def same_with_gradients(found, expected, inputs):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    ours, theirs = torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("balance", [0, 0.3, 0.5, 1])
def test_equals_the_dense_sums_in_both_directions(balance):
    z1, z2 = random_pair()
    positives = random_positives()
    found = MultiPositive(T, balance=balance)(z1, z2, context=LossContext(positives=adjacency_of(positives)))
    same_with_gradients(found, dense_loss(z1, z2, positives, balance), (z1, z2))


def test_both_directions_share_their_positives():
    z1, z2 = random_pair()
    context = LossContext(positives=adjacency_of(random_positives()))
    forth, back = MultiPositive(T, balance=1), MultiPositive(T, balance=0)
    torch.testing.assert_close(back(z1, z2, context=context), forth(z2, z1, context=context))


@settings(max_examples=30, deadline=None)
@given(edges=edge_indices(min_nodes=2, max_nodes=7), seed=st.integers(0, 99))
def test_any_positives_among_them_none(edges, seed):
    index, (num_nodes, _) = edges
    positives = torch.zeros(num_nodes, num_nodes, dtype=torch.bool)
    positives[index[1], index[0]] = True
    z1, z2 = random_pair(num_nodes, 3, seed)
    adjacency = Adjacency.from_edge_index(index, (num_nodes, num_nodes))
    found = MultiPositive(T, balance=0.3)(z1, z2, context=LossContext(positives=adjacency))
    if positives.any():
        same_with_gradients(found, dense_loss(z1, z2, positives, 0.3), (z1, z2))
        return
    assert found.item() == 0
    for grad in torch.autograd.grad(found, (z1, z2)):
        assert not grad.any()


def test_a_node_without_positives_is_no_anchor_and_still_a_key():
    z1, z2 = random_pair()
    positives = random_positives()
    positives[3] = False
    positives[:, 3] = False
    found = MultiPositive(T, balance=1)(z1, z2, context=LossContext(positives=adjacency_of(positives)))
    first, second = torch.autograd.grad(found, (z1, z2))
    assert not first[3].any()
    assert second[3].any()


def test_the_own_node_alone_is_the_symmetric_infonce():
    z1, z2 = random_pair()
    own = LossContext(positives=adjacency_of(torch.eye(10)))
    logits, target = F.normalize(z1) @ F.normalize(z2).t() / T, torch.arange(10)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2
    same_with_gradients(MultiPositive(T)(z1, z2, context=own), expected, (z1, z2))


def test_all_nodes_as_positives_leave_nothing_to_learn():
    z1, z2 = random_pair()
    value = MultiPositive(T)(z1, z2, context=LossContext(positives=adjacency_of(torch.ones(10, 10))))
    assert value.item() == pytest.approx(0, abs=1e-12)
    for grad in torch.autograd.grad(value, (z1, z2)):
        torch.testing.assert_close(grad, torch.zeros_like(grad), rtol=0, atol=1e-12)


def test_another_positive_lowers_the_loss():
    z1, z2 = random_pair()
    positives, values = torch.eye(10, dtype=torch.bool), []
    for column in range(10):
        positives[:, column] = True
        values.append(MultiPositive(T)(z1, z2, context=LossContext(positives=adjacency_of(positives))).item())
    assert values == sorted(values, reverse=True)


def test_gradients_by_finite_differences():
    z1, z2 = random_pair(6, 3)
    positives = random_positives(6)
    positives[2] = False
    context = LossContext(positives=adjacency_of(positives))
    assert torch.autograd.gradcheck(lambda a, b: MultiPositive(T, balance=0.3)(a, b, context=context), (z1, z2))


def test_the_order_of_nodes_and_the_lengths_of_rows_do_not_matter():
    z1, z2 = random_pair()
    positives, order = random_positives(), torch.randperm(10, generator=torch.Generator().manual_seed(1))
    expected = MultiPositive(T)(z1, z2, context=LossContext(positives=adjacency_of(positives)))
    moved = LossContext(positives=adjacency_of(positives[order][:, order]))
    torch.testing.assert_close(MultiPositive(T)(3 * z1[order], z2[order] / 7, context=moved), expected)


def test_single_precision_and_sharp_temperatures():
    z1, z2 = random_pair(dtype=torch.float32)
    context = LossContext(positives=adjacency_of(random_positives()))
    value = MultiPositive(T)(z1, z2, context=context)
    assert torch.equal(value, MultiPositive(T)(z1, z2, context=context))
    expected = dense_loss(z1.detach().double(), z2.detach().double(), random_positives())
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    sharp = MultiPositive(0.001)(z1, z2, context=context)
    sharp.backward()
    assert math.isfinite(sharp.item())
    assert bool(z1.grad.isfinite().all())


def test_wrong_input_is_refused():
    z1, z2 = random_pair()
    loss, positives = MultiPositive(), adjacency_of(torch.eye(10))
    with pytest.raises(ConfigError, match="needs positives"):
        loss(z1, z2)
    with pytest.raises(ConfigError, match="leave anchors out"):
        loss(z1, z2, context=LossContext(positives=positives, anchors=torch.tensor([1])))
    with pytest.raises(DataError, match=r"positives must be \[10, 10\], got \[9, 9\]"):
        loss(z1, z2, context=LossContext(positives=adjacency_of(torch.eye(9))))
    with pytest.raises(ConfigError, match="two views"):
        loss(z1, context=LossContext(positives=positives))
    with pytest.raises(DataError, match=r"same shape \[N, d\]"):
        loss(z1, z2[:5], context=LossContext(positives=positives))
    for options in (
        {"temperature": -1.0},
        {"balance": 1.5},
        {"balance": -0.1},
        {"balance": True},
        {"balance": math.nan},
    ):
        with pytest.raises(ConfigError, match=next(iter(options))):
            MultiPositive(**options)


def test_configuration_resolves_and_describes():
    record = describe(MultiPositive(0.3, balance=0.2))
    again = resolve("loss", record)
    assert type(again) is MultiPositive
    assert describe(again) == record
    assert MultiPositive.needs == ("positives",)
    assert "balance=0.2" in repr(again)
