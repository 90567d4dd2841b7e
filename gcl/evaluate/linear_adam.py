"""The linear head of the papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from gcl.core.report import Report
from gcl.data.splits import TEST, TRAIN, VALID
from gcl.evaluate.embeddings import as_embeddings
from gcl.evaluate.held_labels import Held
from gcl.evaluate.linear_heads import LinearHeads, adam_heads, check_positive, xavier_weights
from gcl.evaluate.scores import by_metric, classification_scores

MEMORY = 512 * 2**20  # bytes of gathered rows; more splits than fit are trained in groups


def linear_adam(
    z: Tensor,
    y: Tensor,
    splits: Tensor,
    *,
    steps: int = 3000,
    learning_rate: float = 0.01,
    every: int = 20,
    generator: Generator | None = None,
) -> Report:
    r"""Scores embeddings by one linear layer a split, trained by Adam; the evaluation of GCA, CSGCL and POT.

    .. math:: \min_{W, b}\; \frac{1}{\lvert\text{train}\rvert} \sum_{i \in \text{train}}
        -\log \mathrm{softmax}(z_i W + b)_{y_i}

    Embeddings as they are, full batch, no weight decay, Xavier-uniform weight and zero bias. The validation accuracy is
    read every 20 steps and after the last; the head of the best reading (the first, of equal ones) is scored on the
    test part. All splits train together as one weight ``[S, C, d]``.

    Args:
        z: embeddings ``[N, d]``.
        y: labels ``[N]``, -1 = unlabelled.
        splits: ``[N, S]`` or ``[N]``: 0 train, 1 validation, 2 test, 3 unused.
        steps: steps of Adam, at least 1 (3000; 800 on WikiCS).
        learning_rate: of Adam, positive.
        every: steps between two readings of the validation accuracy.
        generator: for the initial weights.

    Returns:
        ``accuracy`` and ``macro_f1`` of each split's test part; the chosen step and its validation accuracy in
        ``details``.

    Raises:
        DataError: embeddings, labels or splits that cannot be used.
        ConfigError: steps, learning rate or interval that are not positive.
    """
    z = as_embeddings(z)
    held = Held.of(y, splits, num_nodes=z.shape[0])
    heads = fit_heads(
        z,
        held.for_selection().y,
        held.splits,
        num_classes=held.num_classes,
        steps=steps,
        learning_rate=learning_rate,
        every=every,
        generator=generator,
    )
    scores = []
    for index in range(held.splits.shape[1]):
        test = held.splits[:, index] == TEST
        predicted = F.linear(z[test], heads.weight[index], heads.bias[index]).argmax(dim=1)
        scores.append(classification_scores(predicted, held.y[test]))
    details = {"step": heads.step.tolist(), "valid_accuracy": heads.valid_score.tolist(), "steps": steps}
    runs = range(len(scores))
    return Report("classification", "linear-adam", held.num_labelled, by_metric(scores), list(runs), details)


def fit_heads(
    z: Tensor,
    y: Tensor,
    splits: Tensor,
    *,
    num_classes: int,
    steps: int = 3000,
    learning_rate: float = 0.01,
    every: int = 20,
    generator: Generator | None = None,
) -> LinearHeads:
    """Trains and selects on the training and validation part of each split; asks for no other label.

    Args:
        z: ``[N, d]``.
        y: ``[N, S]``, -1 wherever the split's part is neither training nor validation.
        splits: uint8 ``[N, S]``.
        num_classes: C.
        steps, learning_rate, every, generator: see :func:`linear_adam`.
    """
    check_positive("linear-adam", steps=steps, learning_rate=learning_rate, every=every)
    count, width = splits.shape[1], z.shape[1]
    weight = xavier_weights(count, num_classes, width, dtype=z.dtype, generator=generator)
    train, valid = splits == TRAIN, splits == VALID
    rows = max(int(train.sum(dim=0).max()) + int(valid.sum(dim=0).max()), 1)
    group = max(MEMORY // (rows * width * z.element_size()), 1)
    heads = [
        _fit_group(
            _Part.of(z, y[:, at], train[:, at]),
            _Part.of(z, y[:, at], valid[:, at]),
            weight[at],
            steps,
            learning_rate,
            every,
        )
        for at in (slice(start, start + group) for start in range(0, count, group))
    ]
    return LinearHeads.cat(heads)


def linear_adam_validation(
    z: Tensor, y: Tensor, splits: Tensor, *, num_classes: int, generator: Generator | None = None, **options: Any
) -> dict[str, float]:
    """Best validation ``accuracy``, mean over splits; arguments as of :func:`fit_heads`."""
    heads = fit_heads(as_embeddings(z), y, splits, num_classes=num_classes, generator=generator, **options)
    return {"accuracy": float(heads.valid_score.mean())}


@dataclass(frozen=True, eq=False)
class _Part:
    """The rows of one part of several splits, padded to the longest.

    ``z`` is ``[S, n, d]``, ``y`` ``[S, n]``; ``share`` ``[S, n]`` is 1 / (rows of the split), and 0 for padding.
    """

    z: Tensor
    y: Tensor
    share: Tensor

    @classmethod
    def of(cls, z: Tensor, y: Tensor, mask: Tensor) -> _Part:
        sizes = mask.sum(dim=0)  # [S]
        order = torch.argsort(mask.to(torch.uint8), dim=0, descending=True, stable=True)  # members first, in order
        index = order[: int(sizes.max())].t()  # [S, n]
        inside = torch.arange(index.shape[1]) < sizes.unsqueeze(1)
        share = inside.to(z.dtype) / sizes.unsqueeze(1)
        return cls(z[index], torch.where(inside, y.t().gather(1, index), 0), share)

    def logits(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Scores ``[S, C, n]``; with the few classes as rows the product is three times as fast as the other way."""
        return torch.baddbmm(bias.unsqueeze(2), weight, self.z.transpose(1, 2))

    def accuracy(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Accuracy of each split, float64 ``[S]``."""
        right = self.logits(weight, bias).argmax(dim=1) == self.y
        # counts, not shares: equal accuracies must be equal numbers
        return (right & (self.share > 0)).sum(dim=1).double() / (self.share > 0).sum(dim=1)


def _fit_group(train: _Part, valid: _Part, start: Tensor, steps: int, learning_rate: float, every: int) -> LinearHeads:
    def loss(weight: Tensor, bias: Tensor) -> Tensor:
        losses = F.cross_entropy(train.logits(weight, bias), train.y, reduction="none")  # [S, n]
        return (losses * train.share).sum()

    best = LinearHeads.unread(start)
    for step, weight, bias in adam_heads(start, loss, steps=steps, learning_rate=learning_rate, every=every):
        best = best.or_better(valid.accuracy(weight, bias), weight, bias, step)
    return best
