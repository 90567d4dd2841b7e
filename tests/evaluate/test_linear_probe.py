from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from gcl.core.errors import ConfigError, DataError
from gcl.evaluate.linear_probe import fit_probes, linear_probe, probe_validation

GRID = (0.01, 1.0, 100.0)


def second_opinion(z, y, split, grid):
    """An independent loop with scikit-learn's own pipeline, each C solved from nothing to a tight tolerance."""
    train, valid, test = (np.flatnonzero((split.numpy() == part) & (y.numpy() >= 0)) for part in (0, 1, 2))
    X, t = z.double().numpy(), y.numpy()
    models = []
    for value in grid:
        model = make_pipeline(Normalizer(), LogisticRegression(C=value, tol=1e-9, max_iter=100_000))
        models.append(model.fit(X[train], t[train]))
    accuracy = [float(np.mean(model.predict(X[valid]) == t[valid])) for model in models]
    best = int(np.argmax(accuracy))
    predicted = models[best].predict(X[test])
    return {
        "accuracy": float(np.mean(predicted == t[test])),
        "macro_f1": f1_score(t[test], predicted, average="macro"),
        "regularization": grid[best],
        "valid_accuracy": accuracy[best],
        "coefficients": models[best][-1].coef_,
    }


@pytest.mark.parametrize(("num_classes", "width"), [(3, 8), (2, 8), (4, 60), (2, 60)])
def test_agrees_with_a_scikit_learn_pipeline(make_task, num_classes, width):
    # width 60 is more than the 36 training rows: solved in their span
    z, y, splits = make_task(num_classes=num_classes, width=width, noise=1.5)
    report = linear_probe(z, y, splits, regularization=GRID)
    for index in range(splits.shape[1]):
        other = second_opinion(z, y, splits[:, index], GRID)
        for metric in ("accuracy", "macro_f1"):
            assert report.values[metric][index] == pytest.approx(other[metric], abs=1e-12)
        for detail in ("regularization", "valid_accuracy"):
            assert report.details[detail][index] == pytest.approx(other[detail])
    assert report.details["unconverged"] == 0


@pytest.mark.parametrize("width", [8, 60])
def test_weights_are_scikit_learns_optimum(make_task, width):
    z, y, splits = make_task(width=width)
    rows = torch.nn.functional.normalize(z.double(), dim=1)
    visible = torch.where(splits < 2, y.unsqueeze(1), -1)
    for index, probe in enumerate(fit_probes(rows, visible, splits, regularization=GRID)):
        other = second_opinion(z, y, splits[:, index], [probe.regularization])["coefficients"]
        scale = np.abs(other).max()
        np.testing.assert_allclose(probe.weight.t().numpy() / scale, other / scale, atol=2e-3)


def test_float32_and_float64_agree(make_task):
    z, y, splits = make_task()
    single, double = linear_probe(z, y, splits), linear_probe(z.double(), y, splits)
    assert single.details["regularization"] == double.details["regularization"]
    assert single.values["accuracy"] == pytest.approx(double.values["accuracy"], abs=0.03)


def test_permuted_test_labels_change_neither_choice_nor_validation(make_task):
    z, y, splits = make_task(num_splits=1)
    clean = linear_probe(z, y, splits)
    test = (splits[:, 0] == 2).nonzero().squeeze(1)
    poisoned = y.clone()
    poisoned[test] = y[test].roll(1)
    dirty = linear_probe(z, poisoned, splits)
    assert clean.details == dirty.details
    assert dirty.values["accuracy"] != clean.values["accuracy"]


def test_fitting_never_needs_test_rows(make_task):
    z, y, splits = make_task(num_splits=1)
    visible = torch.where(splits < 2, y.unsqueeze(1), -1)
    spoiled = z.clone()
    spoiled[splits[:, 0] == 2] = 1e6
    assert probe_validation(z, visible, splits) == probe_validation(spoiled, visible, splits)


def test_unlabelled_nodes_take_no_part(make_task):
    z, y, splits = make_task(num_splits=2)
    y[::4] = -1
    kept = y >= 0
    spoiled = z.clone()
    spoiled[~kept] = 100.0
    full, part = linear_probe(spoiled, y, splits), linear_probe(z[kept], y[kept], splits[kept])
    assert full.values == part.values
    assert full.n == part.n == int(kept.sum())


def test_a_class_missing_from_training_counts_as_wrong(make_task):
    z, y, splits = make_task(num_splits=1, noise=0.1)
    splits[(y == 2) & (splits[:, 0] == 0)] = 3
    report = linear_probe(z, y, splits)
    test = splits[:, 0] == 2
    assert report.values["accuracy"][0] == pytest.approx(float((y[test] != 2).double().mean()))


def test_one_class_in_training(make_task):
    z, y, splits = make_task(num_splits=1)
    splits[(y != 1) & (splits[:, 0] == 0)] = 3
    report = linear_probe(z, y, splits)
    assert report.values["accuracy"][0] == pytest.approx(float((y[splits[:, 0] == 2] == 1).double().mean()))


def test_normalisation_makes_row_lengths_irrelevant_and_is_named(make_task):
    z, y, splits = make_task()
    scaled = z * torch.linspace(0.5, 4.0, len(z)).unsqueeze(1)
    assert linear_probe(z, y, splits).values["accuracy"] == pytest.approx(
        linear_probe(scaled, y, splits).values["accuracy"], abs=0.03
    )
    raw = linear_probe(scaled, y, splits, normalize=False)
    assert raw.protocol == "linear-raw"


def test_report_is_deterministic_and_json(make_task):
    import json

    z, y, splits = make_task()
    first, second = linear_probe(z, y, splits), linear_probe(z, y, splits[:, :])
    assert first == second
    json.dumps(first.to_json(), allow_nan=False)
    assert (first.task, first.protocol, first.seeds) == ("classification", "linear", [0, 1, 2])


def test_separable_embeddings_are_solved_and_noise_is_not(make_task):
    z, y, splits = make_task(noise=0.05)
    assert linear_probe(z, y, splits).mean("accuracy") == 1.0
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    assert linear_probe(noise, y, splits).mean("accuracy") < 0.6


def test_zero_rows_and_one_split_without_axis(make_task):
    z, y, splits = make_task()
    z[:5] = 0
    assert linear_probe(z, y, splits[:, 0]).seeds == [0]


def test_bad_input_is_refused(make_task):
    z, y, splits = make_task()
    broken = z.clone()
    broken[[3, 7], 0] = float("nan")
    with pytest.raises(DataError, match=r"2 of 120 rows, first in row 3"):
        linear_probe(broken, y, splits)
    with pytest.raises(DataError, match="119 entries for 120"):
        linear_probe(z, y[:-1], splits)
    with pytest.raises(DataError, match="none of the 120 nodes has a label"):
        linear_probe(z, torch.full_like(y, -1), splits)
    with pytest.raises(DataError, match="valid part of split 1 has no labelled node"):
        linear_probe(z, y, torch.stack([splits[:, 0], torch.where(splits[:, 1] == 1, 3, splits[:, 1])], 1))
    with pytest.raises(DataError, match="matrix"):
        linear_probe(z[0], y, splits)
    with pytest.raises(DataError, match="splits must"):
        linear_probe(z, y, splits.t())
    for grid in ((), (0.0, 1.0), (float("inf"),)):
        with pytest.raises(ConfigError, match="positive"):
            linear_probe(z, y, splits, regularization=grid)
