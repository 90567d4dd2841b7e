"""Recommenders on one dataset by one protocol, contrast weights chosen on validation alone.

    python -m benchmarks.recommender_study lastfm --out study [--seeds 3] [--epochs 300] [--weights 0.01 0.1]

Each method ends with the weights of its best validation NDCG@20; a contrastive one is trained with each contrast weight
for the first seed, and with the best of them for all. The data's validation part is used, or a tenth of each user's
training items is carved. One record a finished run goes to ``--records``, by default
``experiments/results/recommendation``; a
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import gcl
from gcl.core.files import write_json
from gcl.report.environment import describe_environment
from gcl.run.run_directory import RunDirectory

RECORDS = Path(__file__).resolve().parent.parent / "experiments" / "results" / "recommendation"
METHODS = {
    "bpr_mf": "BPR-MF",
    "lightgcn": "LightGCN",
    "lightgcl": "LightGCL",
    "sgl": "SGL",
    "simgcl": "SimGCL",
    "xsimgcl": "XSimGCL",
}
METRICS = ("recall@20", "ndcg@20", "coverage@20", "popularity@20")


def main() -> None:
    """Runs the study of one dataset, or prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.01, 0.1])
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    study = Study(given.dataset, out=given.out, records=given.records, epochs=given.epochs)
    if not given.table:
        for method in given.methods:
            study.run(method, given.seeds, [None] if method in ("bpr_mf", "lightgcn") else given.weights)
    print("\n".join(study.table()))


class Study:
    """All runs on one dataset."""

    def __init__(self, dataset: str, *, out: Path, records: Path, epochs: int):
        self.dataset, self.out, self.epochs = dataset, out, epochs
        self.stem = dataset.rpartition("/")[2]
        self.path = records / f"{self.stem}.json"
        self.record: dict[str, Any] = {"dataset": dataset, "epochs": epochs, "floors": {}, "runs": []}
        if self.path.is_file():
            self.record = json.loads(self.path.read_text(encoding="utf-8"))
            if self.record["epochs"] != epochs:
                raise SystemExit(f"{self.path} is of {self.record['epochs']} epochs; give another --records")

    def run(self, method: str, seeds: int, weights: list[float | None]) -> None:
        """Trains what has no record yet."""
        if len(weights) > 1:
            for weight in weights:
                self._ensure(method, weight, 0)
        for seed in range(seeds):
            self._ensure(method, self.chosen(method) if len(weights) > 1 else weights[0], seed)

    def chosen(self, method: str) -> float | None:
        """The contrast weight of the best validation score of the first seed."""
        first = [run for run in self.record["runs"] if run["method"] == method and run["seed"] == 0]
        weight: float | None = max(first, key=lambda run: run["validation"])["weight"]
        return weight

    def _ensure(self, method: str, weight: float | None, seed: int) -> None:
        key = {"method": method, "weight": weight, "seed": seed}
        if any(all(run[name] == value for name, value in key.items()) for run in self.record["runs"]):
            return
        folder = self.out / f"{self.stem}-{method}-{weight}" / f"seed-{seed}"
        if (folder / "config.yaml").is_file():
            result = gcl.resume(folder)
        else:
            result = gcl.pipeline(
                method,
                self.dataset,
                seeds=[seed],
                floors=not self.record["floors"],
                trainer={"epochs": self.epochs, "select": "validation", "validate_every": 10, "checkpoint_every": 50},
                evaluate={"ranking": {"k": [20]}},
                out=folder,
                **({} if weight is None else {"contrast_weight": weight}),
            )
        rows, run = result.scores["ranking"], result.runs[0]
        if not self.record["floors"]:
            self.record["floors"] = {
                name: {metric: report.mean(metric) for metric in METRICS}
                for name, report in rows.items()
                if name not in ("trained", "untrained")
            }
        lines = (RunDirectory(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        validation = [value for line in lines if (value := json.loads(line).get("validation")) is not None]
        environment = describe_environment()
        self.record["runs"].append(
            {
                **key,
                "validation": max(validation),
                "test": {metric: rows["trained"].mean(metric) for metric in METRICS},
                "protocol": rows["trained"].protocol,
                "best_epoch": run.fit["best_epoch"],
                "seconds": run.cost["seconds"]["train"],
                "peak_memory_bytes": run.cost["peak_memory_bytes"],
                "environment": {name: environment[name] for name in ("commit", "processor", "threads")},
            }
        )
        write_json(self.path, self.record)

    def table(self) -> list[str]:
        """Markdown: floors, then every method with the weight that validation chose."""
        lines = [
            "| | contrast weight | seeds | Recall@20 | NDCG@20 | coverage@20 | popularity@20 | epoch | s a run |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name, figures in self.record["floors"].items():
            lines.append(f"| {name} | | | " + " | ".join(f"{100 * figures[m]:.2f}" for m in METRICS) + " | | |")
        for method, label in METHODS.items():
            if not any(run["method"] == method for run in self.record["runs"]):
                continue
            weight = self.chosen(method)
            runs = [run for run in self.record["runs"] if run["method"] == method and run["weight"] == weight]
            cells = [_spread([run["test"][metric] for run in runs]) for metric in METRICS]
            epochs = ", ".join(str(run["best_epoch"]) for run in runs)
            seconds = statistics.fmean(run["seconds"] for run in runs)
            shown = "" if weight is None else f"{weight:g}"
            lines.append(f"| {label} | {shown} | {len(runs)} | {' | '.join(cells)} | {epochs} | {seconds:.0f} |")
        return lines


def _spread(values: list[float]) -> str:
    mean = f"{100 * statistics.fmean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.2f}"


if __name__ == "__main__":
    main()
