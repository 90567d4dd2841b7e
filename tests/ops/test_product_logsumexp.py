from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gcl.core.errors import ConfigError, DataError
from gcl.ops import pair_tiles, pairs
from gcl.ops.pair_weight import PairWeight, additive_mlp, cluster_ids, similarity, stored
from gcl.ops.product_logsumexp import product_logsumexp

N, M, D = 23, 17, 5  # no tile size used below divides them
SMALL = 4000  # bytes: several tiles, not kept


@pytest.fixture(params=["one tile", "kept tiles", "tiles made twice"])
def memory(request, monkeypatch):
    """The three ways through the code: bytes of tiles, with a cap on the tile that makes several of them."""
    if request.param == "kept tiles":
        monkeypatch.setitem(pair_tiles.TILE_PAIRS, "cpu", 150)
    return SMALL if request.param == "tiles made twice" else 2**24


# -- a reference that shares nothing with the code under test --------------------------------------------------------


def reference(a, b, c, exclude, weight_matrix, temperature):
    """Log-sum-exp over rows and over columns: every pair written out, in float64."""
    keys = a if b is None else b
    if exclude is None and b is None:
        exclude = torch.arange(len(a))
    logits = a @ keys.T
    if c is not None:
        logits = logits + c
    logits = logits / temperature
    present = torch.ones(logits.shape, dtype=torch.bool)
    if weight_matrix is not None:
        present = weight_matrix.detach() > 0
        logits = logits + torch.where(present.clone(), weight_matrix, 1.0).log()
    for i, key in enumerate([] if exclude is None else exclude.tolist()):
        if key >= 0:
            present[i, key] = False
    empty = torch.tensor(-math.inf, dtype=torch.float64)
    rows = [logits[i][present[i]].logsumexp(0) if present[i].any() else empty for i in range(logits.shape[0])]
    cols = [logits[:, j][present[:, j]].logsumexp(0) if present[:, j].any() else empty for j in range(logits.shape[1])]
    none = torch.zeros(0, dtype=torch.float64)
    return (torch.stack(rows) if rows else none), (torch.stack(cols) if cols else none)


def make_weight(kind, n, m):
    """Side tensors of a kind, the ``PairWeight`` of them, and the n × m matrix of weights by its formula."""
    draw = torch.Generator().manual_seed(5)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=draw)

    if kind is None:
        return [], lambda *sides: None, lambda *sides: None
    if kind in ("clusters", "one clustering", "mutual clusters"):
        shape = () if kind == "one clustering" else (3,)
        row, col = (torch.randint(0, 2, (size, *shape), generator=draw) for size in (n, m))
        col = row if kind.startswith("mutual") else col
        differ = row.unsqueeze(1) != col.unsqueeze(0)
        matrix = (differ.sum(-1) if shape else differ).double()
        return [], lambda: cluster_ids(row, col), lambda: matrix
    if kind == "mlp":
        sides = [normal(n, 4), normal(m, 4), normal(3, 4), normal(3), normal(3), normal(())]
        return (
            sides,
            lambda p, q, G1, g1, g2, g0: additive_mlp(p, q, G1=G1, g1=g1, g2=g2, g0=g0),
            lambda p, q, G1, g1, g2, g0: torch.sigmoid(torch.tanh((p[:, None] + q[None]) @ G1.T + g1) @ g2 + g0),
        )
    if kind == "mutual mlp":
        sides = [normal(n, 4), normal(3, 4), normal(3), normal(3), normal(())]
        return (
            sides,
            lambda p, G1, g1, g2, g0: additive_mlp(p, p, G1=G1, g1=g1, g2=g2, g0=g0),
            lambda p, G1, g1, g2, g0: torch.sigmoid(torch.tanh((p[:, None] + p[None]) @ G1.T + g1) @ g2 + g0),
        )
    if kind == "mutual custom":  # by log_weight alone, without a bound
        return (
            [normal(n)],
            lambda u: PairWeight((u,), (u,), log_weight=lambda row, col, _: row[0][:, None] * col[0], mutual=True),
            lambda u: (u[:, None] * u).exp(),
        )
    if kind == "similarity":
        sides = [F.normalize(normal(n, 3)), F.normalize(normal(m, 3)), torch.tensor([0.0, 0.0, 0.7, 2.0]).double()]

        def hats(u, v, table):
            s = u @ v.T
            grid = torch.linspace(-1, 1, len(table), dtype=torch.float64)
            return sum(w * F.relu(1 - (s - at).abs() * (len(table) - 1) / 2) for w, at in zip(table, grid, strict=True))

        return sides, lambda u, v, table: similarity(u, v, table=table), hats
    raise AssertionError(kind)


