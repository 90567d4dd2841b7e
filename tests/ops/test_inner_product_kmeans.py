"""k-means by inner products."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import matrices

from gcl.core.errors import ConfigError, DataError
from gcl.ops import inner_product_kmeans as module
from gcl.ops.inner_product_kmeans import inner_product_kmeans

SIGN = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64) / 1024


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def unit_rows(num_rows, width=4, seed=0):
    x = torch.randn(num_rows, width, generator=seeded(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=1)


def total(clustering):
    return float(clustering.similarity.sum())


def by_loop(x, centers):
    """One iteration, for clusters that none leaves empty, and the products after it."""
    k = len(centers)
    labels = [max(range(k), key=lambda c: float(row @ centers[c])) for row in x]
    assert set(labels) == set(range(k))
    centers = torch.stack(
        [sum(row for row, label in zip(x, labels, strict=True) if label == c) / labels.count(c) for c in range(k)]
    )
    product = [[float(row @ center) for center in centers] for row in x]
    return centers, [row.index(max(row)) for row in product], [max(row) for row in product]


@st.composite
def cases(draw):
    x = draw(matrices(draw(st.integers(1, 8)), draw(st.integers(1, 3))))
    return x, draw(st.integers(1, len(x)))


@settings(max_examples=80, deadline=None)
@given(cases(), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_rows_belong_to_the_center_of_the_largest_product(case, iterations, restarts, seed):
    x, k = case
    found = inner_product_kmeans(x, k, iterations=iterations, restarts=restarts, generator=seeded(seed))
    product = x @ found.centers.t()
    assert (found.labels.shape, found.labels.dtype, found.centers.shape) == ((len(x),), torch.int64, (k, x.shape[1]))
    torch.testing.assert_close(found.similarity, product.max(dim=1).values)
    torch.testing.assert_close(product.gather(1, found.labels.unsqueeze(1)).squeeze(1), found.similarity)
    again = inner_product_kmeans(x, k, iterations=iterations, restarts=restarts, generator=seeded(seed))
    for one, other in zip(found, again, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("seed", range(5))
def test_an_iteration_equals_a_loop(seed):
    x, centers = unit_rows(60, seed=seed), unit_rows(3, seed=seed + 10)
    found = inner_product_kmeans(x, 3, iterations=1, centers=centers)
    expected, labels, similarity = by_loop(x, centers)
    torch.testing.assert_close(found.centers, expected)
    assert found.labels.tolist() == labels
    torch.testing.assert_close(found.similarity, torch.tensor(similarity, dtype=torch.float64))


def blobs(k=5, size=30, noise=0.05):
    truth = torch.arange(k).repeat_interleave(size)[torch.randperm(k * size, generator=seeded())]
    x = torch.eye(k, dtype=torch.float64)[truth]
    x = x + noise * torch.randn(len(truth), k, generator=seeded(1), dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=1), truth


def test_separated_clusters_are_found_and_stay():
    x, truth = blobs()
    found = inner_product_kmeans(x, 5, restarts=40, generator=seeded())
    assert len(set(zip(found.labels.tolist(), truth.tolist(), strict=True))) == 5
    for cluster in range(5):
        torch.testing.assert_close(found.centers[cluster], x[found.labels == cluster].mean(dim=0))
    stays = inner_product_kmeans(x, 5, iterations=3, centers=found.centers)
    assert torch.equal(stays.labels, found.labels)
    torch.testing.assert_close(stays.centers, found.centers)


def test_more_restarts_are_never_worse():
    x, better = unit_rows(80, 6), 0
    for seed in range(4):
        totals = [
            total(inner_product_kmeans(x, 9, restarts=restarts, iterations=4, generator=seeded(seed)))
            for restarts in (1, 2, 4, 8)
        ]
        assert totals == sorted(totals)
        better += totals[-1] > totals[0]
    assert better > 0


def test_given_centers_are_the_only_start_and_stay_as_they_are():
    x, centers = unit_rows(50), unit_rows(4, seed=3)
    before = centers.clone()
    state = seeded()
    found = inner_product_kmeans(x, 4, centers=centers, restarts=7, generator=state)
    assert torch.equal(centers, before)
    assert torch.equal(state.get_state(), seeded().get_state())  # nothing is drawn
    once = inner_product_kmeans(x, 4, centers=centers, restarts=1)
    assert torch.equal(found.centers, once.centers)
    halved = inner_product_kmeans(x, 4, centers=centers, iterations=10)
    on = inner_product_kmeans(x, 4, centers=halved.centers, iterations=10)
    torch.testing.assert_close(on.centers, once.centers)


def test_a_start_is_of_distinct_rows():
    x = torch.eye(6, dtype=torch.float64)
    for seed in range(10):
        found = inner_product_kmeans(x, 6, restarts=1, iterations=1, generator=seeded(seed))
        assert sorted(found.labels.tolist()) == list(range(6))
        assert torch.equal(found.centers[found.labels], x)
        assert total(found) == 6


def test_one_cluster_is_the_mean():
    x = unit_rows(20)
    found = inner_product_kmeans(x, 1, generator=seeded())
    assert not found.labels.any()
    torch.testing.assert_close(found.centers, x.mean(dim=0, keepdim=True))


def test_an_empty_cluster_takes_over_half_of_another():
    x = torch.nn.functional.normalize(unit_rows(9) * 0.2 + 1, dim=1)
    centers = torch.stack([-torch.ones(4), torch.ones(4)]).double()
    found = inner_product_kmeans(x, 2, iterations=1, centers=centers)
    torch.testing.assert_close(found.centers, x.mean(dim=0) * torch.stack([1 + SIGN, 1 - SIGN]))
    parted = inner_product_kmeans(x, 2, iterations=10, centers=centers)
    assert parted.labels.bincount(minlength=2).min() > 0


def test_clusters_of_one_row_are_not_parted():
    x = torch.eye(4, dtype=torch.float64)[[0, 1, 1, 2, 1]]
    centers = torch.eye(4, dtype=torch.float64)
    expected = torch.eye(4, dtype=torch.float64)
    expected[3], expected[1] = expected[1] * (1 + SIGN), expected[1] * (1 - SIGN)
    for seed in range(10):
        found = inner_product_kmeans(x, 4, iterations=1, centers=centers, generator=seeded(seed))
        torch.testing.assert_close(found.centers, expected, rtol=0, atol=1e-15)


def test_the_parted_cluster_is_drawn_by_its_size():
    x = torch.eye(4, dtype=torch.float64)[[0] * 7 + [1] * 3]  # 6 and 2 rows more than one
    draw, draws = seeded(), 400
    first = 0
    for _ in range(draws):
        found = inner_product_kmeans(x, 3, iterations=1, centers=torch.eye(4).double()[:3], generator=draw)
        taken = found.centers[2].argmax()
        assert found.centers[2, taken] == (1 + SIGN)[taken]
        first += int(taken == 0)
    assert abs(first - 0.75 * draws) < 5 * (draws * 0.75 * 0.25) ** 0.5


def test_halves_are_parted_again_by_the_size_that_is_left():
    x = unit_rows(1).repeat(4, 1)  # halves of two rows each, so either is parted as often
    centers = torch.cat([x[:1], -x[:1], -x[:1]])
    draw, draws, second = seeded(), 400, 0
    for _ in range(draws):
        found = inner_product_kmeans(x, 3, iterations=1, centers=centers, generator=draw)
        second += int(not torch.allclose(found.centers[1], x[0] * (1 + SIGN), rtol=0, atol=1e-6))
    assert abs(second - draws / 2) < 5 * (draws / 4) ** 0.5


def test_several_empty_clusters_are_all_refilled():
    x = torch.nn.functional.normalize(unit_rows(64) * 0.5 + 1, dim=1)
    centers = -torch.ones(8, 4, dtype=torch.float64)
    centers[5] = 1
    found = inner_product_kmeans(x, 8, iterations=60, centers=centers, generator=seeded())
    assert found.labels.bincount(minlength=8).min() > 0
    assert len(found.centers.unique(dim=0)) == 8


def test_rows_that_are_all_equal():
    x = torch.ones(6, 2)
    for k in range(1, 7):
        found = inner_product_kmeans(x, k, generator=seeded())
        assert bool(found.centers.isfinite().all())
        torch.testing.assert_close(found.centers, torch.ones(k, 2), rtol=0, atol=0.05)


@pytest.mark.parametrize("products", [1, 100])
def test_the_size_of_blocks_does_not_matter(products, monkeypatch):
    x = unit_rows(90)
    whole = inner_product_kmeans(x, 7, generator=seeded())
    monkeypatch.setattr(module, "BLOCK", products)
    parts = inner_product_kmeans(x, 7, generator=seeded())
    assert torch.equal(parts.labels, whole.labels)
    torch.testing.assert_close(parts.centers, whole.centers)


def test_no_gradient_passes_and_half_precision_is_computed_in_float32():
    x = unit_rows(12).requires_grad_()
    assert not any(part.requires_grad for part in inner_product_kmeans(x, 3))
    half = unit_rows(12).half()
    found = inner_product_kmeans(half, 3, generator=seeded())
    wide = inner_product_kmeans(half.float(), 3, generator=seeded())
    assert found.centers.dtype == found.similarity.dtype == torch.float32
    assert torch.equal(found.centers, wide.centers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be a whole number from 1 to 5 for 5 rows, got 0"),
        ({"k": 6}, "k must be a whole number from 1 to 5 for 5 rows, got 6"),
        ({"k": 2.0}, "k must be a whole number from 1 to 5"),
        ({"k": True}, "k must be a whole number from 1 to 5"),
        ({"k": 2, "iterations": 0}, "iterations must be a whole number from 1, got 0"),
        ({"k": 2, "restarts": 0}, "restarts must be a whole number from 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        inner_product_kmeans(unit_rows(5), **options)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"x must be a matrix \[N, d\], got \[3\]"):
        inner_product_kmeans(torch.ones(3), 1)
    with pytest.raises(DataError, match=r"centers must be \[2, 4\], got \[3, 4\]"):
        inner_product_kmeans(unit_rows(5), 2, centers=unit_rows(3))
    with pytest.raises(ConfigError, match="k must be a whole number from 1 to 0 for 0 rows"):
        inner_product_kmeans(torch.ones(0, 3), 1)
