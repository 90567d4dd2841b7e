from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from gcl.ops.pair_weight import additive_mlp, cluster_ids
from gcl.ops.product_logsumexp import product_logsumexp
from gcl.ops.triton import product_logsumexp as module
from gcl.ops.triton.product_logsumexp import product_logsumexp_triton, supports
from gcl.ops.triton.product_logsumexp_blocks import Blocks, Tiling, block_sizes

WHOLE = Blocks(Tiling(16, 32, 32), Tiling(32, 16, 32))  # the row block stays on the chip
STEPS = Blocks(Tiling(32, 16, 16), Tiling(16, 32, 16))  # two steps along d
N, M, D = 37, 50, 20  # several blocks, divided by none


# -- a reference that writes every pair out, in float64 ----------------------------------------------------------------


def reference(a, b, bias, exclude, labels, temperature):
    keys = a if b is None else b
    logits = a @ keys.T
    if bias is not None:
        logits = logits + bias
    logits = logits / temperature
    present = torch.ones(logits.shape, dtype=torch.bool)
    if labels is not None:
        count = (labels[0].unsqueeze(1) != labels[1].unsqueeze(0)).sum(2)
        present &= count > 0
        logits = logits + count.clamp(min=1).double().log()
    if exclude is not None:
        rows = (exclude >= 0).nonzero().squeeze(1)
        present[rows, exclude[rows]] = False
    return _masked(logits, present, 1), _masked(logits, present, 0)


def _masked(logits, present, dim):
    """Log-sum-exp over what is present, -inf with a zero gradient where nothing is."""
    there = present.any(dim)
    maximum = logits.detach().masked_fill(~present, -math.inf).amax(dim, keepdim=True)
    maximum = maximum.masked_fill(maximum == -math.inf, 0)
    total = torch.where(present, (logits.masked_fill(~present, 0) - maximum).exp(), 0).sum(dim)
    lse = torch.where(there, total, 1).log() + maximum.squeeze(dim)
    return torch.where(there, lse, -math.inf)


class Case:
    def __init__(self, n=N, m=M, d=D, *, keys=True, bias=False, exclude=None, clusters=0, dtype=torch.float32):
        draw = torch.Generator().manual_seed(n + 100 * m)

        def normal(*shape):
            return torch.randn(*shape, generator=draw).to(dtype)

        m = m if keys else n
        self.a, self.b = normal(n, d), normal(m, d) if keys else None
        self.bias = normal(m) if bias else None
        self.row_weight = torch.rand(n, generator=draw)
        self.row_weight[::4] = 0
        self.exclude = None
        if exclude == "self":
            self.exclude = torch.arange(n)
        elif exclude == "mutual":
            self.exclude = torch.arange(n) ^ 1
            self.exclude[self.exclude >= min(n, m)] = -1
        elif exclude == "some":
            self.exclude = torch.randint(-1, m, (n,), generator=draw)
        self.labels = None
        if clusters:
            row = torch.randint(0, 2, (n, clusters), generator=draw)
            col = row if not keys else torch.randint(0, 2, (m, clusters), generator=draw)
            self.labels = (row, col)
        self.factors = torch.randn(n, generator=draw), torch.randn(m, generator=draw)

    def leaves(self, dtype=None):
        return [
            None if t is None else t.detach().to(dtype or t.dtype).requires_grad_()
            for t in (self.a, self.b, self.bias, self.row_weight)
        ]

    def finish(self, values, leaves):
        """Values, and the gradients of a fixed functional of them; an infinite value takes no part in it."""
        factors = self.factors if len(values) == 2 else [f for f in self.factors if f.shape == values[0].shape][:1]
        if not values[0].dim():
            total = values[0]
        else:
            total = sum((torch.where(v == -math.inf, 0, v) * f).sum() for v, f in zip(values, factors, strict=True))
        used = [leaf for leaf in leaves if leaf is not None]
        return [v.detach() for v in values], torch.autograd.grad(total, used, allow_unused=True)

    def expected(self, form, temperature):
        leaves = self.leaves(torch.float64)
        a, b, bias, weight = leaves
        rows, cols = reference(a, b, bias, self.exclude, self.labels, temperature)
        values = {"rows": (rows,), "columns": (cols,), "both": (rows, cols)}.get(form)
        if values is None:
            there = (rows > -math.inf) & (weight != 0)
            values = ((weight[there] * rows[there]).sum() + 0 * weight.sum(),)
            value, grads = self.finish(values, leaves)
            if (weight[rows == -math.inf] != 0).any():
                value = [torch.tensor(-math.inf, dtype=torch.float64)]
            # the weight of an absent row has the gradient of its log-sum-exp all the same
            return value, (*grads[:-1], torch.where(rows > -math.inf, rows, 0).detach())
        return self.finish(values, leaves)

    def actual(self, form, temperature, blocks, symmetric=False):
        leaves = self.leaves()
        a, b, bias, weight = leaves
        values = product_logsumexp_triton(
            a,
            b,
            temperature=temperature,
            key_bias=bias,
            exclude=self.exclude,
            pair_weight=None if self.labels is None else cluster_ids(*self.labels),
            row_weight=weight if form == "weighted" else None,
            reduce="rows" if form == "weighted" else form,
            symmetric=symmetric,
            _blocks=blocks,
        )
        return self.finish((values,) if isinstance(values, Tensor) else values, leaves)

    def check(self, form="rows", temperature=0.7, blocks=STEPS, symmetric=False, tolerance=2e-5):
        expected, actual = self.expected(form, temperature), self.actual(form, temperature, blocks, symmetric)
        for want, got in zip((*expected[0], *expected[1]), (*actual[0], *actual[1]), strict=True):
            if want is None or got is None:
                assert want is None or not want.any()
                assert got is None or not got.any()
                continue
            assert got.shape == want.shape
            scale = max(1.0, float(want[want.isfinite()].abs().max()) if want.isfinite().any() else 1.0)
            assert torch.allclose(got.double(), want, rtol=tolerance, atol=tolerance * scale)


