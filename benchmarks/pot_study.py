"""POT beside the method without it, weights chosen on validation labels alone.

    python -m benchmarks.pot_study grace cora --out study [--seeds 3] [--weights 0.1 0.3 0.5] [--modes reference]

trains the method without POT for all seeds, with each weight for the first seed, and, with the weight of the best
validation accuracy of each evaluator, for all seeds. It goes on where it stopped. ``study/METHOD-DATASET.json`` gets
one record a run: test accuracy and macro-F1, validation accuracy, and the share of nodes certified compact.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gcl
from gcl.core.files import write_json
from gcl.run.run_directory import RunDirectory

DROP_PROBS = (0.1, 0.2, 0.3)


def main() -> None:
    """Runs the study of one method on one dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", help="grace, gca, progcl or costa")
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.1, 0.3, 0.5])
    parser.add_argument("--modes", nargs="+", default=["reference"])
    parser.add_argument("--epochs", type=int, help="in place of the experiment's")
    parser.add_argument("--subset", type=int, help="nodes contrasted in a step, in place of the experiment's")
    arguments = parser.parse_args()
    study(**vars(arguments))


def study(
    method: str,
    dataset: str,
    *,
    out: Path,
    seeds: int = 3,
    weights: list[float],
    modes: list[str],
    epochs: int | None = None,
    subset: int | None = None,
) -> list[dict[str, Any]]:
    """All runs of one method on one dataset; their records."""
    stem = dataset.rpartition("/")[2]
    changes: dict[str, Any] = {"floors": False}
    if epochs is not None:
        changes["trainer"] = {"epochs": epochs}
    if subset is not None:
        changes["subset"] = subset
    records: list[dict[str, Any]] = []

    def run(name: str, regularizer: dict[str, Any] | None, count: int) -> list[dict[str, Any]]:
        folder = out / f"{stem}-{method}-{name}"
        floors = name == "none"
        overrides = {**changes, "regularizer": regularizer, "floors": floors}
        result, _, _ = gcl.reproduce(f"pot-{method}", dataset, overrides=overrides, seeds=count, out=folder)
        found = []
        for seed_run in result.runs:
            scores = {}
            for evaluator, report in seed_run.scores["trained"].items():
                valid = report.details["valid_accuracy"]
                scores[evaluator] = {
                    "accuracy": report.mean("accuracy"),
                    "macro_f1": report.mean("macro_f1"),
                    "validation": sum(valid) / len(valid),
                }
            place = RunDirectory(folder / f"seed-{seed_run.seed}")
            found.append(
                {
                    "regularizer": regularizer,
                    "seed": seed_run.seed,
                    "scores": scores,
                    "certified": _certified(place.path),
                    "seconds": seed_run.cost["seconds"],
                    "peak_memory_bytes": seed_run.cost["peak_memory_bytes"],
                }
            )
        return found

    def write() -> None:
        write_json(out / f"{stem}-{method}.json", {"method": method, "dataset": dataset, "runs": records})

    records += run("none", None, seeds)
    write()
    for mode in modes:
        rows = "block" if mode in ("reference", "target") else "full"
        first: dict[float, dict[str, Any]] = {}
        for weight in weights:
            spec = {"weight": weight, "mode": mode, "rows": rows}
            (first[weight],) = run(f"{mode}-{weight}", spec, 1)
        evaluators = next(iter(first.values()))["scores"]
        chosen = {name: max(weights, key=lambda w, n=name: first[w]["scores"][n]["validation"]) for name in evaluators}
        for weight in weights:
            spec = {"weight": weight, "mode": mode, "rows": rows}
            wanted = [name for name, best in chosen.items() if best == weight]
            runs = run(f"{mode}-{weight}", spec, seeds) if wanted else [first[weight]]
            records += [{**record, "chosen_by": wanted} for record in runs]
            write()
    return records


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
