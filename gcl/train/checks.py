"""Checks of the trainer's settings."""

from __future__ import annotations

import math
import numbers
from typing import Any

from gcl.core.errors import ConfigError


def check_whole(name: str, value: Any, least: int, *, optional: bool = False) -> None:
    """Refuses what is not a whole number of at least ``least`` (or ``None`` where ``optional``)."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ConfigError(f"trainer.{name} must be a whole number of at least {least}, got {value!r}")


def check_real(name: str, value: Any, *, above: bool = False, optional: bool = False) -> None:
    """Refuses what is not a finite number of at least (``above``: above) 0 (or ``None`` where ``optional``)."""
    if optional and value is None:
        return
    real = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not real or value < 0 or (above and value == 0):
        raise ConfigError(
            f"trainer.{name} must be a finite number {'above' if above else 'of at least'} 0, got {value!r}"
        )


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuses what is none of ``choices``."""
    if value not in choices:
        raise ConfigError(f"trainer.{name} must be one of {', '.join(choices)}, got {value!r}")
