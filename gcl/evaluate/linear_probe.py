"""The linear probe: the default protocol of node classification."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from gcl.core.errors import ConfigError
from gcl.core.report import Report
from gcl.data.splits import TEST, TRAIN, VALID
from gcl.evaluate.embeddings import as_embeddings
from gcl.evaluate.held_labels import Held
from gcl.evaluate.scores import by_metric, classification_scores

REGULARIZATION = tuple(10.0**exponent for exponent in range(-3, 4))

# Bound of the gradient of the mean loss at which lbfgs stops. At scikit-learn's 1e-4 a warm start with a large C often
# stops where it began; at 1e-6 all takes twice as long and the accuracies are the same.
TOLERANCE = 1e-5
MAX_ITERATIONS = 10_000
ROWS_AT_ONCE = 8192  # rows that are cast to float64 together when predicting


def linear_probe(
    z: Tensor,
    y: Tensor,
    splits: Tensor,
    *,
    normalize: bool = True,
    regularization: Sequence[float] = REGULARIZATION,
    seed: int = 0,
) -> Report:
    r"""Scores embeddings by a logistic regression a split, its regularisation chosen on the validation part.

    .. math:: \min_{W, b}\; \tfrac12 \lVert W \rVert^2
        + C \sum_{i \in \text{train}} -\log \mathrm{softmax}(W z_i + b)_{y_i}

    with rows of unit length. It is scikit-learn's ``LogisticRegression`` (lbfgs) in float64, followed along increasing
    C from the solution before, to a gradient below 1e-5. Of equal validation accuracies the smallest C is taken. The
    test labels of a split are read once, after its C is chosen. Unlabelled nodes take no part.

    Args:
        z: embeddings ``[N, d]``.
        y: labels ``[N]``, -1 = unlabelled.
        splits: ``[N, S]`` or ``[N]``: 0 train, 1 validation, 2 test, 3 unused.
        normalize: scale rows to unit length first (protocol ``linear``; ``linear-raw`` without).
        regularization: the values of C, the inverse strength, each positive.
        seed: given to scikit-learn; lbfgs draws nothing, so that it changes nothing.

    Returns:
        ``accuracy`` and ``macro_f1`` of each split's test part; the chosen C (``regularization``), the validation
        accuracy and the number of solutions short of the tolerance in ``details``.

    Raises:
        DataError: embeddings, labels or splits that cannot be used.
        ConfigError: a value of C that is not positive.
    """
    z = _rows(z, normalize)
    held = Held.of(y, splits, num_nodes=z.shape[0])
    probes = fit_probes(z, held.for_selection().y, held.splits, regularization=regularization, seed=seed)
    scores = []
    for index, probe in enumerate(probes):
        test = held.splits[:, index] == TEST
        scores.append(classification_scores(probe.predict(z[test]), held.y[test]))
    details = {
        "regularization": [probe.regularization for probe in probes],
        "valid_accuracy": [probe.valid_accuracy for probe in probes],
        "unconverged": sum(probe.unconverged for probe in probes),
    }
    protocol = "linear" if normalize else "linear-raw"
    runs = range(len(probes))
    return Report("classification", protocol, held.num_labelled, by_metric(scores), list(runs), details)


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe of one split.

    Args:
        weight: float64 ``[d, C]``.
        bias: float64 ``[C]``.
        classes: label of each column, int64 ``[C]``.
        regularization: the chosen C.
        valid_accuracy: its accuracy on the validation part.
        unconverged: solutions along the way that the solver left above the tolerance.
    """

    weight: Tensor
    bias: Tensor
    classes: Tensor
    regularization: float
    valid_accuracy: float
    unconverged: int

    def predict(self, z: Tensor) -> Tensor:
        """Predicted labels of rows that are prepared as the training rows were, int64 ``[n]``."""
        return self.classes[_linear(z, self.weight, self.bias).argmax(dim=1)]


