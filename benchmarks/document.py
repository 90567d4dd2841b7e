"""Tables of ``results.json`` for a terminal and for ``docs/performance.md``.

    python -m benchmarks.document [--results FILE] [--page FILE]

rewrites the part of the page between its two markers.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.families import FAMILIES, load_family
from benchmarks.results import RESULTS, read_results
from gcl.core.files import write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
GOALS = {
    "ratio": "{:g}x faster",
    "memory_ratio": "1/{:g} of the memory",
    "rate": "{:,.0f} items a second",
    "share": "{:.0%} of the limit",
    "peak_mib": "under {:g} MiB",
    "seconds": "under {:g} s",
    "of_base": "at most {:g}x of ours without",
}
Cells = list[list[str]]


def render(records: Mapping[str, Any]) -> str:
    """Markdown of all families that were measured."""
    if not records:
        return "No run is recorded yet.\n"
    parts = []
    for name in (name for name in FAMILIES if name in records):
        record = records[name]
        parts += [f"## {record['title']}", load_family(name).SUMMARY, _machine_line(name, record)]
        for header, cells in _tables(record):
            head = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
            parts.append("\n".join(head + ["| " + " | ".join(row) + " |" for row in cells]))
        parts += [f"{row['label']}: {row['note']}" for row in record["rows"] if row["note"]]
    return "\n\n".join(parts) + "\n"


def replace_block(page: str, block: str) -> str:
    """The page with what is between the markers replaced.

    Raises:
        ValueError: a marker is missing or they are out of order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the markers {BEGIN} and {END}, in this order")
    return f"{before}{begin}\n\n{block}\n{end}{after}"


def terminal_tables(record: Mapping[str, Any]) -> list[Table]:
    """The same tables for a terminal."""
    made = []
    for header, cells in _tables(record):
        table = Table(header[0], title=record["title"], title_justify="left")
        for column in header[1:]:
            table.add_column(column, justify="right")
        for row in cells:
            table.add_row(*row)
        made.append(table)
    return made


def _tables(record: Mapping[str, Any]) -> list[tuple[list[str], Cells]]:
    made = []
    if record["rows"]:
        made.append(_case_table(record))
    if record["curves"]:
        header = ["curve", "sizes", "first", "last", "exponent", "expected"]
        made.append((header, [_curve_row(curve) for curve in record["curves"]]))
    return made


def _case_table(record: Mapping[str, Any]) -> tuple[list[str], Cells]:
    clock = "core" if record["threads"] == 1 else "wall"
    columns = {
        "case": lambda row: row["label"],
        f"ours, {clock} s": lambda row: _seconds(row, "ours", clock),
        f"plain, {clock} s": lambda row: _seconds(row, "plain", clock) or _in_brackets(row["no_plain"]),
        "ratio": lambda row: _number(row["ratio"], "{:.2f}x"),
        "of ours without": lambda row: _number(row["of_base"], "{:.2f}x"),
        "items a second": lambda row: _number(row.get("rate"), "{:,.0f}"),
        "share of limit": lambda row: _number(row["share"], "{:.0%}"),
        "ours, MiB": lambda row: _number(row["sides"].get("ours", {}).get("peak_mib"), "{:.0f}"),
        "plain, MiB": lambda row: _number(row["sides"].get("plain", {}).get("peak_mib"), "{:.0f}"),
        "goal": _goal,
    }
    kept = {name: cell for name, cell in columns.items() if any(cell(row) for row in record["rows"])}
    return list(kept), [[cell(row) for cell in kept.values()] for row in record["rows"]]


def _curve_row(curve: Mapping[str, Any]) -> list[str]:
    points, unit = curve["points"], "s" if curve["unit"] == "seconds" else "MiB"
    sizes = [f"{point[0]:,}" for point in points]
    first, last = (f"{points[at][1]:.3g} {unit}" if points else "" for at in (0, -1))
    span = f"{sizes[0]} to {sizes[-1]} ({len(sizes)})" if sizes else "none"
    return [curve["label"], span, first, last, _number(curve["exponent"], "{:.2f}"), f"{curve['expected']:g}"]


def _machine_line(name: str, record: Mapping[str, Any]) -> str:
    machine, before, after = record["machine"], record["limits"]["before"], record["limits"]["after"]
    best = {key: max(before[key], after[key]) for key in before}
    drift = max(abs(after[key] / before[key] - 1) for key in before)
    caches = ", ".join(f"{level} {size}" for level, size in machine["caches"].items())
    threads = f"{record['threads']} thread" + ("" if record["threads"] == 1 else "s")
    warning = "**A quick run at tiny sizes: these figures say nothing about speed.** " if record["quick"] else ""
    return (
        f"{warning}`python -m benchmarks {name}`, {machine['date']}, commit {machine['commit']}: "
        f"{machine['processor']}, {machine['cores']} cores ({machine['instructions']}; {caches}), {threads}, "
        f"torch {machine['packages']['torch']}. Limits measured beside it: sgemm {best['sgemm']:.0f} GFLOP/s (torch.mm "
        f"{max(best['sgemm_torch_tile'], best['sgemm_torch_cube']):.0f}), copy "
        f"{best['copy']:.1f} GB/s, exp {best['exp']:.2f} G/s; they drifted by {drift:.0%} at most over the run."
    )


def _seconds(row: Mapping[str, Any], side: str, clock: str) -> str:
    times = row["sides"].get(side, {})
    if clock not in times:
        return ""
    text = f"{times[clock]:.3g}"
    if clock == "core" and times["repeats"] > 1:
        text += f" ({times['core_min']:.3g} to {times['core_max']:.3g})"
    return text


def _goal(row: Mapping[str, Any]) -> str:
    said = {True: "met", False: "**missed**", None: "not measured"}
    return "; ".join(f"{GOALS[name].format(goal)}: {said[row['met'][name]]}" for name, goal in row["goals"].items())


def _in_brackets(reason: str | None) -> str:
    return "" if reason is None else f"({reason})"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.document", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    page = given.page.read_text(encoding="utf-8")
    write_text(given.page, replace_block(page, render(read_results(given.results))))


if __name__ == "__main__":
    main()
