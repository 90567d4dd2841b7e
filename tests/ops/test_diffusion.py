"""Diffusion matrices against dense closed forms."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.ops.diffusion import (
    TAIL,
    diffusion_weights,
    heat_coefficients,
    markov_coefficients,
    pagerank_coefficients,
)


def transition(adjacency, normalize):
    """T and the degrees, dense float64."""
    matrix = adjacency.to_dense().numpy() + np.eye(adjacency.shape[0])
    degree = matrix.sum(1)
    left = degree**-0.5 if normalize == "symmetric" else 1 / degree
    right = degree**-0.5 if normalize == "symmetric" else np.ones_like(degree)
    return left[:, None] * matrix * right[None], degree


def exact(adjacency, coefficients, normalize="symmetric"):
    found, _ = diffusion_weights(adjacency, coefficients, normalize=normalize, tolerance=0.0)
    return found.to_dense().numpy()


@given(adjacencies(), st.sampled_from(["symmetric", "row"]), st.floats(0.05, 1))
@settings(max_examples=50, deadline=None)
def test_pagerank_is_the_inverse(adjacency, normalize, alpha):
    step, _ = transition(adjacency, normalize)
    expected = alpha * np.linalg.inv(np.eye(len(step)) - (1 - alpha) * step)
    np.testing.assert_allclose(exact(adjacency, pagerank_coefficients(alpha), normalize), expected, atol=1e-6)


@given(adjacencies(), st.sampled_from(["symmetric", "row"]), st.floats(0, 20))
@settings(max_examples=50, deadline=None)
def test_heat_is_the_exponential(adjacency, normalize, time):
    step, _ = transition(adjacency, normalize)
    expected = scipy.linalg.expm(-time * (np.eye(len(step)) - step))
    np.testing.assert_allclose(exact(adjacency, heat_coefficients(time), normalize), expected, atol=1e-6)


@given(adjacencies(), st.sampled_from(["symmetric", "row"]), st.floats(0, 1), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_markov_is_the_mean_of_powers(adjacency, normalize, alpha, order):
    step, _ = transition(adjacency, normalize)
    powers = [np.linalg.matrix_power(step, k) for k in range(1, order + 1)]
    expected = alpha * np.eye(len(step)) + (1 - alpha) / order * sum(powers)
    np.testing.assert_allclose(exact(adjacency, markov_coefficients(alpha, order), normalize), expected, atol=1e-6)


@given(
    adjacencies(undirected=True, masked=False, weighted=False),
    st.sampled_from([pagerank_coefficients(0.15), heat_coefficients(3.0), markov_coefficients(0.1, 5)]),
    st.floats(1e-5, 0.1),
)
@settings(max_examples=80, deadline=None)
def test_what_small_mass_costs_is_bounded_and_told(adjacency, coefficients, tolerance):
    whole, _ = diffusion_weights(adjacency, coefficients, normalize="row", tolerance=0.0)
    found, lost = diffusion_weights(adjacency, coefficients, normalize="row", tolerance=tolerance)
    missing = whole.to_dense() - found.to_dense()
    _, degree = transition(adjacency, "row")
    assert missing.min() >= -1e-6
    bound = (len(coefficients) - 1) * tolerance * torch.from_numpy(degree)
    assert bool((missing <= bound + 1e-6).all())
    np.testing.assert_allclose(missing.sum(1).numpy(), lost.numpy(), atol=1e-5)


def test_the_symmetric_form_of_an_undirected_graph_is_symmetric():
    draw = torch.rand(30, 30, generator=torch.Generator().manual_seed(0)) < 0.1
    adjacency = Adjacency.from_edge_index((draw | draw.t()).nonzero().t(), (30, 30))
    found = exact(adjacency, pagerank_coefficients(0.2))
    np.testing.assert_allclose(found, found.T, atol=1e-7)
    rows, lost = diffusion_weights(adjacency, pagerank_coefficients(0.2), normalize="row", tolerance=0.0)
    np.testing.assert_allclose(rows.to_dense().sum(1), 1, atol=1e-6)
    assert not lost.any()


def test_the_largest_of_each_row_and_those_above_the_threshold_stay():
    draw = torch.rand(40, 40, generator=torch.Generator().manual_seed(1)) < 0.1
    adjacency = Adjacency.from_edge_index(draw.nonzero().t(), (40, 40))
    whole = exact(adjacency, heat_coefficients(2.0))
    top, _ = diffusion_weights(adjacency, heat_coefficients(2.0), tolerance=0.0, top=4)
    for row, kept in zip(whole, top.to_dense().numpy(), strict=True):
        assert np.count_nonzero(kept) == min(4, np.count_nonzero(row))
        np.testing.assert_allclose(np.sort(kept[kept > 0]), np.sort(row)[-np.count_nonzero(kept) :], rtol=1e-6)
    above, _ = diffusion_weights(adjacency, heat_coefficients(2.0), tolerance=0.0, threshold=0.05)
    np.testing.assert_allclose(above.to_dense(), np.where(whole >= 0.05, whole, 0), atol=1e-7)


@pytest.mark.parametrize("alpha", [0.001, 0.15, 0.5, 1.0])
def test_series_sum_to_one(alpha):
    assert abs(sum(pagerank_coefficients(alpha)) - 1) <= 2 * TAIL
    assert abs(sum(heat_coefficients(100 * alpha)) - 1) <= 2 * TAIL
    assert abs(sum(markov_coefficients(alpha, 7)) - 1) < 1e-12
    assert heat_coefficients(0.0) == [1.0]


def test_blocks_of_rows_change_nothing(monkeypatch):
    draw = torch.rand(300, 300, generator=torch.Generator().manual_seed(1)) < 0.02
    adjacency = Adjacency.from_edge_index(draw.nonzero().t(), (300, 300))
    whole, lost = diffusion_weights(adjacency, pagerank_coefficients(0.2), top=9)
    monkeypatch.setattr("gcl.ops.diffusion.BLOCK_ENTRIES", 1)
    found, again = diffusion_weights(adjacency, pagerank_coefficients(0.2), top=9)
    assert torch.equal(whole.to_dense(), found.to_dense())
    assert torch.equal(lost, again)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"normalize": "column"}, "column"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"threshold": float("nan")}, "threshold"),
        ({"top": 0}, "top"),
        ({"coefficients": []}, "coefficients"),
        ({"coefficients": [0.0, 0.0]}, "coefficients"),
        ({"coefficients": [0.5, -0.5]}, "coefficients"),
    ],
)
def test_wrong_settings_are_refused(wrong, said):
    adjacency = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2))
    with pytest.raises(ConfigError, match=said):
        diffusion_weights(adjacency, wrong.pop("coefficients", [0.5, 0.5]), **wrong)


@pytest.mark.parametrize("make", [lambda: pagerank_coefficients(0.0), lambda: heat_coefficients(-1.0)])
def test_series_out_of_range_are_refused(make):
    with pytest.raises(ConfigError, match="must be a number from"):
        make()
    with pytest.raises(ConfigError, match="order"):
        markov_coefficients(0.1, 0)


def test_negative_weights_and_rectangles_are_refused():
    with pytest.raises(DataError, match="0 or more"):
        diffusion_weights(Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2), torch.tensor([-1.0])), [0, 1.0])
    with pytest.raises(DataError, match="square"):
        diffusion_weights(Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 3)), [0, 1.0])
