"""Recommenders on one dataset by one protocol, everything chosen on validation alone.

    python -m benchmarks.recommender_study lastfm --out study [--methods ...] [--seeds 3] [--epochs 500] [--patience 10]
    python -m benchmarks.recommender_study yelp2018 --out study --methods lightgcn lightgcl --seeds 1 --minutes 60 \
        --epochs 1000 --validate-every 1 --published --set lightgcl.anchors=1024
    python -m benchmarks.recommender_study lastfm --out study --table

Each method has three trials on the first seed: of the weight of its contrast (0.01, 0.05 and the one its paper takes),
or, where there is none, of its penalty (1e-3, 1e-4, 1e-5). The one of the best validation NDCG@20 is trained with all
seeds. A run ends with the weights of its best validation NDCG@20, after ``--patience`` validations without a better,
``--epochs`` or ``--minutes``. ``--published`` tries the paper's setting only; ``--as ml100k`` takes what was chosen on
another dataset. The data's validation part is used, or a tenth of each user's training items is carved.

One record a finished run, with its validation curve over time, goes to ``--records``, by default
``experiments/results/recommendation``; what has a record is not run again, and an unfinished run in ``--out`` is
resumed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gcl
from gcl.core.files import write_json
from gcl.report.environment import describe_environment
from gcl.run.run_directory import RunDirectory

RECORDS = Path(__file__).resolve().parent.parent / "experiments" / "results" / "recommendation"
LABELS = {
    "bpr_mf": "BPR-MF",
    "lightgcn": "LightGCN",
    "lightgcl": "LightGCL",
    "sgl": "SGL",
    "simgcl": "SimGCL",
    "xsimgcl": "XSimGCL",
}
PUBLISHED: dict[str, dict[str, float]] = {
    "bpr_mf": {"l2": 1e-4},
    "lightgcn": {"l2": 1e-4},
    "lightgcl": {"contrast_weight": 0.2},
    "sgl": {"contrast_weight": 0.1},
    "simgcl": {"contrast_weight": 0.5},
    "xsimgcl": {"contrast_weight": 0.2},
}
OTHERS = {"l2": (1e-3, 1e-5), "contrast_weight": (0.01, 0.05)}
METRICS = ("recall@20", "ndcg@20", "coverage@20", "popularity@20")
COMMON = ("epochs", "minutes", "patience", "validate_every")


def main() -> None:
    """Runs the study of one dataset and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--methods", nargs="+", default=list(LABELS), choices=list(LABELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--minutes", type=float, help="of training, for each run")
    parser.add_argument("--patience", type=int, help="validations")
    parser.add_argument("--validate-every", type=int, default=10, help="epochs")
    parser.add_argument("--published", action="store_true", help="no trials: the papers' settings")
    parser.add_argument("--as", dest="like", metavar="DATASET", help="no trials: what was chosen there")
    parser.add_argument("--set", nargs="*", default=[], metavar="METHOD.NAME=VALUE", help="settings beside the trials")
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args()
    study = Study(given.dataset, given.out, given.records, {name: getattr(given, name) for name in COMMON})
    if not given.table:
        for method in given.methods:
            study.run(method, given.seeds, trials(method, given, study.records), fixed(method, given.set))
    print("\n".join(study.table()))


def trials(method: str, given: argparse.Namespace, records: Path) -> list[dict[str, float]]:
    """The settings that are tried."""
    published = PUBLISHED[method]
    if given.published:
        return [published]
    if given.like:
        other = json.loads((records / f"{given.like}.json").read_text(encoding="utf-8"))
        return [chosen(other["runs"], method)]
    (name,) = published
    return [*({name: value} for value in OTHERS[name]), published]


def fixed(method: str, pairs: Sequence[str]) -> dict[str, Any]:
    """What ``--set`` says of a method."""
    found = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        owner, _, key = name.partition(".")
        if owner not in LABELS or not key or not value:
            raise SystemExit(f"--set takes METHOD.NAME=VALUE, got {pair!r}")
        if owner == method:
            found[key] = json.loads(value)
    return found


def chosen(runs: Sequence[Mapping[str, Any]], method: str) -> dict[str, float]:
    """The setting of the best validation score of the first seed."""
    first = [run for run in runs if run["method"] == method and run["seed"] == 0]
    setting: dict[str, float] = max(first, key=lambda run: run["validation"])["setting"]
    return setting


