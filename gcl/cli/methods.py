"""``gcl methods``."""

from __future__ import annotations

import typer

from gcl.cli.common import AsJson, print_json
from gcl.core.registry import METHOD_SUMMARIES, PARTS


def methods(json: AsJson = False) -> None:
    """List the methods, and the parts that can stand in for one another."""
    if json:
        print_json({"methods": METHOD_SUMMARIES, "parts": {slot: sorted(table) for slot, table in PARTS.items()}})
        return
    width = max(map(len, METHOD_SUMMARIES))
    for name, summary in METHOD_SUMMARIES.items():
        typer.echo(f"{name:<{width}}  {summary}")
    typer.echo("")
    for slot, table in PARTS.items():
        if slot not in ("method", "trainer", "communities"):
            typer.echo(f"{slot:<13} {', '.join(sorted(table))}")
    typer.echo("Any slot also takes package.module:Class.")
