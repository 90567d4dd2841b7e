"""A linear probe: one scikit-learn model a split and strength."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

TRAIN, VALID, TEST = 0, 1, 2


def probe(
    z: np.ndarray, y: np.ndarray, splits: np.ndarray, strengths: Sequence[float], *, tol: float = 1e-4
) -> list[float]:
    """Test accuracy of each split (column), the strength chosen by validation accuracy."""
    z = normalize(z)
    accuracies = []
    for split in splits.T:
        best_valid, best = -1.0, None
        for strength in strengths:
            model = LogisticRegression(C=strength, tol=tol, max_iter=5000)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(z[split == TRAIN], y[split == TRAIN])
            valid = model.score(z[split == VALID], y[split == VALID])
            if valid > best_valid:
                best_valid, best = valid, model
        assert best is not None
        accuracies.append(best.score(z[split == TEST], y[split == TEST]))
    return accuracies
