"""The tables of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from gcl.core.report import Report
from gcl.report.table import beaten_floors, other_epochs, score_label
from gcl.run.reproduce import shipped_changes
from gcl.run.settings import by_dotted_name
from gcl.run.shown_run import Shown

# of a run's settings, what does not change its results
NOT_COMPARED = ("paper", "format", "data_root")


def scores_of(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """One table an evaluator, dataset and protocol: the floors once, then every run; the best of each is marked."""
    kinds: dict[tuple[str, str, str], list[Shown]] = {}
    for each in shown:
        for name, reports in each.scores.items():
            protocol = (
                next(iter(reports.values())).protocol if "trained" not in reports else reports["trained"].protocol
            )
            kinds.setdefault((name, each.record["dataset"], protocol), []).append(each)
    several = len({dataset for _, dataset, _ in kinds}) > 1
    return [
        _score_table(f"{name} of {dataset}" if several else name, name, protocol, group, named=len(shown) > 1)
        for (name, dataset, protocol), group in kinds.items()
    ]


def _score_table(title: str, name: str, protocol: str, shown: Sequence[Shown], *, named: bool) -> dict[str, Any]:
    rows: dict[str, tuple[bool, Report]] = {}
    sentences = []
    for each in shown:
        reports = each.scores[name]
        for row, report in reports.items():
            own = row in ("untrained", "trained")
            known = rows.get(row)
            if not own and known is not None and _means(known[1]) == _means(report):
                continue  # the same floor of the same graph
            rows[f"{row}, {each.name}" if named and (own or known is not None) else row] = (row == "trained", report)
        if "trained" in reports:
            metric = next(iter(reports["trained"].values))
            said = [beaten_floors(reports, "trained", metric), other_epochs(reports["trained"])]
            sentences += [f"{each.name}: {sentence}." if named else f"{sentence}." for sentence in said if sentence]
    metrics = list(dict.fromkeys(metric for _, report in rows.values() for metric in report.values))
    best = {
        metric: max(report.mean(metric) for _, report in rows.values() if metric in report.values) for metric in metrics
    }
    return {
        "name": title,
        "protocol": protocol,
        "labels": [score_label(metric) for metric in metrics],
        "rows": [
            {"name": label, "trained": trained, "cells": [_cell(report, metric, best) for metric in metrics]}
            for label, (trained, report) in rows.items()
        ],
        "sentences": sentences,
    }


def _means(report: Report) -> dict[str, float]:
    return {metric: round(report.mean(metric), 9) for metric in report.values}


def _cell(report: Report, metric: str, best: Mapping[str, float]) -> dict[str, Any]:
    if metric not in report.values:
        return {"text": "", "best": False}
    text = f"{100 * report.mean(metric):.2f}"
    if len(report.values[metric]) > 1:
        text += f" ± {100 * report.std(metric):.2f}"
    return {"text": text, "best": report.mean(metric) == best[metric]}


def beside_paper(shown: Sequence[Shown]) -> tuple[list[dict[str, str]], list[str]]:
    """The paper's figures beside ours, of runs of shipped experiments, and what is said of them."""
    lines: list[dict[str, str]] = []
    notes: list[str] = []
    for each in shown:
        before = len(lines)
        for figure in (each.record.get("paper") or {}).get("figures", ()):
            report = each.scores.get(figure["evaluate"], {}).get("trained")
            metric = figure.get("metric", "accuracy")
            if report is None or metric not in report.values:
                continue
            ours = 100 * report.mean(metric)
            prefix = f"{each.name}: " if len(shown) > 1 else ""
            # of one seed there is no deviation over seeds, as the paper's is one
            spread = f" ± {100 * report.std(metric):.2f}" if len(each.record["runs"]) > 1 else " (one seed)"
            lines.append(
                {
                    "name": f"{prefix}{figure['evaluate']}, {score_label(metric)}",
                    "paper": f"{figure['value']:.2f}" + (f" ± {figure['std']:.2f}" if figure.get("std") else ""),
                    "ours": f"{ours:.2f}{spread}",
                    "difference": f"{ours - figure['value']:+.2f}",
                }
            )
            about = [str(figure[key]) for key in ("source", "note") if figure.get(key)]
            notes += [f"Paper's figure: {'; '.join(about)}."] if about else []
        if len(lines) > before:
            notes += _other_settings(each)
    return lines, list(dict.fromkeys(notes))