class Study:
    """All runs on one dataset."""

    def __init__(self, dataset: str, out: Path, records: Path, common: dict[str, Any]):
        self.dataset, self.out, self.records, self.common = dataset, out, records, common
        self.stem = dataset.rpartition("/")[2]
        self.path = records / f"{self.stem}.json"
        self.floors: dict[str, Any] = {}
        self.runs: list[dict[str, Any]] = []
        if self.path.is_file():
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            self.floors, self.runs = kept["floors"], kept["runs"]

    def run(self, method: str, seeds: int, tried: list[dict[str, float]], fixed: dict[str, Any]) -> None:
        """Trains what has no record yet."""
        for setting in tried:
            self._ensure(method, setting, fixed, 0)
        for seed in range(seeds):
            self._ensure(method, chosen([run for run in self.runs if run["setting"] in tried], method), fixed, seed)

    def _ensure(self, method: str, setting: dict[str, float], fixed: dict[str, Any], seed: int) -> None:
        key = {"method": method, "setting": setting, "fixed": fixed, "seed": seed, "common": self.common}
        if any(all(run[name] == value for name, value in key.items()) for run in self.runs):
            return
        if any(run["common"] != self.common or run["fixed"] != fixed for run in self.runs if run["method"] == method):
            raise SystemExit(f"{self.path} has {method} with other settings; give another --records")
        name = "-".join(f"{value:g}" for value in setting.values())
        settings = hashlib.sha256(json.dumps([self.common, fixed], sort_keys=True).encode()).hexdigest()[:8]
        folder = self.out / f"{self.stem}-{method}-{name}-{settings}" / f"seed-{seed}"
        result = gcl.resume(folder) if (folder / "config.yaml").is_file() else self._train(key, folder)
        rows, run = result.scores["ranking"], result.runs[0]
        if not self.floors:
            self.floors = {
                name: {metric: report.mean(metric) for metric in METRICS}
                for name, report in rows.items()
                if name not in ("trained", "untrained")
            }
        curve = validation_curve(folder)
        environment = describe_environment()
        self.runs.append(
            {
                **key,
                "validation": max(point["validation"] for point in curve),
                "test": {metric: rows["trained"].mean(metric) for metric in METRICS},
                "protocol": rows["trained"].protocol,
                "best_epoch": run.fit["best_epoch"],
                "epochs": run.fit["epochs"],
                "seconds": run.cost["seconds"]["train"],
                "peak_memory_bytes": run.cost["peak_memory_bytes"],
                "curve": curve,
                "environment": {name: environment[name] for name in ("commit", "processor", "threads")},
            }
        )
        write_json(self.path, {"dataset": self.dataset, "floors": self.floors, "runs": self.runs})

    def _train(self, key: Mapping[str, Any], folder: Path) -> Any:
        return gcl.pipeline(
            key["method"],
            self.dataset,
            seeds=[key["seed"]],
            floors=not self.floors,
            trainer={
                "epochs": self.common["epochs"],
                "max_minutes": self.common["minutes"],
                "patience": self.common["patience"],
                "select": "validation",
                "validate_every": self.common["validate_every"],
                "checkpoint_every": self.common["validate_every"],
            },
            evaluate={"ranking": {"k": [20]}},
            out=folder,
            **key["setting"],
            **key["fixed"],
        )

    def table(self) -> list[str]:
        """Markdown: floors, then every method with the setting that validation chose."""
        lines = [
            "| | setting | seeds | Recall@20 | NDCG@20 | coverage@20 | popularity@20 | best epoch | s a run | MiB |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name, figures in self.floors.items():
            lines.append(f"| {name} | | | " + " | ".join(f"{100 * figures[m]:.2f}" for m in METRICS) + " | | | |")
        for method, label in LABELS.items():
            if not any(run["method"] == method for run in self.runs):
                continue
            setting = chosen(self.runs, method)
            runs = [run for run in self.runs if run["method"] == method and run["setting"] == setting]
            cells = [_spread([run["test"][metric] for run in runs]) for metric in METRICS]
            epochs = ", ".join(str(run["best_epoch"]) for run in runs)
            seconds = statistics.fmean(run["seconds"] for run in runs)
            memory = max(run["peak_memory_bytes"] for run in runs) / 2**20
            shown = ", ".join(f"{name} {value:g}" for name, value in setting.items())
            lines.append(
                f"| {label} | {shown} | {len(runs)} | {' | '.join(cells)} | {epochs} | {seconds:.0f} | {memory:.0f} |"
            )
        return lines


def validation_curve(folder: Path) -> list[dict[str, float]]:
    """The validations of a run: epoch, seconds of training until then, score."""
    lines = (RunDirectory(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {
            "epoch": record["epoch"],
            "seconds": round(record["timing"]["elapsed"], 1),
            "validation": round(record["validation"], 6),
        }
        for record in map(json.loads, lines)
        if record.get("validation") is not None
    ]


def _spread(values: list[float]) -> str:
    mean = f"{100 * statistics.fmean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.2f}"


if __name__ == "__main__":
    main()
