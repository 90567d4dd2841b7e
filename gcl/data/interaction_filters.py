"""Leaving interactions out: low ratings, repeats, rare users and items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gcl.core.errors import DataError
from gcl.data.interaction_options import core_numbers
from gcl.data.interaction_table import InteractionTable


def keep_rated(table: InteractionTable, min_rating: float) -> InteractionTable:
    """The interactions rated at least ``min_rating``; all users and items stay.

    Raises:
        DataError: there are no ratings, or all are below.
    """
    if table.rating is None:
        raise DataError(f"{table.where} has no ratings, so min_rating cannot be kept; leave it out or add the column")
    kept = table.rating >= min_rating
    if len(table) and not kept.any():
        raise DataError(
            f"{table.where} has no rating of at least {min_rating:g} (the highest is {table.rating.max():g}); "
            "lower min_rating"
        )
    return table.take(kept)


def merge_duplicates(table: InteractionTable) -> InteractionTable:
    """Each pair of user and item once in each part, sorted by part, user and item.

    Of repeats the earliest by time is kept, or the first row where there are no times (and of equal times).
    """
    key = table.key if table.part is None else table.key + table.part * np.int64(table.shape[0] * table.shape[1])
    if (key[1:] > key[:-1]).all():
        return table
    order = np.argsort(key, kind="stable") if table.time is None else np.lexsort((table.time, key))
    ordered = key[order]
    return table.take(order[np.concatenate([np.ones(min(1, key.size), dtype=bool), ordered[1:] != ordered[:-1]])])


def k_core(table: InteractionTable, k: int | Sequence[int]) -> InteractionTable:
    """The largest part in which each user and each item that is left has at least ``k`` interactions.

    Users and items with fewer lose theirs, which can make others rare, until nothing changes; the result does not
    depend on the order. All nodes stay, see :meth:`InteractionTable.without_empty`. Repeats count, so merge them first.

    Args:
        table: interactions of any part.
        k: least interactions, one number or one for users and one for items.

    Raises:
        DataError: no interaction is left.
    """
    least = core_numbers(k)
    rows = np.arange(len(table))
    while rows.size:
        kept = np.ones(rows.size, dtype=bool)
        for index, size, number in zip((table.user, table.item), table.shape, least, strict=True):
            kept &= np.bincount(index[rows], minlength=size)[index[rows]] >= number
        if kept.all():
            break
        rows = rows[kept]
    if not rows.size and len(table):
        raise DataError(f"{table.where} has no {least[0]}/{least[1]}-core of users and items; lower k_core")
    return table.take(rows)
