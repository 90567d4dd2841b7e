"""Train, validation and test parts of interactions.

Each function gives uint8 ``[n]``: 0 train, 1 validation, 2 test. What is drawn follows the order of the interactions,
so sort them (:func:`gcl.data.interaction_filters.merge_duplicates` does) for splits that do not depend on a file's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from gcl.core.errors import DataError
from gcl.data.interaction_options import check_fractions
from gcl.data.splits import TEST, TRAIN, VALID


def ratio_split(
    user: np.ndarray, fractions: Sequence[float] = (0.8, 0.1, 0.1), *, seed: int | torch.Generator = 0
) -> np.ndarray:
    """A random part of each user's interactions, in RecBole's sizes.

    Validation and test get their share rounded down, train the rest; a share below one interaction is one, for test
    first, as long as train keeps one (``_calcu_split_ids`` of RecBole 1.2). So a user with one interaction has it in
    train, one with two has no validation item.

    Args:
        user: user of each interaction, ``[n]``.
        fractions: shares of train, validation and test.
        seed: a seed, which gives the same split in every version, or a generator.
    """
    _, valid, test = check_fractions(fractions)
    total = np.bincount(user) if user.size else np.zeros(0, dtype=np.int64)
    # Rounded to 6 digits first: 0.29 * 100 is to be 29.
    num_valid, num_test = (np.floor(np.round(share * total, 6)).astype(np.int64) for share in (valid, test))
    num_train = total - num_valid - num_test
    for share, count in ((test, num_test), (valid, num_valid)):
        short = (count == 0) & (share > 0) & (num_train > 1)
        count += short
        num_train -= short
    order, rank = ranks(user, uniform(seed)(user.size))
    owner = user[order]
    part = np.full(user.size, TEST, dtype=np.uint8)
    part[order[rank < (num_train + num_valid)[owner]]] = VALID
    part[order[rank < num_train[owner]]] = TRAIN
    return part


def leave_one_out(user: np.ndarray, time: np.ndarray | None = None, *, seed: int | torch.Generator = 0) -> np.ndarray:
    """The last interaction of each user is its test part, the one before its validation part.

    A user with two interactions has no validation part, one with one interaction has it in train.

    Args:
        user: user of each interaction, ``[n]``.
        time: when it was, ``[n]``; ``None`` = random order. Of equal times a random one is last.
        seed: a seed, which gives the same split in every version, or a generator.
    """
    draw = uniform(seed)(user.size)
    order, rank = ranks(user, *((draw,) if time is None else (draw, time)))
    total = np.bincount(user)[user[order]] if user.size else np.zeros(0, dtype=np.int64)
    part = np.full(user.size, TRAIN, dtype=np.uint8)
    part[order[(rank == total - 1) & (total > 1)]] = TEST
    part[order[(rank == total - 2) & (total > 2)]] = VALID
    return part


def time_split(time: np.ndarray, fractions: Sequence[float] = (0.8, 0.1, 0.1)) -> np.ndarray:
    """Two points in time cut all interactions: nothing in train is later than anything held out.

    The points are those of the interactions at the shares' quantiles. Interactions of one time are never divided: those
    at a cut are in the later part, so parts can be smaller or larger than asked for.

    Args:
        time: when each interaction was, ``[n]``.
        fractions: shares of train, validation and test.

    Raises:
        DataError: no interaction is early enough for train.
    """
    train, valid, _ = check_fractions(fractions)
    ordered = np.sort(time)
    part = np.full(time.size, TRAIN, dtype=np.uint8)
    for share, code in ((train, VALID), (train + valid, TEST)):
        at = int(np.floor(np.round(share * time.size, 6)))
        if at < time.size:
            part[time >= ordered[at]] = code
    if time.size and not (part == TRAIN).any():
        raise DataError(
            f"the split by time leaves nothing to train on, since the first {train:.0%} of the interactions share one "
            "time; use split ratio or leave-one-out"
        )
    return part


def uniform(seed: int | torch.Generator) -> Callable[[int], np.ndarray]:
    """A function that draws that many numbers from 0 to below 1, float64.

    A seed draws by NumPy's legacy ``RandomState``, which is stable across versions; a generator by torch.
    """
    if isinstance(seed, torch.Generator):
        return lambda size: torch.rand(size, generator=seed, dtype=torch.float64, device=seed.device).cpu().numpy()
    return np.random.RandomState(seed).random_sample


def ranks(group: np.ndarray, *keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order by group and then by keys, the last key first, and the place of each entry of it in its group."""
    order = np.lexsort((*keys, group))
    total = np.bincount(group) if group.size else np.zeros(0, dtype=np.int64)
    return order, np.arange(group.size) - (np.cumsum(total) - total)[group[order]]
