"""Accuracy, macro-F1 and AUC of predicted classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from sklearn.metrics import f1_score
from torch import Tensor


def classification_scores(predicted: Tensor, y: Tensor) -> dict[str, float]:
    """Accuracy (micro-F1 is the same) and macro-F1, the mean over the classes that occur in either argument.

    Args:
        predicted: int64 ``[n]``.
        y: int64 ``[n]``, no -1.
    """
    return {
        "accuracy": float((predicted == y).double().mean()),
        "macro_f1": float(f1_score(y.numpy(), predicted.numpy(), average="macro", zero_division=0)),
    }


def by_metric(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """One record a run, turned into one list a metric."""
    return {metric: [row[metric] for row in rows] for metric in rows[0]}


def confusion_counts(predicted: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """Nodes by class (rows) and predicted class (columns) of several probes, int64 ``[P, C, C]``.

    Args:
        predicted: int64 ``[P, n]``.
        y: int64 ``[n]``, no -1.
        num_classes: C.
    """
    count, cells = len(predicted), num_classes**2
    cell = torch.arange(count).unsqueeze(1) * cells + y * num_classes + predicted
    return torch.bincount(cell.flatten(), minlength=count * cells).view(count, num_classes, num_classes)


def macro_f1(confusion: Tensor) -> Tensor:
    r"""Mean of :math:`2 \mathrm{TP} / (2 \mathrm{TP} + \mathrm{FP} + \mathrm{FN})` over classes, float64 ``[P]``.

    A class that neither occurs nor is predicted is left out, as scikit-learn does.

    Args:
        confusion: ``[P, C, C]``.
    """
    both = confusion.sum(dim=1) + confusion.sum(dim=2)  # [P, C]
    twice = 2.0 * confusion.diagonal(dim1=1, dim2=2).double()
    return (twice / both.clamp(min=1)).sum(dim=1) / (both > 0).sum(dim=1)


def one_vs_rest_auc(score: Tensor, y: Tensor) -> Tensor:
    r"""Area under the ROC curve of each class against the rest, mean over the classes, float64 ``[P]``.

    .. math:: \mathrm{AUC}_c = \frac{\sum_{i: y_i = c} r_{ic} - n_c (n_c + 1) / 2}{n_c (n - n_c)}

    with :math:`r_{ic}` the rank of node i by its score of class c, from 1; equal scores share their mean rank (Mann and
    Whitney, 1947).

    Args:
        score: ``[P, C, n]``.
        y: int64 ``[n]``; every class occurs, and no other does.
    """
    areas = []
    for label in range(score.shape[1]):
        own = y == label
        values = score[:, label].contiguous()  # [P, n]
        ordered = values.sort(dim=1).values
        positive = values[:, own].contiguous()  # [P, n_c]
        # ranks are halves of whole numbers: exact in float64
        below = torch.searchsorted(ordered, positive)
        rank = (below + torch.searchsorted(ordered, positive, right=True) + 1).double() / 2
        n_own = positive.shape[1]
        areas.append((rank.sum(dim=1) - n_own * (n_own + 1) / 2) / (n_own * (len(y) - n_own)))
    return torch.stack(areas).mean(dim=0)
