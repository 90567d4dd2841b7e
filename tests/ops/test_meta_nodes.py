from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gcl.core.errors import ConfigError, DataError
from gcl.ops import meta_nodes
from gcl.ops.csr import clusters_as_rows
from gcl.ops.meta_nodes import meta_node_sum


def by_loop(z: Tensor, labels: Tensor, num_clusters: int) -> Tensor:
    total = [[0.0] * z.shape[1] for _ in range(num_clusters)]
    for row, label in zip(z.tolist(), labels.tolist(), strict=True):
        if label >= 0:
            total[label] = [t + value for t, value in zip(total[label], row, strict=True)]
    return torch.tensor(total, dtype=torch.float64).reshape(num_clusters, z.shape[1])


@st.composite
def clusterings(draw):
    num_clusters = draw(st.integers(0, 6))
    labels = draw(st.lists(st.integers(-1, num_clusters - 1), max_size=20))
    d = draw(st.integers(0, 4))
    entries = draw(st.lists(st.integers(-8, 8), min_size=len(labels) * d, max_size=len(labels) * d))
    index = draw(st.sampled_from([torch.int32, torch.int64]))
    z = torch.tensor(entries, dtype=torch.float64).reshape(len(labels), d) / 4
    return z, torch.tensor(labels, dtype=index), num_clusters


@pytest.mark.parametrize("few_bytes", [0, 2**20])  # sorted, or added in place
@settings(max_examples=60, deadline=None)
@given(case=clusterings())
def test_equals_a_loop(few_bytes, case):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meta_nodes, "FEW_BYTES", few_bytes)
        assert torch.equal(meta_node_sum(*case), by_loop(*case))  # quarters add up without rounding


@pytest.mark.parametrize("few_bytes", [0, 2**20])
def test_gradients_of_both_orders(few_bytes, monkeypatch):
    monkeypatch.setattr(meta_nodes, "FEW_BYTES", few_bytes)
    labels = torch.tensor([2, -1, 0, 2, 4, 2])
    z = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: meta_node_sum(z, labels, 5), (z,))
    assert torch.autograd.gradgradcheck(lambda z: meta_node_sum(z, labels, 5).square(), (z,))


@pytest.mark.parametrize("few_bytes", [0, 2**20])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype, few_bytes, monkeypatch):
    monkeypatch.setattr(meta_nodes, "FEW_BYTES", few_bytes)
    total = meta_node_sum(torch.ones(4096, 2, dtype=dtype), torch.zeros(4096, dtype=torch.int64), 1)
    assert total.dtype == dtype
    assert total.tolist() == [[4096, 4096]]


def test_large_sums_of_two_kinds_agree_and_repeat():
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 300, (20_000,), generator=draw)
    z = torch.randn(20_000, 24, generator=draw)
    total = meta_node_sum(z, labels, 310)
    assert torch.equal(total, meta_node_sum(z, labels, 310))
    member = torch.zeros(310, 20_000, dtype=torch.float64)
    member[labels[labels >= 0], (labels >= 0).nonzero().squeeze(1)] = 1
    torch.testing.assert_close(total.double(), member @ z.double(), rtol=0, atol=1e-4)
    strided = meta_node_sum(z.T.contiguous().T, labels, 310)
    assert torch.equal(strided, total)


def test_what_is_not_finite_stays_in_its_own_cluster():
    z = torch.ones(4, 1)
    z[0] = torch.nan
    z[3] = torch.inf  # in no cluster
    total = meta_node_sum(z, torch.tensor([0, 1, 1, -1]), 3)
    assert total[0].isnan().all()
    assert total[1:].tolist() == [[2], [0]]


def test_clusters_as_rows():
    row_ptr, members = clusters_as_rows(torch.tensor([1, -1, 3, 1, 0]), 5)
    assert row_ptr.tolist() == [0, 1, 3, 3, 4, 4]
    assert members.tolist() == [4, 0, 3, 2]


@pytest.mark.parametrize(
    ("z", "labels", "message"),
    [
        (torch.ones(3), torch.zeros(3, dtype=torch.int64), "z must be a matrix"),
        (torch.ones(3, 1, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), "z must be a matrix"),
        (torch.ones(3, 1), torch.zeros(2, dtype=torch.int64), r"shape \[3\]"),
        (torch.ones(3, 1), torch.zeros(3), "one integer a node"),
        (torch.ones(3, 1), torch.tensor([0, 2, 1]), "between 0 and 1, or be -1"),
        (torch.ones(3, 1), torch.tensor([0, -2, 1]), "got -2 to 1"),
    ],
)
def test_errors(z, labels, message):
    with pytest.raises(DataError, match=message):
        meta_node_sum(z, labels, 2)


def test_unknown_backend():
    with pytest.raises(ConfigError, match="backend"):
        meta_node_sum(torch.ones(1, 1), torch.zeros(1, dtype=torch.int64), 1, backend="cuda")
