"""The records of ``benchmarks.pot_study`` as tables.

    python -m benchmarks.pot_table experiments/results/pot/*.json

One row a method and mode, with the weight that the validation accuracy of each split chose for the first seed: test
accuracy and macro-F1 in percent, mean and standard deviation over the training seeds, and the share of nodes certified
compact at drop probabilities 0.2 and 0.3 by that run's encoder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.pot_study import chosen_weights
from benchmarks.study import percent

LABELS = {"grace": "GRACE", "gca": "GCA", "progcl": "ProGCL", "costa": "COSTA"}


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    print("| dataset, split | method | weight | seeds | accuracy | macro-F1 | certified 0.2 | certified 0.3 |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for path in parser.parse_args().files:
        for row in rows(json.loads(path.read_text(encoding="utf-8"))):
            print("| " + " | ".join(row) + " |")


def rows(record: dict[str, Any]) -> list[list[str]]:
    """Cells of one method on one dataset: the floors, the method, and POT in each mode with its chosen weight."""
    label, made = LABELS[record["method"]], []
    plain = [run for run in record["runs"] if run["regularizer"] is None]
    modes = dict.fromkeys(run["regularizer"]["mode"] for run in record["runs"] if run["regularizer"])
    for split in record["runs"][0]["scores"]:
        place = f"{record['dataset']}, {split}"
        floors = {floor: [figures] for floor, figures in record["floors"].get(split, {}).items()}
        untrained = [run["untrained"][split] for run in plain if split in run["untrained"]]
        for floor, scores in {**floors, **({"untrained": untrained} if untrained else {})}.items():
            made.append([place, floor, "", str(len(scores)), *_accuracies(scores), "", ""])
        groups: list[tuple[str, float | None, list[dict[str, Any]]]] = [(label, None, plain)]
        for mode in modes:
            weight = chosen_weights(record["runs"], mode).get(split)
            runs = [
                run for run in record["runs"] if (run["regularizer"] or {}).get("mode") == mode
                and run["regularizer"]["weight"] == weight
            ]  # fmt: skip
            groups.append((f"{label} + POT, {mode}", weight, runs))
        for name, weight, runs in groups:
            certified = [[run["certified"][p]["certified"] for run in runs] for p in ("0.2", "0.3")]
            made.append(
                [
                    place,
                    name,
                    "-" if weight is None else f"{weight:g}",
                    str(len(runs)),
                    *_accuracies([run["scores"][split] for run in runs]),
                    *(percent(values, digits=1) for values in certified),
                ]
            )
    return made


def _accuracies(scores: list[dict[str, float]]) -> list[str]:
    return [percent([score[metric] for score in scores]) for metric in ("accuracy", "macro_f1")]


if __name__ == "__main__":
    main()
