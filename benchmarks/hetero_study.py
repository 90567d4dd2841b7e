"""MEOW, AdaMEOW and HeCo by their authors' settings, and what a subset of the anchors costs.

    python -m benchmarks.hetero_study acm dblp --out study [--methods meow adameow heco] [--seeds 3]
    python -m benchmarks.hetero_study acm --out study --methods meow adameow --anchors 0.5 0.25 --seeds 3
    python -m benchmarks.hetero_study acm --out study --methods adameow --select validation [--patience 20]
    python -m benchmarks.hetero_study acm dblp --out study --table

Each seed is one run with every evaluator of the experiment: 20, 40 and 60 labels a class by the papers' protocol, for
the embedding in evaluation mode and, of MEOW and AdaMEOW, for that of the last training pass; the default probe;
k-means. The method before training is scored for each seed, and what needs no training once. ``--anchors`` runs with
that share of the anchors in every step, ``--epochs`` with so many epochs and ``--minutes`` for a time: then no run ends
by its patience, so that shares are compared at equal epochs or equal time. A share of an experiment with patience needs
one of the two: a loss of fewer anchors is noisier, and would end the run at another time.
``--select validation`` keeps the weights of the best validation accuracy (which is Micro-F1) at 20 labels a class, read
every 10 epochs, and ends a run after ``--patience`` readings without a better one.

Everything is checked before the first run; a pair without an experiment is left out, and so is a subset of the anchors
of HeCo, which has none. The first seed of everything comes before the second of anything. What fails is said, the rest
goes on, and the exit code is then 1. A run that another process is at is passed over.

One file a finished run goes to ``--records``, by default ``experiments/results/hetero``; what has one is not run again,
also by another process, and an unfinished run in ``--out`` is resumed. An experiment whose settings were edited is
another one. The table is in percent, the spread over seeds; ``linear`` is the mean over the three label budgets.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import itertools
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gcl
from benchmarks.study import percent, say
from gcl.core.classes import find_class
from gcl.core.errors import DataError, GCLError
from gcl.core.files import claimed, write_json
from gcl.core.report import Report
from gcl.data.names import resolve_name
from gcl.report.environment import describe_environment
from gcl.run.reproduce import planned
from gcl.run.settings import experiment_file, read_yaml

RECORDS = Path(__file__).resolve().parent.parent / "experiments" / "results" / "hetero"
METHODS = {"meow": "MEOW", "adameow": "AdaMEOW", "heco": "HeCo"}
UNCHANGED: dict[str, Any] = {"anchors": 1.0, "minutes": None, "epochs": None, "select": None, "patience": None}
PATIENCE, VALIDATE_EVERY = 20, 10
LAST_PASS = "-last-pass"  # in the names of evaluators
BUDGETS = ("labels-20", "labels-40", "labels-60")
SCORES = ("macro_f1", "micro_f1", "auc")
HEADER = (
    "| | | seeds | 20 labels: Macro-F1 / Micro-F1 / AUC | 40 labels | 60 labels | linear, mean of the three "
    "| k-means: NMI / ARI | epochs (best) | minutes | MiB |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)


@dataclass(frozen=True)
class Experiment:
    """The shipped experiment of a method on a dataset."""

    method: str
    dataset: str
    settings: Mapping[str, Any]

    @classmethod
    def find(cls, method: str, dataset: str) -> Experiment | None:
        """The experiment of a pair, ``None`` where none is shipped."""
        path = experiment_file(method, dataset)
        settings = {} if path is None else read_yaml(path)
        return cls(method, dataset, settings) if settings.get("paper") else None

    @property
    def name(self) -> str:
        return f"{self.dataset.rpartition('/')[2]}-{self.method}"

    @property
    def digest(self) -> str:
        """Of its settings, but for the paper's figures and the number of seeds."""
        counted = {key: value for key, value in self.settings.items() if key not in ("paper", "seeds", "note")}
        return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:8]

    def overrides(self, changes: Mapping[str, Any], num_nodes: int) -> dict[str, Any]:
        """The settings of a run with some changes."""
        trainer: dict[str, Any] = {"checkpoint_every": 20}
        for key, name in (("minutes", "max_minutes"), ("epochs", "epochs")):
            if changes[key] is not None:
                trainer[name] = changes[key]
        if not (changes["epochs"] is changes["minutes"] is None):
            trainer["patience"] = None
        if changes["select"] is not None:
            trainer |= {"select": changes["select"], "validate_every": VALIDATE_EVERY, "patience": changes["patience"]}
        anchors = {} if changes["anchors"] == 1 else {"anchors": max(1, int(changes["anchors"] * num_nodes))}
        return {"floors": False, "trainer": trainer, **anchors}


