"""Scores of a run: what evaluators hold out, the floors, and the score that selects weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError
from gcl.core.files import write_json
from gcl.core.graph import HELD_ATTRIBUTES, Graph
from gcl.core.report import Report
from gcl.core.resolve import describe, resolve
from gcl.core.version import __version__
from gcl.data.fingerprint import graph_fingerprint
from gcl.evaluate.floors import FLOORS
from gcl.methods.method import Method
from gcl.run.run_directory import to_cpu

PARTS = ("features", "relations", "edge_attrs")  # of a graph, which an evaluator may take something out of


def resolve_evaluators(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluators of a configuration, by name."""
    return {name: resolve("evaluator", spec) for name, spec in settings["evaluate"].items()}


def split(evaluators: Mapping[str, Any], whole: Graph, seed: int) -> tuple[Graph, dict[str, Any]]:
    """The training graph, and what each evaluator holds out of it.

    An evaluator that takes nothing out of the graph gets what another has left of it.

    Raises:
        ConfigError: two evaluators take different things out of the graph.
    """
    graph, changed_by, held, unchanged = whole.for_training(), None, {}, []
    left = whole
    for name, evaluator in evaluators.items():
        training, held[name] = evaluator.split(whole, seed=seed)
        if _same_parts(training, whole):
            unchanged.append(name)
        elif changed_by is None:
            graph, changed_by = training.for_training(), name
            left = dataclasses.replace(whole, **{part: getattr(training, part) for part in PARTS})
        elif graph_fingerprint(training) != graph_fingerprint(graph):
            raise ConfigError(
                f"evaluators {changed_by} and {name} take different things out of the graph; use one of them at a time"
            )
    if changed_by is not None:
        held |= {name: evaluators[name].split(left, seed=seed)[1] for name in unchanged}
    return graph, held


def _same_parts(one: Graph, two: Graph) -> bool:
    """Whether two graphs have the very same relations and features."""
    parts = ("relations", "features")
    return all(getattr(one, part)[key] is value for part in parts for key, value in getattr(two, part).items())


def evaluate(evaluators: Mapping[str, Any], outputs: Outputs, held: Mapping[str, Any], seed: int) -> dict[str, Report]:
    """The report of every evaluator."""
    return {name: evaluator.evaluate(outputs, held[name], seed=seed) for name, evaluator in evaluators.items()}


def validator(
    evaluators: Mapping[str, Any], held: Mapping[str, Any], method: Method, graph: Graph
) -> Callable[[], float]:
    """The first evaluator's validation score, which never opens the test part."""
    if not evaluators:
        raise ConfigError("selection by validation needs an evaluator; select last or loss, or add one")
    name, evaluator = next(iter(evaluators.items()))

    def validate() -> float:
        outputs = method.outputs(graph)
        if not getattr(evaluator, "on_device", False):
            outputs = to_cpu(outputs)
        return float(next(iter(evaluator.validate(outputs, held[name]).values())))

    return validate


def kept_scores(path: Path | None, of: Any, make: Callable[[], dict[str, Report]]) -> dict[str, Report]:
    """Reports by evaluator, read from a file where it has those of the same things, else made and written to it."""
    if path is None:
        return make()
    key = hashlib.sha256(json.dumps([describe(of), __version__], sort_keys=True).encode()).hexdigest()
    if path.is_file():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["of"] == key:
                return {name: Report.from_json(report) for name, report in kept["scores"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):  # damaged: they are taken again
            pass
    found = make()
    write_json(path, {"of": key, "scores": {name: report.to_json() for name, report in found.items()}})
    return found


def kept_floors(
    path: Path | None, graph: Graph, settings: Mapping[str, Any], evaluators: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Report]], list[str]]:
    """:func:`score_floors`, read from a file where it has those of the same data and evaluators, else written to it."""
    if path is None or not settings["floors"]:
        return score_floors(graph, settings, evaluators)
    key = _floors_key(graph, settings)
    if path.is_file():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["of"] == key:
                found = {
                    name: {row: Report.from_json(report) for row, report in rows.items()}
                    for name, rows in kept["floors"].items()
                }
                return found, list(kept["notes"])
        except (ValueError, KeyError, TypeError, AttributeError):  # damaged: they are scored again
            pass
    floors, notes = score_floors(graph, settings, evaluators)
    record = {name: {row: report.to_json() for row, report in rows.items()} for name, rows in floors.items()}
    write_json(path, {"of": key, "floors": record, "notes": notes})
    return floors, notes


def _floors_key(graph: Graph, settings: Mapping[str, Any]) -> str:
    """A checksum of all that floors depend on: the graph, what is held out of it, the evaluators, the first seed."""
    digest = hashlib.sha256(graph_fingerprint(graph).encode())
    held = {name: graph.attr(name) for name in HELD_ATTRIBUTES} | dict(graph.held)
    for name, value in held.items():
        if value is not None:
            digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    about = {"evaluate": describe(dict(settings["evaluate"])), "seed": settings["seeds"][0], "version": __version__}
    digest.update(json.dumps(about, sort_keys=True).encode())
    return digest.hexdigest()


def score_floors(
    graph: Graph, settings: Mapping[str, Any], evaluators: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Report]], list[str]]:
    """Scores of embeddings that need no training, by evaluator, and a note on each floor that the graph cannot have."""
    floors: dict[str, dict[str, Report]] = {name: {} for name in evaluators}
    notes: list[str] = []
    if not (settings["floors"] and evaluators):
        return floors, notes
    seed = settings["seeds"][0]
    training, held = split(evaluators, graph, seed)  # without what any evaluator holds out
    plain = {}
    for name, evaluator in evaluators.items():
        if hasattr(evaluator, "floor_reports"):  # floors of its own, which are no embeddings of nodes
            floors[name] = evaluator.floor_reports(training, held[name], seed=seed)
        else:
            plain[name] = evaluator
    for row, make in FLOORS.items() if plain else ():
        try:
            outputs = Outputs({"embedding": make(training)}, stands_in=True)
        except DataError as error:
            notes.append(f"the floor {row!r} is left out: {error}")
            continue
        for name, evaluator in plain.items():
            floors[name][row] = evaluator.evaluate(outputs, held[name], seed=seed)
    return floors, notes
