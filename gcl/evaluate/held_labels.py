"""What node-level protocols hold out of training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcl.core.errors import DataError
from gcl.data.labels import as_labels, as_splits
from gcl.data.splits import PARTS, TEST, UNUSED


@dataclass(frozen=True, eq=False)
class SelectionLabels:
    """The labels that selection may see.

    Args:
        y: int64 ``[N, S]``: the label of each node in the training and validation part of each split, -1 elsewhere.
        splits: uint8 ``[N, S]``.
        num_classes: how many classes there are; a fact of the task, not of a split.
    """

    y: Tensor
    splits: Tensor
    num_classes: int


@dataclass(frozen=True, eq=False)
class Held:
    """Labels and splits, absent from the training graph.

    Args:
        y: int64 ``[N]``, -1 = unlabelled.
        splits: uint8 ``[N, S]``: 0 train, 1 validation, 2 test, 3 unused; unlabelled nodes are unused.
        seed: the seed that the split was asked for with.
    """

    y: Tensor
    splits: Tensor
    seed: int = 0

    @classmethod
    def of(cls, y: Tensor, splits: Tensor, *, num_nodes: int, seed: int = 0, needs_valid: bool = True) -> Held:
        """Checks labels and splits against each other; unlabelled nodes become unused.

        Raises:
            DataError: wrong shapes or values, no label at all, or a part of a split without a labelled node.
        """
        y, splits = as_labels(y, num_nodes), as_splits(splits, num_nodes)
        if not bool((y >= 0).any()):
            raise DataError(f"none of the {num_nodes} nodes has a label (all are -1); classification needs labels")
        splits = splits.masked_fill((y < 0).unsqueeze(1), UNUSED)
        for part in ("train", "valid", "test") if needs_valid else ("train", "test"):
            empty = (~(splits == PARTS.index(part)).any(dim=0)).nonzero()
            if empty.numel():
                raise DataError(
                    f"the {part} part of split {int(empty[0])} has no labelled node; "
                    "use another split kind or give splits in which every part has one"
                )
        return cls(y, splits, seed)

    @property
    def num_classes(self) -> int:
        """Classes, by the largest label."""
        return int(self.y.max()) + 1

    @property
    def num_labelled(self) -> int:
        """Nodes with a label."""
        return int((self.y >= 0).sum())

    def for_selection(self) -> SelectionLabels:
        """A copy of the labels from which those of test nodes are gone, split by split."""
        seen = self.splits < TEST  # [N, S]
        y = torch.where(seen, self.y.unsqueeze(1), -1)
        return SelectionLabels(y, self.splits, self.num_classes)
