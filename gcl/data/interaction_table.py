"""Interactions as columns, before they become a graph."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from gcl.core.errors import DataError


@dataclass(frozen=True, eq=False)
class InteractionTable:
    """One row an interaction; nothing in it is changed in place.

    Args:
        user: user of each interaction, whole numbers from 0, ``[n]``.
        item: its item, ``[n]``.
        shape: number of users and of items; some may have no interaction.
        rating: ``[n]``, any finite numbers; ``None`` = there are none (or nobody asked for them).
        time: ``[n]``, numbers that grow with time.
        part: uint8 ``[n]``: 0 train, 1 validation, 2 test; ``None`` = no split yet.
        parts: the names of the held-out parts that there are, also of empty ones.
        user_ids: the user's own id of each user; ``None`` = the position.
        item_ids: the same of each item.
        where: what the interactions are, for messages.
    """

    user: np.ndarray
    item: np.ndarray
    shape: tuple[int, int]
    rating: np.ndarray | None = None
    time: np.ndarray | None = None
    part: np.ndarray | None = None
    parts: tuple[str, ...] = ()
    user_ids: list[str] | None = None
    item_ids: list[str] | None = None
    where: str = "the source"

    def __post_init__(self) -> None:
        for name, values in (("rating", self.rating), ("time", self.time)):
            if values is not None and not np.isfinite(values).all():
                at = int((~np.isfinite(values)).argmax())
                raise DataError(
                    f"{self.where} has the {name} {values[at]} in interaction {at}; replace or drop what is not finite"
                )

    def __len__(self) -> int:
        return self.user.size

    @property
    def key(self) -> np.ndarray:
        """One int64 for each pair of user and item, ``[n]``, in order of users and then items."""
        key: np.ndarray = self.user.astype(np.int64) * self.shape[1] + self.item
        return key

    def take(self, rows: np.ndarray) -> InteractionTable:
        """Some interactions, by mask or by index; all users and items stay."""
        columns: dict[str, Any] = {
            name: None if (values := getattr(self, name)) is None else values[rows]
            for name in ("user", "item", "rating", "time", "part")
        }
        return dataclasses.replace(self, **columns)

    def without_empty(self) -> InteractionTable:
        """Without the users and items that have no interaction; the others are numbered anew, in order.

        Ids become those of before (positions as strings where there were none), so that they can be traced.
        """
        user, users = _renumber(self.user, self.shape[0])
        item, items = _renumber(self.item, self.shape[1])
        if (users.size, items.size) == self.shape:
            return self
        return dataclasses.replace(
            self,
            user=user,
            item=item,
            shape=(users.size, items.size),
            user_ids=_ids(self.user_ids, users),
            item_ids=_ids(self.item_ids, items),
        )


def _renumber(index: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """New positions, and the old position of each new one."""
    present = np.zeros(size, dtype=bool)
    present[index] = True
    return (np.cumsum(present) - 1)[index], np.flatnonzero(present)


def _ids(ids: list[str] | None, kept: np.ndarray) -> list[str]:
    return [str(at) if ids is None else ids[at] for at in kept.tolist()]
