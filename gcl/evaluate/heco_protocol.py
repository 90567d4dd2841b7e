"""The evaluation of HeCo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from gcl.core.errors import ConfigError, DataError, NonFiniteError
from gcl.core.report import Report
from gcl.data.splits import PARTS, TEST, TRAIN, VALID
from gcl.evaluate.embeddings import as_embeddings
from gcl.evaluate.held_labels import Held
from gcl.evaluate.linear_heads import LinearHeads, adam_heads, check_positive, xavier_weights
from gcl.evaluate.scores import confusion_counts, macro_f1, one_vs_rest_auc

MEMORY = 128 * 2**20  # bytes of scores of one part; more probes than fit are trained and scored in groups


def heco_protocol(
    z: Tensor,
    y: Tensor,
    splits: Tensor,
    *,
    num_probes: int = 50,
    steps: int = 200,
    learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    generator: Generator | None = None,
) -> Report:
    r"""Scores embeddings by many linear layers a split, trained by Adam; the evaluation of HeCo, MEOW and AdaMEOW.

    .. math:: \min_{W, b}\; \frac{1}{\lvert\text{train}\rvert} \sum_{i \in \text{train}}
        -\log \mathrm{softmax}(W z_i + b)_{y_i}

    Embeddings as they are, full batch, Xavier-uniform weight and zero bias, fresh for each probe. The validation part
    is read after every step. Macro-F1 is that of the test part at the step of best validation macro-F1; micro-F1 (the
    accuracy) and AUC are those at the step of best validation micro-F1, each time the first of equal readings. AUC is
    the mean over the classes of one against the rest, by softmax. All probes of a split train together as one weight
    ``[P, C, d]``, which is exact: Adam works entry by entry.

    Wang, Liu, Han, Shi: *Self-supervised Heterogeneous Graph Neural Network with Co-contrastive Learning*, KDD 2021,
    arXiv 2105.09111. Their standard deviation is over the probes of one split and one embedding.

    Args:
        z: embeddings ``[N, d]``.
        y: labels ``[N]``, -1 = unlabelled.
        splits: ``[N, S]`` or ``[N]``: 0 train, 1 validation, 2 test, 3 unused; every class in every part.
        num_probes: P, at least 1.
        steps: steps of Adam, at least 1.
        learning_rate: of Adam, positive; the papers choose it for each dataset.
        weight_decay: of Adam (added to the gradient), at least 0.
        generator: for the initial weights.

    Returns:
        ``accuracy``, ``macro_f1``, ``micro_f1`` and ``auc`` of the test part, one run a split and probe, the probes of
        the first split first; the chosen steps (``macro_f1_step``, ``micro_f1_step``) and the validation figures
        there (``valid_macro_f1``, ``valid_accuracy``) in ``details``.

    Raises:
        DataError: embeddings, labels or splits that cannot be used, or a part without a class.
        ConfigError: a number outside its range.
        NonFiniteError: probes that diverge.
    """
    z = as_embeddings(z)
    held = Held.of(y, splits, num_nodes=z.shape[0])
    require_classes(held)
    heads = fit_heco_probes(
        z,
        held.for_selection().y,
        held.splits,
        num_classes=held.num_classes,
        num_probes=num_probes,
        steps=steps,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        generator=generator,
    )
    scores = []
    for index in range(held.splits.shape[1]):
        test = _Part.of(z, held.y, held.splits[:, index] == TEST)
        scores.append(_test_scores(test, heads, range(index * num_probes, (index + 1) * num_probes)))
    values = {metric: [value for split in scores for value in split[metric]] for metric in scores[0]}
    details = {
        "num_probes": num_probes,
        "steps": steps,
        "macro_f1_step": heads.macro_f1.step.tolist(),
        "micro_f1_step": heads.micro_f1.step.tolist(),
        "valid_macro_f1": heads.macro_f1.valid_score.tolist(),
        "valid_accuracy": heads.micro_f1.valid_score.tolist(),
    }
    runs = range(len(values["accuracy"]))
    return Report("classification", "heco", held.num_labelled, values, list(runs), details)


@dataclass(frozen=True, eq=False)
class ChosenProbes:
    """The probes of all splits ``[S * P]``, those of the first split first, at two of their steps.

    Args:
        macro_f1: at the first best validation macro-F1.
        micro_f1: at the first best validation micro-F1.
    """

    macro_f1: LinearHeads
    micro_f1: LinearHeads


def fit_heco_probes(
    z: Tensor,
    y: Tensor,
    splits: Tensor,
    *,
    num_classes: int,
    num_probes: int = 50,
    steps: int = 200,
    learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    generator: Generator | None = None,
) -> ChosenProbes:
    """Trains and selects on the training and validation part of each split; asks for no other label.

    Args:
        z: ``[N, d]``.
        y: ``[N, S]``, -1 wherever the split's part is neither training nor validation.
        splits: uint8 ``[N, S]``.
        num_classes: C.
        num_probes, steps, learning_rate, weight_decay, generator: see :func:`heco_protocol`.
    """
    check_positive("heco", num_probes=num_probes, steps=steps, learning_rate=learning_rate)
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ConfigError(f"weight_decay of heco must be a finite number from 0, got {weight_decay}")
    count = splits.shape[1]
    weight = xavier_weights(count * num_probes, num_classes, z.shape[1], dtype=z.dtype, generator=generator)
    chosen = []
    for index, own in enumerate(weight.split(num_probes)):
        train = _Part.of(z, y[:, index], splits[:, index] == TRAIN)
        valid = _Part.of(z, y[:, index], splits[:, index] == VALID)
        groups = own.split(_group_size(max(len(train.y), len(valid.y)), num_classes, z))
        chosen += [_fit_group(train, valid, group, steps, learning_rate, weight_decay) for group in groups]
    return ChosenProbes(
        LinearHeads.cat([probes.macro_f1 for probes in chosen]),
        LinearHeads.cat([probes.micro_f1 for probes in chosen]),
    )


def heco_validation(
    z: Tensor, y: Tensor, splits: Tensor, *, num_classes: int, generator: Generator | None = None, **options: Any
) -> dict[str, float]:
    """Best validation ``accuracy`` and ``macro_f1``, means over splits and probes.

    Arguments as of :func:`fit_heco_probes`.
    """
    probes = fit_heco_probes(as_embeddings(z), y, splits, num_classes=num_classes, generator=generator, **options)
    return {
        "accuracy": float(probes.micro_f1.valid_score.mean()),
        "macro_f1": float(probes.macro_f1.valid_score.mean()),
    }


def require_classes(held: Held, *, first: int = 0) -> None:
    """Refuses splits in which a part lacks a class, since macro-F1 and AUC are means over the classes.

    Args:
        held: labels and splits.
        first: what the first of the splits is called in the message.

    Raises:
        DataError: a missing class, or labels of a single class.
    """
    if held.num_classes < 2:
        raise DataError("all labels are of class 0 and AUC needs two classes; use protocol linear")
    for index in range(held.splits.shape[1]):
        for part in (TRAIN, VALID, TEST):
            counts = torch.bincount(held.y[held.splits[:, index] == part], minlength=held.num_classes)
            if not bool(counts.all()):
                raise DataError(
                    f"the {PARTS[part]} part of split {first + index} has no node of class {int(counts.argmin())} and "
                    "protocol heco scores every class; give splits in which every part has every class"
                )


@dataclass(frozen=True, eq=False)
class _Part:
    """The rows ``z`` ``[n, d]`` and labels ``y`` ``[n]`` of one part of a split."""

    z: Tensor
    y: Tensor

    @classmethod
    def of(cls, z: Tensor, y: Tensor, mask: Tensor) -> _Part:
        return cls(z[mask], y[mask])

    def logits(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Scores ``[P, C, n]`` of every probe; all share the rows, so that it is one product."""
        flat = torch.addmm(bias.reshape(-1, 1), weight.flatten(0, 1), self.z.t())
        return flat.view(*bias.shape, -1)

    def confusion(self, logits: Tensor) -> Tensor:
        """Counts ``[P, C, C]`` of the predictions; of equal scores the first class is predicted."""
        predicted = logits.max(dim=1).indices  # what argmax gives, and ten times as fast along this axis
        return confusion_counts(predicted, self.y, logits.shape[1])

    def accuracy(self, confusion: Tensor) -> Tensor:
        """Micro-F1 of each probe, float64 ``[P]``."""
        return confusion.diagonal(dim1=1, dim2=2).sum(dim=1).double() / len(self.y)


