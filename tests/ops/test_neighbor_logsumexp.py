from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.ops.neighbor_logsumexp import neighbor_logsumexp
from gcl.ops.product_logsumexp import product_logsumexp


def make_adjacency(n, m, *, weighted=False, masked=False, compact=False, seed=0, dtype=torch.float64):
    """About half of all pairs, with loops, an empty row, and (weighted) a weight of 0."""
    draw = torch.Generator().manual_seed(seed)
    dense = torch.rand(n, m, generator=draw) < 0.5
    dense[n // 2] = False
    row, col = dense.nonzero().T
    weight = torch.rand(row.numel(), generator=draw, dtype=dtype) + 0.1 if weighted else None
    if weight is not None and weight.numel():
        weight[0] = 0
    adjacency = Adjacency.from_edge_index(torch.stack([col, row]), (n, m), weight)
    if masked:
        adjacency = adjacency.masked(torch.rand(adjacency.num_arcs, generator=draw) < 0.7, compact=compact)
    return adjacency


def reference(a, b, adjacency, temperature, diagonal, weight=None):
    """Row by row over the kept arcs, in float64."""
    values = torch.ones(adjacency.num_arcs, dtype=torch.float64) if weight is None else weight
    if adjacency.keep is not None:
        values = values * adjacency.keep
    rows = []
    for i in range(adjacency.shape[0]):
        terms = []
        for arc in range(int(adjacency.row_ptr[i]), int(adjacency.row_ptr[i + 1])):
            j = int(adjacency.col[arc])
            if values[arc] > 0:
                product = a[i] @ b[j] if diagonal is None or i != j else torch.tensor(diagonal).double()
                terms.append(product / temperature + values[arc].log())
        rows.append(torch.stack(terms).logsumexp(0) if terms else torch.tensor(-math.inf, dtype=torch.float64))
    return torch.stack(rows)


@pytest.fixture(params=[2**17, 7], ids=["one piece", "pieces"], autouse=True)
def piece(request, monkeypatch):
    """All arcs at once, and a few rows at a time."""
    monkeypatch.setattr("gcl.ops.neighbor_logsumexp.PIECE", request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
@pytest.mark.parametrize("diagonal", [None, 0.0, -2.5])
@pytest.mark.parametrize("own_keys", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("masked", ["no", "mask", "compact"])
def test_agrees_with_the_loop(dtype, temperature, diagonal, own_keys, weighted, masked):
    draw = torch.Generator().manual_seed(1)
    n, m = 13, 13 if own_keys else 9
    adjacency = make_adjacency(n, m, weighted=weighted, masked=masked != "no", compact=masked == "compact", dtype=dtype)
    a = F.normalize(torch.randn(n, 6, generator=draw)).to(dtype).requires_grad_()
    b = None if own_keys else F.normalize(torch.randn(m, 6, generator=draw)).to(dtype).requires_grad_()
    weight = adjacency.weight.requires_grad_() if weighted else None
    inputs = [t for t in (a, b, weight) if t is not None]
    lse = neighbor_logsumexp(a, b, adjacency, temperature=temperature, diagonal=diagonal)

    doubles = [t.detach().double().requires_grad_() for t in inputs]
    left = doubles[0]
    right = left if own_keys else doubles[1]
    target = reference(left, right, adjacency, temperature, diagonal, doubles[-1] if weighted else None)

    there = target > -math.inf
    assert torch.equal(lse > -math.inf, there)
    assert not there[n // 2]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    largest = max(1.0, float(target[there].detach().abs().max()))
    assert torch.allclose(lse[there].double(), target[there], rtol=0, atol=tolerance * largest)
    factor = torch.randn(n, generator=draw)
    grads = torch.autograd.grad((lse * factor).sum(), inputs)
    expected = torch.autograd.grad((target[there] * factor[there]).sum(), doubles)
    for grad, goal in zip(grads, expected, strict=True):
        scale = max(float(goal.abs().max()), 1e-3)
        assert torch.allclose(grad.double(), goal, rtol=0, atol=(1e-12 if dtype == torch.float64 else 1e-5) * scale)


@pytest.mark.parametrize("diagonal", [None, 0.0])
def test_gradcheck(diagonal):
    adjacency = make_adjacency(6, 5, weighted=True, masked=True)
    a = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weight = (adjacency.weight + 0.2).requires_grad_()

    def function(a, b, weight):
        lse = neighbor_logsumexp(a, b, adjacency.with_weight(weight), temperature=0.7, diagonal=diagonal)
        return lse[lse > -math.inf]

    assert torch.autograd.gradcheck(function, (a, b, weight))


def test_all_pairs_are_the_dense_partner():
    n = 11
    row, col = torch.ones(n, n).nonzero().T
    everyone = Adjacency.from_edge_index(torch.stack([col, row]), (n, n))
    a, b = torch.randn(n, 4, dtype=torch.float64), torch.randn(n, 4, dtype=torch.float64)
    sparse = neighbor_logsumexp(a, b, everyone, temperature=0.3)
    assert torch.allclose(sparse, product_logsumexp(a, b, temperature=0.3), rtol=1e-12)
    others = neighbor_logsumexp(a, None, everyone.without_self_loops(), temperature=0.3)
    assert torch.allclose(others, product_logsumexp(a, temperature=0.3), rtol=1e-12)


def test_huge_logits():
    adjacency = make_adjacency(9, 9)
    a = 100 * F.normalize(torch.randn(9, 4, dtype=torch.float64)).requires_grad_()
    lse = neighbor_logsumexp(a, None, adjacency, temperature=0.5)
    target = reference(a, a, adjacency, 0.5, None)
    there = target > -math.inf
    assert float(target[there].detach().max()) > 1e4
    assert torch.allclose(lse[there], target[there], rtol=1e-12)


def test_zero_gradient_of_empty_rows():
    empty = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (4, 3))
    some = make_adjacency(4, 3, masked=True).masked(
        torch.zeros(make_adjacency(4, 3).num_arcs, dtype=torch.bool), compact=False
    )
    weightless = make_adjacency(4, 3)
    weightless = weightless.with_weight(torch.zeros(weightless.num_arcs, requires_grad=True))
    for adjacency in (empty, some, weightless):
        a, b = torch.randn(4, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
        lse = neighbor_logsumexp(a, b, adjacency)
        assert (lse == -math.inf).all()
        inputs = [a, b, *([adjacency.weight] if adjacency is weightless else [])]
        assert all((grad == 0).all() for grad in torch.autograd.grad(lse.sum(), inputs))


def test_one_node_and_no_nodes():
    loop = Adjacency.from_edge_index(torch.zeros(2, 1, dtype=torch.int64), (1, 1))
    a = torch.tensor([[2.0]], requires_grad=True)
    assert neighbor_logsumexp(a, None, loop, temperature=0.5).tolist() == [8.0]
    lse = neighbor_logsumexp(a, None, loop, temperature=0.5, diagonal=0.0)
    lse.sum().backward()
    assert lse.tolist() == [0.0]
    assert a.grad.tolist() == [[0.0]]
    none = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (0, 0))
    assert neighbor_logsumexp(torch.zeros(0, 3), None, none).shape == (0,)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 10), seed=st.integers(0, 2**20), diagonal=st.sampled_from([None, 0.0]))
def test_relabelling_nodes_relabels_the_result(n, seed, diagonal):
    draw = torch.Generator().manual_seed(seed)
    adjacency = make_adjacency(n, n, weighted=True, masked=True, seed=seed)
    a = torch.randn(n, 3, dtype=torch.float64, generator=draw)
    order = torch.randperm(n, generator=draw)
    lse = neighbor_logsumexp(a, None, adjacency, temperature=0.2, diagonal=diagonal)
    moved = neighbor_logsumexp(a[order], None, adjacency.subgraph(order), temperature=0.2, diagonal=diagonal)
    assert torch.allclose(lse[order], moved, rtol=1e-12, atol=1e-12)


def test_half_precision_and_second_derivative():
    adjacency = make_adjacency(5, 5)
    a = torch.randn(5, 3).bfloat16().requires_grad_()
    lse = neighbor_logsumexp(a, None, adjacency)
    assert lse.dtype == torch.float32
    present = lse > -math.inf
    (grad,) = torch.autograd.grad(lse[present].sum(), a, retain_graph=True)
    assert grad.dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(lse[present].sum(), a, create_graph=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"temperature": 0.0}, ConfigError, "temperature"),
        ({"diagonal": math.nan}, ConfigError, "diagonal"),
        ({"b": torch.ones(3, 4)}, DataError, "width"),
        ({"b": torch.ones(4, 2)}, DataError, "adjacency"),
        ({"a": torch.ones(4)}, DataError, "matrix"),
        ({"adjacency": "negative"}, DataError, "negative"),
    ],
)
def test_misuse_is_named(change, error, message):
    adjacency = make_adjacency(4, 3)
    arguments = {"a": torch.ones(4, 2), "b": torch.ones(3, 2), "adjacency": adjacency, **change}
    if arguments["adjacency"] == "negative":
        arguments["adjacency"] = adjacency.with_weight(-torch.ones(adjacency.num_arcs))
    with pytest.raises(error, match=message):
        neighbor_logsumexp(**arguments)
