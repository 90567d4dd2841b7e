"""Recommenders by one protocol, everything chosen on validation alone.

    python -m benchmarks.recommender_study lastfm ml100k --out study [--methods ...] [--seeds 3]
    python -m benchmarks.recommender_study ml1m --out study --as ml100k --learning-rates 1e-3 5e-3 --minutes 6 \
        --validate-every 1
    python -m benchmarks.recommender_study yelp2018 --out study --methods lightgcn lightgcl --seeds 1 --minutes 60 \
        --validate-every 1 --published --set lightgcl.anchors=1024
    python -m benchmarks.recommender_study lastfm ml100k --out study --table

On the first seed each method is tried with every learning rate (``--learning-rates``) and the weight of its contrast
that its paper takes, then, with the best of them, with the other weights (0.01, 0.05); of a method without contrast it
is the weight of its penalty (1e-3, 1e-5 beside the paper's 1e-4). The setting of the best validation NDCG@20 is trained
with all seeds. ``--published`` tries the learning rates alone. ``--as ml100k`` takes what was chosen on that dataset,
or of it the weight alone where learning rates are given; ``ml100k --as ml100k --set sgl.l2=1e-3`` changes one thing.

A run ends after ``--epochs``, after ``--minutes`` of training and validation, or after ``--patience`` validations
without a better one, and takes the weights of its best validation NDCG@20. With ``--minutes`` there is no patience
unless it is given, so that all have the same time. The data's validation part is used, or a tenth of each user's
training items is carved. The test part is read once a run, for the weights that were chosen.

Everything is checked before the first run. One file a finished run, with its validation curve over time, goes to
``--records``, by default ``experiments/results/recommendation``; what has one is not run again, also by another
process, and an unfinished run in ``--out`` is resumed. What fails is said, the other methods go on, and the exit code
is then 1. A method whose trial another process is at is passed over.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import itertools
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gcl
from benchmarks.study import percent, say
from gcl.core.classes import find_class
from gcl.core.errors import DataError, GCLError
from gcl.core.files import claimed, write_json
from gcl.data.names import resolve_name
from gcl.report.environment import describe_environment
from gcl.run.pipeline import check, configure
from gcl.run.run_directory import RunDirectory
from gcl.run.settings import experiment_file, read_yaml

RECORDS = Path(__file__).resolve().parent.parent / "experiments" / "results" / "recommendation"
LABELS = {
    "bpr_mf": "BPR-MF",
    "lightgcn": "LightGCN",
    "lightgcl": "LightGCL",
    "sgl": "SGL",
    "simgcl": "SimGCL",
    "xsimgcl": "XSimGCL",
}
# the weight that is tried, as each paper has it for Yelp2018
PUBLISHED: dict[str, tuple[str, float]] = {
    "bpr_mf": ("l2", 1e-4),
    "lightgcn": ("l2", 1e-4),
    "lightgcl": ("contrast_weight", 0.2),
    "sgl": ("contrast_weight", 0.1),
    "simgcl": ("contrast_weight", 0.5),
    "xsimgcl": ("contrast_weight", 0.2),
}
OTHERS = {"l2": (1e-3, 1e-5), "contrast_weight": (0.01, 0.05)}
LEARNING_RATES = [1e-3, 5e-3]
EPOCHS, PATIENCE, VALIDATE_EVERY = 1000, 20, 5
METRICS = ("recall@20", "ndcg@20", "coverage@20", "popularity@20")
RANKING = {"k": [20], "validation": 0.1}
FLOORS = "floors.json"
Setting = dict[str, float]


@dataclass(frozen=True)
class Job:
    """One seed of a method on a dataset."""

    dataset: str
    method: str
    setting: Setting
    fixed: Mapping[str, Any]
    budget: Mapping[str, Any]
    seed: int
    shipped: str = ""  # a digest of the settings of the method on this dataset, which the package has

    @property
    def name(self) -> str:
        """Of its file and folder."""
        tried = "-".join(f"{value:g}" for value in self.setting.values())
        about = json.dumps([self.setting, self.fixed, self.budget, self.shipped], sort_keys=True)
        return f"{self.method}-{tried}-{hashlib.sha256(about.encode()).hexdigest()[:8]}-seed-{self.seed}"

    @property
    def title(self) -> str:
        return f"{LABELS[self.method]} on {_stem(self.dataset)}, {_sentence(self.setting)}, seed {self.seed}"

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings of the run that are not the dataset's experiment's."""
        weights = dict(self.setting)
        trainer = {
            "learning_rate": weights.pop("learning_rate"),
            "epochs": self.budget["epochs"],
            "max_minutes": self.budget["minutes"],
            "patience": self.budget["patience"],
            "select": "validation",
            "validate_every": self.budget["validate_every"],
            "checkpoint_every": self.budget["validate_every"],
        }
        ranking = {"floors": False, "trainer": trainer, "evaluate": {"ranking": RANKING}, "seeds": [self.seed]}
        return {**self.fixed, **weights, **ranking}

    def run(self, out: Path, environment: Mapping[str, Any]) -> dict[str, Any]:
        """Trains it, or goes on; its record."""
        folder = out / _stem(self.dataset) / self.name
        if (folder / "config.yaml").is_file():
            result = gcl.resume(folder, progress=True)
        else:
            result = gcl.pipeline(self.method, self.dataset, out=folder, progress=True, **self.overrides)
        (run,), report, curve = result.runs, result.scores["ranking"]["trained"], validation_curve(folder)
        return {
            "method": self.method,
            "dataset": self.dataset,
            "setting": self.setting,
            "fixed": dict(self.fixed),
            "budget": dict(self.budget),
            "shipped": self.shipped,
            "seed": self.seed,
            "validation": max(point["validation"] for point in curve),
            "test": {metric: report.mean(metric) for metric in METRICS},
            "protocol": report.protocol,
            "best_epoch": run.fit["best_epoch"],
            "epochs": run.fit["epochs"],
            "seconds": run.cost["seconds"]["train"],
            "peak_memory_bytes": run.cost["peak_memory_bytes"],
            "curve": curve,
            "environment": {key: environment[key] for key in ("commit", "processor", "threads")},
        }