@pytest.fixture(params=[False, True], ids=["atomic", "deterministic"])
def deterministic(request):
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)


# -- values and gradients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["rows", "columns", "both", "weighted"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keys": False, "exclude": "self"},
        {"bias": True, "exclude": "some"},
        {"clusters": 3},
        {"bias": True, "clusters": 1, "exclude": "some"},
        {"keys": False, "bias": True, "clusters": 2, "exclude": "self"},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "plain",
)
def test_agrees_with_every_pair_written_out(form, options, deterministic):
    Case(**options).check(form)
    if not deterministic:
        Case(**options).check(form, blocks=WHOLE)


@pytest.mark.parametrize("blocks", [WHOLE, STEPS], ids=["whole", "steps"])
@pytest.mark.parametrize("form", ["rows", "both", "weighted"])
@pytest.mark.parametrize(
    "options",
    [{"exclude": "self"}, {}, {"exclude": "mutual"}, {"exclude": "self", "clusters": 2}],
    ids=["self", "all", "mutual", "clusters"],
)
def test_symmetric_problem(options, form, blocks, deterministic):
    Case(keys=False, **options).check(form, blocks=blocks, symmetric=True)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 40), (40, 1), (16, 32), (33, 64), (5, 7)])
@pytest.mark.parametrize("d", [1, 16, 33])
def test_shapes(n, m, d):
    Case(n, m, d).check("both")
    Case(n, m, d, bias=True, exclude="some").check("weighted")


@pytest.mark.parametrize("n", [1, 16, 17, 64])
def test_symmetric_shapes(n):
    Case(n, keys=False).check(symmetric=True)
    Case(n, keys=False, exclude="self").check(symmetric=True, blocks=WHOLE)


