"""Training and scoring every seed of a run, in memory or in a folder that can be gone on with."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gcl.core.context import Prepared
from gcl.core.files import write_json
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.core.resolve import describe, resolve
from gcl.core.streams import Streams
from gcl.data.dataset import Dataset
from gcl.data.fingerprint import graph_fingerprint
from gcl.evaluate.diagnostics import diagnostics
from gcl.methods.method import Method
from gcl.report.environment import describe_environment
from gcl.run import run_directory as files
from gcl.run.result import Result, SeedRun
from gcl.run.run_directory import RunDirectory
from gcl.run.scoring import evaluate as score
from gcl.run.scoring import kept_floors, kept_scores, resolve_evaluators, split, validator
from gcl.train.memory import reset_peak_memory
from gcl.train.trainer import Trainer

FLAT = 1.5  # effective rank below which embeddings are no more than a line


def train(
    settings: Mapping[str, Any],
    data: Dataset,
    folder: Path | None,
    *,
    progress: bool | None = False,
    seed_folders: bool | None = None,
) -> Result:
    """Trains and evaluates every seed; seeds that a folder holds finished are read, unfinished ones are resumed.

    ``seed_folders`` puts every seed in a folder ``seed-K`` of its own; by default where there are several, or such
    folders are there.
    The folder is the caller's: see :func:`gcl.run.run_directory.claim`.
    """
    if seed_folders is None:
        places = [] if folder is None else [folder / f"seed-{seed}" for seed in settings["seeds"]]
        seed_folders = len(settings["seeds"]) > 1 or any(place.is_dir() for place in places)
    if folder is not None and seed_folders:  # now, for whoever goes on after an early stop
        (folder / f"seed-{settings['seeds'][0]}").mkdir(exist_ok=True)
    evaluators = resolve_evaluators(settings)
    kept = None if folder is None else folder / files.FLOORS
    floors, notes = kept_floors(kept, data.graph, settings, evaluators)
    runs: list[SeedRun] = []
    for seed in settings["seeds"]:
        place = None
        if folder is not None:
            place = RunDirectory(folder / f"seed-{seed}" if seed_folders else folder)
        if progress is not False and len(settings["seeds"]) > 1:
            print(f"seed {seed} ({len(runs) + 1} of {len(settings['seeds'])})", file=sys.stderr, flush=True)
        runs.append(_run_seed(settings, data, seed, evaluators, place, progress))
    notes += [
        f"the embeddings of seed {run.seed} nearly lie on one line (effective rank {rank:.2f}), so they hardly tell "
        "nodes apart; features on scales that do not compare do this, and so does a loss that collapses"
        for run in runs
        if (rank := run.diagnostics.get("effective_rank", math.inf)) < FLAT
    ]
    if not evaluators:
        notes.append(
            "nothing was scored: the graph has no labels or held-out interactions, or no evaluator was asked for"
        )
    result = Result(
        dict(settings),
        data.name,
        data.node_ids,
        tuple(runs),
        floors,
        describe_environment(),
        tuple(notes),
        data.other_ids,
    )
    if folder is not None:
        write_json(folder / files.REPORT, result.to_json())
        write_json(folder / files.ENVIRONMENT, result.environment)
    return result


@dataclass
class _Stopwatch:
    started: float

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self.started = now - self.started, now
        return round(seconds, 3)


def _run_seed(
    settings: Mapping[str, Any],
    data: Dataset,
    seed: int,
    evaluators: Mapping[str, Any],
    place: RunDirectory | None,
    progress: bool | None,
) -> SeedRun:
    streams, watch, seconds = Streams(seed), _Stopwatch(time.perf_counter()), {}
    graph, held = split(evaluators, data.graph, seed)
    if place is not None and place.is_finished:
        return SeedRun.read(place, _fingerprints(settings, graph, place))
    reset_peak_memory("cpu")  # the seed's own, its preparation among it
    prepared = _prepare(settings, graph, streams, place)
    method = files.build_method(_own(settings["method"]), graph.spec, prepared, streams)
    seconds["prepare"] = watch.lap()

    scores: dict[str, dict[str, Report]] = {"untrained": {}, "trained": {}}
    fingerprints = _fingerprints(settings, graph, place)
    if settings["floors"]:
        kept = None if place is None else place / files.UNTRAINED
        untrained = dataclasses.replace(method.outputs(graph), stands_in=True)
        scores["untrained"] = kept_scores(
            kept, [fingerprints, settings["evaluate"]], lambda: score(evaluators, untrained, held, seed)
        )
        seconds["evaluate_untrained"] = watch.lap()

    trainer: Trainer = resolve("trainer", _own(settings["trainer"]))
    placed = trainer.place(graph)  # as the trained method sees it
    selects = "validation" in (trainer.select, *(stage.select for stage in method.stages()))
    fit = trainer.fit(
        method,
        placed,
        streams=streams,
        run_dir=None if place is None else place.path,
        resume=place is not None,  # from the beginning where there is no checkpoint yet
        fingerprints=fingerprints,
        validate=validator(evaluators, held, method, placed) if selects else None,
        progress=progress,
    )
    watch.lap()
    seconds["train"] = round(fit.wall_time, 3)  # with what was spent before a resumption
    outputs = files.to_cpu(method.outputs(placed))
    if not fit.steps:
        outputs = dataclasses.replace(outputs, stands_in=True)  # nothing was trained: there is no last pass
    interactions = known_pairs(data.graph) if method.kind == "rec" else {}
    if place is not None:  # before scoring, so that an evaluator that fails costs no training
        files.save_trained(place, method, outputs, interactions, data.node_ids, data.other_ids)
    scores["trained"] = score(evaluators, outputs, held, seed)
    seconds["evaluate"] = watch.lap()
    run = SeedRun(
        seed=seed,
        outputs=outputs,
        scores=scores,
        diagnostics={
            **diagnostics(outputs.main, method.two_views(placed, streams)),
            **method.diagnostics(outputs),
        },
        fit={
            "epochs": fit.epochs,
            "steps": fit.steps,
            "stopped_early": fit.stopped_early,
            "best_epoch": fit.best_epoch,
        },
        cost={"seconds": seconds, "peak_memory_bytes": fit.peak_memory_bytes},
        method=method,
        prepared=prepared,
        spec=graph.spec,
        interactions=interactions,
        fingerprints=fingerprints,
        environment=describe_environment(),
    )
    if place is not None:
        run.write_result(place)
    return run


def _prepare(settings: Mapping[str, Any], graph: Graph, streams: Streams, place: RunDirectory | None) -> Prepared:
    """Prepares once; a resumed run reads what it had prepared."""
    if place is not None and place.is_started:
        return files.read_prepared(place / files.PREPARED)
    prepared = resolve_method(settings).prepare(graph, streams)
    if place is not None:
        place.path.mkdir(parents=True, exist_ok=True)
        place.write_spec(graph.spec)
        files.save_tensors(place / files.PREPARED, prepared.tensors)
    return prepared


def _fingerprints(settings: Mapping[str, Any], graph: Graph, place: RunDirectory | None) -> dict[str, str]:
    """What a checkpoint belongs to."""
    if place is None:
        return {}
    trainer = settings["trainer"]
    if isinstance(trainer, Mapping):  # a run may go on in more or fewer processes
        trainer = {key: value for key, value in trainer.items() if key != "devices"}
    config = {"method": settings["method"], "trainer": trainer}
    return {
        "data": graph_fingerprint(graph),
        "prepared": files.sha256_of(place / files.PREPARED),
        "config": hashlib.sha256(json.dumps(describe(config), sort_keys=True).encode()).hexdigest(),
    }


def known_pairs(graph: Graph) -> dict[str, Tensor]:
    """Every interaction of a graph by part, int64 ``[2, n]``, user above item."""
    return {"train": graph.adjacency.edge_index().flip(0), **graph.held}


def resolve_method(settings: Mapping[str, Any]) -> Method:
    """The method of a configuration; its own, where that holds an object."""
    method: Method = resolve("method", _own(settings["method"]))
    return method


def _own(spec: Any) -> Any:
    """A copy for one seed: an object in a specification must not carry weights from one seed to the next."""
    return copy.deepcopy(spec)