class Case:
    """Inputs of one combination of options."""

    def __init__(self, with_keys, bias, exclude, weight, n=N, m=M, dtype=torch.float64, scale=1.0):
        draw = torch.Generator().manual_seed(3)
        m = m if with_keys else n

        def normal(*shape):
            return torch.randn(*shape, dtype=torch.float64, generator=draw)

        a = F.normalize(normal(n, D)) * scale
        tensors = {
            "a": a,
            "b": F.normalize(normal(m, D)) if with_keys else None,
            "c": 0.3 * normal(m) if bias else None,
        }
        self.exclude = None
        if exclude == "some":
            self.exclude = torch.randint(-1, m, (n,), generator=draw) if m else torch.full((n,), -1)
        elif exclude == "none":
            self.exclude = torch.full((n,), -1)
        elif exclude == "mutual":  # i <-> i + 1
            self.exclude = torch.arange(n) ^ 1
            self.exclude[self.exclude >= min(n, m)] = -1
        sides, self.build, self.matrix = make_weight(weight, n, m)
        self.row_weight = torch.rand(n, dtype=torch.float64, generator=draw)
        self.row_weight[::4] = 0  # anchors that were not drawn
        self.cotangents = normal(n), normal(m)
        self.dtype = dtype
        # rounded to the type under test first, so that both sides see the same numbers
        self.tensors = {name: None if t is None else t.to(dtype) for name, t in tensors.items()}
        self.sides = [side.to(dtype) for side in sides]
        self.row_weight = self.row_weight.to(dtype)
        self.cotangents = tuple(t.to(dtype) for t in self.cotangents)

    def leaves(self, dtype):
        tensors = {k: None if t is None else t.to(dtype).requires_grad_() for k, t in self.tensors.items()}
        sides = [side.to(dtype).requires_grad_() for side in self.sides]
        return tensors, sides

    def expected(self, temperature, form):
        tensors, sides = self.leaves(torch.float64)
        matrix = self.matrix(*sides)
        rows, cols = reference(tensors["a"], tensors["b"], tensors["c"], self.exclude, matrix, temperature)
        values = {"rows": (rows,), "columns": (cols,), "both": (rows, cols), "weighted": (rows,)}[form]
        weight = self.row_weight.double().requires_grad_()
        if form == "weighted":
            there = rows > -math.inf
            total = (weight[there] * rows[there]).sum()
            values = (total if (weight[~there] == 0).all() else torch.tensor(-math.inf, dtype=torch.float64),)
            extra = [weight]
        else:
            factors = self.factors(form)
            total = sum(
                (lse[lse > -math.inf] * factor.double()[lse > -math.inf]).sum()
                for lse, factor in zip(values, factors, strict=True)
            )
            extra = []
        return [v.detach() for v in values], gradients(total, tensors, sides, extra)

    def actual(self, temperature, form, memory):
        tensors, sides = self.leaves(self.dtype)
        weight = self.row_weight.clone().requires_grad_()
        values = product_logsumexp(
            tensors["a"],
            tensors["b"],
            temperature=temperature,
            key_bias=tensors["c"],
            exclude=self.exclude,
            pair_weight=self.build(*sides),
            row_weight=weight if form == "weighted" else None,
            reduce="rows" if form == "weighted" else form,
            memory=memory,
        )
        if form == "weighted":
            return [values.detach()], gradients(values, tensors, sides, [weight])
        values = values if isinstance(values, tuple) else (values,)
        total = sum((lse * f).sum() for lse, f in zip(values, self.factors(form), strict=True))
        # through autograd.grad with the factors themselves: an empty row's -inf must not reach the sum
        return [v.detach() for v in values], gradients(total, tensors, sides, [])

    def factors(self, form):
        rows, cols = self.cotangents
        return {"rows": (rows,), "columns": (cols,), "both": (rows, cols)}[form]


def gradients(total, tensors, sides, extra):
    inputs = [t for t in (*tensors.values(), *sides, *extra) if t is not None]
    total = total + sum(0 * t.sum() for t in inputs)  # a graph, even where nothing is summed
    return torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)


