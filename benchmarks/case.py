"""The words of a benchmark: a case, its two sides, and what a run was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

LARGEST_ERROR = 1e-3  # of float32 results, relative to the largest entry of the plain one
SIDES = ("ours", "plain", "base")


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    quick: bool = False
    all: bool = False
    threads: int = 1
    sizes: tuple[int, ...] | None = None

    def nodes(self, *default: int, quick: Sequence[int]) -> tuple[int, ...]:
        """Numbers of nodes: those asked for, else tiny ones in a quick run, else the family's own."""
        return self.sizes or (tuple(quick) if self.quick else default)

    def pick(self, default: Any, quick: Any) -> Any:
        return quick if self.quick else default


@dataclass(frozen=True, eq=False)
class Sides:
    """Steps on the same input, each without arguments; what they return is dropped.

    ``plain`` is the textbook version, ``base`` a form of ours to compare with (the same loss without its option).
    ``check`` runs ours and plain, raises where they differ and returns the largest relative difference. ``work`` is how
    much of a physical limit a step of ours needs: FLOPs of ``sgemm`` or bytes of ``copy``. ``items`` is how many arcs
    (or the like) it gives.
    """

    ours: Callable[[], Any]
    plain: Callable[[], Any] | None = None
    base: Callable[[], Any] | None = None
    check: Callable[[], float] | None = None
    work: tuple[str, float] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    items: float | None = None


@dataclass(frozen=True)
class Point:
    """The place of a case on a curve whose exponent is fitted."""

    curve: str
    size: float
    expected: float
    value: str  # "seconds" or "mib"


@dataclass(frozen=True, eq=False)
class Case:
    """One row of a table.

    Args:
        label: the row's name.
        build: makes the sides from ``arguments``.
        arguments, small: of the case itself, and of a tiny one that warms everything up and is checked first.
        repeats, plain_repeats: how often each side is timed.
        plain_bytes: estimated memory of the plain side; it is left out where that does not fit.
        plain_only_with_all: leave the plain side out unless ``--all`` is given.
        memory: measure peak memory of both sides in fresh processes.
        timed: ``False`` measures memory only.
        goals: of ``ratio``, ``memory_ratio``, ``share``, ``rate`` in items a second (at least), ``peak_mib``,
            ``seconds``, ``of_base`` (at most).
        note: what a reader must know.
    """

    label: str
    build: Callable[..., Sides]
    arguments: Mapping[str, Any]
    small: Mapping[str, Any]
    repeats: int = 5
    plain_repeats: int | None = None
    plain_bytes: float = 0.0
    plain_only_with_all: bool = False
    memory: bool = False
    timed: bool = True
    goals: Mapping[str, float] = field(default_factory=dict)
    point: Point | None = None
    note: str = ""


def compare(ours: Sequence[Tensor], plain: Sequence[Tensor], *, limit: float = LARGEST_ERROR) -> float:
    """The largest difference of two lists of tensors, relative to each tensor's largest entry.

    Raises:
        AssertionError: it is above ``limit``, or something is not finite.
    """
    worst = 0.0
    for index, (a, b) in enumerate(zip(ours, plain, strict=True)):
        assert a.shape == b.shape, f"tensor {index}: ours {list(a.shape)}, plain {list(b.shape)}"
        scale = max(float(b.detach().abs().max()), 1e-30)
        error = float((a.detach() - b.detach()).abs().max()) / scale
        assert error <= limit, f"tensor {index}: ours and plain differ by {error:.2e} of the largest entry"
        worst = max(worst, error)
    return worst
