"""Checks of labels and splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcl.core.errors import DataError


def as_labels(y: Any, num_nodes: int | None = None) -> Tensor:
    """Checked labels, int64 ``[N]``: classes from 0, -1 = unlabelled; any length where ``num_nodes`` is not given.

    Raises:
        DataError: another length, not whole numbers, or below -1.
    """
    try:
        array = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    except ValueError:
        raise DataError("labels must be one class a node; some entries are lists of different lengths") from None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(f"labels must be one class a node [N], got {list(array.shape)}; take one column of a table")
    if num_nodes is not None and array.size != num_nodes:
        raise DataError(f"labels have {array.size} entries for {num_nodes} nodes; give one a node, -1 = unlabelled")
    if array.size == 0:
        raise DataError("the graph has no nodes; labels must have at least one row")
    if array.dtype.kind not in "biu":
        raise DataError(
            f"labels must be whole numbers, got {array.dtype} (the first is {array[0]}); number the classes from 0"
        )
    labels = array.astype(np.int64)
    if int(labels.min()) < -1:
        at = int((labels < -1).argmax())
        raise DataError(f"node {at} has the label {int(labels[at])}; classes start at 0, and -1 means unlabelled")
    return torch.from_numpy(labels)


def as_splits(splits: Any, num_nodes: int) -> Tensor:
    """Checked splits, uint8 ``[N, S]``: 0 train, 1 validation, 2 test, 3 unused.

    Args:
        splits: ``[N]`` or ``[N, S]``.
        num_nodes: N.

    Raises:
        DataError: another shape, or another value.
    """
    array = splits.detach().cpu().numpy() if isinstance(splits, Tensor) else np.asarray(splits)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[0] != num_nodes or array.shape[1] == 0:
        raise DataError(f"splits must have shape [{num_nodes}] or [{num_nodes}, S], got {list(array.shape)}")
    if array.dtype.kind not in "iu" or int(array.min()) < 0 or int(array.max()) > 3:
        wrong = array[~np.isin(array, (0, 1, 2, 3))]
        found = f"{wrong[0]}" if wrong.size else f"{array.dtype}"
        raise DataError(f"splits must be 0 train, 1 validation, 2 test or 3 unused, got {found}")
    return torch.from_numpy(np.ascontiguousarray(array.astype(np.uint8)))
