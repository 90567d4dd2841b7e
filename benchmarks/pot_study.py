"""POT beside the method without it, weights chosen on validation labels alone.

    python -m benchmarks.pot_study grace cora --out study [--seeds 3] [--weights 0.1 0.3 0.5] [--modes reference]

trains the method without POT for all seeds, with each weight for the first seed, and, with the weight of the best
validation accuracy of each evaluator, for all seeds. Run folders go to ``--out``; an unfinished run is resumed there.
One record a finished run goes to ``--records``, by default ``experiments/results/pot``: test accuracy and macro-F1,
validation accuracy, the share of nodes certified compact, and what it ran on. A run that has a record is not run again,
so that a study may go on on another machine. ``--collect`` trains nothing and only takes up what lies finished in
``--out``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gcl
from gcl.core.files import write_json
from gcl.core.report import Report
from gcl.core.resolve import describe
from gcl.data.names import resolve_name
from gcl.report.environment import describe_environment
from gcl.run.result import SeedRun
from gcl.run.run_directory import CONFIG, RunDirectory, read_config
from gcl.run.settings import experiment_file, read_yaml, settle

DROP_PROBS = (0.1, 0.2, 0.3)
METRICS = ("accuracy", "macro_f1")
RECORDS = Path(__file__).resolve().parent.parent / "experiments" / "results" / "pot"


def main() -> None:
    """Runs the study of one method on one dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", help="grace, gca, progcl or costa")
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.1, 0.3, 0.5])
    parser.add_argument("--modes", nargs="+", default=["reference"])
    parser.add_argument("--epochs", type=int, help="in place of the experiment's")
    parser.add_argument("--subset", type=int, help="nodes contrasted in a step, in place of the experiment's")
    parser.add_argument("--collect", action="store_true", help="train nothing")
    arguments = vars(parser.parse_args())
    collect = arguments.pop("collect")
    made = Study(**{key: arguments.pop(key) for key in ("method", "dataset", "out", "records", "epochs", "subset")})
    if collect:
        made.collect(arguments["seeds"], arguments["weights"], arguments["modes"])
    else:
        made.run(**arguments)


class Study:
    """All runs of one method on one dataset."""

    def __init__(
        self,
        method: str,
        dataset: str,
        *,
        out: Path,
        records: Path,
        epochs: int | None = None,
        subset: int | None = None,
    ):
        self.method, self.dataset, self.out = method, dataset, out
        self.stem = dataset.rpartition("/")[2]
        self.changes: dict[str, Any] = {}
        if epochs is not None:
            self.changes["trainer"] = {"epochs": epochs}
        if subset is not None:
            self.changes["subset"] = subset
        self.path = records / f"{self.stem}-{method}.json"
        self.runs: list[dict[str, Any]] = []
        self.floors: dict[str, Any] = {}
        if self.path.is_file():
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["changes"] != self.changes:
                raise SystemExit(f"{self.path} is of other settings ({kept['changes']}); give another --records")
            self.runs, self.floors = kept["runs"], kept["floors"]

    def run(self, *, seeds: int, weights: list[float], modes: list[str]) -> None:
        """Trains what has no record yet."""
        self._ensure("none", None, range(seeds))
        for mode in modes:
            specs = {weight: self._spec(weight, mode) for weight in weights}
            for weight, spec in specs.items():
                self._ensure(f"{mode}-{weight}", spec, [0])
            for weight in set(chosen_weights(self.runs, mode).values()):
                self._ensure(f"{mode}-{weight}", specs[weight], range(seeds))

    def collect(self, seeds: int, weights: list[float], modes: list[str]) -> None:
        """Takes up the finished runs in ``out``, without the data and without training."""
        names = {"none": None} | {f"{mode}-{w}": self._spec(w, mode) for mode in modes for w in weights}
        for name, spec in names.items():
            self._take(self._folder(name), spec, range(seeds))

    def _folder(self, name: str) -> Path:
        return self.out / f"{self.stem}-{self.method}-{name}"

    @staticmethod
    def _spec(weight: float, mode: str) -> dict[str, Any]:
        return {"weight": weight, "mode": mode, "rows": "block" if mode in ("reference", "target") else "full"}

    def _settings(self, regularizer: dict[str, Any] | None) -> dict[str, Any]:
        """The whole configuration of a run of this study."""
        name = resolve_name(self.dataset)
        file = experiment_file(f"pot-{self.method}", name)
        if file is None:
            raise SystemExit(f"no experiment is shipped for pot-{self.method} on {name}")
        overrides = {**self.changes, "regularizer": regularizer}
        settings: dict[str, Any] = describe(settle(self.method, name, overrides=overrides, preset=read_yaml(file)))
        return settings

    def _ensure(self, name: str, regularizer: dict[str, Any] | None, seeds: Iterable[int]) -> None:
        """Runs the seeds that have no record, and writes theirs."""
        missing = [seed for seed in seeds if not self._has(regularizer, seed)]
        # floors do not depend on the seed and take minutes: once for all seeds of the method alone
        for group in [missing] if name == "none" and missing else [[seed] for seed in missing]:
            overrides = {**self.changes, "regularizer": regularizer, "floors": name == "none"}
            gcl.reproduce(f"pot-{self.method}", self.dataset, overrides=overrides, seeds=group, out=self._folder(name))
            self._take(self._folder(name), regularizer, group)

    def _has(self, regularizer: dict[str, Any] | None, seed: int) -> bool:
        return any(run["seed"] == seed and run["regularizer"] == regularizer for run in self.runs)

    def _take(self, folder: Path, regularizer: dict[str, Any] | None, seeds: Iterable[int]) -> None:
        """Records the finished runs of a folder.

        Raises:
            SystemExit: the folder is of other settings than this study's.
        """
        if (folder / CONFIG).is_file():
            found, wanted = read_config(folder / CONFIG), self._settings(regularizer)
            if found["dataset"] != wanted["dataset"]:
                raise SystemExit(f"{folder} was trained on {found['dataset']}; give another --out")
            for part in ("method", "trainer"):
                for name in different(found[part], wanted[part]):
                    raise SystemExit(f"{folder} was trained with other settings ({part}.{name}); give another --out")
        report = folder / "report.json"
        if regularizer is None and report.is_file():
            whole = json.loads(report.read_text(encoding="utf-8"))["scores"]
            self.floors = {
                evaluator: {
                    row: {metric: record["metrics"][metric]["mean"] for metric in METRICS}
                    for row, record in rows.items()
                    if row not in ("trained", "untrained")
                }
                for evaluator, rows in whole.items()
            }
        for seed in seeds:
            place = RunDirectory(folder / f"seed-{seed}")
            if place.is_finished and not self._has(regularizer, seed):
                self.runs.append(_record(SeedRun.read(place, {}), regularizer, place.path))
        self.runs.sort(key=_order)
        record = {
            "method": self.method,
            "dataset": self.dataset,
            "changes": self.changes,
            "floors": self.floors,
            "runs": self.runs,
        }
        write_json(self.path, record)


