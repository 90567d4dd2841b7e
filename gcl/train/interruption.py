"""Ctrl-C, or the end of a budget, between steps."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any

ONE_ORDER = 1.0  # seconds within which two SIGTERM are one
_END: ContextVar[float] = ContextVar("end", default=math.inf)  # on the monotonic clock
_SLICE: ContextVar[float] = ContextVar("slice", default=math.inf)  # seconds of one training


class OutOfTime(KeyboardInterrupt):
    """The time of :func:`stop_after` is over; the run can be resumed as after Ctrl-C."""


@contextmanager
def stop_after(seconds: float, *, training: float = math.inf) -> Iterator[None]:
    """Ends training inside the block after a time, between two steps and with a checkpoint, by :class:`OutOfTime`.

    One step at least is done, so that repeated calls come to an end. Of two blocks, one in the other, the earlier end
    counts. What is no training (preparing, scoring) is not cut short.

    Args:
        seconds: from now.
        training: of each training inside, from its own beginning.
    """
    end = _END.set(min(_END.get(), time.monotonic() + seconds))
    slice_ = _SLICE.set(min(_SLICE.get(), training))
    try:
        yield
    finally:
        _END.reset(end)
        _SLICE.reset(slice_)


class Interruption:
    """Notes SIGINT and SIGTERM inside a ``with`` block so that work stops between two steps.

    The first signal sets ``requested``, as the end of :func:`stop_after` does; a second one raises
    ``KeyboardInterrupt`` at once, but for a SIGTERM within a second of the first: a scheduler may send one to the
    process and one to its group. Handlers are restored on leaving. A thread other than the main one gets no handlers,
    and a signal that the process ignores stays ignored.
    """

    def __init__(self) -> None:
        self.signalled = False
        self._first = -math.inf  # when the first signal came
        self._end = math.inf
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether work is to stop."""
        return self.signalled or self.out_of_time

    @property
    def out_of_time(self) -> bool:
        """Whether the time of :func:`stop_after` is over."""
        return time.monotonic() >= self._end

    def error(self, sentence: str) -> KeyboardInterrupt:
        """What to raise: an :class:`OutOfTime` where no signal came."""
        return KeyboardInterrupt(sentence) if self.signalled else OutOfTime(sentence)

    def __enter__(self) -> Interruption:
        self._end = min(_END.get(), time.monotonic() + _SLICE.get())
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
        now = time.monotonic()
        if self.signalled and number == signal.SIGTERM and now - self._first < ONE_ORDER:
            return
        if self.signalled:
            raise KeyboardInterrupt(
                "interrupted twice and stopped at once; resume the run to go on from its last checkpoint"
            )
        self.signalled, self._first = True, now
