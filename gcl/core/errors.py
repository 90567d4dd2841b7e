"""The errors that a user can meet. Each message is one sentence: what, where, how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GCLError(Exception):
    """Base of every error that this package raises on purpose.

    ``exit_code`` is what the command line leaves with: 2 for misuse, 1 for a failure during the work.
    """

    exit_code = 2


class ConfigError(GCLError, ValueError):
    """A wrong key, value, name or combination in a configuration."""


class DataError(GCLError, ValueError):
    """Input data that cannot be used: NaN features, indices out of range, an unreadable file, ..."""


class CheckpointError(GCLError, ValueError):
    """A run directory or checkpoint that is damaged, incomplete or belongs to other data."""


class OutputError(GCLError, OSError):
    """An output path that must not be written, such as a folder that holds a run."""


class BusyError(OutputError):
    """A folder that another process is working in."""


class NotFittedError(GCLError, RuntimeError):
    """A part that was called before ``fit``."""


class NonFiniteError(GCLError, ArithmeticError):
    """A loss or gradient became NaN or infinite."""

    exit_code = 1


class RankError(GCLError, RuntimeError):
    """One of the processes that train together is gone."""

    exit_code = 1


class MissingDependencyError(GCLError, ImportError):
    """An optional package that the requested feature needs is not installed."""


def nearest(word: str, choices: Iterable[str], limit: int = 3) -> list[str]:
    """The choices most similar to ``word``, best first; possibly empty."""
    folded = {choice.lower().replace("-", "_"): choice for choice in choices}
    matches = difflib.get_close_matches(word.lower().replace("-", "_"), folded, n=limit, cutoff=0.5)
    return [folded[match] for match in matches]


def unknown(kind: str, word: str, choices: Iterable[str]) -> str:
    """The sentence for an unknown name: says what it is, the nearest, and all choices if they are few."""
    names = sorted(choices)
    close = nearest(word, names)
    hint = f"did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    if not hint or len(names) <= 12:
        listed = f"known: {', '.join(names)}" if names else "it takes none"
        hint = f"{hint} ({listed})" if hint else listed
    return f"unknown {kind} {word!r}; {hint}"
