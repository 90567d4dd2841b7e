"""``gcl report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gcl.cli.common import DataRoot


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are shown side by side.")],
    out: Annotated[Path | None, typer.Option(help="The page [report.html in the first folder].")] = None,
    projection: Annotated[
        Literal["tsne", "pca", "none"], typer.Option(help="How embeddings are drawn in the plane.")
    ] = "tsne",
    max_nodes: Annotated[int, typer.Option(help="Nodes that are drawn.")] = 3000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page where it is there already.")] = False,
    data_root: DataRoot = None,
) -> None:
    """One HTML page of a run: scores with floors, curves, pictures, communities, cost, configuration."""
    from gcl.run.report import write_report

    path = write_report(runs, out, projection=projection, max_nodes=max_nodes, data_root=data_root, overwrite=overwrite)
    typer.echo(f"{path}")