def _group_size(rows: int, num_classes: int, z: Tensor) -> int:
    """How many probes at once, so that their scores of some rows fit in memory."""
    return max(MEMORY // (rows * num_classes * z.element_size()), 1)


def _fit_group(
    train: _Part, valid: _Part, start: Tensor, steps: int, learning_rate: float, weight_decay: float
) -> ChosenProbes:
    target = train.y.expand(len(start), -1)  # [P, n]

    def loss(weight: Tensor, bias: Tensor) -> Tensor:
        return F.cross_entropy(train.logits(weight, bias), target, reduction="sum") / len(train.y)

    by_macro = by_micro = LinearHeads.unread(start)
    trained = adam_heads(start, loss, steps=steps, learning_rate=learning_rate, weight_decay=weight_decay)
    for step, weight, bias in trained:
        confusion = valid.confusion(valid.logits(weight, bias))
        by_macro = by_macro.or_better(macro_f1(confusion), weight, bias, step)
        by_micro = by_micro.or_better(valid.accuracy(confusion), weight, bias, step)
    return ChosenProbes(by_macro, by_micro)


def _test_scores(test: _Part, heads: ChosenProbes, probes: range) -> dict[str, list[float]]:
    """Each metric of the probes of one split."""
    scores: dict[str, list[float]] = {"accuracy": [], "macro_f1": [], "micro_f1": [], "auc": []}
    size = _group_size(len(test.y), heads.micro_f1.weight.shape[1], test.z)
    for start in range(probes.start, probes.stop, size):
        at = slice(start, min(start + size, probes.stop))
        by_macro = test.logits(heads.macro_f1.weight[at], heads.macro_f1.bias[at])
        by_micro = test.logits(heads.micro_f1.weight[at], heads.micro_f1.bias[at])
        if not bool(by_macro.isfinite().all() and by_micro.isfinite().all()):
            raise NonFiniteError(
                "the linear layers of protocol heco gave scores that are not finite; lower learning_rate or scale the "
                "embeddings down"
            )
        accuracy = test.accuracy(test.confusion(by_micro)).tolist()
        scores["accuracy"] += accuracy
        scores["micro_f1"] += accuracy
        scores["macro_f1"] += macro_f1(test.confusion(by_macro)).tolist()
        scores["auc"] += one_vs_rest_auc(by_micro.softmax(dim=1), test.y).tolist()
    return scores