def check(case, temperature, form, memory, value_tolerance=None, grad_tolerance=None):
    double = case.dtype == torch.float64
    value_tolerance = value_tolerance or (1e-12 if double else 1e-6)
    grad_tolerance = grad_tolerance or (1e-11 if double else 1e-5)
    values, grads = case.actual(temperature, form, memory)
    expected_values, expected_grads = case.expected(temperature, form)
    for value, target in zip(values, expected_values, strict=True):
        assert value.dtype == case.dtype
        assert torch.equal(value == -math.inf, target == -math.inf)
        value, target = value[target > -math.inf].double(), target[target > -math.inf]
        largest = max(1.0, float(target.abs().max())) if target.numel() else 1.0
        assert torch.allclose(value, target, rtol=0, atol=value_tolerance * largest)
    # a shared tensor's gradient is a sum over all pairs that may cancel, so it is held to the size of the largest of all
    largest = max([float(target.abs().max()) for target in expected_grads if target.numel()], default=0.0)
    for place, (grad, target) in enumerate(zip(grads, expected_grads, strict=True)):
        assert grad.shape == target.shape
        is_input = place < sum(t is not None for t in case.tensors.values())
        scale = float(target.abs().max()) if is_input and target.numel() else largest
        assert torch.allclose(grad.double(), target, rtol=0, atol=grad_tolerance * max(scale, 1e-3))


FORMS = ("rows", "columns", "both", "weighted")
EXCLUDES = (None, "some", "none", "mutual")
WEIGHTS = (None, "clusters", "one clustering", "mlp", "similarity")
MUTUAL = ("mutual clusters", "mutual mlp", "mutual custom")
COMBINATIONS = list(itertools.product((True, False), (False, True), EXCLUDES, WEIGHTS))
COMBINATIONS += list(itertools.product((False,), (False, True), EXCLUDES, MUTUAL))


# -- every option with every other -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("with_keys", "bias", "exclude", "weight"), COMBINATIONS)
def test_every_combination_agrees_with_the_dense_reference(with_keys, bias, exclude, weight, memory):
    case = Case(with_keys, bias, exclude, weight)
    for form in FORMS:
        check(case, 0.5, form, memory)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("with_keys", [True, False])
def test_precision_at_both_temperatures(temperature, dtype, weight, with_keys, memory):
    for exclude, bias in ((None, False), ("some", True)):
        case = Case(with_keys, bias, exclude, weight, n=2 * N, m=2 * M + 1, dtype=dtype)
        for form in FORMS:
            check(case, temperature, form, memory)