@pytest.mark.parametrize(("n", "m"), [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_no_rows_or_no_keys(n, m, weighted):
    a, b = torch.randn(n, 4, requires_grad=True), torch.randn(m, 4, requires_grad=True)
    weight = torch.zeros(n) if weighted else None
    value = product_logsumexp_triton(a, b, row_weight=weight, reduce="rows" if weighted else "both")
    if weighted:
        assert float(value.detach()) == 0
        value.backward()
    else:
        assert torch.equal(value[0], torch.full((n,), -math.inf))
        assert torch.equal(value[1], torch.full((m,), -math.inf))
        sum(part.sum() for part in value).backward()
    assert not a.grad.any()
    assert not b.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["both", "weighted"])
def test_half_precision_sums_in_float32(dtype, form):
    case = Case(bias=True, dtype=dtype)
    value = case.actual(form, 0.7, STEPS)[0]
    assert all(v.dtype == torch.float32 for v in value)
    for got, want in zip(value, case.expected(form, 0.7)[0], strict=True):
        assert torch.allclose(got.double(), want, rtol=1e-5)
    for got, want in zip(case.actual(form, 0.7, STEPS)[1], case.expected(form, 0.7)[1], strict=True):
        if want is not None and got is not None:
            assert torch.allclose(got.double(), want, rtol=1e-2, atol=1e-2)


def test_strided_input():
    base = torch.randn(D, N), torch.randn(M, 2 * D)
    a, b = base[0].t(), base[1][:, ::2]
    assert not a.is_contiguous()
    leaves = a.detach().requires_grad_(), b.detach().requires_grad_()
    plain = a.contiguous().requires_grad_(), b.contiguous().requires_grad_()
    for left, right in (leaves, plain):
        product_logsumexp_triton(left, right, _blocks=STEPS).sum().backward()
    assert torch.equal(leaves[0].grad, plain[0].grad)
    assert torch.equal(leaves[1].grad, plain[1].grad)


def test_expanded_gradient_and_one_of_two_outputs():
    case = Case()
    for index in (0, 1):
        a, b = (t.clone().requires_grad_() for t in (case.a, case.b))
        product_logsumexp_triton(a, b, reduce="both", _blocks=STEPS)[index].sum().backward()
        c, d = (t.double().requires_grad_() for t in (case.a, case.b))
        reference(c, d, None, None, None, 1.0)[index].sum().backward()
        assert torch.allclose(a.grad.double(), c.grad, atol=1e-4)
        assert torch.allclose(b.grad.double(), d.grad, atol=1e-4)


# -- empty rows and extreme logits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["rows", "columns", "both", "weighted"])
def test_empty_rows_and_columns(form, deterministic):
    case = Case(n=20, m=18, clusters=1)
    case.labels[0][:] = 0
    case.labels[1][:] = 0
    case.labels[0][4:] = 1  # the first four rows meet nothing below
    case.labels[1][17] = 1  # the last key meets the first four rows only
    case.exclude = torch.full((20,), -1)
    case.exclude[:4] = 17
    case.row_weight[:4] = 0
    case.check(form)


def test_all_excluded_without_keys(deterministic):
    a = torch.ones(1, 3, requires_grad=True)
    for symmetric in (False, True):
        lse = product_logsumexp_triton(a, exclude=torch.zeros(1, dtype=torch.int64), symmetric=symmetric)
        assert torch.equal(lse, torch.tensor([-math.inf]))
        (grad,) = torch.autograd.grad(lse.sum(), a)
        assert torch.equal(grad, torch.zeros(1, 3))


def test_weight_on_an_empty_row():
    a = torch.ones(2, 3, requires_grad=True)
    weight = torch.tensor([1.0, 0.0], requires_grad=True)
    value = product_logsumexp_triton(a, a.detach()[:1], exclude=torch.tensor([0, -1]), row_weight=weight)
    assert float(value.detach()) == -math.inf
    grads = torch.autograd.grad(value, (a, weight))
    assert not grads[0].any()
    assert torch.allclose(grads[1], torch.tensor([0.0, 3.0]))


@pytest.mark.parametrize("temperature", [1e-3, 1e3])
@pytest.mark.parametrize("symmetric", [False, True])
def test_logits_of_any_size(temperature, symmetric):
    Case(keys=not symmetric, exclude="self" if symmetric else None).check(
        "both", temperature=temperature, symmetric=symmetric, tolerance=3e-3
    )


def test_keys_of_bias_minus_infinity_are_absent():
    case = Case()
    bias = torch.zeros(M)
    bias[10:] = -math.inf
    bias.requires_grad_()
    a = case.a.clone().requires_grad_()
    b = case.b.clone().requires_grad_()
    product_logsumexp_triton(a, b, key_bias=bias, _blocks=STEPS).sum().backward()
    c = case.a.double().requires_grad_()
    (c @ case.b[:10].double().T).logsumexp(1).sum().backward()
    assert torch.allclose(a.grad.double(), c.grad, atol=1e-5)
    assert not b.grad[10:].any()
    assert not bias.grad[10:].any()


# -- the way through memory and autograd -------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [False, True])
def test_column_sums_in_several_launches(monkeypatch, symmetric):
    monkeypatch.setattr(module, "COLUMN_BYTES", 4 * M)  # one row block a launch
    Case(keys=not symmetric, exclude="self" if symmetric else None).check("both", symmetric=symmetric)


@pytest.mark.parametrize("programs", [1, 1000])
def test_any_number_of_programs(monkeypatch, programs):
    monkeypatch.setattr(module, "_num_programs", lambda device: programs)
    Case().check("both")
    Case(keys=False, exclude="self").check(symmetric=True)


def test_no_gradient_where_none_is_needed():
    case = Case()
    a, b = case.a.clone().requires_grad_(), case.b.clone()
    product_logsumexp_triton(a, b, row_weight=torch.ones(N), _blocks=STEPS).backward()
    assert b.grad is None
    with torch.no_grad():
        assert not product_logsumexp_triton(a, b, _blocks=STEPS).requires_grad
        assert not product_logsumexp_triton(a, b, row_weight=torch.ones(N), _blocks=STEPS).requires_grad


@pytest.mark.parametrize("weighted", [False, True])
def test_no_second_derivative(weighted):
    a = torch.randn(5, 3, requires_grad=True)
    value = product_logsumexp_triton(a, row_weight=torch.ones(5) if weighted else None).sum()
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(value, a, create_graph=True)


@pytest.mark.parametrize("d", [7, 100, 200])
def test_default_blocks(d):
    Case(5, 9, d).check("both", blocks=None)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("clusters", [0, 2])
def test_the_operation_takes_either_backend(weighted, clusters):
    case = Case(20, keys=False, clusters=clusters)
    results = []
    for backend in ("torch", "triton"):
        a = case.a.clone().requires_grad_()
        weight = case.row_weight.clone().requires_grad_()
        value = product_logsumexp(
            a,
            pair_weight=cluster_ids(*case.labels) if clusters else None,
            row_weight=weight if weighted else None,
            backend=backend,
        )
        inputs = (a, weight) if weighted else (a,)
        results.append((value, *torch.autograd.grad(value.sum(), inputs)))
    for torch_result, triton_result in zip(*results, strict=True):
        assert torch_result.dtype == triton_result.dtype
        assert torch.allclose(torch_result, triton_result, rtol=1e-4, atol=1e-5)


def test_what_is_supported():
    ids = torch.zeros(3, dtype=torch.int64)
    assert supports(None, torch.float32, 1024)
    assert supports(cluster_ids(ids, ids), torch.bfloat16, 5)
    assert not supports(None, torch.float64, 8)
    assert not supports(None, torch.float32, 0)
    assert not supports(None, torch.float32, 4096)
    p, q = torch.zeros(3, 2), torch.zeros(3)
    assert not supports(additive_mlp(p, p, G1=torch.zeros(3, 2), g1=q, g2=q, g0=torch.tensor(0.0)), torch.float32, 8)


@pytest.mark.parametrize("precision", ["ieee", "tf32x3", "tf32"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("d", [1, 17, 128, 129, 1000])
def test_block_sizes_are_powers_of_two(d, precision, dtype):
    blocks = block_sizes(d, precision, dtype)
    for tiling in (blocks.sums, blocks.gradients):
        for size in (tiling.rows, tiling.cols, tiling.width):
            assert size >= 16
            assert size & (size - 1) == 0
