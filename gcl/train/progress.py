"""How far training is."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gcl.core.context import Clock

LINE_SECONDS = 5.0  # between plain lines
DRAW_SECONDS = 0.1  # between changes of the bar


class TrainingProgress:
    """Shows epochs, loss, rate and time left on standard error.

    On a terminal it draws a bar; elsewhere it writes a plain line every few seconds, so that a short run writes none.

    Args:
        epochs: epochs of all stages.
        done: epochs that were done before (on resuming).
        show: ``False`` = silent; ``None`` and ``True`` = shown.
    """

    def __init__(self, epochs: int, done: int = 0, *, show: bool | None = None):
        self.epochs = epochs
        self._first = self._done = done
        self._show = show is not False
        self._started = self._last = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> TrainingProgress:
        self._started = self._last = time.monotonic()
        if self._show and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                redirect_stdout=False,  # standard output is not ours to touch
            )
            self._task = self._bar.add_task("training", total=self.epochs, completed=self._done, rate="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, clock: Clock, done: int, loss: float) -> None:
        """Called after each step and each epoch with the epochs done in all and the latest loss."""
        self._done = done
        now = time.monotonic()
        if not self._show or now - self._last < (LINE_SECONDS if self._bar is None else DRAW_SECONDS):
            if self._bar is not None and done == self.epochs:
                self._bar.update(self._task, completed=done)
            return
        self._last = now
        rate = (done - self._first) / max(now - self._started, 1e-9)
        pace = "" if rate == 0 else f"{rate:.3g} epochs/s" if rate >= 1 else f"{1 / rate:.3g} s/epoch"
        if self._bar is not None:
            description = f"{clock.stage} loss {loss:.4g}"
            self._bar.update(self._task, completed=done, rate=pace, description=description)
            return
        left = "" if rate == 0 else f", {pace}, {_duration((self.epochs - done) / rate)} left"
        where = f"epoch {clock.epoch}, {done}/{self.epochs} done, step {clock.step}"
        print(f"{clock.stage}: {where}, loss {loss:.4g}{left}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
