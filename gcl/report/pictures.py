"""What every picture needs: matplotlib, and for a file a name that a picture can have."""

from __future__ import annotations

import importlib
from pathlib import Path

from gcl.core.errors import ConfigError, MissingDependencyError

SUFFIXES = (".png", ".svg", ".pdf")


def check_matplotlib() -> None:
    """Says what is missing before any work.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise MissingDependencyError("pictures need matplotlib; pip install matplotlib") from error


def check_plot(path: Path) -> None:
    """Refuses a name that no picture can have, and says what is missing, before any work.

    Raises:
        ConfigError: another suffix than ``.png``, ``.svg`` or ``.pdf``.
        MissingDependencyError: matplotlib is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path} must end in one of {', '.join(SUFFIXES)}")
    check_matplotlib()
