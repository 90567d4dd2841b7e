"""Ctrl-C, or the end of a budget, between steps."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any

_DEADLINE: ContextVar[float] = ContextVar("deadline", default=float("inf"))


class OutOfTime(KeyboardInterrupt):
    """The time of :func:`stop_after` is over; the run can be resumed as after Ctrl-C."""


@contextmanager
def stop_after(seconds: float) -> Iterator[None]:
    """Ends training inside the block after a time, between two steps and with a checkpoint, by :class:`OutOfTime`.

    Of two blocks, one in the other, the earlier end counts. What is no training (preparing, scoring) is not cut short.
    """
    token = _DEADLINE.set(min(_DEADLINE.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _DEADLINE.reset(token)


class Interruption:
    """Notes SIGINT and SIGTERM inside a ``with`` block so that work stops between two steps.

    The first signal sets ``requested``, as the end of :func:`stop_after` does; a second one raises
    ``KeyboardInterrupt`` at once. Handlers are restored on leaving. A thread other than the main one gets no handlers,
    and a signal that the process ignores stays ignored.
    """

    def __init__(self) -> None:
        self.signalled = False
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether work is to stop."""
        return self.signalled or time.monotonic() >= _DEADLINE.get()

    def error(self, sentence: str) -> KeyboardInterrupt:
        """What to raise: an :class:`OutOfTime` where no signal came."""
        return KeyboardInterrupt(sentence) if self.signalled else OutOfTime(sentence)

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # None: a handler from outside Python, which could not be put back.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signalled:
            raise KeyboardInterrupt(
                "interrupted twice and stopped at once; resume the run to go on from its last checkpoint"
            )
        self.signalled = True
