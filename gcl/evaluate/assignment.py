"""The clusters that a method makes itself, scored against labels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from gcl.core.context import Outputs
from gcl.core.report import Report
from gcl.evaluate.clustering import Clustering, HeldClasses, cluster_scores, hard_assignment
from gcl.evaluate.scores import by_metric

CRITERIA = ("silhouette", "modularity")  # columns of ``label_free``


class Assignment(Clustering):
    """Scores a method's own assignment after its last epoch (protocol ``assignment``).

    Embeddings without one (the floors) are clustered by k-means, as :class:`~gcl.evaluate.clustering.Clustering` does.

    Where the method kept the assignment of every epoch (``extras["epoch_assignments"]``), the details tell how other
    choices of an epoch would have done: ``start`` (before the first update: pre-training and k-means alone),
    ``by_silhouette`` and ``by_modularity`` without labels, and ``oracle``, the best epoch of each score by the labels.
    Deep clustering papers often print the last of these; it is no result, for nobody who needs a clustering has the
    labels.

    Args:
        k, normalize, num_seeds, n_init, algorithm: of the k-means for what has no assignment.
        embedding: says nothing of an assignment; ``None``.

    Raises:
        ConfigError: a number below 1, an unknown algorithm, or an embedding.
    """

    takes_embedding: ClassVar[bool] = False

    def evaluate(self, outputs: Outputs, held: HeldClasses, *, seed: int) -> Report:
        """Scores of the assignment: ``accuracy``, ``nmi``, ``ari`` and ``macro_f1``, one value.

        Raises:
            DataError: embeddings or an assignment that cannot be used.
        """
        if outputs.assignment is None:
            return super().evaluate(outputs, held, seed=seed)
        own = hard_assignment(outputs.assignment)
        values = by_metric([cluster_scores(own, held.y)])
        details: dict[str, Any] = {"clusters": int(own.unique().numel())}
        history = outputs.extras.get("epoch_assignments")
        if history is not None and len(history):
            details |= epochs_by_choice(history, outputs.extras["label_free"], held.y)
        return Report("clustering", "assignment", int((held.y >= 0).sum()), values, [seed], details)


def epochs_by_choice(history: Tensor, label_free: Tensor, y: Tensor) -> dict[str, dict[str, float]]:
    """What each way to choose an epoch gives.

    Args:
        history: cluster of each node before the update of each epoch, ``[T, N]``.
        label_free: scores of each epoch without labels, ``[T, 2]``: silhouette and modularity.
        y: classes, ``[N]``.

    Returns:
        ``start``: the first; ``by_silhouette`` and ``by_modularity``: the scores of that epoch (the first of equal
        ones) and its number, from 1; ``oracle``: the best of each score over all epochs, chosen by the labels.
    """
    scores = [cluster_scores(labels.long(), y) for labels in history]
    found: dict[str, dict[str, float]] = {"start": scores[0]}
    for column, name in enumerate(CRITERIA):
        at = int(torch.nan_to_num(label_free[:, column], nan=-torch.inf).argmax())
        found[f"by_{name}"] = {**scores[at], "epoch": at + 1}
    found["oracle"] = {metric: max(score[metric] for score in scores) for metric in scores[0]}
    return found
