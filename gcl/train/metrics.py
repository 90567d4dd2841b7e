"""The log of a run: one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from gcl.core.errors import CheckpointError, OutputError


class MetricsLog:
    """Appends records to ``metrics.jsonl``. Floats are written so that they read back to the same bits.

    Args:
        path: the file; it is made if it is absent.
        length: bytes that are kept of what is there; the rest was written after the checkpoint that is resumed.

    Raises:
        CheckpointError: the file is shorter than ``length``.
        OutputError: the file cannot be made or written (from every method).
    """

    def __init__(self, path: Path, length: int = 0):
        self.path = path
        with self._refused():
            path.parent.mkdir(parents=True, exist_ok=True)
            size = path.stat().st_size if path.exists() else 0
        if size < length:
            raise CheckpointError(
                f"{path} has {size} bytes where the checkpoint counts on {length}; put the file back or train again in "
                "a new folder"
            )
        with self._refused():
            self._stream = open(path, "ab")  # noqa: SIM115
            self._stream.truncate(length)
            self._stream.seek(length)

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one record."""
        with self._refused():
            self._stream.write((json.dumps(record, allow_nan=False) + "\n").encode())
            self._stream.flush()

    def sync(self) -> int:
        """Makes what was written durable and gives the length in bytes."""
        with self._refused():
            self._stream.flush()
            os.fsync(self._stream.fileno())
            return self._stream.tell()

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error}); make room, allow writing there, or choose another folder"
            ) from error

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            with self._refused():
                self._stream.close()
            return
        with suppress(OSError):  # what cannot be flushed was reported by what failed first
            self._stream.close()