def chosen_weights(runs: list[dict[str, Any]], mode: str) -> dict[str, float]:
    """For each evaluator, the weight of the best validation accuracy of the first seed."""
    first = [run for run in runs if run["seed"] == 0 and run["regularizer"] and run["regularizer"]["mode"] == mode]
    if not first:
        return {}
    return {
        name: max(first, key=lambda run: run["scores"][name]["validation"])["regularizer"]["weight"]
        for name in first[0]["scores"]
    }


def different(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """Names of the settings that both have, with other values; an older version may have had fewer."""
    for name in found.keys() & wanted.keys():
        one, other = found[name], wanted[name]
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from (f"{name}.{inner}" for inner in different(one, other))
        elif one != other:
            yield name


def _order(run: Mapping[str, Any]) -> tuple[Any, ...]:
    spec = run["regularizer"]
    return (0, "", 0.0, run["seed"]) if spec is None else (1, spec["mode"], spec["weight"], run["seed"])


def _record(run: SeedRun, regularizer: dict[str, Any] | None, folder: Path) -> dict[str, Any]:
    environment = describe_environment()
    scores = {}
    for evaluator, report in run.scores["trained"].items():
        valid = report.details["valid_accuracy"]
        scores[evaluator] = {**_figures(report), "validation": sum(valid) / len(valid)}
    return {
        "regularizer": regularizer,
        "seed": run.seed,
        "scores": scores,
        "untrained": {evaluator: _figures(report) for evaluator, report in run.scores.get("untrained", {}).items()},
        "certified": _certified(folder),
        "seconds": run.cost["seconds"],
        "peak_memory_bytes": run.cost["peak_memory_bytes"],
        "environment": {key: environment[key] for key in ("commit", "processor", "threads")},
    }


def _figures(report: Report) -> dict[str, float]:
    return {metric: report.mean(metric) for metric in METRICS}


def _certified(folder: Path) -> dict[str, dict[str, float]]:
    """Summaries of the certificates of a run, by drop probability; made once."""
    path = folder / "certified.json"
    if path.is_file():
        record: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
        return record
    record = {str(p): gcl.certify(folder, drop_prob=p, num_samples=20).summary() for p in DROP_PROBS}
    write_json(path, record)
    return record


if __name__ == "__main__":
    main()
