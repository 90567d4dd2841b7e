"""Interactions of several files or blocks, collected into one table with one numbering of users and items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gcl.core.errors import DataError
from gcl.data.cell_values import dates, numbers
from gcl.data.id_codes import IdCodes
from gcl.data.interaction_table import InteractionTable
from gcl.data.splits import PARTS
from gcl.data.text_cells import CellBlock


class InteractionBuilder:
    """Takes blocks of interactions; :meth:`finish` gives the table.

    Ids are strings of the user's own, numbered over all parts together (:class:`gcl.data.id_codes.IdCodes`).

    Args:
        where: what is read, for messages.
        needed: the roles besides user and item that are read.
    """

    def __init__(self, where: str, needed: Sequence[str] = ()) -> None:
        self.where, self.needed = where, tuple(needed)
        self._codes = {"user": IdCodes(), "item": IdCodes()}
        self._counts: list[np.ndarray | int] = []  # interactions of each user added, or of one user each
        self._values: dict[str, list[np.ndarray]] = {role: [] for role in self.needed}
        self._parts: list[tuple[int, int]] = []  # code of a part, interactions
        self._dated: tuple[bool, str] | None = None  # whether times are dates, and of which file

    def add_table(self, block: CellBlock, width: int, columns: Mapping[str, int], part: str = "train") -> None:
        """Adds lines of text with one interaction each.

        Raises:
            DataError: a line of another length, an empty id, or a rating or time that cannot be read; names the line.
        """
        start, end = block.table(width)
        for role, codes in self._codes.items():
            at = columns[role]
            self._refuse(end[:, at] == start[:, at], block, columns, role, "has no")
            codes.add_cells(block.buffer, start[:, at], end[:, at])
        for role in self.needed:
            if role in columns:
                self._add_values(role, block, columns, start[:, columns[role]], end[:, columns[role]])
        self._add(len(start), part, columns)

    def add_lists(self, block: CellBlock, part: str = "train") -> None:
        """Adds lines of a user and all its items each; a user may have none."""
        first = np.cumsum(block.count) - block.count
        rest = np.ones(block.start.size, dtype=bool)
        rest[first] = False
        self._codes["user"].add_cells(block.buffer, block.start[first], block.end[first])
        self._codes["item"].add_cells(block.buffer, block.start[rest], block.end[rest])
        self._add(int(rest.sum()), part, {}, block.count - 1)

    def add_arrays(
        self,
        user: np.ndarray | tuple[np.ndarray, list[str]],
        item: np.ndarray | tuple[np.ndarray, list[str]],
        values: Mapping[str, np.ndarray],
        part: str = "train",
        *,
        dated: bool = False,
    ) -> None:
        """Adds columns: ids as int64 ``[n]`` or as codes and words, finite ratings and times."""
        size = 0
        for codes, column in ((self._codes["user"], user), (self._codes["item"], item)):
            if isinstance(column, tuple):
                codes.add_words(*column)
                size = column[0].size
            else:
                codes.add_integers(column)
                size = column.size
        for role, column in values.items():
            self._values[role].append(column)
        if "time" in values:
            self._require_one_kind(dated, self.where)
        self._add(size, part, values)

    def finish(self, parts: Sequence[str] = ()) -> InteractionTable:
        """The table; ``parts`` are the names of the held-out parts that were read, also of empty ones.

        Raises:
            DataError: no interaction, or a rating or time in some of the files only.
        """
        user, user_ids = self._codes["user"].finish()
        item, item_ids = self._codes["item"].finish()
        counts = [np.ones(count, np.int64) if isinstance(count, int) else count for count in self._counts]
        user = np.repeat(user, np.concatenate(counts)) if counts else user
        if not user.size:
            raise DataError(f"{self.where} holds no interactions; write at least one, as a user and an item")
        columns: dict[str, np.ndarray] = {}
        for role, blocks in self._values.items():
            if blocks:
                columns[role] = np.concatenate(blocks)
                if columns[role].size != user.size:
                    raise DataError(f"{self.where} has the {role} in some of its files only; add the column to all")
        part = None
        if parts:
            part = np.repeat([np.uint8(code) for code, _ in self._parts], [size for _, size in self._parts])
        return InteractionTable(
            user=user,
            item=item,
            shape=(len(user_ids), len(item_ids)),
            rating=columns.get("rating"),
            time=columns.get("time"),
            part=part,
            parts=tuple(parts),
            user_ids=user_ids,
            item_ids=item_ids,
            where=self.where,
        )

    def _add(self, size: int, part: str, columns: Mapping[str, object], counts: np.ndarray | None = None) -> None:
        self._counts.append(size if counts is None else counts)
        self._parts.append((PARTS.index(part), size))

    def _add_values(
        self, role: str, block: CellBlock, columns: Mapping[str, int], start: np.ndarray, end: np.ndarray
    ) -> None:
        if not start.size:
            return
        self._refuse(start == end, block, columns, role, "has no")
        values, bad = numbers(block, start, end)
        dated = False
        if role == "time":
            dated = self._dated[0] if self._dated is not None else bad is not None and bool(bad[0])
            self._require_one_kind(dated, str(block.path))
            if dated:
                values, bad = dates(block, start, end)
        if bad is not None:
            what = "a date such as 2020-01-31 or 2020-01-31T12:00:00" if dated else "a finite number"
            self._refuse(bad, block, columns, role, f"whose {role} is not {what}:")
        self._values[role].append(values)

    def _require_one_kind(self, dated: bool, where: str) -> None:
        if self._dated is not None and self._dated[0] != dated:
            raise DataError(f"{where} and {self._dated[1]} have dates and numbers as times; use one of the two")
        self._dated = (dated, where)

    @staticmethod
    def _refuse(bad: np.ndarray, block: CellBlock, columns: Mapping[str, int], role: str, what: str) -> None:
        if not bad.any():
            return
        row, width = int(bad.argmax()), int(block.count[0])
        line, at = int(block.line[row]), columns[role]
        if what == "has no":
            raise DataError(f"{block.path} line {line} has no {role} in column {at + 1}; fill it in or drop the line")
        cell = block.text(row * width + at)[:64]
        raise DataError(
            f"{block.path} line {line} has in column {at + 1} a cell {what} {cell!r}; mend it or drop the line"
        )