def _other_settings(each: Shown) -> list[str]:
    """What of a run's settings is not the paper's."""
    changed = shipped_changes(each.record)
    if changed is None:
        return [f"{each.name}: no shipped experiment has these figures, so nothing says whether the settings are its."]
    listed = ", ".join(changed[:8]) + (f" and {len(changed) - 8} more" if len(changed) > 8 else "")
    return [f"{each.name} has other settings than the experiment: {listed}."] if changed else []


def cost_of(shown: Sequence[Shown]) -> dict[str, Any]:
    """Diagnostics, epochs, time and memory of every seed."""
    names = list(dict.fromkeys(key for each in shown for run in each.record["runs"] for key in run["diagnostics"]))
    labels = [*(name.replace("_", " ") for name in names), "epochs", "best epoch", "prepare, s", "train, s", "MiB"]
    rows = []
    for each in shown:
        for run in each.record["runs"]:
            if run["seed"] not in each.curves:
                continue
            cells = [f"{run['diagnostics'][name]:.3f}" if name in run["diagnostics"] else "" for name in names]
            seconds, peak = run["timing"]["seconds"], run["timing"]["peak_memory_bytes"]
            best = run["fit"]["best_epoch"]
            cells += [str(run["fit"]["epochs"]), "" if best is None else str(best)]
            cells += [f"{seconds[key]:.1f}" if key in seconds else "" for key in ("prepare", "train")]
            cells.append("" if peak is None else f"{peak / 2**20:.0f}")
            prefix = f"{each.name}, " if len(shown) > 1 else ""
            rows.append({"name": f"{prefix}seed {run['seed']}", "cells": cells})
    return {"labels": labels, "rows": rows}


def differences_of(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """The settings that are not the same in all runs."""
    if len(shown) < 2:
        return []
    flat = [
        by_dotted_name({key: value for key, value in each.record["settings"].items() if key not in NOT_COMPARED})
        for each in shown
    ]
    keys = sorted({key for each in flat for key in each})
    found = [(key, [each.get(key, "") for each in flat]) for key in keys]
    return [{"key": key, "settings": values} for key, values in found if len(set(values)) > 1]


def facts_of(each: Shown) -> dict[str, Any]:
    """What a run is, and its whole configuration."""
    own = [run.get("environment") or each.record["environment"] for run in each.record["runs"]]
    environment = each.record["environment"]
    seeds = ", ".join(map(str, each.curves))
    commits = dict.fromkeys(str(one.get("commit") or "installed package") for one in own)
    machines = dict.fromkeys(f"{one.get('processor')}, {one.get('threads')} thread(s)" for one in own)
    facts = [
        ("method", each.record["method"]),
        ("dataset", each.record["dataset"]),
        ("seeds", seeds),
        ("commit", "; ".join(commits)),
        ("machine", "; ".join(machines)),
        ("folder", str(each.run.root)),
    ]
    settings = {key: value for key, value in each.record["settings"].items() if key != "paper"}
    versions = {name: version for name, version in environment.get("packages", {}).items() if version}
    return {
        "name": each.name,
        "facts": facts,
        "config": yaml.safe_dump(settings, sort_keys=False, allow_unicode=True),
        "versions": yaml.safe_dump(versions, sort_keys=False),
    }


def subtitle_of(shown: Sequence[Shown]) -> str:
    """How many seeds or runs, and of which commits."""
    seeds = [len(each.curves) for each in shown]
    count = f"{seeds[0]} seed{'s' * (seeds[0] > 1)}" if len(shown) == 1 else f"{len(shown)} runs"
    commits = dict.fromkeys(str(each.record["environment"].get("commit") or "") for each in shown)
    return ", ".join([count, *(f"commit {commit}" for commit in commits if commit)])
