"""Deep clustering by the published settings, with every way to choose the epoch side by side.

    python -m benchmarks.cluster_study usps acm dblp citeseer --out study [--methods pamc scgc_star sdcn] [--seeds 5]
    python -m benchmarks.cluster_study usps acm dblp citeseer --out study --table

Each run pre-trains its own auto-encoder. One record a finished run goes to ``--records``, by default
``experiments/results/clustering``, with the floors of its seed, for the untrained method differs from seed to seed;
what has a record is not run again, and an unfinished run in ``--out`` is resumed. The table has scores in percent:
``last`` is the result, ``start`` is pre-training and k-means alone, ``silhouette`` and ``modularity`` choose an epoch
without labels, ``oracle`` takes the best epoch of each score by the labels.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gcl
from benchmarks.study import percent
from gcl.core.files import write_json
from gcl.report.environment import describe_environment

RECORDS = Path(__file__).resolve().parent.parent / "experiments" / "results" / "clustering"
METHODS = {"pamc": "PamC", "scgc_star": "SCGC*", "scgc": "SCGC", "sdcn": "SDCN"}
METRICS = ("accuracy", "nmi", "ari", "macro_f1")
CHOICES = ("start", "last", "by_silhouette", "by_modularity", "oracle")


def main() -> None:
    """Runs what has no record, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--methods", nargs="+", default=["pamc", "scgc_star", "sdcn"], choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args()
    for dataset in given.datasets:
        for method in given.methods:
            path = given.records / f"{dataset.rpartition('/')[2]}-{method}.json"
            record = {"method": method, "dataset": dataset, "runs": []}
            if path.is_file():
                record = json.loads(path.read_text(encoding="utf-8"))
            for seed in () if given.table else range(given.seeds):
                if not any(run["seed"] == seed for run in record["runs"]):
                    run(record, seed, given.out)
                    write_json(path, record)
            print("\n".join(rows(record)))


def run(record: dict[str, Any], seed: int, out: Path) -> None:
    """One seed."""
    folder = out / f"{record['dataset'].rpartition('/')[2]}-{record['method']}" / f"seed-{seed}"
    overrides = {"floors": True, "trainer": {"checkpoint_every": 20}}
    result, _, _ = gcl.reproduce(record["method"], record["dataset"], overrides=overrides, seeds=[seed], out=folder)
    floors = dict(result.scores["assignment"])
    report, environment = floors.pop("trained"), describe_environment()
    record["runs"].append(
        {
            "seed": seed,
            "last": {metric: report.mean(metric) for metric in METRICS},
            **{choice: report.details[choice] for choice in CHOICES if choice in report.details},
            "floors": {name: {metric: floor.mean(metric) for metric in METRICS} for name, floor in floors.items()},
            "clusters": report.details["clusters"],
            "seconds": result.runs[0].cost["seconds"]["train"],
            "peak_memory_bytes": result.runs[0].cost["peak_memory_bytes"],
            "environment": {key: environment[key] for key in ("commit", "processor", "threads")},
        }
    )


def rows(record: dict[str, Any]) -> list[str]:
    """Markdown rows: the floors, then each way to choose the epoch."""
    runs = record["runs"]
    if not runs:
        return []
    scores = {name: [run["floors"][name] for run in runs] for name in runs[0]["floors"]}
    for choice in CHOICES:
        scores[f"{METHODS[record['method']]}, {choice.removeprefix('by_')}"] = [run[choice] for run in runs]
    lines = []
    for label, found in scores.items():
        cells = [percent([row[metric] for row in found]) for metric in METRICS]
        lines.append(f"| {record['dataset']} | {label} | {len(runs)} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
