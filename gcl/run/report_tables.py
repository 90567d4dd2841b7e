"""The tables of a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from gcl.core.report import Report
from gcl.report.table import beaten_floors, other_epochs, score_label
from gcl.run.shown_run import Shown


def scores_of(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """One table an evaluator: the floors once, then every run; the best of each metric is marked."""
    found = []
    for name in dict.fromkeys(name for each in shown for name in each.scores):
        rows: dict[str, tuple[bool, Report]] = {}
        protocols: list[str] = []
        sentences = []
        for each in shown:
            reports = each.scores.get(name, {})
            for row, report in reports.items():
                own = row in ("untrained", "trained")
                known = rows.get(row)
                if not own and known is not None and _means(known[1]) == _means(report):
                    continue  # the same floor of the same graph
                label = row if len(shown) == 1 or not (own or known is not None) else f"{row}, {each.name}"
                rows[label] = (row == "trained", report)
            if "trained" in reports:
                protocols.append(reports["trained"].protocol)
                metric = next(iter(reports["trained"].values))
                said = [beaten_floors(reports, "trained", metric), other_epochs(reports["trained"])]
                prefix = f"{each.name}: " if len(shown) > 1 else ""
                sentences += [f"{prefix}{sentence}." for sentence in said if sentence]
        metrics = list(dict.fromkeys(metric for _, report in rows.values() for metric in report.values))
        best = {
            metric: max(report.mean(metric) for _, report in rows.values() if metric in report.values)
            for metric in metrics
        }
        found.append(
            {
                "name": name,
                "protocol": "; ".join(dict.fromkeys(protocols)),
                "labels": [score_label(metric) for metric in metrics],
                "rows": [
                    {"name": label, "trained": trained, "cells": [_cell(report, metric, best) for metric in metrics]}
                    for label, (trained, report) in rows.items()
                ],
                "sentences": sentences,
            }
        )
    return found


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
    lines, notes = [], []
    for each in shown:
        for figure in (each.record.get("paper") or {}).get("figures", ()):
            report = each.scores.get(figure["evaluate"], {}).get("trained")
            metric = figure.get("metric", "accuracy")
            if report is None or metric not in report.values:
                continue
            ours = 100 * report.mean(metric)
            prefix = f"{each.name}: " if len(shown) > 1 else ""
            lines.append(
                {
                    "name": f"{prefix}{figure['evaluate']}, {score_label(metric)}",
                    "paper": f"{figure['value']:.2f}" + (f" ± {figure['std']:.2f}" if figure.get("std") else ""),
                    "ours": _cell(report, metric, {metric: 0.0})["text"],
                    "difference": f"{ours - figure['value']:+.2f}",
                }
            )
            notes.append(
                f"Paper's figure: {figure.get('source')}{'; ' + figure['note'] if figure.get('note') else ''}."
            )
        changed = each.record.get("changed")
        if lines and changed:
            notes.append(f"{each.name} has other settings than the experiment: {changed}.")
    return lines, list(dict.fromkeys(notes))


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
    flat = [_flat(each.record["settings"]) for each in shown]
    keys = sorted({key for each in flat for key in each})
    found = [(key, [each.get(key, "") for each in flat]) for key in keys]
    return [{"key": key, "settings": values} for key, values in found if len(set(values)) > 1]


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        found: dict[str, str] = {}
        for key, inner in value.items():
            if path or key not in ("paper", "format", "data_root"):
                found |= _flat(inner, f"{path}.{key}" if path else str(key))
        return found
    return {path: json.dumps(value)}


def facts_of(each: Shown) -> dict[str, Any]:
    """What a run is, and its whole configuration."""
    environment = each.record["environment"]
    seeds = ", ".join(map(str, each.curves))
    facts = [
        ("method", each.record["method"]),
        ("dataset", each.record["dataset"]),
        ("seeds", seeds),
        ("commit", environment.get("commit") or "installed package"),
        ("machine", f"{environment.get('processor')}, {environment.get('threads')} thread(s)"),
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
