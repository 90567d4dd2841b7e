"""Scores of a run: what evaluators hold out, the floors, and the score that selects weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.core.resolve import resolve
from gcl.evaluate.floors import FLOORS
from gcl.methods.method import Method
from gcl.run.run_directory import to_cpu


def resolve_evaluators(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluators of a configuration, by name."""
    return {name: resolve("evaluator", spec) for name, spec in settings["evaluate"].items()}


def split(evaluators: Mapping[str, Any], whole: Graph, seed: int) -> tuple[Graph, dict[str, Any]]:
    """The training graph, and what each evaluator holds out of it.

    Raises:
        ConfigError: two evaluators take different things out of the graph.
    """
    graph, changed_by, held = whole.for_training(), None, {}
    for name, evaluator in evaluators.items():
        training, held[name] = evaluator.split(whole, seed=seed)
        parts = ("relations", "features")
        if all(getattr(training, part)[key] is value for part in parts for key, value in getattr(whole, part).items()):
            continue
        if changed_by is not None:
            raise ConfigError(f"evaluators {changed_by} and {name} both change the graph; use one of them at a time")
        graph, changed_by = training.for_training(), name
    return graph, held


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


def score_floors(
    graph: Graph, settings: Mapping[str, Any], evaluators: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Report]], list[str]]:
    """Scores of embeddings that need no training, by evaluator, and a note on each floor that the graph cannot have."""
    floors: dict[str, dict[str, Report]] = {name: {} for name in evaluators}
    notes: list[str] = []
    if not (settings["floors"] and evaluators):
        return floors, notes
    seed = settings["seeds"][0]
    training, _ = split(evaluators, graph, seed)  # without what any evaluator holds out
    plain = {}
    for name, evaluator in evaluators.items():
        if hasattr(evaluator, "floor_reports"):  # floors of its own, which are no embeddings of nodes
            floors[name] = evaluator.floor_reports(*evaluator.split(graph, seed=seed), seed=seed)
        else:
            plain[name] = evaluator
    for row, make in FLOORS.items() if plain else ():
        try:
            outputs = Outputs({"embedding": make(training)}, stands_in=True)
        except DataError as error:
            notes.append(f"the floor {row!r} is left out: {error}")
            continue
        for name, evaluator in plain.items():
            _, held = evaluator.split(graph, seed=seed)
            floors[name][row] = evaluator.evaluate(outputs, held, seed=seed)
    return floors, notes
