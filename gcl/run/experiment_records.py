"""What is kept of an experiment's finished seeds: one JSON file an experiment."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gcl.run.experiments import Experiment
from gcl.run.result import Result

Say = Callable[[str], None]


def read_records(folder: Path, say: Say = lambda line: None) -> list[dict[str, Any]]:
    """The records of experiments in a folder, by name; other files are passed over, and said."""
    found = []
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith("."):  # of a write that is under way, or was cut off
            continue
        record = _read(path)
        if record is None:
            say(f"passed over: {path}, which is no record of an experiment")
        else:
            found.append(record)
    return found


def is_record(path: Path) -> bool:
    """Whether a file is the record of an experiment."""
    return _read(path) is not None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record["experiment"], record["comparison"], record["environments"], record["seeds_wanted"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record


def record_of(experiment: Experiment, result: Result, comparison: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of an experiment.

    Args:
        experiment: whose.
        result: of its finished seeds.
        comparison: with the figures of its paper, as :func:`gcl.run.reproduce.run_planned` gives it.
    """
    peaks = [run.cost["peak_memory_bytes"] for run in result.runs if run.cost["peak_memory_bytes"] is not None]
    oracle = {}
    for name, rows in result.scores.items():
        details = rows["trained"].details if "trained" in rows else {}
        by_seed = details.get("by_seed", [details])
        if all("oracle" in each for each in by_seed):
            oracle[name] = {
                metric: 100 * statistics.fmean(each["oracle"][metric] for each in by_seed)
                for metric in by_seed[0]["oracle"]
                if metric in rows["trained"].values
            }
    environments = [
        {key: environment.get(key) for key in ("commit", "processor", "threads")}
        for environment in (run.environment or result.environment for run in result.runs)
    ]
    return {
        "experiment": experiment.name,
        "dataset": experiment.dataset,
        "title": result.settings["paper"].get("title"),
        "seeds": [run.seed for run in result.runs],
        "seeds_wanted": experiment.wanted,
        "comparison": comparison or _without_figure(result),
        "oracle": oracle,
        "epochs": [run.fit["epochs"] for run in result.runs],
        "seconds": [sum(run.cost["seconds"].values()) for run in result.runs],
        "peak_memory_bytes": max(peaks) if peaks else None,
        "environments": [each for at, each in enumerate(environments) if each not in environments[:at]],
    }


def _without_figure(result: Result) -> list[dict[str, Any]]:
    """The first metric of every evaluator, for an experiment whose paper has no figure."""
    lines = []
    for name, rows in result.scores.items():
        if "trained" not in rows:
            continue
        report = rows["trained"]
        metric = next(iter(report.values))
        lines.append(
            {
                "evaluate": name,
                "metric": metric,
                "paper": None,
                "paper_std": None,
                "note": None,
                "ours": round(100 * report.mean(metric), 3),
                "ours_std": round(100 * report.std(metric), 3) if len(result.runs) > 1 else None,
                "difference": None,
                "seeds": [run.seed for run in result.runs],
                "protocol": report.protocol,
                "floors": {row: round(100 * each.mean(metric), 3) for row, each in rows.items() if row != "trained"},
            }
        )
    return lines