class Study:
    """The search of one method on one dataset: which runs are needed, given the records so far."""

    def __init__(self, dataset: str, method: str, given: argparse.Namespace, fixed: Mapping[str, Any]):
        self.dataset, self.method, self.given, self.fixed = dataset, method, given, fixed
        minutes, patience = given.minutes, given.patience
        self.budget = {
            "epochs": given.epochs,
            "minutes": minutes,
            "patience": PATIENCE if patience is None and minutes is None else patience,
            "validate_every": given.validate_every,
        }
        self.shipped = shipped_digest(method, dataset)

    def job(self, setting: Setting, seed: int) -> Job:
        return Job(self.dataset, self.method, setting, self.fixed, self.budget, seed, self.shipped)

    def jobs(self) -> Iterator[list[Job]]:
        """Stages: the trials one after the other, then the seeds of what they chose.

        What a stage has depends on the records of those before it.
        """
        trials: list[Job] = []
        for stage in self._trials():
            found = [self.job(setting, 0) for setting in stage(trials)]
            trials += found
            yield found
        yield [self.job(self._best(trials), seed) for seed in range(self.given.seeds)]

    def _trials(self) -> Iterator[Any]:
        name, published = PUBLISHED[self.method]
        rates = self.given.learning_rates
        if self.given.like:
            chosen = _chosen_on(self.given.records, self.given.like, self.method, self.fixed)
            yield lambda _: [{**chosen, "learning_rate": rate} for rate in rates or [chosen["learning_rate"]]]
            return
        yield lambda _: [{"learning_rate": rate, name: published} for rate in rates or LEARNING_RATES]
        if not self.given.published:
            yield lambda trials: [{**self._best(trials), name: value} for value in OTHERS[name]]

    def _best(self, trials: Sequence[Job]) -> Setting:
        if len(trials) == 1:
            return trials[0].setting
        return max(trials, key=lambda job: _read(_record(job, self.given.records))["validation"]).setting


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what has no record, and prints the table; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--methods", nargs="+", default=list(LABELS), choices=list(LABELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learning-rates", type=float, nargs="+", help="to try [1e-3 5e-3, none with --as]")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--minutes", type=float, help="of training and validation, for each run")
    parser.add_argument("--patience", type=int, help=f"validations [{PATIENCE}, none with --minutes]")
    parser.add_argument("--validate-every", type=int, default=VALIDATE_EVERY, help="epochs")
    parser.add_argument("--published", action="store_true", help="try no other weight than the papers'")
    parser.add_argument("--as", dest="like", metavar="DATASET", help="what was chosen there, in place of trials")
    parser.add_argument("--set", nargs="*", default=[], metavar="METHOD.NAME=VALUE", help="settings beside the trials")
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args(arguments)
    for name in ("seeds", "epochs", "validate_every", "patience"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    try:
        given.datasets = [resolve_name(f"rec/{_stem(name)}") for name in given.datasets]
        settings = _fixed(given.set)
        studies = [Study(*pair, given, settings[pair[1]]) for pair in itertools.product(given.datasets, given.methods)]
        if not given.table:
            _check(studies)
    except (GCLError, ValueError) as error:
        parser.error(str(error))
    failures = 0
    if not given.table:
        environment = describe_environment()  # now, for the code is that of the beginning
        for dataset in given.datasets:
            failures += _measure_floors(dataset, given.out, given.records)
            failures += sum(_run(study, environment) for study in studies if study.dataset == dataset)
    for dataset in given.datasets:
        print("\n".join([f"{_stem(dataset)}:", "", *table(given.records / _stem(dataset)), ""]))
    return 1 if failures else 0


def _fixed(pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What ``--set`` says, by method."""
    found: dict[str, dict[str, Any]] = {method: {} for method in LABELS}
    for pair in pairs:
        name, _, value = pair.partition("=")
        owner, _, key = name.partition(".")
        if owner not in LABELS or not key or not value:
            raise ValueError(f"--set takes METHOD.NAME=VALUE, got {pair!r}")
        if key in ("learning_rate", PUBLISHED[owner][0]):
            raise ValueError(f"--set {pair}: that is what is tried; use --learning-rates, --published or --as")
        if key not in inspect.signature(find_class("method", owner)).parameters:
            raise ValueError(f"--set {pair}: {owner} has no {key!r}")
        try:
            found[owner][key] = json.loads(value)
        except json.JSONDecodeError:
            found[owner][key] = value
    return found


def _check(studies: Sequence[Study]) -> None:
    """Refuses what cannot work before the first run; settings that trials find are checked with the papers' values."""
    for study in studies:
        name, published = PUBLISHED[study.method]
        setting = {"learning_rate": LEARNING_RATES[0], name: published}
        if study.given.like:
            setting = _chosen_on(study.given.records, study.given.like, study.method, study.fixed)
        if study.given.learning_rates:
            setting["learning_rate"] = study.given.learning_rates[0]
        overrides = study.job(setting, 0).overrides
        settings, data = configure(study.method, study.dataset, overrides=overrides)
        check(settings, data)


def _run(study: Study, environment: Mapping[str, Any]) -> int:
    """Everything of a study that has no record; 1 where a run failed."""
    for stage in study.jobs():
        for job in stage:
            path = _record(job, study.given.records)
            if path.is_file():
                continue
            with claimed(path.with_suffix(".lock")) as is_ours:
                if not is_ours:
                    say(f"passed over: {job.title}, which another process is at")
                elif not path.is_file():  # of another process, meanwhile
                    say(f"[{LABELS[study.method]}] {job.title}")
                    try:
                        record = job.run(study.given.out, environment)
                    except Exception as error:  # one method is not to end the study
                        what = "" if isinstance(error, GCLError) else f"{type(error).__name__}: "
                        say(f"failed: {job.title}: {what}{error}")
                        return 1
                    write_json(path, record)
                    say(f"done: {job.title}, {record['epochs']} epochs in {record['seconds'] / 60:.1f} minutes")
        if not all(_record(job, study.given.records).is_file() for job in stage):
            return 0
    return 0


def _measure_floors(dataset: str, out: Path, records: Path) -> int:
    """What needs no training, once a dataset; 1 where it failed."""
    path = records / _stem(dataset) / FLOORS
    with claimed(path.with_suffix(".lock")) as is_ours:
        if path.is_file() or not is_ours:
            return 0
        say(f"what needs no training, on {_stem(dataset)}")
        try:
            result = gcl.pipeline(
                "bpr_mf",
                dataset,
                seeds=[0],
                floors=True,
                trainer={"epochs": 0, "select": "last"},
                evaluate={"ranking": RANKING},
            )
        except GCLError as error:
            say(f"failed: what needs no training, on {_stem(dataset)}: {error}")
            return 1
        scores = {
            name: {metric: report.mean(metric) for metric in METRICS}
            for name, report in result.scores["ranking"].items()
            if name not in ("trained", "untrained")
        }
        write_json(path, {"dataset": dataset, "floors": scores})
    return 0


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The runs on one dataset, methods in the order of the table, seeds in order."""
    found = [_read(path) for path in folder.glob("*-seed-*.json")]
    order = list(LABELS)
    return sorted(found, key=lambda record: (order.index(record["method"]), record["seed"]))


def table(folder: Path) -> list[str]:
    """Markdown: floors, then every method with the setting that validation chose, for each budget it was run with."""
    lines = [
        "| | setting | seeds | Recall@20 | NDCG@20 | coverage@20 | popularity@20 | epochs (best) | s a run | MiB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    if (folder / FLOORS).is_file():
        for name, figures in _read(folder / FLOORS)["floors"].items():
            lines.append(f"| {name} | | | " + " | ".join(f"{100 * figures[m]:.2f}" for m in METRICS) + " | | | |")
    records = read_records(folder)
    kinds = list(dict.fromkeys(_kind(record) for record in records))
    budgets = {json.dumps(record["budget"], sort_keys=True) for record in records}
    for kind in kinds:
        found = [record for record in records if _kind(record) == kind]
        setting = _chosen(found)
        runs = [record for record in found if record["setting"] == setting]
        label = LABELS[runs[0]["method"]]
        if len(budgets) > 1:
            label += f" ({_sentence({key: value for key, value in runs[0]['budget'].items() if value is not None})})"
        cells = [percent([run["test"][metric] for run in runs]) for metric in METRICS]
        epochs = ", ".join(f"{run['epochs']} ({run['best_epoch']})" for run in runs)
        seconds = statistics.fmean(run["seconds"] for run in runs)
        peaks = [run["peak_memory_bytes"] for run in runs if run["peak_memory_bytes"] is not None]
        memory = f"{max(peaks) / 2**20:.0f}" if peaks else ""
        shown = _sentence({**setting, **runs[0]["fixed"]})
        lines.append(f"| {label} | {shown} | {len(runs)} | {' | '.join(cells)} | {epochs} | {seconds:.0f} | {memory} |")
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


def _kind(record: Mapping[str, Any]) -> str:
    return json.dumps([record[key] for key in ("method", "fixed", "budget", "shipped")], sort_keys=True)


def shipped_digest(method: str, dataset: str) -> str:
    """Of the settings that the package ships for a pair, but for the paper's figures."""
    path = experiment_file(method, dataset)
    settings = {} if path is None else read_yaml(path)
    counted = {key: value for key, value in settings.items() if key not in ("paper", "seeds", "note", "evaluate")}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:8]


def _chosen(runs: Sequence[Mapping[str, Any]]) -> Setting:
    """The setting of the best validation score of the first seed."""
    setting: Setting = max((run for run in runs if run["seed"] == 0), key=lambda run: run["validation"])["setting"]
    return setting


def _chosen_on(records: Path, dataset: str, method: str, fixed: Mapping[str, Any]) -> Setting:
    """What was chosen on another dataset (or this one), by runs of one kind: with the same ``--set``, else without."""
    known = [record for record in read_records(records / _stem(dataset)) if record["method"] == method]
    found = [record for record in known if record["fixed"] == fixed]
    found = found or [record for record in known if not record["fixed"]]
    if not any(record["seed"] == 0 for record in found):
        raise DataError(f"{records / _stem(dataset)} has no such record of {method}; run the study of {dataset} first")
    if len({_kind(record) for record in found}) > 1:
        raise DataError(f"{records / _stem(dataset)} has runs of {method} of several kinds; give --records with one")
    return _chosen(found)


def _record(job: Job, records: Path) -> Path:
    return records / _stem(job.dataset) / f"{job.name}.json"


def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _stem(dataset: str) -> str:
    return dataset.rpartition("/")[2]


def _sentence(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"
        for key, value in values.items()
    )


if __name__ == "__main__":
    raise SystemExit(main())