@dataclass(frozen=True)
class Job:
    """One seed of an experiment: trained with some changes, or, with ``changes=None``, scored before training."""

    experiment: Experiment
    seed: int
    changes: Mapping[str, Any] | None = None
    overrides: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        what = "untrained" if self.changes is None else "-".join(f"{k}-{v}" for k, v in told(self.changes).items())
        return f"{what or 'whole'}-{self.experiment.digest}"

    def record_in(self, records: Path) -> Path:
        """Its file."""
        return records / self.experiment.name / f"{self.name}-seed-{self.seed}.json"

    def run(self, given: argparse.Namespace, environment: Mapping[str, Any]) -> dict[str, Any]:
        """Trains or scores it; its record."""
        about = {
            "method": self.experiment.method,
            "dataset": self.experiment.dataset,
            "seed": self.seed,
            "changes": None if self.changes is None else dict(self.changes),
            "experiment": self.experiment.digest,
            "environment": {key: environment[key] for key in ("commit", "processor", "threads")},
        }
        return about | (self._untrained(given.records) if self.changes is None else self._trained(given.out))

    def _trained(self, out: Path) -> dict[str, Any]:
        method, dataset = self.experiment.method, self.experiment.dataset
        folder = out / f"{self.experiment.name}-{self.name}" / f"seed-{self.seed}"
        result, _, _ = gcl.reproduce(
            method, dataset, overrides=self.overrides, seeds=[self.seed], out=folder, progress=True
        )
        run = result.runs[0]
        return {
            "scores": {evaluator: _means(reports["trained"]) for evaluator, reports in result.scores.items()},
            "attention": [round(float(weight), 4) for weight in run.outputs.extras["attention"]],
            "epochs": run.fit["epochs"],
            "best_epoch": run.fit["best_epoch"],
            "seconds": run.cost["seconds"]["train"],
            "peak_memory_bytes": run.cost["peak_memory_bytes"],
        }

    def _untrained(self, records: Path) -> dict[str, Any]:
        """Also what needs no training, where no other seed has it."""
        known = any(record.get("floors") for record in read_records(records, self.experiment.name, self.name))
        result = gcl.pipeline(
            self.experiment.method,
            self.experiment.dataset,
            seeds=[self.seed],
            floors=not known,
            trainer={"epochs": 0},
            evaluate={name: None for name in self.experiment.settings["evaluate"] if name.endswith(LAST_PASS)},
        )
        floors: dict[str, dict[str, Any]] = {}
        for evaluator, reports in result.scores.items():
            for name in reports:
                if name not in ("trained", "untrained"):
                    floors.setdefault(name, {})[evaluator] = _means(reports[name])
        scores = {evaluator: _means(reports["trained"]) for evaluator, reports in result.scores.items()}
        return {"scores": scores, "floors": floors}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what has no record, and prints the table; 1 where something failed."""
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
    parser.add_argument("--patience", type=int, help=f"with --select: readings without a better one [{PATIENCE}]")
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args(arguments)
    if given.patience is not None and given.select is None:
        parser.error("--patience counts validations; give --select validation, too")
    if not all(0 < share <= 1 for share in given.anchors):
        parser.error("--anchors are shares above 0 and up to 1")
    for name in ("seeds", "epochs", "patience"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name} must be at least 1")
    try:
        given.datasets = [resolve_name(f"hetero/{dataset.rpartition('/')[2]}") for dataset in given.datasets]
    except DataError as error:
        parser.error(str(error))
    failures = 0
    if not given.table:
        environment = describe_environment()  # now, for the code is that of the beginning
        jobs, failures = plan(given)
        failures += run(jobs, given, environment)
    print("\n".join(table(given.records, given.datasets, given.methods)))
    return 1 if failures else 0


def plan(given: argparse.Namespace) -> tuple[list[Job], int]:
    """Everything that was asked for and can be run, seeds outermost; and how much was refused."""
    made: list[Job] = []
    refused = 0
    for dataset, method in itertools.product(given.datasets, given.methods):
        experiment = Experiment.find(method, dataset)
        if experiment is None:
            say(f"left out: {METHODS[method]} on {dataset}, for which no experiment is shipped")
            continue
        seeds = range(given.seeds or int(experiment.settings.get("seeds", 1)))
        runs: list[Job] = []
        for share in given.anchors:
            if share != 1 and "anchors" not in inspect.signature(find_class("method", method)).parameters:
                say(f"left out: {METHODS[method]} on {dataset} with anchors {share}, for it has no anchors")
                continue
            waits = experiment.settings.get("trainer", {}).get("patience") is not None
            if share != 1 and waits and given.epochs is given.minutes is None:
                say(f"refused: {METHODS[method]} on {dataset} with anchors {share}: give --epochs or --minutes")
                refused += 1
                continue
            changes = {"anchors": share, "minutes": given.minutes, "epochs": given.epochs, "select": given.select}
            changes["patience"] = None if given.select is None else given.patience or PATIENCE
            try:
                _, data = planned(method, dataset)
                overrides = experiment.overrides(changes, data.graph.num_nodes)
                planned(method, dataset, seeds=[0], overrides=overrides)
            except GCLError as error:
                say(f"refused: {METHODS[method]} on {dataset}, {_sentence(changes)}: {error}")
                refused += 1
                continue
            runs += [Job(experiment, seed, changes, overrides) for seed in seeds]
        if runs:
            made += [Job(experiment, seed) for seed in seeds] + runs
    return sorted(made, key=lambda job: job.seed), refused


def run(jobs: Iterable[Job], given: argparse.Namespace, environment: Mapping[str, Any]) -> int:
    """Runs what has no record yet, and writes its record; how many failed."""
    left = [job for job in jobs if not job.record_in(given.records).is_file()]
    failures = 0
    for place, job in enumerate(left, start=1):
        path = job.record_in(given.records)
        title = f"{job.experiment.name}, {_sentence(job.changes)}, seed {job.seed}"
        say(f"[{place} of {len(left)}] {title}")
        with claimed(path.with_suffix(".lock")) as is_ours:
            if not is_ours or path.is_file():  # of another process, meanwhile
                say(f"passed over: {title}, which another process is at or has done")
                continue
            try:
                record = job.run(given, environment)
            except Exception as error:  # one run is not to end the study
                what = "" if isinstance(error, GCLError) else f"{type(error).__name__}: "
                say(f"failed: {title}: {what}{error}")
                failures += 1
                continue
            write_json(path, record)
        if "seconds" in record:
            say(f"done: {title}, {record['epochs']} epochs in {record['seconds'] / 60:.1f} minutes")
    return failures


def told(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the experiment, key by key."""
    return {key: changes[key] for key, value in UNCHANGED.items() if changes[key] != value}


