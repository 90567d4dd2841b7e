"""Accuracy and macro-F1 of predicted classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
