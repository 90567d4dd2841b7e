"""Bounds of compactness against enumeration of every admissible graph, dense loops, and golden values."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcl.core.adjacency import Adjacency
from gcl.ops.budgeted_bounds import BudgetedBounds
from gcl.ops.certificate import certificate
from gcl.ops.compactness import (
    BoundedLayer,
    certified_score,
    contrast_direction,
    output_interval,
    reference_score,
    relaxed_score,
    target_score,
)
from gcl.ops.propagation_bounds import PropagationBounds, deletion_budget
from gcl.ops.relaxation import activation_interval, intercept_term, relax, relaxed_step
from gcl.ops.rowwise import rowwise

F64 = torch.float64


# -- oracles: dense, in float64, and by the definitions -----------------------------------------------------------------


def phi(x, slope):
    return torch.where(x >= 0, x, slope * x)


def gcn_matrix(arcs):
    """``[..., N, N]`` of 0/1 arc matrices (row receives from column) without loops."""
    looped = arcs + torch.eye(arcs.shape[-1], dtype=F64)
    factor = looped.sum(-1).rsqrt()
    return looped * factor.unsqueeze(-1) * factor.unsqueeze(-2)


def network(a, x, layers):
    """Output and every pre-activation."""
    hidden, seen = x, []
    for layer in layers:
        seen.append(a @ (hidden @ layer.weight) + layer.bias)
        hidden = phi(seen[-1], layer.slope)
    return hidden, seen


def admissible(arcs, budget, deletion):
    """Every graph with at most ``budget[i]`` edges less at node i, ``[K, N, N]``."""
    size = arcs.shape[0]
    places = [
        (i, j) for i, j in itertools.product(range(size), repeat=2) if arcs[i, j] and (deletion == "arcs" or i < j)
    ]
    masks = torch.tensor(list(itertools.product([1.0, 0.0], repeat=len(places))), dtype=F64).view(
        2 ** len(places), len(places)
    )
    graphs = torch.zeros(masks.shape[0], size, size, dtype=F64)
    for at, (i, j) in enumerate(places):
        graphs[:, i, j] = masks[:, at]
        if deletion == "edges":
            graphs[:, j, i] = masks[:, at]
    lost = (arcs - graphs).sum(-1)
    return graphs[(lost <= budget).all(1)]


def slow_lines(low, high, slope):
    """The table of the relaxation, entry by entry: slope and upper intercept."""
    s, t = torch.empty_like(low), torch.zeros_like(low)
    for at in itertools.product(*map(range, low.shape)):
        lo, hi = float(low[at]), float(high[at])
        if lo >= 0 and hi > 0:
            s[at] = 1.0
        elif hi <= 0:
            s[at] = slope
        else:
            s[at], t[at] = (hi - slope * lo) / (hi - lo), (slope - 1) * hi * lo / (hi - lo)
    return s, t


def losing(v, slope):
    """The weights that meet the line with the intercept; above a slope of 1 the lines change places."""
    return v.clamp(max=0) if slope <= 1 else v.clamp(min=0)


def slow_reference(arcs, budget, a, x, layers, w, *, by_target=False):
    """Section by section as published, with dense N by N bounds."""
    degree = arcs.sum(1) + 1
    root = (degree - budget).rsqrt()
    upper = (arcs + torch.eye(len(arcs), dtype=F64)) * root[:, None] * root
    lower = torch.diag(1 / degree)
    first, second = layers

    def interval(r, bias):
        up, down = r.clamp(min=0), r.clamp(max=0)
        return upper @ down + lower @ up + bias, upper @ up + lower @ down + bias

    r1 = x @ first.weight
    s1, t1 = slow_lines(*interval(r1, first.bias), first.slope)
    h = phi(gcn_matrix(arcs) @ r1 + first.bias, first.slope)
    s2, t2 = slow_lines(*interval(h @ second.weight, second.bias), second.slope)
    k2 = (s2 * w) @ second.bias + (losing(w, second.slope) * t2).sum(1)
    v = (s2 * w) @ second.weight.t()
    k1 = (s1 * v) @ first.bias + (losing(v, first.slope) * t1).sum(1)
    if by_target:
        return ((s1 * v) * (a @ a @ r1)).sum(1) + a.sum(1) * k1 + k2
    return a @ (a @ (r1 * s1 * v).sum(1) + k1) + k2


def slow_certified(upper, lower, x, layers, w):
    """The fast bound and the interval bound with dense matrices and signs, maximum of both."""

    def product(low, high, a_low, a_high):  # of an interval matrix and an interval matrix, a >= 0
        return a_high @ low.clamp(max=0) + a_low @ low.clamp(min=0), a_high @ high.clamp(min=0) + a_low @ high.clamp(
            max=0
        )

    h_low = h_high = x
    for layer in layers:
        up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        r_low, r_high = h_low @ up + h_high @ down, h_high @ up + h_low @ down
        low, high = product(r_low, r_high, lower, upper)
        before, (low, high) = (h_low, h_high), (low + layer.bias, high + layer.bias)
        ends = torch.stack([phi(low, layer.slope), phi(high, layer.slope)])
        zero = torch.where((low < 0) & (high > 0), 0.0, ends[0])
        h_low, h_high = torch.minimum(ends.amin(0), zero), torch.maximum(ends.amax(0), zero)
    s, t = slow_lines(low, high, layers[-1].slope)
    v = (s * w) @ layers[-1].weight.t()
    constant = (s * w) @ layers[-1].bias + (losing(w, layers[-1].slope) * t).sum(1)
    g = v.clamp(min=0) @ before[0].t() + v.clamp(max=0) @ before[1].t()
    fast = constant + (upper * g.clamp(max=0) + lower * g.clamp(min=0)).sum(1)
    return torch.maximum(fast, torch.minimum(w * h_low, w * h_high).sum(1))


# -- random problems ----------------------------------------------------------------------------------------------------


def adjacency_of(arcs, loops=()):
    """The stored graph; a loop of the data is replaced by the one that GCN gives every node."""
    stored = arcs.clone()
    for node in loops:
        stored[node, node] = 1
    row, col = stored.nonzero(as_tuple=True)
    return Adjacency.from_edge_index(torch.stack([col, row]), arcs.shape)


def random_layers(generator, widths, slope):
    return [
        BoundedLayer(
            torch.randn(i, o, generator=generator, dtype=F64),
            torch.randn(o, generator=generator, dtype=F64) * 0.3,
            slope,
        )
        for i, o in itertools.pairwise(widths)
    ]


@st.composite
def problems(draw, num_layers=2, slopes=(0.0, 0.25, -0.4, 1.0, 1.7), directed=None):
    """A random graph (often with isolated nodes), network and view; at most 12 free arcs or edges.

    Arcs that go one by one may be those of a directed graph.
    """
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    size = draw(st.integers(5, 7))
    deletion = draw(st.sampled_from(["edges", "arcs"]))
    slope = draw(st.sampled_from(slopes))
    pairs = torch.combinations(torch.arange(size))
    pairs = pairs[torch.randperm(len(pairs), generator=generator)][
        : draw(st.integers(0, 9 if deletion == "edges" else 6))
    ]
    arcs = torch.zeros(size, size, dtype=F64)
    arcs[pairs[:, 0], pairs[:, 1]] = arcs[pairs[:, 1], pairs[:, 0]] = 1
    if deletion == "arcs" and (draw(st.booleans()) if directed is None else directed):
        ordered = torch.cartesian_prod(torch.arange(size), torch.arange(size))
        ordered = ordered[ordered[:, 0] != ordered[:, 1]]
        ordered = ordered[torch.randperm(len(ordered), generator=generator)][: draw(st.integers(0, 12))]
        arcs.zero_()[ordered[:, 0], ordered[:, 1]] = 1
        if draw(st.booleans()):  # a star out of a node: its in-degree says nothing of how often it is read
            arcs[:, 0] = 1
            arcs[0] = 0
            arcs[1:, 1:] = 0
    budget = torch.minimum(torch.randint(0, 3, (size,), generator=generator).double(), arcs.sum(1))
    if draw(st.booleans()):  # every node keeps a neighbour
        budget = torch.minimum(budget, (arcs.sum(1) - 1).clamp(min=0))
    x = torch.randn(size, 3, generator=generator, dtype=F64)
    widths = [3, *[4] * (num_layers - 1), 3]
    layers = random_layers(generator, widths, slope)
    graphs = admissible(arcs, budget, deletion)
    others = torch.randn(size, 3, generator=generator, dtype=F64)
    view = graphs[int(torch.randint(len(graphs), (1,), generator=generator))]
    return arcs, budget, deletion, x, layers, contrast_direction(others), graphs, view


def bounds_of(arcs, budget, deletion, tight):
    return PropagationBounds.of(adjacency_of(arcs), budget, deletion=deletion, tight=tight)


def dense(bounds):
    looped = bounds.looped
    matrices = []
    for values in (bounds.lower, bounds.upper):
        matrices.append(torch.zeros(looped.shape, dtype=F64))
        matrices[-1][looped.row.long(), looped.col.long()] = values
    return matrices


def times(a):
    return lambda x: a @ x


# -- the pieces ---------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(problems(), st.booleans())
def test_every_admissible_matrix_and_preactivation_lies_between_the_bounds(problem, tight):
    arcs, budget, deletion, x, layers, _, graphs, _ = problem
    bounds = bounds_of(arcs, budget, deletion, tight)
    lower, upper = dense(bounds)
    matrices = gcn_matrix(graphs)
    assert (matrices >= lower - 1e-12).all()
    assert (matrices <= upper + 1e-12).all()
    _, seen = network(matrices, x, layers)
    first = bounds.of_matrix(x @ layers[0].weight)
    last, _ = output_interval(bounds, first, layers)
    for (middle, radius), bias, preactivation in zip(
        (first, last), (layer.bias for layer in layers), seen, strict=True
    ):
        assert (preactivation >= middle + bias - radius - 1e-9).all()
        assert (preactivation <= middle + bias + radius + 1e-9).all()


def test_the_bounds_are_attained():
    """A star whose leaves and centre can lose one edge: the largest entries occur in some graph."""
    arcs = torch.zeros(4, 4, dtype=F64)
    arcs[0, 1:] = arcs[1:, 0] = 1
    budget = torch.tensor([1, 1, 1, 1.0], dtype=F64)
    for deletion in ("arcs", "edges"):
        lower, upper = dense(bounds_of(arcs, budget, deletion, tight=False))
        matrices = gcn_matrix(admissible(arcs, budget, deletion))
        torch.testing.assert_close(matrices.amax(0), upper)
        torch.testing.assert_close(matrices.amin(0), lower)


@pytest.mark.parametrize("slope", [-0.5, 0.0, 0.25, 1.0, 1.7])
def test_the_lines_enclose_the_activation(slope):
    ends = torch.linspace(-2, 2, 17, dtype=F64)
    low, high = (part.flatten() for part in torch.meshgrid(ends, ends, indexing="ij"))
    low, high = low[low <= high], high[low <= high]
    s, t = relax((low + high) / 2, (high - low) / 2, slope)
    middle, radius = activation_interval((low + high) / 2, (high - low) / 2, slope)
    for part in torch.linspace(0, 1, 21, dtype=F64):
        x = low + part * (high - low)
        value = phi(x, slope)
        assert (value >= s * x + t.clamp(max=0) - 1e-12).all()
        assert (value <= s * x + t.clamp(min=0) + 1e-12).all()
        assert ((value - middle).abs() <= radius + 1e-12).all()
    stable = (low >= 0) & (high > 0)
    torch.testing.assert_close(s[stable], torch.ones_like(s[stable]))
    assert (s[high <= 0] == slope).all()
    assert (t[stable | (high <= 0)] == 0).all()
    if slope <= 1:
        torch.testing.assert_close((s, t), slow_lines(low, high, slope))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_tiny_intervals_have_finite_gradients(dtype):
    """A unit whose weights have decayed: the radius is far below the middle, and its square below every number."""
    for middle, radius in ((1.0, 1e-22), (1.0, 1e-29), (-1e-3, 1e-24), (0.5e-24, 1e-24), (0.0, 0.0)):
        ends = [torch.tensor([value], dtype=dtype, requires_grad=True) for value in (middle, radius)]
        slope, intercept = relax(*ends, 0.0)
        assert all(bool(g.isfinite().all()) for g in torch.autograd.grad((slope + intercept).sum(), ends))
        if abs(middle) > 2 * radius:
            assert float(slope.detach()) == float(middle > 0)


def test_a_single_point_has_finite_gradients():
    middle = torch.zeros(3, dtype=F64, requires_grad=True)
    radius = torch.zeros(3, dtype=F64, requires_grad=True)
    s, t = relax(middle, radius, 0.25)
    gradients = torch.autograd.grad((s + t).sum(), (middle, radius))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert (s == 0.25).all()


@pytest.mark.parametrize("slope", [-0.5, 0.0, 0.25, 1.0, 1.7])
def test_a_step_back_is_its_definition_with_its_gradient(slope):
    generator = torch.Generator().manual_seed(3)
    middle, v = (torch.randn(40, 3, dtype=F64, generator=generator, requires_grad=True) for _ in range(2))
    radius = torch.rand(40, 3, dtype=F64, generator=generator, requires_grad=True)
    bias = torch.randn(3, dtype=F64, generator=generator, requires_grad=True)

    def textbook(middle, radius, v, bias):
        s, t = relax(middle + bias, radius, slope)
        return s * v, (s * v) @ bias + intercept_term(v, t, slope)

    def step(middle, radius, v, bias):
        return relaxed_step((middle, radius), v, bias, slope)

    arguments = (middle, radius, v, bias)
    torch.testing.assert_close(step(*arguments), textbook(*arguments))
    weight = torch.randn(40, 3, dtype=F64, generator=generator)
    found, expected = (
        torch.autograd.grad((weights * weight).sum() + (constant * weight[:, 0]).sum(), arguments)
        for weights, constant in (step(*arguments), textbook(*arguments))
    )
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(step, arguments)
    for at in torch.linspace(-1, 1, 9, dtype=F64):  # it is a lower bound on the whole interval
        p = middle + at * radius + bias
        weights, constant = step(*arguments)
        assert ((v * phi(p, slope)).sum(1) >= (weights * (p - bias)).sum(1) + constant - 1e-12).all()


def test_a_step_back_at_a_single_point_has_finite_gradients():
    zero = torch.zeros(2, 3, requires_grad=True)
    bias = torch.zeros(3, requires_grad=True)
    v = torch.ones(2, 3, requires_grad=True)
    weights, constant = relaxed_step((zero, zero), v, bias, 0.25)
    assert (weights == 0.25).all()
    for gradient in torch.autograd.grad(weights.sum() + constant.sum(), (zero, v, bias)):
        assert torch.isfinite(gradient).all()
        assert (gradient.abs() < 10).all()


def test_the_direction_is_the_node_minus_the_mean_of_the_others():
    z = torch.randn(6, 4, dtype=F64, generator=torch.Generator().manual_seed(0))
    unit = z / z.norm(dim=1, keepdim=True)
    expected = torch.stack([unit[i] - torch.cat([unit[:i], unit[i + 1 :]]).mean(0) for i in range(6)])
    torch.testing.assert_close(contrast_direction(z), expected)
    torch.testing.assert_close(contrast_direction(z).sum(0), torch.zeros(4, dtype=F64))
    rows = torch.tensor([4, 1])
    torch.testing.assert_close(contrast_direction(z, rows), expected[rows])
    assert torch.isfinite(contrast_direction(torch.zeros(1, 4))).all()


def test_budgets_round_half_to_even_and_leave_a_neighbour():
    size = 20  # node i receives from nodes 0 .. i - 1, and has a loop of its own that does not count
    row, col = torch.tril_indices(size, size)
    adjacency = Adjacency.from_edge_index(torch.stack([col, row]), (size, size))
    degree = torch.arange(size)
    for probability in (0.1, 0.3, 0.5, 0.9, 1.0):
        drop = torch.full((adjacency.num_arcs,), probability, dtype=torch.float32)
        expected = torch.tensor([round(round(probability * int(d), 9)) for d in degree])  # Python rounds half to even
        assert torch.equal(deletion_budget(drop, adjacency, keep_neighbor=False), torch.minimum(expected, degree))
        least = torch.minimum(expected, (degree - 1).clamp(min=0))
        assert torch.equal(deletion_budget(drop, adjacency), least)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 12))
def test_pieces_give_the_whole_and_its_gradient(seed, size, piece):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(size, 3, dtype=F64, generator=generator, requires_grad=True) for _ in range(2))
    bias = torch.randn(3, dtype=F64, generator=generator, requires_grad=True)

    def function(x, y, shift):
        return torch.tanh(x * y + shift), (x * x).sum(1)

    whole, pieces = function(a, b, bias), rowwise(function, (a, b), (bias,), piece=piece)
    torch.testing.assert_close(pieces, whole)
    weight = torch.randn(size, 3, dtype=F64, generator=generator)
    losses = [(first * weight).sum() + second.sum() for first, second in (whole, pieces)]
    expected, found = (torch.autograd.grad(loss, (a, b, bias)) for loss in losses)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(lambda *rows: rowwise(function, rows[:2], rows[2:], piece=piece), (a, b, bias))


# -- the scores ---------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(problems())
def test_the_reference_agrees_with_its_dense_form(problem):
    arcs, budget, deletion, x, layers, w, _, view = problem
    budget = torch.minimum(budget, (arcs.sum(1) - 1).clamp(min=0))
    bounds, a = bounds_of(arcs, budget, deletion, tight=False), gcn_matrix(view)
    product = x @ layers[0].weight
    hidden = phi(gcn_matrix(arcs) @ product + layers[0].bias, layers[0].slope) @ layers[1].weight
    found = reference_score(bounds, times(a), product, hidden, layers, w)
    torch.testing.assert_close(found, slow_reference(arcs, budget, a, x, layers, w), rtol=1e-9, atol=1e-12)
    found = target_score(bounds, times(a), times(a), product, hidden, layers, w)
    expected = slow_reference(arcs, budget, a, x, layers, w, by_target=True)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(problems(), st.booleans())
def test_relaxed_never_exceeds_the_value_at_any_admissible_view(problem, tight):
    arcs, budget, deletion, x, layers, w, graphs, _ = problem
    bounds, product = bounds_of(arcs, budget, deletion, tight), x @ layers[0].weight
    for graph in graphs[:: max(1, len(graphs) // 20)]:
        a = gcn_matrix(graph)
        z, seen = network(a, x, layers)
        score = relaxed_score(bounds, bounds, times(a), product, seen[0], layers, w)
        assert (score <= (z * w).sum(1) + 1e-9).all()


@settings(max_examples=200, deadline=None)
@given(problems(), st.booleans())
def test_certified_never_exceeds_the_true_minimum(problem, tight):
    arcs, budget, deletion, x, layers, w, graphs, _ = problem
    bounds = bounds_of(arcs, budget, deletion, tight)
    score = certified_score(bounds, bounds, x @ layers[0].weight, layers, w)
    z, _ = network(gcn_matrix(graphs), x, layers)
    assert (score <= (z * w).sum(-1).amin(0) + 1e-9).all()
    lower, upper = dense(bounds)
    torch.testing.assert_close(score, slow_certified(lower=lower, upper=upper, x=x, layers=layers, w=w))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([1, 3, 4]).flatmap(lambda count: problems(num_layers=count)))
def test_certified_holds_for_any_depth(problem):
    arcs, budget, deletion, x, layers, w, graphs, _ = problem
    bounds = bounds_of(arcs, budget, deletion, tight=True)
    score = certified_score(bounds, bounds, x @ layers[0].weight, layers, w)
    z, _ = network(gcn_matrix(graphs), x, layers)
    assert (score <= (z * w).sum(-1).amin(0) + 1e-9).all()


@settings(max_examples=25, deadline=None)
@given(problems())
def test_without_a_budget_the_sound_modes_are_exact(problem):
    arcs, budget, deletion, x, layers, w, _, _ = problem
    bounds, a = bounds_of(arcs, torch.zeros_like(budget), deletion, tight=True), gcn_matrix(arcs)
    z, seen = network(a, x, layers)
    product = x @ layers[0].weight
    for score in (
        relaxed_score(bounds, bounds, times(a), product, seen[0], layers, w),
        certified_score(bounds, bounds, product, layers, w),
    ):
        torch.testing.assert_close(score, (z * w).sum(1))


@settings(max_examples=25, deadline=None)
@given(problems(slopes=(1.0,)))
def test_a_linear_network_is_relaxed_without_loss(problem):
    arcs, budget, deletion, x, layers, w, _, view = problem
    bounds, a = bounds_of(arcs, budget, deletion, tight=False), gcn_matrix(view)
    z, seen = network(a, x, layers)
    product = x @ layers[0].weight
    exact = (z * w).sum(1)
    torch.testing.assert_close(relaxed_score(bounds, bounds, times(a), product, seen[0], layers, w), exact)
    torch.testing.assert_close(target_score(bounds, times(a), times(a), product, seen[1], layers, w), exact)


@settings(max_examples=25, deadline=None)
@given(problems(), st.data())
def test_wanted_rows_get_the_scores_that_they_have_among_all(problem, data):
    arcs, budget, deletion, x, layers, w, _, view = problem
    size = arcs.shape[0]
    rows = torch.tensor(data.draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True)))
    bounds, a = bounds_of(arcs, budget, deletion, tight=True), gcn_matrix(view)
    _, seen = network(a, x, layers)
    product, outer = x @ layers[0].weight, bounds.block(rows)
    whole = relaxed_score(bounds, bounds, times(a), product, seen[0], layers, w)
    part = relaxed_score(bounds, outer, times(a[rows]), product, seen[0], layers, w[rows])
    torch.testing.assert_close(part, whole[rows])
    whole = certified_score(bounds, bounds, product, layers, w)
    torch.testing.assert_close(certified_score(bounds, outer, product, layers, w[rows]), whole[rows])


# -- golden values ------------------------------------------------------------------------------------------------------

X = torch.tensor([[1, 0], [0, 1], [0.5, 0.5], [1, 1]], dtype=F64)
W1 = torch.tensor([[1, -0.5, 0.2], [-0.6, 0.8, 0.4]], dtype=F64)
W2 = torch.tensor([[0.7, -0.3], [-0.4, 0.9], [0.5, 0.5]], dtype=F64)
B1, B2 = torch.tensor([0.1, -0.2, 0], dtype=F64), torch.tensor([-0.1, 0.05], dtype=F64)
GOLDEN = {
    0.0: {
        "reference": [0.224656, 0.38943, 0.138249, 0.108634],
        "bce": 0.592775,
        "relaxed": [-0.05741, -0.162747, 0.019007, 0.011044],
        "value": [0.034839, -0.030881, 0.032562, 0.013818],
        "minimum": [0.018103, -0.083193, 0.032562, 0.013818],
        "fast": [-0.252181, -0.425523, -0.027714, -0.010788],
        "ibp": [-0.290282, -0.480084, -0.020405, -0.021848],
    },
    0.25: {
        "reference": [0.328391, 0.510336, 0.184503, 0.14153],
        "bce": 0.560647,
        "relaxed": [-0.063224, -0.16795, 0.024589, 0.026539],
        "value": [0.045336, -0.045649, 0.039865, 0.028157],
        "minimum": [0.014697, -0.095622, 0.039865, 0.028157],
        "fast": [-0.328285, -0.54415, -0.042167, -0.000931],
        "ibp": [-0.373737, -0.591447, -0.037855, -0.00466],
    },
}


def graph_of(*edges):
    arcs = torch.zeros(4, 4, dtype=F64)
    for i, j in edges:
        arcs[i, j] = arcs[j, i] = 1
    return arcs


@pytest.mark.parametrize("slope", GOLDEN)
def test_golden_values(slope):
    golden = {key: torch.tensor(value, dtype=F64) for key, value in GOLDEN[slope].items()}
    layers = [BoundedLayer(W1, B1, slope), BoundedLayer(W2, B2, slope)]
    arcs = graph_of((0, 1), (0, 2), (1, 2), (2, 3))
    adjacency = adjacency_of(arcs)
    budget = deletion_budget(torch.full((8,), 0.4), adjacency)
    assert budget.tolist() == [1, 1, 1, 0]
    bounds = PropagationBounds.of(adjacency, budget, deletion="edges", tight=False)
    lower, upper = dense(bounds)
    third = 1 / 6**0.5
    expected = [[0.5, 0.5, third, 0], [0.5, 0.5, third, 0], [third, third, 1 / 3, third], [0, 0, third, 0.5]]
    torch.testing.assert_close(upper, torch.tensor(expected, dtype=F64))
    torch.testing.assert_close(lower, torch.diag(torch.tensor([1 / 3, 1 / 3, 1 / 4, 1 / 2], dtype=F64)))
    one, two = gcn_matrix(graph_of((0, 1), (1, 2), (2, 3))), gcn_matrix(graph_of((0, 2), (1, 2), (2, 3)))
    (z1, seen), (z2, _) = network(one, X, layers), network(two, X, layers)
    w = contrast_direction(z2)
    hidden = phi(gcn_matrix(arcs) @ X @ W1 + B1, slope) @ W2
    score = reference_score(bounds, times(one), X @ W1, hidden, layers, w)
    close = {"rtol": 0, "atol": 2e-6}
    torch.testing.assert_close(score, golden["reference"], **close)
    torch.testing.assert_close(
        relaxed_score(bounds, bounds, times(one), X @ W1, seen[0], layers, w), golden["relaxed"], **close
    )
    torch.testing.assert_close((z1 * w).sum(1), golden["value"], **close)
    graphs = admissible(arcs, budget, "edges")
    assert len(graphs) == 4
    values = (network(gcn_matrix(graphs), X, layers)[0] * w).sum(-1)
    torch.testing.assert_close(values.amin(0), golden["minimum"], **close)
    best = torch.maximum(golden["fast"], golden["ibp"])
    torch.testing.assert_close(certified_score(bounds, bounds, X @ W1, layers, w), best, **close)


@settings(max_examples=40, deadline=None)
@given(problems(), st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_loops_of_the_data_change_nothing(problem, loops):
    """GCN gives every node one loop, whatever is stored, and a budget never counts it."""
    arcs, budget, deletion, x, layers, w, *_ = problem
    product, found = x @ layers[0].weight, []
    for adjacency in (adjacency_of(arcs), adjacency_of(arcs, loops)):
        entrywise = PropagationBounds.of(adjacency, budget, deletion=deletion)
        counted = BudgetedBounds(adjacency, budget, deletion=deletion)
        found.append(
            torch.stack(
                [
                    certified_score(entrywise, entrywise, product, layers, w),
                    certificate(counted, product, layers, w, paths=True),
                ]
            )
        )
    torch.testing.assert_close(*found)


# -- certificates -------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(problems(), st.booleans())
def test_a_certificate_lies_between_the_certified_score_and_the_true_minimum(problem, paths):
    arcs, budget, deletion, x, layers, w, graphs, _ = problem
    adjacency, product = adjacency_of(arcs), x @ layers[0].weight
    found = certificate(BudgetedBounds(adjacency, budget, deletion=deletion), product, layers, w, paths=paths)
    z, _ = network(gcn_matrix(graphs), x, layers)
    assert (found <= (z * w).sum(-1).amin(0) + 1e-9).all()
    bounds = bounds_of(arcs, budget, deletion, tight=True)
    assert (found >= certified_score(bounds, bounds, product, layers, w) - 1e-9).all()


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([1, 3, 4]).flatmap(lambda count: problems(num_layers=count)))
def test_a_certificate_holds_for_any_depth(problem):
    arcs, budget, deletion, x, layers, w, graphs, _ = problem
    bounds = BudgetedBounds(adjacency_of(arcs), budget, deletion=deletion)
    found = certificate(bounds, x @ layers[0].weight, layers, w)
    z, _ = network(gcn_matrix(graphs), x, layers)
    assert (found <= (z * w).sum(-1).amin(0) + 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(problems(directed=False))
def test_counted_deletions_give_the_exact_minimum_where_neighbours_keep_their_degrees(problem):
    """With a budget at one node only, no other degree changes, and the row's minimum is attained."""
    arcs, budget, _, x, *_ = problem
    alone = torch.zeros_like(budget)
    node = int(budget.argmax())
    alone[node] = budget[node]
    bounds = BudgetedBounds(adjacency_of(arcs), alone, deletion="arcs")
    low, high = bounds.interval(x, x)
    values = gcn_matrix(admissible(arcs, alone, "arcs")) @ x
    torch.testing.assert_close(low[node], values[:, node].amin(0))
    torch.testing.assert_close(high[node], values[:, node].amax(0))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_counted_deletions_are_never_looser_than_entry_wise_bounds(problem):
    arcs, budget, deletion, x, _, _, graphs, _ = problem
    bounds = BudgetedBounds(adjacency_of(arcs), budget, deletion=deletion)
    low, high = bounds.interval(x, x)
    values = gcn_matrix(graphs) @ x
    assert (low <= values.amin(0) + 1e-12).all()
    assert (high >= values.amax(0) - 1e-12).all()
    middle, radius = bounds.entrywise.of_matrix(x)
    assert (low >= middle - radius - 1e-12).all()
    assert (high <= middle + radius + 1e-12).all()
