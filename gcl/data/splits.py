"""Training, validation and test parts of the nodes."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph

TRAIN, VALID, TEST, UNUSED = 0, 1, 2, 3
PARTS = ("train", "valid", "test", "unused")
SPLIT_WORDS = {**{word: code for code, word in enumerate(PARTS)}, "val": 1, "validation": 1, "": UNUSED, "none": UNUSED}


def random_split(num_nodes: int, seed: int, train: float = 0.1, valid: float = 0.1) -> Tensor:
    """Split ``seed`` of the protocol ``random-10/10/80``: a permutation cut in three, sizes rounded down.

    It is NumPy's legacy ``RandomState(seed).permutation``, which is stable across versions, so that split *s* of a
    graph is the same everywhere.

    Args:
        num_nodes: nodes.
        seed: 0 to 2**32 - 1.
        train: fraction of training nodes.
        valid: fraction of validation nodes; the rest are test nodes.

    Returns:
        uint8 ``[N]``: 0 train, 1 validation, 2 test.

    Raises:
        DataError: the graph is so small that a part asked for is empty.
    """
    if not (0 < train < 1 and 0 <= valid < 1 and train + valid < 1):
        raise ConfigError(f"train={train} and valid={valid} must be fractions that leave some nodes for the test part")
    permutation = np.random.RandomState(seed).permutation(num_nodes)
    num_train, num_valid = int(train * num_nodes), int(valid * num_nodes)
    split = np.full(num_nodes, TEST, dtype=np.uint8)
    split[permutation[:num_train]] = TRAIN
    split[permutation[num_train : num_train + num_valid]] = VALID
    result = torch.from_numpy(split)
    require_parts(result.unsqueeze(1), parts=PARTS[:3] if valid > 0 else ("train", "test"))
    return result


def get_splits(graph: Graph, count: int = 20, kind: str = "auto") -> Tensor:
    """Splits of a graph's target nodes.

    Args:
        graph: with node attribute ``splits`` for stored ones; unlabelled nodes (``y`` = -1) are unused.
        count: how many; stored splits are at most as many as there are.
        kind: ``stored``, ``random-10/10/80`` (or other percentages), or ``auto``: stored where there are some.

    Returns:
        uint8 ``[N, S]``: 0 train, 1 validation, 2 test, 3 unused.

    Raises:
        DataError: no stored splits, or a part of a split is empty.
        ConfigError: an unknown kind or a count below 1.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"count must be a whole number of splits from 1, got {count!r}")
    stored = graph.attr("splits")
    if kind == "auto":
        kind = "random-10/10/80" if stored is None else "stored"
    parts: tuple[str, ...] = PARTS[:3]
    if kind == "stored":
        if stored is None:
            raise DataError("the graph has no stored splits; use splits random-10/10/80 or give a splits file")
        splits = stored[:, :count]
    else:
        train, valid = _fractions(kind)
        columns = [random_split(graph.num_nodes, seed, train, valid) for seed in range(count)]
        splits = torch.stack(columns, dim=1).to(graph.device)  # [N, S]
        parts = PARTS[:3] if valid > 0 else ("train", "test")
    y = graph.attr("y")
    if y is not None and bool((y < 0).any()):
        splits = splits.masked_fill((y < 0).unsqueeze(1), UNUSED)
    require_parts(splits, parts=parts)
    return splits


def require_parts(splits: Tensor, *, parts: tuple[str, ...] = PARTS[:3]) -> None:
    """Refuses splits ``[N, S]`` in which a part has no node, naming the part and the split."""
    for part in parts:
        empty = (~(splits == PARTS.index(part)).any(dim=0)).nonzero()
        if empty.numel():
            raise DataError(
                f"the {part} part of split {int(empty[0])} is empty ({splits.shape[0]} nodes); "
                "use another split kind or give splits in which every part has a node"
            )


def _fractions(kind: str) -> tuple[float, float]:
    match = re.fullmatch(r"random-(\d+)/(\d+)/(\d+)", kind)
    percentages = [int(part) for part in match.groups()] if match else []
    if sum(percentages) != 100 or 0 in (percentages[0], percentages[2]):
        raise ConfigError(
            f"unknown splits {kind!r}; use auto, stored or random-TRAIN/VALID/TEST in percent, as in random-10/10/80"
        )
    return percentages[0] / 100, percentages[1] / 100
