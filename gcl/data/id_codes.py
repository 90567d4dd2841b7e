"""Ids of any kind numbered from 0, in an order that does not depend on the order of the rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from gcl.data.cell_values import distinct, whole_numbers

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # "007" is not 7, and stays text


class IdCodes:
    """Collects the ids of a column block by block and numbers them at the end.

    Where every id is a whole number as one writes it (``7``, ``-7``, not ``007``), ids are in ascending order of the
    number; otherwise in order of their code points. So a file whose rows are permuted gives the same numbers.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[np.ndarray, list[str] | None]] = []  # numbers, or codes into words

    def add_cells(self, buffer: np.ndarray, start: np.ndarray, end: np.ndarray) -> None:
        """Adds cells of text, given by their place in a buffer."""
        whole = whole_numbers(buffer, start, end)
        if whole is not None:
            self.add_integers(whole)
        else:
            self.add_words(*distinct(buffer, start, end))

    def add_integers(self, values: np.ndarray) -> None:
        """Adds whole numbers, int64 ``[n]``; their ids are their decimal strings."""
        if values.size:
            small = int(values.min()) >= -(2**31) and int(values.max()) < 2**31
            self._blocks.append((values.astype(np.int32 if small else np.int64), None))

    def add_words(self, code: np.ndarray, words: Sequence[str]) -> None:
        """Adds ``words[code]``; the words need not all occur, those that do not are no ids."""
        if code.size:
            self._blocks.append((code.astype(np.int32), list(words)))

    def finish(self) -> tuple[np.ndarray, list[str]]:
        """Number of every id added, int64 ``[n]``, and the ids in order."""
        blocks, self._blocks = self._blocks, []
        if not blocks:
            return np.zeros(0, dtype=np.int64), []
        if all(words is None for _, words in blocks):
            values, code = _rank(np.concatenate([values for values, _ in blocks]))
            return code, list(map(str, values.tolist()))
        texts, codes = zip(*(_as_words(values, words) for values, words in blocks), strict=True)
        ids = sorted(set().union(*texts))
        if all(map(_WHOLE.fullmatch, ids)):
            ids.sort(key=int)
        position = {name: index for index, name in enumerate(ids)}
        numbered = (
            np.fromiter(map(position.__getitem__, text), dtype=np.int64, count=len(text))[code]
            for text, code in zip(texts, codes, strict=True)
        )
        return np.concatenate(list(numbered)), ids


def _as_words(values: np.ndarray, words: list[str] | None) -> tuple[list[str], np.ndarray]:
    found, code = _rank(values)
    return [str(value) if words is None else words[value] for value in found.tolist()], code


def _rank(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values in ascending order, and the position of each value among them."""
    low, high = int(values.min()), int(values.max())
    if high - low < 4 * values.size + 1_000:  # a table is faster than sorting, where it is not much longer
        offset = values.astype(np.int64) - low
        present = np.zeros(high - low + 1, dtype=bool)
        present[offset] = True
        position = np.cumsum(present) - 1
        return np.flatnonzero(present) + low, position[offset]
    found, code = np.unique(values, return_inverse=True)
    return found, code.reshape(-1)
