from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import normalize

from gcl.core.errors import ConfigError, DataError
from gcl.data.splits import random_split
from gcl.evaluate.grace_protocol import NUM_FOLDS, REGULARIZATION, grace_protocol


def test_agrees_with_grid_search_of_scikit_learn(make_task):
    z, y, _ = make_task(num_nodes=500, noise=2.5)
    report = grace_protocol(z, y, repeats=1)
    split = random_split(500, 0, 0.1, 0.0).numpy()
    train, test = np.flatnonzero(split == 0), np.flatnonzero(split == 2)
    assert (len(train), len(test)) == (50, 450)
    X, t = normalize(z.double().numpy()), y.numpy()
    fold = np.empty(50, dtype=int)
    fold[np.random.RandomState(0).permutation(50)] = np.arange(50) * NUM_FOLDS // 50
    search = GridSearchCV(
        OneVsRestClassifier(LogisticRegression(solver="liblinear")),
        {"estimator__C": list(REGULARIZATION)},
        cv=PredefinedSplit(fold),
    ).fit(X[train], t[train])
    assert report.details["regularization"] == [search.best_params_["estimator__C"]]
    assert report.details["cross_validated_accuracy"][0] == pytest.approx(search.best_score_)
    assert report.values["accuracy"][0] == pytest.approx(search.score(X[test], t[test]), abs=1 / 450)


def test_grid_is_the_papers():
    assert (min(REGULARIZATION), max(REGULARIZATION), len(REGULARIZATION)) == (2.0**-10, 2.0**9, 20)


def test_permuted_test_labels_change_no_choice(make_task):
    z, y, _ = make_task(num_nodes=200)
    poisoned = y.clone()
    test = (random_split(200, 0, 0.1, 0.0) == 2).nonzero().squeeze(1)
    poisoned[test] = y[test].roll(1)
    clean, dirty = grace_protocol(z, y, repeats=1), grace_protocol(z, poisoned, repeats=1)
    assert clean.details == dirty.details
    assert clean.values != dirty.values


def test_repeats_given_splits_and_determinism(make_task):
    z, y, _ = make_task(num_nodes=200, noise=0.3)
    first = grace_protocol(z, y, repeats=2)
    splits = torch.stack([random_split(200, seed, 0.1, 0.0) for seed in range(2)], dim=1)
    assert grace_protocol(z, y, splits) == first
    assert first.seeds == [0, 1]
    assert first.protocol == "grace"
    assert first.mean("accuracy") > 0.9


def test_one_class_in_training_and_unlabelled_nodes(make_task):
    z, y, splits = make_task(num_splits=1)
    splits[(y != 1) & (splits[:, 0] == 0)] = 3
    y[0] = -1
    report = grace_protocol(z, y, splits)
    known = (splits[:, 0] == 2) & (y >= 0)
    assert report.values["accuracy"][0] == pytest.approx(float((y[known] == 1).double().mean()))


def test_bad_input_is_refused(make_task):
    z, y, _ = make_task(num_nodes=40)
    with pytest.raises(DataError, match="4 labelled training nodes"):
        grace_protocol(z, y, repeats=1)
    with pytest.raises(ConfigError, match="repeats"):
        grace_protocol(z, y, repeats=0)
