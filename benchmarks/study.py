"""What the studies share: runs that several processes divide among themselves, and their table cells."""

from __future__ import annotations

import fcntl
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process has what the lock file stands for to itself; its death gives it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def say(line: str) -> None:
    """A line on standard error, for whoever watches a long run."""
    print(line, file=sys.stderr, flush=True)


def percent(values: Sequence[float], *, digits: int = 2) -> str:
    """Mean and, of several, standard deviation (over n - 1), in percent."""
    mean = f"{100 * statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.{digits}f}"