@pytest.mark.parametrize("weight", [None, "mlp"])
@pytest.mark.parametrize("with_keys", [True, False])
def test_logits_of_ten_thousand(with_keys, weight, memory):
    for form in FORMS:
        for temperature in (1.0, 0.01):
            check(Case(with_keys, True, "some", weight, scale=100), temperature, form, memory, grad_tolerance=1e-8)
            check(Case(with_keys, False, None, weight, scale=100), temperature, form, memory, grad_tolerance=1e-8)
        # float32 logits of 1e4 are known to 1e-3, and so are their softmax weights
        single = Case(with_keys, False, None, weight, scale=100, dtype=torch.float32)
        check(single, 1.0, form, memory, grad_tolerance=1e-2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_float32_at_the_edge_of_the_unshifted_range(sign, memory):
    """All logits at +70 or -70, rows of both kinds together, and gradients of 1e-6."""
    unit = torch.zeros(N, D)
    unit[:, 0] = 1
    signs = torch.where(torch.arange(N) < N // 2, sign, -sign).unsqueeze(1)
    for edge in (69.99, 71.0):
        a, b = (unit * signs).requires_grad_(), unit.clone().requires_grad_()
        lse = product_logsumexp(a, b, temperature=1 / edge, memory=memory)
        (lse * 1e-6).sum().backward()
        assert torch.allclose(lse, edge * signs[:, 0] + math.log(N), rtol=1e-6)
        assert torch.allclose(a.grad, unit * edge * 1e-6, rtol=1e-5)
        assert torch.allclose(b.grad[:, 0], (signs.sum() * edge * 1e-6 / N).expand(N), rtol=1e-4, atol=1e-9)


def test_float32_sums_over_many_keys():
    draw = torch.Generator().manual_seed(0)
    a, b = (F.normalize(torch.randn(size, 8, generator=draw)) for size in (50, 20_000))
    for temperature in (0.05, 0.5):
        grads, values = [], []
        for dtype in (torch.float32, torch.float64):
            left, right = a.to(dtype).requires_grad_(), b.to(dtype).requires_grad_()
            logits = left @ right.T / temperature
            lse = logits.logsumexp(1) if dtype == torch.float64 else None
            lse = product_logsumexp(left, right, temperature=temperature) if lse is None else lse
            grads.append(torch.autograd.grad(lse.sum(), (left, right)))
            values.append(lse.detach().double())
        assert torch.allclose(values[0], values[1], rtol=1e-6, atol=0)
        for grad, target in zip(*grads, strict=True):
            assert (grad - target).abs().max() <= 1e-5 * target.abs().max()


@pytest.mark.parametrize("size", [1.0, 30.0, 200.0])  # the last past the range of a product of exponentials
def test_additive_mlp_of_any_size(size):
    draw = torch.Generator().manual_seed(0)
    u, v = (size * torch.randn(rows, 3, dtype=torch.float64, generator=draw) for rows in (7, 5))
    g2, g0 = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
    expected = torch.sigmoid(torch.tanh(u[:, None] + v) @ g2 + g0)
    for dtype in (torch.float64, torch.float32):
        eye, zero = torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype)
        pair = additive_mlp(u.to(dtype), v.to(dtype), G1=eye, g1=zero, g2=g2.to(dtype), g0=g0.to(dtype))
        weight = pair.weight(pair.row, pair.col, pair.shared)
        assert torch.allclose(weight.double(), expected, rtol=1e-13 if dtype == torch.float64 else 1e-4)
        assert torch.allclose(pair.log_weight(pair.row, pair.col, pair.shared).exp(), weight)


def test_cluster_ids_beyond_int32():
    labels = torch.tensor([2**40, 2**40 + 2**32, 5, 2**40])
    pair = cluster_ids(labels, labels)
    assert torch.equal(pair.weight(pair.row, pair.col, ()), (labels[:, None] != labels).float())


# -- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_keys", [True, False])
@pytest.mark.parametrize("weight", [None, "mlp", "similarity", "mutual mlp", "mutual custom"])
@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(with_keys, weight, form):
    if with_keys and weight in MUTUAL:
        pytest.skip("two sets of nodes")
    case = Case(with_keys, True, "some", weight, n=5, m=4)
    tensors, sides = case.leaves(torch.float64)
    if weight == "similarity":
        sides[2] = (sides[2].detach() + 0.2).requires_grad_()  # away from the weights at which pairs vanish
    row_weight = case.row_weight.requires_grad_()
    b = tensors["b"] if with_keys else torch.zeros(1, dtype=torch.float64, requires_grad=True)  # unused

    def function(a, b, c, row_weight, *sides):
        return product_logsumexp(
            a,
            b if with_keys else None,
            temperature=0.5,
            key_bias=c,
            exclude=case.exclude,
            pair_weight=case.build(*sides),
            row_weight=row_weight if form == "weighted" else None,
            reduce="rows" if form == "weighted" else form,
            memory=1500,
        )

    assert torch.autograd.gradcheck(function, (tensors["a"], b, tensors["c"], row_weight + 0.1, *sides))


@pytest.mark.parametrize("with_keys", [True, False])
def test_row_weight_is_autograd_of_the_plain_form(with_keys, memory):
    case = Case(with_keys, False, "none", None)
    tensors, _ = case.leaves(torch.float64)
    weight = case.row_weight.requires_grad_()
    inputs = [t for t in (tensors["a"], tensors["b"], weight) if t is not None]
    plain = (weight * product_logsumexp(tensors["a"], tensors["b"], exclude=case.exclude, memory=memory)).sum()
    direct = product_logsumexp(tensors["a"], tensors["b"], exclude=case.exclude, row_weight=weight, memory=memory)
    assert torch.allclose(plain, direct, rtol=1e-13)
    for one, other in zip(torch.autograd.grad(3 * plain, inputs), torch.autograd.grad(3 * direct, inputs), strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("d", [3, 64])
def test_low_strips_are_kept_where_high_ones_do_not_fit(d, monkeypatch):
    draw = torch.Generator().manual_seed(2)
    a, b = (torch.randn(size, d, dtype=torch.float64, generator=draw).requires_grad_() for size in (300, 900))
    weight = torch.rand(300, dtype=torch.float64, generator=draw)
    heights = []
    original = pairs.Pairs.differentiate

    def watched(self, tiles, rows, cols, grads, kept):
        heights.append((tiles[0][0].stop - tiles[0][0].start, kept is not None))
        return original(self, tiles, rows, cols, grads, kept)

    monkeypatch.setattr(pairs.Pairs, "differentiate", watched)
    value = product_logsumexp(a, b, row_weight=weight, temperature=2.0, memory=2 * 8 * 900 * 70)
    expected = (weight * reference(a, b, None, None, None, 2.0)[0]).sum()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    for ours, theirs in zip(*(torch.autograd.grad(loss, [a, b]) for loss in (value, expected)), strict=True):
        assert ours.is_contiguous()
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    assert all(kept for _, kept in heights)
    assert max(height for height, _ in heights) == 64  # 70 rows fit, in full vectors


def test_row_weight_of_merged_repeats_is_their_count():
    a = torch.randn(6, 3, dtype=torch.float64)
    b = torch.randn(9, 3, dtype=torch.float64)
    drawn = torch.tensor([0, 2, 2, 5, 2])
    merged = product_logsumexp(a, b, row_weight=torch.bincount(drawn, minlength=6))
    assert torch.allclose(merged, product_logsumexp(a[drawn], b).sum())


def test_only_needed_gradients_are_made_and_no_grad_makes_none(monkeypatch):
    calls = []
    original = pairs.Pairs.differentiate
    monkeypatch.setattr(pairs.Pairs, "differentiate", lambda *args: (calls.append(1), original(*args)))
    a, b = torch.randn(7, 3), torch.randn(4, 3, requires_grad=True)
    weight = torch.ones(7)
    with torch.no_grad():
        assert not product_logsumexp(a, b, row_weight=weight).requires_grad
        assert not product_logsumexp(a, b).requires_grad
    assert not product_logsumexp(a, b.detach(), row_weight=weight).requires_grad
    assert not calls
    product_logsumexp(a, b, row_weight=weight).backward()
    assert calls
    assert a.grad is None
    assert b.grad is not None


def test_one_of_two_outputs_may_be_left_unused(memory):
    a, b = (torch.randn(size, 3, dtype=torch.float64, requires_grad=True) for size in (N, M))
    for index, form in enumerate(("rows", "columns")):
        both = product_logsumexp(a, b, reduce="both", memory=memory)[index]
        one = product_logsumexp(a, b, reduce=form, memory=memory)
        for left, right in zip(
            torch.autograd.grad(both.sum(), (a, b)), torch.autograd.grad(one.sum(), (a, b)), strict=True
        ):
            assert torch.allclose(left, right, rtol=1e-12)


def test_backward_twice_over_a_retained_graph(memory):
    a = torch.randn(N, 3, requires_grad=True)
    loss = product_logsumexp(a, memory=memory).mean()
    (first,) = torch.autograd.grad(loss, a, retain_graph=True)
    (second,) = torch.autograd.grad(loss, a)
    assert torch.equal(first, second)


@pytest.mark.parametrize("weighted", [True, False])
def test_a_second_derivative_is_refused(weighted):
    a = torch.randn(5, 3, requires_grad=True)
    value = product_logsumexp(a, row_weight=torch.ones(5) if weighted else None).sum()
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(value, a, create_graph=True)


def test_the_same_result_twice(memory):
    a, b = torch.randn(N, 4), torch.randn(M, 4)
    assert torch.equal(product_logsumexp(a, b, memory=memory), product_logsumexp(a, b, memory=memory))


# -- degenerate input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (4, 1), (0, 3), (3, 0), (0, 0)])
def test_one_row_no_rows_and_no_keys(n, m, memory):
    for with_keys, bias, exclude, weight in COMBINATIONS:
        if exclude == "some" and not m:
            continue
        case = Case(with_keys, bias, exclude, weight, n=n, m=m)
        for form in FORMS:
            check(case, 0.5, form, memory)


@pytest.mark.parametrize("temperature", [0.5, 1e-4])  # without and with a running maximum
@pytest.mark.parametrize("reason", ["excluded", "one cluster", "no keys", "one node"])
def test_an_empty_row_is_minus_infinity_with_zero_gradient(reason, temperature, memory):
    a = torch.randn(1 if reason == "one node" else 3, 4, requires_grad=True)
    b = torch.randn(0 if reason == "no keys" else 1, 4, requires_grad=True)
    options = {"temperature": temperature, "memory": memory}
    if reason == "one node":
        b = None
    elif reason == "excluded":
        options["exclude"] = torch.zeros(3, dtype=torch.int64)
    elif reason == "one cluster":
        options["pair_weight"] = cluster_ids(torch.zeros(3, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    inputs = (a,) if b is None else (a, b)
    lse = product_logsumexp(a, b, **options)
    assert (lse == -math.inf).all()
    assert all((grad == 0).all() for grad in torch.autograd.grad(lse.sum(), inputs))
    weight = torch.ones(a.shape[0], requires_grad=True)
    total = product_logsumexp(a, b, row_weight=weight, **options)
    assert total == -math.inf
    assert all((grad == 0).all() for grad in torch.autograd.grad(total, (*inputs, weight)))
    assert product_logsumexp(a, b, row_weight=torch.zeros(a.shape[0]), **options) == 0


def test_nan_is_not_hidden():
    a = torch.randn(4, 3)
    a[1, 1] = math.nan
    assert product_logsumexp(a, torch.randn(5, 3)).isnan()[1]


def test_width_zero(memory):
    a, b = torch.zeros(5, 0), torch.zeros(7, 0)
    assert torch.allclose(product_logsumexp(a, b, memory=memory), torch.tensor(7.0).log().expand(5))


# -- invariance ------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 2**20),
    cap=st.integers(300, 5000),
)
def test_permuting_keys_changes_nothing(n, m, scale, seed, cap):
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(size, 3, dtype=torch.float64, generator=draw) * scale for size in (n, m))
    c, labels_a, labels_b = (
        torch.randn(m, dtype=torch.float64, generator=draw),
        torch.arange(n) % 3,
        torch.arange(m) % 3,
    )
    exclude = torch.randint(-1, m, (n,), generator=draw)
    order = torch.randperm(m, generator=draw)
    position = torch.argsort(order)
    moved = torch.where(exclude < 0, exclude, position[exclude.clamp(min=0)])
    rows, cols = product_logsumexp(
        a, b, key_bias=c, exclude=exclude, pair_weight=cluster_ids(labels_a, labels_b), reduce="both", memory=cap
    )
    rows_after, cols_after = product_logsumexp(
        a,
        b[order],
        key_bias=c[order],
        exclude=moved,
        pair_weight=cluster_ids(labels_a, labels_b[order]),
        reduce="both",
    )
    assert torch.allclose(rows, rows_after, rtol=1e-12, atol=1e-12)
    assert torch.allclose(cols[order], cols_after, rtol=1e-12, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), shift=st.floats(-1e3, 1e3))
def test_a_common_bias_shifts_the_result(seed, shift):
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(size, 3, dtype=torch.float64, generator=draw) for size in (5, 8))
    shifted = product_logsumexp(a, b, temperature=0.5, key_bias=torch.full((8,), shift, dtype=torch.float64))
    assert torch.allclose(shifted, product_logsumexp(a, b, temperature=0.5) + shift / 0.5, rtol=1e-12, atol=1e-10)


