"""The table of what was reproduced."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

TITLE = "# Reproductions"
HEADER = f"""{TITLE}

Written by `gcl reproduce --all`: the shipped experiments, each with its paper's settings, the paper's figure beside
ours, in percent. ± is the standard deviation over training seeds. The best floor is the best of what needs no training
(raw features, propagation without parameters, the untrained method). *Oracle* is the best epoch by the labels: no
result, and only beside papers that print it.
"""
COLUMNS = (
    "| | dataset | score | paper | ours | difference | seeds | best floor | oracle | minutes a seed | MiB |",
    "| --- | --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
)


def reproductions(records: Sequence[Mapping[str, Any]], left: Sequence[tuple[str, str]] = ()) -> str:
    """A Markdown page.

    Args:
        records: one an experiment, see :func:`gcl.run.reproduce_all.reproduce_all`.
        left: what is not done, with the reason.
    """
    lines = [HEADER, *COLUMNS]
    short, notes, machines = [], [], []
    for record in records:
        name = f"{record['experiment']} | {record['dataset']}"
        minutes = statistics.fmean(record["seconds"]) / 60
        memory = "" if record["peak_memory_bytes"] is None else f"{record['peak_memory_bytes'] / 2**20:.0f}"
        for line in record["comparison"]:
            floor = max(line["floors"].items(), key=lambda item: item[1], default=None)
            oracle = record["oracle"].get(line["evaluate"], {}).get(line["metric"])
            known = line["paper"] is not None
            cells = [
                _plain(f"{line['evaluate']} {line['metric']}, {line['protocol']}"),
                _figure(line["paper"], line["paper_std"]) if known else "",
                _figure(line["ours"], line["ours_std"]),
                f"{line['difference']:+.2f}" if known else "",
                f"{len(line['seeds'])} of {record['seeds_wanted']}",
                "" if floor is None else f"{floor[0]} {floor[1]:.2f}",
                "" if oracle is None else f"{oracle:.2f}",
                f"{minutes:.1f}",
                memory,
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
            if known and line["difference"] < 0:
                short.append(_shortfall(record, line, floor))
            if line["note"]:
                notes.append(f"- {record['experiment']} on {record['dataset']}: {_plain(line['note'])}.")
        for environment in record["environments"]:
            commit = "an installed package" if environment["commit"] is None else f"commit {environment['commit']}"
            machines.append(f"{environment['processor']}, {environment['threads']} thread(s), {commit}")
    if short:
        lines += ["", "## Below the paper", "", *short]
    if notes:
        lines += ["", "## What differs", "", *dict.fromkeys(notes)]
    if left:
        lines += ["", "## Not done", "", *(f"- {title}: {_plain(reason).rstrip('.')}." for title, reason in left)]
    if machines:
        lines += ["", "## Machines", "", *(f"- {machine}" for machine in dict.fromkeys(machines))]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """On one line, and no cell border."""
    return " ".join(text.split()).replace("|", "\\|")


def _figure(value: float, deviation: float | None) -> str:
    return f"{value:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def _shortfall(record: Mapping[str, Any], line: Mapping[str, Any], floor: tuple[str, float] | None) -> str:
    """What is known of a figure that is not reached."""
    gap = -line["difference"]
    parts = [f"- {record['experiment']} on {record['dataset']}, {line['evaluate']} {line['metric']}: {gap:.2f} below"]
    spreads = [value for value in (line["paper_std"], line["ours_std"]) if value]
    if spreads:
        parts.append(f", {gap / max(spreads):.1f} of the larger deviation")
    missing = record["seeds_wanted"] - len(line["seeds"])
    if missing:
        parts.append(f"; {missing} of {record['seeds_wanted']} seeds are not run")
    if floor is not None and floor[1] >= line["ours"]:
        parts.append(f"; not above the floor {floor[0]!r}")
    return "".join(parts) + "."
