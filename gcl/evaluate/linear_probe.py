"""The linear probe: the default protocol of node classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gcl.core.errors import ConfigError
from gcl.core.report import Report
from gcl.data.splits import TEST, TRAIN, VALID
from gcl.evaluate.embeddings import as_embeddings
from gcl.evaluate.held_labels import Held
from gcl.evaluate.scores import by_metric, classification_scores
from gcl.evaluate.softmax_regression import Solutions, softmax_regressions

REGULARIZATION = tuple(10.0**exponent for exponent in range(-3, 4))

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

    with rows of unit length: the optimum of scikit-learn's ``LogisticRegression``, found in float64 for all splits and
    strengths together, to a gradient below 1e-5 (:mod:`gcl.evaluate.softmax_regression`). Of equal validation
    accuracies the smallest C is taken. The test labels of a split are read once, after its C is chosen. Unlabelled
    nodes take no part.

    Args:
        z: embeddings ``[N, d]``.
        y: labels ``[N]``, -1 = unlabelled.
        splits: ``[N, S]`` or ``[N]``: 0 train, 1 validation, 2 test, 3 unused.
        normalize: scale rows to unit length first (protocol ``linear``; ``linear-raw`` without).
        regularization: the values of C, the inverse strength, each positive.
        seed: changes nothing, since nothing is drawn; here for what calls every protocol alike.

    Returns:
        ``accuracy`` and ``macro_f1`` of each split's test part; the chosen C (``regularization``), the validation
        accuracy and the number of solutions short of the tolerance in ``details``.

    Raises:
        DataError: embeddings, labels or splits that cannot be used.
        ConfigError: a value of C that is not positive.
    """
    z = _rows(z, normalize)
    held = Held.of(y, splits, num_nodes=z.shape[0])
    probes = fit_probes(z, held.for_selection().y, held.splits, regularization=regularization)
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
) -> list[Probe]:
    """Fits and selects on the training and validation part of each split; asks for no other label.

    Args:
        z: ``[N, d]``, normalised already where that is wanted.
        y: ``[N, S]``, -1 wherever the split's part is neither training nor validation.
        splits: uint8 ``[N, S]``.
        regularization: values of C.
    """
    grid = _grid(regularization)
    parts = [_labelled_part(z, y[:, index], splits[:, index] == TRAIN) for index in range(splits.shape[1])]
    several = [part for part in parts if part.classes.numel() > 1]
    solved = iter(softmax_regressions([part.z for part in several], [part.target for part in several], grid))
    return [
        _select(part, next(solved) if part.classes.numel() > 1 else None, grid, z, y[:, index], splits[:, index])
        for index, part in enumerate(parts)
    ]


def probe_validation(z: Tensor, y: Tensor, splits: Tensor, *, normalize: bool = True) -> dict[str, float]:
    """Validation ``accuracy`` of the probe, mean over splits; ``y`` is ``[N, S]`` without test labels."""
    probes = fit_probes(_rows(z, normalize), y, splits)
    return {"accuracy": float(np.mean([probe.valid_accuracy for probe in probes]))}


@dataclass(frozen=True, eq=False)
class _Part:
    """The training part of a split: rows in float64, their classes, and the place of each row's among these."""

    z: Tensor
    classes: Tensor
    target: Tensor


def _labelled_part(z: Tensor, y: Tensor, where: Tensor) -> _Part:
    classes, target = y[where].unique(return_inverse=True)
    return _Part(z[where].double(), classes, target)


def _select(part: _Part, solved: Solutions | None, grid: list[float], z: Tensor, y: Tensor, split: Tensor) -> Probe:
    """The solution with the best validation accuracy."""
    valid = split == VALID
    z_valid, y_valid = z[valid], y[valid]
    classes = part.classes
    if solved is None:  # one class: nothing to learn
        weight, bias = part.z.new_zeros(z.shape[1], 1), part.z.new_zeros(1)
        return Probe(weight, bias, classes, grid[0], float((y_valid == classes).double().mean()), 0)
    # one product for the whole grid: [n, d] times [d, G * C]
    weights = solved.weight.permute(1, 0, 2).reshape(z.shape[1], -1)
    logits = _linear(z_valid, weights, solved.bias.reshape(-1)).view(-1, *solved.bias.shape)
    accuracy = (classes[logits.argmax(dim=2)] == y_valid.unsqueeze(1)).double().mean(dim=0)  # [G]
    best = int(np.argmax(accuracy.numpy()))  # the first maximum: the smallest C
    chosen = solved.weight[best].clone(), solved.bias[best].clone()
    return Probe(*chosen, classes, grid[best], float(accuracy[best]), solved.unconverged)


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
