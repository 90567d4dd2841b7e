"""An id that a list has twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gcl.core.errors import DataError


def first_repeat(names: Sequence[str]) -> tuple[int, int] | None:
    """Where the first name that repeats stood before, and where it does so; ``None`` if all differ."""
    seen: dict[str, int] = {}
    for at, name in enumerate(names):
        before = seen.setdefault(name, at)
        if before != at:
            return before, at
    return None


def refuse_repeats(ids: Sequence[str], where: str, row: Callable[[int], str], *, noun: str = "node") -> None:
    """Refuses an id that a file lists twice.

    Args:
        ids: of its rows.
        where: the file, for messages.
        row: names a row, as in ``line 3``.
        noun: what the nodes are, for messages.

    Raises:
        DataError: naming both rows.
    """
    repeat = first_repeat(ids)
    if repeat is not None:
        before, at = map(row, repeat)
        raise DataError(f"{where} lists {noun} {ids[repeat[0]]!r} in {before} and in {at}; keep one row a node")
