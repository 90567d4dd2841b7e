"""MEOW, AdaMEOW and HeCo by their authors' settings, and what a subset of the anchors costs.

    python -m benchmarks.hetero_study acm dblp --out study [--methods meow adameow heco] [--seeds 3]
    python -m benchmarks.hetero_study acm --out study --methods meow adameow --anchors 0.5 0.25 --seeds 3
    python -m benchmarks.hetero_study acm --out study --methods adameow --select validation
    python -m benchmarks.hetero_study acm dblp --out study --table

Each seed is one run with every evaluator of the experiment: 20, 40 and 60 labels a class by the papers' protocol, for
the embedding in evaluation mode and, of MEOW and AdaMEOW, for that of the last training pass; the default probe;
k-means. ``--anchors`` runs with that share of the anchors in every step at the same number of epochs, ``--minutes``
ends a run after a time, ``--select validation`` keeps the weights of the best validation Macro-F1 at 20 labels a class,
read every 10 epochs. One record a finished run goes to ``--records``, by default ``experiments/results/hetero``;
what has a record is not run again, and an unfinished run in ``--out`` is resumed. The table is in percent, the spread
over seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import gcl
from gcl.core.files import write_json
from gcl.core.report import Report
from gcl.data.load import load_dataset
from gcl.report.environment import describe_environment

RECORDS = Path(__file__).resolve().parent.parent / "experiments" / "results" / "hetero"
METHODS = {"meow": "MEOW", "adameow": "AdaMEOW", "heco": "HeCo"}
CLASSES = ("macro_f1", "micro_f1", "auc")


def main() -> None:
    """Runs what has no record, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--methods", nargs="+", default=["meow", "heco"], choices=list(METHODS))
    parser.add_argument("--seeds", type=int, help="in place of the experiment's number")
    parser.add_argument("--anchors", type=float, nargs="+", default=[1.0], help="shares of the target nodes")
    parser.add_argument("--minutes", type=float, help="end a run's training after a time")
    parser.add_argument("--epochs", type=int, help="in place of the experiment's")
    parser.add_argument("--select", choices=["validation"], help="keep the weights of the best validation score")
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args()
    for dataset in given.datasets:
        for method in given.methods:
            study(method, f"hetero/{dataset.rpartition('/')[2]}", given)


def study(method: str, dataset: str, given: argparse.Namespace) -> None:
    """All runs of one method on one dataset."""
    path = given.records / f"{dataset.rpartition('/')[2]}-{method}.json"
    record: dict[str, Any] = {"method": method, "dataset": dataset, "floors": {}, "runs": []}
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
    for share in () if given.table else given.anchors:
        changes = {"anchors": share, "minutes": given.minutes, "epochs": given.epochs, "select": given.select}
        for seed in range(given.seeds or _seeds(method, dataset)):
            if not any(run["seed"] == seed and run["changes"] == changes for run in record["runs"]):
                _run(record, seed, changes, given.out)
                write_json(path, record)
    print("\n".join(rows(record)))


def _seeds(method: str, dataset: str) -> int:
    from gcl.run.settings import experiment_file, read_yaml

    shipped = experiment_file(method, dataset)
    return 1 if shipped is None else int(read_yaml(shipped).get("seeds", 1))


def _run(record: dict[str, Any], seed: int, changes: dict[str, Any], out: Path) -> None:
    method, dataset = record["method"], record["dataset"]
    name = "-".join(f"{key}-{value}" for key, value in changes.items() if value not in (None, 1.0)) or "whole"
    folder = out / f"{dataset.rpartition('/')[2]}-{method}-{name}" / f"seed-{seed}"
    trainer: dict[str, Any] = {"checkpoint_every": 20}
    if changes["minutes"] is not None:
        trainer["max_minutes"] = changes["minutes"]
    if changes["epochs"] is not None:
        trainer["epochs"] = changes["epochs"]
    if changes["select"] is not None:
        trainer |= {"select": changes["select"], "validate_every": 10, "patience": None}
    overrides: dict[str, Any] = {"floors": not record["floors"], "trainer": trainer}
    if changes["anchors"] != 1.0:
        overrides["anchors"] = int(changes["anchors"] * load_dataset(dataset).graph.num_nodes)
    result, _, _ = gcl.reproduce(method, dataset, overrides=overrides, seeds=[seed], out=folder)
    if not record["floors"]:
        record["floors"] = {
            evaluator: {name: _means(report) for name, report in reports.items() if name != "trained"}
            for evaluator, reports in result.scores.items()
        }
    run, environment = result.runs[0], describe_environment()
    record["runs"].append(
        {
            "seed": seed,
            "changes": changes,
            "scores": {evaluator: _means(reports["trained"]) for evaluator, reports in result.scores.items()},
            "attention": [round(float(weight), 4) for weight in run.outputs.extras["attention"]],
            "epochs": run.fit["epochs"],
            "best_epoch": run.fit["best_epoch"],
            "seconds": run.cost["seconds"]["train"],
            "peak_memory_bytes": run.cost["peak_memory_bytes"],
            "environment": {key: environment[key] for key in ("commit", "processor", "threads")},
        }
    )


def _means(report: Report) -> dict[str, float]:
    return {metric: report.mean(metric) for metric in report.values}


def rows(record: dict[str, Any]) -> list[str]:
    """Markdown rows: the floors, then each kind of run with either embedding."""
    lines, stem = [], record["dataset"].rpartition("/")[2]
    floors = sorted({name for reports in record["floors"].values() for name in reports})
    for name in floors:
        scores = {evaluator: [reports[name]] for evaluator, reports in record["floors"].items() if name in reports}
        lines.append(_row(stem, name, "", scores, ""))
    kinds: list[dict[str, Any]] = []
    for run in record["runs"]:
        if run["changes"] not in kinds:
            kinds.append(run["changes"])
    for changes in kinds:
        runs = [run for run in record["runs"] if run["changes"] == changes]
        said = ", ".join(f"{key} {value}" for key, value in changes.items() if value not in (None, 1.0))
        label = METHODS[record["method"]] + (f", {said}" if said else "")
        for suffix, embedding in (("", "evaluation"), ("-last-pass", "last pass")):
            names = [name for name in runs[0]["scores"] if name.endswith("last-pass") == bool(suffix)]
            scores = {name.removesuffix(suffix): [run["scores"][name] for run in runs] for name in names}
            if scores:
                epochs = ", ".join(str(run["epochs"]) for run in runs)
                lines.append(_row(stem, f"{label}, {embedding}", str(len(runs)), scores, epochs))
    return lines


def _row(stem: str, label: str, seeds: str, scores: dict[str, list[dict[str, float]]], epochs: str) -> str:
    cells = []
    for budget in ("labels-20", "labels-40", "labels-60"):
        found = scores.get(budget)
        cells.append(" / ".join(_spread([run[m] for run in found]) for m in CLASSES) if found else "")
    cells.append(_spread([run["accuracy"] for run in scores["linear"]]) if "linear" in scores else "")
    found = scores.get("clustering")
    cells.append(" / ".join(_spread([run[m] for run in found]) for m in ("nmi", "ari")) if found else "")
    return f"| {stem} | {label} | {seeds} | {' | '.join(cells)} | {epochs} |"


def _spread(values: list[float]) -> str:
    mean = f"{100 * statistics.fmean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.2f}"


if __name__ == "__main__":
    main()
