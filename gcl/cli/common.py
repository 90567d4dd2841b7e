"""Options and output that commands share."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder of the benchmark archives (default: GCL_DATA, then the cache)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only, to standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Settings, such as loss.temperature=0.4 or encoder=mlp.", show_default=False
    ),
]


@contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """What is said of concern to the user inside the block; it is said on standard error, too."""
    said: list[str] = []
    with warnings.catch_warnings():
        before = warnings.showwarning

        def hear(message: Warning | str, category: type[Warning], *more: Any, **place: Any) -> None:
            if category is UserWarning:
                said.append(str(message))
            before(message, category, *more, **place)

        warnings.showwarning = hear
        yield said


@contextmanager
def interruptible() -> Iterator[None]:
    """Says on standard error where an interrupted command stopped; the exit code is 130."""
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(f"gcl: {str(error) or 'interrupted'}", err=True)
        raise


def print_json(record: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(record, indent=2, allow_nan=False))


def progress_mode(quiet: bool) -> bool | None:
    """``False`` for none, ``None`` for progress (plain lines when not on a terminal)."""
    return False if quiet else None
