"""``gcl reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gcl.cli.common import AsJson, DataRoot, Overrides, Quiet, interruptible, print_json, progress_mode
from gcl.core.errors import ConfigError


def reproduce(
    method: Annotated[
        str | None, typer.Argument(help="A method's name, or an experiment's such as pot-grace.", show_default=False)
    ] = None,
    dataset: Annotated[str | None, typer.Argument(help="A dataset's name.", show_default=False)] = None,
    overrides: Overrides = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All experiments (of METHOD, on DATASET), within --budget hours.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option(help="Hours, with --all; call it again to go on.", show_default=False)
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="With --all: folder of one JSON file an experiment [OUT/records].")
    ] = None,
    table: Annotated[Path | None, typer.Option(help="With --all: the table [OUT/RESULTS.md].")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the runs [runs/reproduce/METHOD-DATASET; with --all: runs/reproduce]."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of training seeds [the experiment's].")] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run a paper's setting and put its figure beside ours; run it again to go on where it stopped.

    With --all: first what gives most for the time, until the budget is spent.
    """
    if everything:
        if overrides or json:
            raise ConfigError(
                "--all runs experiments as they are shipped and writes a table; leave out settings and --json"
            )
        if budget is None:
            raise ConfigError("--all needs --budget HOURS; what is not done by then goes on with the next call")
        _all(method, dataset, budget, records, table, out, seeds, data_root, quiet)
        return
    given = {"--budget": budget, "--records": records, "--table": table}
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name} goes with --all")
    if method is None or dataset is None:
        raise ConfigError("give METHOD and DATASET, or --all with --budget HOURS")
    from gcl.run.reproduce import reproduce as run
    from gcl.run.settings import parse_overrides

    changed = parse_overrides(overrides or [])
    with interruptible():
        result, comparison, path = run(
            method,
            dataset,
            out=out,
            seeds=seeds,
            overrides=changed,
            data_root=data_root,
            progress=progress_mode(quiet or json),
        )
    if json:
        print_json({"comparison": comparison, "results": str(path)})
        return
    from gcl.report.table import print_scores, report_console

    console = report_console()
    print_scores(console, result.scores, num_seeds=len(result.runs))
    if overrides:
        console.print(f"changed from the experiment: {' '.join(overrides)}", soft_wrap=True)
    for record in comparison:
        console.print(_sentence(record), soft_wrap=True)
    console.print(f"every run with its seed, versions, time and memory: {path}", soft_wrap=True)


def _all(
    method: str | None,
    dataset: str | None,
    budget: float,
    records: Path | None,
    table: Path | None,
    out: Path | None,
    seeds: int | None,
    data_root: Path | None,
    quiet: bool,
) -> None:
    from gcl.run.reproduce_all import reproduce_all

    with interruptible():
        path = reproduce_all(
            out or Path("runs") / "reproduce",
            hours=budget,
            records=records,
            table=table,
            methods=None if method is None else [method],
            datasets=None if dataset is None else [dataset],
            seeds=seeds,
            data_root=data_root,
            progress=progress_mode(quiet),
            say=lambda line: typer.echo(line, err=True),
        )
    typer.echo(f"{path}")


def _sentence(record: dict[str, Any]) -> str:
    def figure(value: float, deviation: float | None) -> str:
        return f"{value:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")

    return (
        f"{record['evaluate']} {record['metric']}: paper {figure(record['paper'], record['paper_std'])}, "
        f"ours {figure(record['ours'], record['ours_std'])} (difference {record['difference']:+.2f}, "
        f"{len(record['seeds'])} training seed{'s' * (len(record['seeds']) > 1)} of {record['runs_per_seed']} splits, "
        f"± over training seeds; protocol {record['protocol']}; paper's figure: {record['source']}"
        f"{'; ' + record['note'] if record['note'] else ''})"
    )
