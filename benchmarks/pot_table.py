"""The records of ``benchmarks.pot_study`` as tables.

    python -m benchmarks.pot_table study/cora-grace.json study/cora-gca.json ...

One row a method and mode, with the weight that the validation accuracy of each split chose for the first seed: test
accuracy and macro-F1 in percent, mean and standard deviation over the training seeds, and the share of nodes certified
compact at drop probabilities 0.2 and 0.3 by that run's encoder.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    """Cells of one method on one dataset."""
    label, made = LABELS[record["method"]], []
    for split in record["runs"][0]["scores"]:
        place = f"{record['dataset']}, {split}"
        groups: dict[tuple[str, float | None], list[dict[str, Any]]] = {}
        for run in record["runs"]:
            regularizer = run["regularizer"]
            if regularizer is None:
                groups.setdefault((label, None), []).append(run)
            elif split in run["chosen_by"]:
                groups.setdefault((f"{label} + POT, {regularizer['mode']}", regularizer["weight"]), []).append(run)
        for (name, weight), runs in groups.items():
            scores = [run["scores"][split] for run in runs]
            certified = [[run["certified"][p]["certified"] for run in runs] for p in ("0.2", "0.3")]
            made.append(
                [
                    place,
                    name,
                    "-" if weight is None else f"{weight:g}",
                    str(len(runs)),
                    *(spread([score[metric] for score in scores]) for metric in ("accuracy", "macro_f1")),
                    *(spread(values, digits=1) for values in certified),
                ]
            )
    return made


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """Mean and sample deviation, in percent."""
    mean = f"{100 * statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
