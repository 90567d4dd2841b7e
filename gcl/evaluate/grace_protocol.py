"""The evaluation of GRACE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sklearn
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from gcl.core.errors import ConfigError, DataError
from gcl.core.report import Report
from gcl.data.labels import as_labels
from gcl.data.splits import TEST, TRAIN, random_split
from gcl.evaluate.embeddings import as_embeddings
from gcl.evaluate.held_labels import Held
from gcl.evaluate.scores import by_metric, classification_scores

REGULARIZATION = tuple(2.0**exponent for exponent in range(-10, 10))
NUM_FOLDS = 5
TRAIN_SHARE = 0.1


def grace_protocol(z: Tensor, y: Tensor, splits: Tensor | None = None, *, repeats: int = 20) -> Report:
    r"""Scores embeddings as GRACE does: 10 percent of the nodes train, the other 90 test.

    .. math:: \min_{w_c, b_c}\; \tfrac12 \lVert (w_c, b_c) \rVert^2
        + C \sum_{i \in \text{train}} \log\big(1 + e^{-t_{ic} (w_c \cdot z_i + b_c)}\big),
        \qquad t_{ic} = \pm 1 \text{ for } y_i = c \text{ or not}

    One such problem a class (liblinear), rows of unit length, C in :math:`2^{-10}, \ldots, 2^9` by 5-fold
    cross-validation on the training part (consecutive folds of the shuffled nodes; the smallest C of equal accuracies),
    then one fit on the whole training part. The class of the largest score is predicted.

    Zhu, Xu, Yu, Liu, Wu, Wang: *Deep Graph Contrastive Representation Learning*, 2020, arXiv 2006.04131; the paper
    repeats it three times, and its text says 10/10/80.

    Args:
        z: embeddings ``[N, d]``.
        y: labels ``[N]``, -1 = unlabelled.
        splits: ``[N, S]`` or ``[N]`` to use in place of random ones; parts other than 0 train and 2 test are unused.
        repeats: how many random splits, seeds 0 to ``repeats - 1``.

    Returns:
        ``accuracy`` (micro-F1) and ``macro_f1`` of each split's test part; the chosen C and its cross-validated
        accuracy in ``details``.

    Raises:
        DataError: embeddings, labels or splits that cannot be used, or fewer than 5 training nodes.
        ConfigError: ``repeats`` below 1.
    """
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, got {repeats}")
    z = F.normalize(as_embeddings(z), dim=1)
    if splits is None:
        splits = torch.stack([random_split(len(z), seed, TRAIN_SHARE, 0.0) for seed in range(repeats)], dim=1)
    held = Held.of(as_labels(y, len(z)), splits, num_nodes=len(z), needs_valid=False)
    choices = cross_validate(z, held.for_selection().y, held.splits)
    scores = []
    for index, choice in enumerate(choices):
        train, test = held.splits[:, index] == TRAIN, held.splits[:, index] == TEST
        z_train = z[train].double().numpy()
        with threadpool_limits(1):
            predicted = _predict(z_train, held.y[train].numpy(), z[test].double().numpy(), choice.regularization)
        scores.append(classification_scores(torch.from_numpy(predicted), held.y[test]))
    details = {
        "regularization": [choice.regularization for choice in choices],
        "cross_validated_accuracy": [choice.accuracy for choice in choices],
    }
    runs = range(len(scores))
    return Report("classification", "grace", held.num_labelled, by_metric(scores), list(runs), details)


@dataclass(frozen=True)
class Choice:
    """The regularisation that cross-validation chose, and its accuracy."""

    regularization: float
    accuracy: float


def cross_validate(z: Tensor, y: Tensor, splits: Tensor) -> list[Choice]:
    """Chooses C on the training part of each split; asks for no other label.

    Args:
        z: ``[N, d]``, rows of unit length.
        y: ``[N, S]``, -1 on test nodes.
        splits: uint8 ``[N, S]``.
    """
    with threadpool_limits(1):
        return [_cross_validate(z, y[:, index], splits[:, index], index) for index in range(splits.shape[1])]


def grace_validation(z: Tensor, y: Tensor, splits: Tensor) -> dict[str, float]:
    """Cross-validated ``accuracy`` on the training part, mean over splits; ``y`` is ``[N, S]`` without test labels."""
    choices = cross_validate(F.normalize(as_embeddings(z), dim=1), y, splits)
    return {"accuracy": float(np.mean([choice.accuracy for choice in choices]))}


def _cross_validate(z: Tensor, y: Tensor, split: Tensor, index: int) -> Choice:
    train = (split == TRAIN).nonzero().squeeze(1)
    if train.numel() < NUM_FOLDS:
        raise DataError(
            f"split {index} has {train.numel()} labelled training nodes and protocol grace cross-validates in "
            f"{NUM_FOLDS} folds; use protocol linear on a graph this small"
        )
    z_train, y_train = z[train].double().numpy(), y[train].numpy()
    # which fold a node is in must not depend on how the data is sorted
    shuffled = np.random.RandomState(index).permutation(len(y_train))
    right = np.zeros(len(REGULARIZATION), dtype=np.int64)  # counts, so that equal accuracies are equal numbers
    for fold in np.array_split(shuffled, NUM_FOLDS):
        rest = np.setdiff1d(shuffled, fold)
        for at, value in enumerate(REGULARIZATION):
            right[at] += np.sum(_predict(z_train[rest], y_train[rest], z_train[fold], value) == y_train[fold])
    best = int(right.argmax())  # the first maximum: the smallest C
    return Choice(REGULARIZATION[best], float(right[best]) / len(y_train))


def _predict(z_train: np.ndarray, y_train: np.ndarray, z: np.ndarray, regularization: float) -> np.ndarray:
    """Classes of rows by one-vs-rest logistic regression, int64 ``[n]``."""
    classes = np.unique(y_train)
    if len(classes) == 1:  # nothing to learn
        return np.full(len(z), classes[0])
    scores = np.empty((len(z), len(classes)))
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        for at, label in enumerate(classes):
            model = LogisticRegression(solver="liblinear", C=regularization).fit(z_train, y_train == label)
            scores[:, at] = z @ model.coef_[0] + model.intercept_[0]
    return classes[scores.argmax(axis=1)]
