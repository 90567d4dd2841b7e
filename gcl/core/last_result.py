"""What was computed from the last graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LastResult(Generic[T]):
    """Keeps one result with the object that it came from. Copies and pickles are empty: it can be computed again."""

    def __init__(self) -> None:
        self._kept: tuple[object, Any, T] | None = None

    def of(self, source: object, make: Callable[[], T], *, key: Any = None) -> T:
        """The result for a source, made where the last one was for another object or ``key``."""
        if self._kept is None or self._kept[0] is not source or self._kept[1] != key:
            self._kept = (source, key, make())
        return self._kept[2]

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": None}
