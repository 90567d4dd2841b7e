"""What the studies share."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence


def say(line: str) -> None:
    """A line on standard error, for whoever watches a long run."""
    print(line, file=sys.stderr, flush=True)


def percent(values: Sequence[float], *, digits: int = 2) -> str:
    """Mean and, of several, standard deviation (over n - 1), in percent."""
    mean = f"{100 * statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.{digits}f}"
