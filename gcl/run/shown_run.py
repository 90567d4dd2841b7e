"""One run as a report shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError, GCLError
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.data.load import load_dataset
from gcl.run import run_directory as files
from gcl.run.run_directory import Run, RunDirectory


@dataclass(frozen=True, eq=False)
class Shown:
    """What a page shows of one run."""

    name: str
    run: Run
    record: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, Report]]
    curves: Mapping[int, list[Mapping[str, Any]]]
    outputs: Outputs
    graph: Graph | None

    @property
    def title(self) -> str:
        """Method and dataset."""
        return f"{self.record['method']} on {self.record['dataset']}"


def short_names(runs: Sequence[str | Path]) -> list[str]:
    """Short names that differ: the folders', with those above them where needed."""
    parts = [Path(path).resolve().parts for path in runs]
    if len(set(parts)) < len(parts):
        raise ConfigError("a run is given twice; give each once")
    length = 1
    while len({each[-length:] for each in parts}) < len(parts):
        length += 1
    return ["/".join(each[-length:]) for each in parts]


def read_run(path: Path, name: str, data_root: str | Path | None, notes: list[str]) -> Shown:
    """A finished run; a note is added where its data are not here.

    Raises:
        ConfigError, CheckpointError: no finished run.
    """
    if not (path / files.CONFIG).is_file() and (path.parent / files.CONFIG).is_file():
        path = path.parent  # one seed of several was named
    run, own = files.open_run(path), path / files.REPORT
    if not own.is_file():
        raise ConfigError(f"{path} has no {files.REPORT}; let the run end, or go on by `gcl train --resume {path}`")
    record = json.loads(own.read_text(encoding="utf-8"))
    scores = {
        evaluator: {row: Report.from_json(report) for row, report in rows.items()}
        for evaluator, rows in record["scores"].items()
    }
    places = [run.root / f"seed-{seed}" for seed in run.seeds] or [run.directory.path]
    seeds = run.seeds or [record["runs"][0]["seed"]]
    curves = {seed: _metrics(place) for seed, place in zip(seeds, places, strict=True)}
    graph = None
    try:
        if run.settings["dataset"] is None:
            raise DataError("it was trained on a graph in memory")
        graph = load_dataset(
            run.settings["dataset"],
            kind=files.kind_of(run.settings),
            data_root=data_root or run.settings["data_root"],
            interactions=run.settings.get("interactions"),
            metapath=run.settings.get("metapath"),
        ).graph
    except GCLError as error:
        notes.append(f"Pictures of {name} have no labels and no communities, for its data are not here: {error}.")
    return Shown(name, run, record, scores, curves, run.outputs, graph)


def _metrics(place: Path) -> list[Mapping[str, Any]]:
    path = RunDirectory(place) / files.METRICS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
