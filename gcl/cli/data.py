"""``gcl data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gcl.cli.common import AsJson, DataRoot, print_json

app = typer.Typer(help="List the datasets, show their cards, fetch some.", no_args_is_help=True)


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Option(help="Only this collection: node, cluster, rec or hetero.")] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """Every known dataset, its size, and whether it is here."""
    from gcl.data.catalog import list_datasets

    records = list_datasets(data_root=data_root, kind=kind)
    if json:
        print_json(records)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("name", "here", "size", "title"):
        table.add_column(column)
    for record in records:
        table.add_row(record["name"], record["available"], _size(record["statistics"]), record["title"])
    Console().print(table)
    if any(record["available"] == "missing" for record in records):
        typer.echo(
            "Those missing need files: give their folder with --data-root or in GCL_DATA, or fetch them by "
            "`gcl data prepare NAME` where the card names a source."
        )


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A dataset's name, or the path of data of your own.")],
    verify: Annotated[bool, typer.Option("--verify", help="Compare the file's checksum with the card's.")] = False,
    data_root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """One dataset's card: source, licence, statistics, how to get it; of a file or folder, what is in it."""
    from gcl.core.errors import ConfigError, DataError
    from gcl.data.catalog import dataset_info
    from gcl.data.source_info import is_own_source, source_info

    own = is_own_source(name)
    if own and verify:
        raise DataError(f"{name} is data of your own, which no card has a checksum of; leave out --verify")
    if own and data_root is not None:
        raise ConfigError(f"{name} is data of your own, which is read where it lies; leave out --data-root")
    record = source_info(name) if own else dataset_info(name, data_root=data_root, verify=verify)
    if json:
        print_json(record)
    else:
        for key, value in record.items():
            if value is not None:
                typer.echo(f"{key:<12} {_plain(value)}")
    if verify and record["verified"] is False:
        raise DataError(f"{record['path']} has another checksum than the card of {record['name']}; get the file again")


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A dataset's name.")],
    raw: Annotated[
        Path | None,
        typer.Option(
            help="What was fetched already: the root folder of PyG's class (whose pickles can execute code: give only "
            "what you trust), or OGB's zip file or folder."
        ),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Fetch a dataset through PyG or from OGB, check it against its card, and store it in a data root."""
    from gcl.data.prepare import prepare_dataset

    path = prepare_dataset(name, raw=raw, data_root=data_root, say=lambda line: typer.echo(line, err=True))
    typer.echo(f"{path}")


@app.command()
def store(
    edges: Annotated[
        list[Path], typer.Argument(help="Tables of edges, text or parquet; node ids are positions from 0.")
    ],
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    features: Annotated[Path | None, typer.Option(help="One row a node: npy, text or parquet.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Classes, as in a folder of tables.")] = None,
    splits: Annotated[Path | None, typer.Option(help="Splits, as in a folder of tables.")] = None,
    directed: Annotated[bool, typer.Option("--directed", help="Edges go from source to target only.")] = False,
    nodes: Annotated[int | None, typer.Option(help="Number of nodes, if some have neither edges nor features.")] = None,
    memory: Annotated[float, typer.Option(help="GiB for the edges that are sorted at a time.")] = 1.0,
) -> None:
    """Store a large graph as arrays that are mapped into memory: `gcl train csgcl FOLDER` then opens it at once."""
    import math

    from gcl.core.errors import ConfigError
    from gcl.data.store_graph import store_graph

    if not math.isfinite(memory):
        raise ConfigError(f"--memory must be a finite number of GiB, got {memory}")
    path = store_graph(
        edges,
        out,
        features=features,
        labels=labels,
        splits=splits,
        directed=directed,
        num_nodes=nodes,
        memory=int(memory * 2**30),
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(f"{path}")


def _size(statistics: dict[str, Any]) -> str:
    keys = ("nodes", "edges", "features", "classes", "users", "items", "interactions")
    return ", ".join(f"{statistics[key]:,} {key}" for key in keys if isinstance(statistics.get(key), int))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
