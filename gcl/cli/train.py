"""``gcl train``."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcl.cli.common import AsJson, DataRoot, Overrides, Quiet, interruptible, print_json, progress_mode
from gcl.core.errors import ConfigError

if TYPE_CHECKING:
    from gcl.run.result import Result


def train(
    method: Annotated[
        str | None, typer.Argument(help="A method's name; see `gcl methods`.", show_default=False)
    ] = None,
    dataset: Annotated[
        str | None, typer.Argument(help="A name (`gcl data list`), an .npz file or a folder.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    config: Annotated[Path | None, typer.Option(help="YAML settings in place of the shipped ones.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for the run [runs/METHOD-DATASET-SEED-TIME].")] = None,
    seed: Annotated[int | None, typer.Option(help="Train this one seed.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Train seeds 0 to N-1 and report mean and deviation.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with an interrupted run; takes trainer.devices=N and nothing else.")
    ] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a method on a graph, evaluate it, and report it beside floors that need no training.

    `gcl train csgcl cora loss.temperature=0.4 trainer.epochs=200 --out runs/first`

    `gcl train csgcl hetero/acm dataset.metapath=paper-author-paper`
    """
    if resume is not None:
        if config or out or seed is not None or seeds is not None:
            raise ConfigError(AS_STARTED)
        devices = _resumed_devices([word for word in (method, dataset, *(overrides or ())) if word])
        from gcl.run.pipeline import resume as go_on

        with interruptible():
            result = go_on(resume, data_root=data_root, devices=devices, progress=progress_mode(quiet or json))
        show(result, resume, json)
        return
    if method is None or dataset is None:
        raise ConfigError("give a method and a dataset, for example: gcl train csgcl digits")
    from gcl.run.pipeline import pipeline
    from gcl.run.settings import parse_overrides

    settings: dict[str, Any] = parse_overrides(overrides or [])
    if (seed is not None) + (seeds is not None) + ("seeds" in settings) > 1:
        raise ConfigError("give one of --seed N (one run), --seeds N (several) and seeds=[...]")
    if seed is not None or seeds is not None:
        settings["seeds"] = [seed] if seed is not None else seeds
    if isinstance(settings.get("dataset"), dict) and {*settings["dataset"]} <= {"metapath", "transform"}:
        settings |= settings.pop("dataset")
    for key in ("method", "dataset", "config", "out", "data_root", "progress"):
        if key in settings:
            raise ConfigError(f"{key} is no key=value setting; see the arguments and options of `gcl train --help`")
    from gcl.core.classes import names

    if ":" not in method and method not in names("method") and dataset in names("method"):
        raise ConfigError(f"{dataset!r} is a method and stands second; write gcl train {dataset} {method}")
    target = out or default_folder(method, dataset, seed)
    with interruptible():
        result = pipeline(
            method,
            dataset,
            config=config,
            out=target,
            data_root=data_root,
            progress=progress_mode(quiet or json),
            **settings,
        )
    show(result, target, json)


AS_STARTED = "--resume goes on with a run as it was started and takes no other settings than trainer.devices=N"


def _resumed_devices(words: list[str]) -> int | None:
    """The one setting that a resumed run takes, from what stands in the places of method, dataset and settings."""
    if not words:
        return None
    number = re.fullmatch(r"trainer\.devices=(\d+)", words[0])
    if number is None or len(words) > 1:
        raise ConfigError(AS_STARTED)
    return int(number[1])


def default_folder(method: str, dataset: str, seed: int | None) -> Path:
    """``runs/METHOD-DATASET-SEED-TIME``, the time to the microsecond, for commands that are started together."""
    words = [re.sub(r"[^\w.]+", "_", Path(word).name if Path(word).exists() else word) for word in (method, dataset)]
    return Path("runs") / "-".join([*words, str(seed or 0), datetime.now().strftime("%Y%m%d-%H%M%S-%f")])


def show(result: Result, folder: Path, json: bool) -> None:
    """Prints scores and where they are."""
    if json:
        print_json({**result.to_json(), "out": str(folder)})
        return
    from gcl.report.table import diagnostics_line, print_scores, report_console

    console = report_console()
    print_scores(console, result.scores, num_seeds=len(result.runs))
    for note in result.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(f"{diagnostics_line(result.runs[0].diagnostics)} (seed {result.runs[0].seed})", soft_wrap=True)
    seconds = [sum(run.cost["seconds"].values()) for run in result.runs]
    memory = max(run.cost["peak_memory_bytes"] for run in result.runs)
    console.print(
        f"{len(seconds)} run{'s' * (len(seconds) > 1)}, {sum(seconds):.1f} s, peak memory of the run "
        f"{memory / 2**20:.0f} MiB; written to {folder}",
        soft_wrap=True,
    )
