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
from gcl.data.dataset import Dataset
from gcl.data.fingerprint import graph_fingerprint
from gcl.run import run_directory as files
from gcl.run.open_run import Run, open_run
from gcl.run.run_data import load_for_run
from gcl.run.run_directory import RunDirectory
from gcl.run.scoring import resolve_evaluators, split


@dataclass(frozen=True, eq=False)
class Shown:
    """What a page shows of one run.

    Args:
        name: short, and another than those of the other runs.
        run: as its folder has it.
        record: its ``report.json``.
        scores: reports by evaluator and row.
        curves: the lines of ``metrics.jsonl`` of every seed that is in the scores.
        outputs: of the first of these seeds.
        graph: what it was trained on, with labels; ``None`` where the data are not here, or others.
        fingerprint: of that graph.
        class_names: of the labels, where the data have some.
    """

    name: str
    run: Run
    record: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, Report]]
    curves: Mapping[int, list[Mapping[str, Any]]]
    outputs: Outputs
    graph: Graph | None
    fingerprint: str
    class_names: tuple[str, ...]

    @property
    def title(self) -> str:
        """Method and dataset."""
        return f"{self.record['method']} on {self.record['dataset']}"


def root_of(path: str | Path) -> Path:
    """The folder of a run, where one of its seeds may be named."""
    path = Path(path)
    if not (path / files.CONFIG).is_file() and (path.parent / files.CONFIG).is_file():
        return path.parent
    return path


def short_names(runs: Sequence[Path]) -> list[str]:
    """Short names that differ: the folders', with those above them where needed."""
    parts = [path.resolve().parts for path in runs]
    if len(set(parts)) < len(parts):
        raise ConfigError("a run is given twice; give each once")
    length = 1
    while len({each[-length:] for each in parts}) < len(parts):
        length += 1
    return ["/".join(each[-length:]) for each in parts]


def read_run(path: Path, name: str, data_root: str | Path | None, notes: list[str]) -> Shown:
    """A finished run; a note is added where its data are not here, or not what it was trained on.

    Raises:
        ConfigError, CheckpointError: no finished run.
    """
    run, own = open_run(path), path / files.REPORT
    if not own.is_file():
        raise ConfigError(f"{path} has no {files.REPORT}; let the run end, or go on by `gcl train --resume {path}`")
    record = files.read_json(own, keys=("method", "dataset", "scores", "paper", "runs", "settings", "environment"))
    scores = {
        evaluator: {row: Report.from_json(report) for row, report in rows.items()}
        for evaluator, rows in record["scores"].items()
    }
    seeds = [each["seed"] for each in record["runs"]]
    places = {seed: path / f"seed-{seed}" if (path / f"seed-{seed}").is_dir() else path for seed in seeds}
    curves = {seed: _metrics(place) for seed, place in places.items()}
    left = sorted({*run.seeds} - {*seeds})
    if left:
        notes.append(f"{name} has seeds that are not scored yet, and not shown: {', '.join(map(str, left))}.")
    outputs = files.read_outputs(places[seeds[0]] / files.EMBEDDINGS)
    graph, fingerprint, class_names = None, name, ()
    try:
        data = _data(run, data_root)
        training, _ = split(resolve_evaluators(run.settings), data.graph, seeds[0])
        trained_on = record["runs"][0]["fingerprints"].get("data")
        if trained_on is not None and graph_fingerprint(training) != trained_on:
            raise DataError(f"{data.name} is another graph now than it was trained on")
        graph, fingerprint = data.graph, graph_fingerprint(data.graph)
        class_names = tuple(data.info.get("class_names", ()))
    except GCLError as error:
        notes.append(f"Pictures of {name} have no labels and no communities, for its data are not here: {error}.")
    return Shown(name, run, record, scores, curves, outputs, graph, fingerprint, class_names)


def _data(run: Run, data_root: str | Path | None) -> Dataset:
    if run.settings["dataset"] is None:
        raise DataError("it was trained on a graph in memory")
    return load_for_run(run.settings, data_root=data_root)


def _metrics(place: Path) -> list[Mapping[str, Any]]:
    path, found = RunDirectory(place) / files.METRICS, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:  # the end of a line that was being written
            break
    return found
