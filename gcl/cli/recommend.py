"""``gcl recommend``."""

from __future__ import annotations

import csv
import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gcl.cli.common import AsJson, print_json
from gcl.core.errors import ConfigError, DataError, OutputError
from gcl.core.files import atomic_write

if TYPE_CHECKING:
    from gcl.run.recommend import Recommendation

SUFFIXES = (".csv", ".json")


def recommend(
    run: Annotated[Path, typer.Argument(help="A run folder of a recommender.")],
    user: Annotated[list[str] | None, typer.Option("--user", help="A user's id; may be given again.")] = None,
    users: Annotated[
        Path | None, typer.Option(help="A text file with one user id a line, or `all` for every user.")
    ] = None,
    similar_to: Annotated[
        list[str] | None, typer.Option(help="An item's id: the items most like it, in place of a user's list.")
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Length of the lists.")] = 20,
    seen: Annotated[
        Literal["all", "train", "none"],
        typer.Option(help="What is left out: all known interactions, those that the test left out, or nothing."),
    ] = "all",
    unknown: Annotated[
        Literal["error", "popular"], typer.Option(help="Users that the data does not have: refuse, or popular items.")
    ] = "error",
    out: Annotated[Path | None, typer.Option(help="Write the lists, a new .csv or .json file.")] = None,
    json: AsJson = False,
) -> None:
    """The top items of users, or the items most like an item; the training data need not be there.

    `gcl recommend runs/first --user 42 --k 10`
    """
    if out is not None and out.suffix not in SUFFIXES:
        raise ConfigError(f"--out {out} must end in .csv or .json")
    if out is not None and out.exists():
        raise OutputError(f"{out} exists; choose another --out or remove it first")
    if bool(similar_to) == (bool(user) or users is not None):
        raise ConfigError("give --user ID (or --users FILE), or --similar-to ITEM")
    if k < 1:
        raise ConfigError(f"--k must be a whole number from 1, got {k}")
    wanted = _wanted(user, users)
    from gcl.run.recommend import recommend as run_recommend
    from gcl.run.recommend import similar_items

    if similar_to:
        lists = similar_items(run, similar_to, k=k)
    else:
        lists = run_recommend(run, wanted, k=k, seen=seen, unknown_user=unknown)
    record = {
        "task": "recommendation",
        "k": k,
        "seen": None if similar_to else seen,
        "lists": [entry.to_json() for entry in lists],
    }
    if out is not None:
        _write(out, lists, record)
    if json:
        print_json(record if out is None else {**record, "out": str(out)})
        return
    if out is None:
        _print(lists, "item" if similar_to else "user")
    else:
        typer.echo(f"{len(lists)} lists of at most {k} items written to {out}")


def _wanted(user: list[str] | None, users: Path | None) -> list[str] | None:
    """The users asked for, each once in the order given; ``None`` = all."""
    if users is not None and str(users) == "all":
        if user:
            raise ConfigError("--users all is every user; leave --user out")
        return None
    listed = list(user or [])
    if users is not None:
        try:
            lines = users.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {users} as UTF-8 text ({type(error).__name__}); check the path") from None
        listed += [line.strip() for line in lines if line.strip()]
        if not listed:
            raise DataError(f"{users} names no user; write one id a line")
    return list(dict.fromkeys(listed))


def _print(lists: list[Recommendation], what: str) -> None:
    from rich.table import Table

    from gcl.report.table import report_console

    console = report_console()
    for entry in lists:
        title = f"{what} {entry.query}" + (" is unknown: the most popular items" if entry.popular else "")
        table = Table(
            "rank", "item", "users" if entry.popular else "cosine" if what == "item" else "score", title=title
        )
        for column in (table.columns[0], table.columns[2]):
            column.justify = "right"
        for rank, (item, score) in enumerate(zip(entry.items, entry.scores, strict=True), start=1):
            table.add_row(str(rank), item, f"{score:.0f}" if entry.popular else f"{score:.4f}")
        console.print(table)


def _write(path: Path, lists: list[Recommendation], record: dict[str, Any]) -> None:
    with atomic_write(path, overwrite=False) as temporary:
        if path.suffix == ".json":
            temporary.write_text(json_module.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
            return
        with open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["query", "rank", "item", "score", "popular"])
            for entry in lists:
                for rank, (item, score) in enumerate(zip(entry.items, entry.scores, strict=True), start=1):
                    writer.writerow([entry.query, rank, item, repr(score), int(entry.popular)])