def read_records(records: Path, experiment: str, name: str = "*") -> list[dict[str, Any]]:
    """The records of an experiment, by name and seed."""
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in (records / experiment).glob(f"{name}-seed-*.json")
    ]
    return sorted(found, key=lambda record: (json.dumps(record["changes"]), record["seed"]))


def table(records: Path, datasets: Sequence[str], methods: Sequence[str]) -> list[str]:
    """Markdown: of each pair what needs no training, the method before it, and each kind of run by either embedding."""
    lines = list(HEADER)
    for dataset, method in itertools.product(datasets, methods):
        found = read_records(records, Experiment(method, dataset, {}).name)
        digests = list(dict.fromkeys(record["experiment"] for record in found))
        for digest in digests:
            older = f", settings {digest}" if len(digests) > 1 else ""
            lines += _rows([record for record in found if record["experiment"] == digest], older)
    return lines


def _rows(found: list[dict[str, Any]], older: str) -> list[str]:
    lines, stem, method = [], found[0]["dataset"].rpartition("/")[2], METHODS[found[0]["method"]]
    untrained = [record for record in found if record["changes"] is None]
    floors: dict[str, Any] = next((record["floors"] for record in untrained if record["floors"]), {})
    for name, scores in floors.items():  # by the probes of this experiment
        lines.append(_row(stem, f"{name}, as {method}{older}", [{"scores": scores}]))
    if untrained:
        lines.append(_row(stem, f"{method}, untrained{older}", untrained))
    trained = [record for record in found if record["changes"] is not None]
    kinds = sorted({json.dumps(record["changes"]) for record in trained}, key=lambda kind: told(json.loads(kind)) != {})
    for kind in kinds:
        runs = [record for record in trained if json.dumps(record["changes"]) == kind]
        label = f"{method}, {_sentence(runs[0]['changes'])}{older}"
        for suffix, embedding in (("", "evaluation"), (LAST_PASS, "last pass")):
            names = [name for name in runs[0]["scores"] if name.endswith(LAST_PASS) == bool(suffix)]
            scored = [
                {**run, "scores": {name.removesuffix(suffix): run["scores"][name] for name in names}} for run in runs
            ]
            if names:
                lines.append(_row(stem, f"{label}, {embedding}", scored))
    return lines


def _row(stem: str, label: str, runs: Sequence[Mapping[str, Any]]) -> str:
    def cell(evaluator: str, *metrics: str) -> str:
        scores = [run["scores"][evaluator] for run in runs if evaluator in run["scores"]]
        return " / ".join(percent([score[metric] for score in scores]) for metric in metrics) if scores else ""

    cells = [cell(budget, *SCORES) for budget in BUDGETS]
    cells += [cell("linear", "accuracy"), cell("clustering", "nmi", "ari"), "", "", ""]
    if "epochs" in runs[0]:
        best = ["" if run["best_epoch"] is None else f" ({run['best_epoch']})" for run in runs]
        peaks = [run["peak_memory_bytes"] for run in runs if run["peak_memory_bytes"] is not None]
        cells[-3:] = [
            ", ".join(f"{run['epochs']}{last}" for run, last in zip(runs, best, strict=True)),
            f"{statistics.fmean(run['seconds'] for run in runs) / 60:.1f}",
            f"{max(peaks) / 2**20:.0f}" if peaks else "",
        ]
    return f"| {stem} | {label} | {len(runs) if 'seed' in runs[0] else ''} | {' | '.join(cells)} |"


def _sentence(changes: Mapping[str, Any] | None) -> str:
    if changes is None:
        return "untrained"
    return ", ".join(f"{key} {value}" for key, value in told(changes).items()) or "whole"


def _means(report: Report) -> dict[str, float]:
    return {metric: report.mean(metric) for metric in report.values}


if __name__ == "__main__":
    raise SystemExit(main())
