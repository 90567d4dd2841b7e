"""``gcl reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gcl.cli.common import AsJson, DataRoot, Overrides, Quiet, interruptible, print_json, progress_mode


def reproduce(
    method: Annotated[str, typer.Argument(help="A method's name, or an experiment's such as pot-grace.")],
    dataset: Annotated[str, typer.Argument(help="A dataset's name.")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs [runs/reproduce/METHOD-DATASET].")] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of training seeds [the experiment's].")] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run a paper's setting and put its figure beside ours; run it again to go on where it stopped."""
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