def fit_probes(
    z: Tensor,
    y: Tensor,
    splits: Tensor,
    *,
    regularization: Sequence[float] = REGULARIZATION,
    seed: int = 0,
) -> list[Probe]:
    """Fits and selects on the training and validation part of each split; asks for no other label.

    Args:
        z: ``[N, d]``, normalised already where that is wanted.
        y: ``[N, S]``, -1 wherever the split's part is neither training nor validation.
        splits: uint8 ``[N, S]``.
        regularization: values of C.
        seed: given to scikit-learn.
    """
    grid = _grid(regularization)
    # One thread: these problems are small, and threads cost more than they bring (twenty times on two busy cores).
    with threadpool_limits(1):
        return [_fit_probe(z, y[:, index], splits[:, index], grid, seed) for index in range(splits.shape[1])]


def probe_validation(z: Tensor, y: Tensor, splits: Tensor, *, normalize: bool = True) -> dict[str, float]:
    """Validation ``accuracy`` of the probe, mean over splits; ``y`` is ``[N, S]`` without test labels."""
    probes = fit_probes(_rows(z, normalize), y, splits)
    return {"accuracy": float(np.mean([probe.valid_accuracy for probe in probes]))}


def _fit_probe(z: Tensor, y: Tensor, split: Tensor, grid: list[float], seed: int) -> Probe:
    train, valid = split == TRAIN, split == VALID
    z_train, y_train = z[train].double(), y[train]
    z_valid, y_valid = z[valid], y[valid]
    classes = y_train.unique()
    if classes.numel() == 1:  # nothing to learn
        weight, bias = z_train.new_zeros(z.shape[1], 1), z_train.new_zeros(1)
        return Probe(weight, bias, classes, grid[0], float((y_valid == classes).double().mean()), 0)
    weights, biases, unconverged = _solution_path(z_train.numpy(), y_train.numpy(), grid, seed)
    count = classes.numel()
    # one product for the whole grid: [n, d] times [d, G * C]
    logits = _linear(z_valid, torch.cat(weights, dim=1), torch.cat(biases)).view(-1, len(grid), count)
    accuracy = (classes[logits.argmax(dim=2)] == y_valid.unsqueeze(1)).double().mean(dim=0)  # [G]
    best = int(np.argmax(accuracy.numpy()))  # the first maximum: the smallest C
    return Probe(weights[best], biases[best], classes, grid[best], float(accuracy[best]), unconverged)


def _solution_path(
    z: np.ndarray, y: np.ndarray, grid: list[float], seed: int
) -> tuple[list[Tensor], list[Tensor], int]:
    """Weights ``[d, C]`` and biases ``[C]`` for each C, and how many of them are short of the tolerance."""
    basis = None
    if z.shape[0] < z.shape[1]:
        # The solution lies in the span of the training rows and the penalty does not see a rotation: with fewer rows
        # than columns, solve for coordinates in that span.
        basis, coordinates = np.linalg.qr(z.T)  # [d, n], [n, n]
        z = np.ascontiguousarray(coordinates.T)
    model = LogisticRegression(tol=TOLERANCE, max_iter=MAX_ITERATIONS, warm_start=True, random_state=seed)
    weights, biases = [], []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for value in grid:
            model.C = value
            model.fit(z, y)
            weight, bias = model.coef_.T, model.intercept_  # [d, C], [C]; one column where there are two classes
            if weight.shape[1] == 1:
                weight, bias = np.concatenate([-weight, weight], axis=1) / 2, np.concatenate([-bias, bias]) / 2
            weights.append(torch.from_numpy(weight if basis is None else basis @ weight))
            biases.append(torch.from_numpy(bias.copy()))
    unconverged = sum(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return weights, biases, unconverged


def _linear(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``z @ weight + bias`` in float64, some rows at a time."""
    return torch.cat([rows.double() @ weight + bias for rows in z.split(ROWS_AT_ONCE)])


def _rows(z: Tensor, normalize: bool) -> Tensor:
    z = as_embeddings(z)
    return F.normalize(z, dim=1) if normalize else z


def _grid(regularization: Sequence[float]) -> list[float]:
    grid = sorted(float(value) for value in regularization)
    if not grid or not all(0 < value < float("inf") for value in grid):
        raise ConfigError(f"regularization must be positive finite values of C, got {list(regularization)}")
    return grid