# -- types and errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    a, b = torch.randn(9, 4).to(dtype).requires_grad_(), torch.randn(6, 4).to(dtype).requires_grad_()
    lse = product_logsumexp(a, b, temperature=0.5)
    assert lse.dtype == torch.float32
    assert torch.equal(lse, product_logsumexp(a.float(), b.float(), temperature=0.5))
    lse.sum().backward()
    assert a.grad.dtype == b.grad.dtype == dtype


def test_autocast_does_not_lower_the_precision():
    a = torch.randn(9, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = product_logsumexp(a)
        inside.sum().backward()
    assert torch.equal(inside, product_logsumexp(a))


def test_half_precision_side_tensors_get_a_gradient():
    a, b, u = torch.randn(40, 3), torch.randn(50, 3), torch.randn(40)
    sides = [u.bfloat16().requires_grad_(), u.bfloat16().float().requires_grad_()]
    for side in sides:
        weight = PairWeight((side,), (b,), log_weight=lambda row, col, shared: row[0].float()[:, None] * col[0][:, 0])
        product_logsumexp(a, b, pair_weight=weight, memory=2000).sum().backward()
    assert sides[0].grad.dtype == torch.bfloat16
    assert torch.allclose(sides[0].grad.float(), sides[1].grad, rtol=2**-6, atol=2**-6)


@pytest.mark.parametrize("scale", [0.1, 100.0])  # without and with a shift of the logits
def test_stored_weights_are_taken_as_they_are(scale, memory):
    draw = torch.Generator().manual_seed(4)
    a, b = (scale * torch.randn(size, D, dtype=torch.float64, generator=draw) for size in (N, M))
    a, b = a.requires_grad_(), b.requires_grad_()
    matrix = torch.rand(N, M, dtype=torch.float64, generator=draw)
    matrix[3] = 0.0
    matrix[matrix < 0.2] = 0.0
    exclude = torch.randint(-1, M, (N,), generator=draw)
    found = product_logsumexp(a, b, exclude=exclude, pair_weight=stored(matrix), reduce="both", memory=memory)
    expected = reference(a, b, None, exclude, matrix, 1.0)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)
    ours, theirs = (
        torch.autograd.grad(sum(part[part.isfinite()].sum() for part in parts), [a, b]) for parts in (found, expected)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_custom_pair_weight():
    a, b = torch.randn(5, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    u, v = torch.randn(5, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    weight = PairWeight((u,), (v,), log_weight=lambda row, col, shared: row[0][:, None] * col[0])
    expected = (a @ b.T + u[:, None] * v).logsumexp(1)
    assert torch.allclose(product_logsumexp(a, b, pair_weight=weight, memory=1000), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": 0.0}, ConfigError, "temperature"),
        ({"temperature": math.inf}, ConfigError, "temperature"),
        ({"temperature": math.nan}, ConfigError, "temperature"),
        ({"reduce": "all"}, ConfigError, "reduce"),
        ({"reduce": "both", "row_weight": torch.ones(4)}, ConfigError, "row_weight"),
        ({"memory": 0}, ConfigError, "memory"),
        ({"backend": "numpy"}, ConfigError, "backend"),
        ({"b": torch.ones(3, 5)}, DataError, "width"),
        ({"b": torch.ones(3)}, DataError, "b must be a matrix"),
        ({"b": torch.ones(3, 2, dtype=torch.int64)}, DataError, "b must be a matrix"),
        ({"key_bias": torch.ones(4)}, DataError, "key_bias"),
        ({"row_weight": torch.ones(3)}, DataError, "row_weight"),
        ({"exclude": torch.zeros(3, dtype=torch.int64)}, DataError, "exclude"),
        ({"exclude": torch.zeros(4)}, DataError, "exclude"),
        ({"exclude": torch.full((4,), 3)}, DataError, "exclude"),
        ({"exclude": torch.full((4,), -2)}, DataError, "exclude"),
        ({"pair_weight": cluster_ids(torch.arange(4), torch.arange(4))}, DataError, "pair_weight.col"),
        (
            {"pair_weight": PairWeight((torch.ones(4),), (torch.ones(3),), log_weight=lambda r, c, s: r[0])},
            DataError,
            "log_weight",
        ),
    ],
)
def test_misuse_is_named(options, error, message):
    arguments = {"b": torch.ones(3, 2), **options}
    with pytest.raises(error, match=message):
        product_logsumexp(torch.ones(4, 2), **arguments)


def test_pair_weight_constructors_refuse_what_does_not_fit():
    with pytest.raises(DataError, match="integers"):
        cluster_ids(torch.ones(3), torch.ones(3))
    with pytest.raises(DataError, match="clusterings"):
        cluster_ids(torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 1, dtype=torch.int64))
    with pytest.raises(DataError, match="additive_mlp"):
        additive_mlp(
            torch.ones(3, 2),
            torch.ones(3, 2),
            G1=torch.ones(4, 3),
            g1=torch.ones(4),
            g2=torch.ones(4),
            g0=torch.ones(1),
        )
    with pytest.raises(DataError, match="not negative"):
        similarity(torch.ones(3, 2), torch.ones(3, 2), table=torch.tensor([-1.0, 1.0]))
    with pytest.raises(DataError, match="matrix"):
        stored(torch.ones(3))
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(DataError, match="finite and not negative"):
            stored(torch.tensor([[1.0, wrong]]))
    with pytest.raises(DataError, match="K >= 2"):
        similarity(torch.ones(3, 2), torch.ones(3, 2), table=torch.tensor([1.0]))
