"""The one call: a dataset and a method in, embeddings and honest figures out."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gcl.core.context import Prepared
from gcl.core.errors import ConfigError, unknown
from gcl.core.files import write_json
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.core.resolve import describe, find_class, resolve
from gcl.core.streams import Streams
from gcl.data.dataset import Dataset
from gcl.data.features import require_features
from gcl.data.fingerprint import graph_fingerprint
from gcl.data.load import load_dataset
from gcl.evaluate.diagnostics import diagnostics
from gcl.methods.method import Method
from gcl.report.environment import describe_environment
from gcl.run import run_directory as files
from gcl.run.result import Result, SeedRun
from gcl.run.run_directory import RunDirectory
from gcl.run.scoring import evaluate as score
from gcl.run.scoring import kept_floors, kept_scores, resolve_evaluators, split, validator
from gcl.run.settings import read_yaml, settle, write_yaml
from gcl.train.memory import reset_peak_memory
from gcl.train.trainer import Trainer


def pipeline(
    method: Any = "csgcl",
    dataset: Any = "digits",
    *,
    trainer: Mapping[str, Any] | None = None,
    evaluate: Mapping[str, Any] | bool | None = None,
    seeds: int | list[int] | None = None,
    floors: bool | None = None,
    interactions: Mapping[str, Any] | None = None,
    metapath: str | Mapping[str, Any] | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    progress: bool | None = False,
    **arguments: Any,
) -> Result:
    """Loads, prepares, trains and evaluates; the command ``gcl train`` does exactly this.

    Args:
        method: a method's name, dotted ``package.module:Class``, class or object.
        dataset: a name, a file or folder, PyG ``Data``, a networkx graph, a scipy matrix, a ``Graph`` or a ``Dataset``.
        trainer: arguments of :class:`~gcl.train.trainer.Trainer`.
        evaluate: named evaluators; ``None`` as a value takes one out, ``False`` evaluates nothing.
        seeds: how many training seeds (from 0), or a list of them.
        floors: also evaluate what needs no training (raw and propagated features, popularity), and the untrained
            method.
        interactions: of recommenders: how interactions are filtered and split, see
            :class:`gcl.data.interaction_options.InteractionOptions`.
        metapath: train on the target nodes of a graph of several node types, joined along a meta-path such as
            ``paper-author-paper``; see :class:`gcl.data.metapath_options.MetaPathOptions`.
        config: a YAML file or mapping of settings that takes the place of the shipped ones for this method and dataset.
        out: a new folder for the run; ``None`` keeps everything in memory.
        data_root: where named datasets lie; ``None`` = ``GCL_DATA``, then the user's cache.
        progress: ``True`` shows it, ``None`` where standard error is a terminal, ``False`` never.
        **arguments: arguments of the method, such as ``loss={"temperature": 0.4}``; nested mappings change single
            values, a name replaces a part.

    Returns:
        A :class:`Result` with embeddings, scores, configuration and ``save``.

    Raises:
        ConfigError, DataError, OutputError: before any training, in one sentence.
        NonFiniteError: the loss or a gradient became NaN or infinite.

    Example:
        >>> import gcl
        >>> result = gcl.pipeline("grace", "karate", trainer={"epochs": 2}, floors=False)
        >>> result.outputs.main.shape[0]
        34
    """
    settings, data = configure(
        method,
        dataset,
        config=config,
        data_root=data_root,
        overrides={
            **arguments,
            **_given(
                trainer=trainer,
                evaluate=evaluate,
                seeds=seeds,
                floors=floors,
                interactions=interactions,
                metapath=metapath,
            ),
        },
    )
    check(settings, data)
    folder = None
    if out is not None:
        folder = files.new_folder(Path(out))
        write_yaml(folder / files.CONFIG, files.writable(settings))
        if progress is not False:
            print(f"run folder: {folder}", file=sys.stderr, flush=True)
    return train(settings, data, folder, progress=progress)


def configure(
    method: Any,
    dataset: Any,
    *,
    overrides: Mapping[str, Any],
    config: str | Path | Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
) -> tuple[dict[str, Any], Dataset]:
    """The whole configuration of a run and its data.

    Without labels, or held-out interactions, nothing is scored, unless evaluators were asked for.
    """
    cls = find_class("method", method) if isinstance(method, str) else method
    if not isinstance(cls, Method) and not (isinstance(cls, type) and issubclass(cls, Method)):
        raise ConfigError(f"method must be a name, a Method class or a Method object, got {method!r}")
    preset = read_yaml(config) if isinstance(config, str | Path) else config
    data = load_dataset(dataset, kind=cls.kind, data_root=data_root, interactions=overrides.get("interactions"))
    settings = settle(method, data.name, overrides=overrides, preset=preset)
    if settings["interactions"] != data.info.get("interactions") and settings["interactions"] is not None:
        # the settings of a shipped experiment or a file, which the name of the data was needed for
        data = load_dataset(dataset, kind=cls.kind, data_root=data_root, interactions=settings["interactions"])
    settings["interactions"] = data.info.get("interactions")
    if settings["metapath"] is not None:
        if cls.kind == "hetero":
            raise ConfigError(
                f"{describe(cls)['name']} takes graphs of several node types itself; leave dataset.metapath out and "
                "set metapaths=[...]"
            )
        data = load_dataset(data, metapath=settings["metapath"])
    scorable = data.held.get("test") is not None if cls.kind == "rec" else data.num_classes > 0
    if not scorable:  # of the evaluators that nobody asked for there is nothing to score
        named = overrides.get("evaluate")
        asked_for = named if isinstance(named, Mapping) else {}
        settings["evaluate"] = {key: spec for key, spec in settings["evaluate"].items() if key in asked_for}
    asked = dict(overrides.get("trainer") or {})
    if not settings["evaluate"] and "select" not in asked and settings["trainer"]["select"] == "validation":
        settings["trainer"] = {**settings["trainer"], "select": "last"}  # what was shipped cannot be had
    settings["dataset"] = _dataset_reference(dataset, data)
    settings["transform"] = list(data.info.get("transform", ()))
    settings["data_root"] = None if data_root is None else str(Path(data_root).resolve())
    return settings, data


def check(settings: Mapping[str, Any], data: Dataset) -> None:
    """Refuses what cannot work, before anything is written: parts, features, labels and splits."""
    method: Method = _resolve_method(settings)
    if method.needs_features:
        require_features(data.graph)
    evaluators = resolve_evaluators(settings)
    trainer: Trainer = resolve("trainer", settings["trainer"])
    if trainer.select == "validation" and not evaluators:
        raise ConfigError("trainer.select=validation needs an evaluator; select last or loss, or add one")
    for position, (name, evaluator) in enumerate(evaluators.items()):
        wanted, known = getattr(evaluator, "embedding", None), method.embedding_names
        if wanted is not None and known is not None and wanted not in known:
            raise ConfigError(f"evaluate.{name}: {unknown('embedding', str(wanted), known)}")
        _, held = evaluator.split(data.graph, seed=settings["seeds"][0])
        if trainer.select == "validation" and position == 0 and getattr(held, "validation", "") == "none":
            raise ConfigError(
                f"trainer.select=validation needs a validation part; evaluate.{name}: {evaluator.no_validation}"
            )
    trainer.check(method)
    method.check(data.graph.spec)


def resume(
    out: str | Path, *, dataset: Any = None, data_root: str | Path | None = None, progress: bool | None = False
) -> Result:
    """Goes on with a run that was interrupted, bit for bit as if it had not been.

    Args:
        out: the run's folder.
        dataset: needed only where the run was started on an object in memory.
        data_root: where named datasets lie; ``None`` = where they lay when the run was started.
        progress: as in :func:`pipeline`.

    Raises:
        ConfigError: no run is there.
        CheckpointError: it is damaged, or the data is not what the run was started on.
    """
    folder = Path(out)
    if not (folder / files.CONFIG).is_file() and (folder.parent / files.CONFIG).is_file():
        folder = folder.parent  # one seed of several was named
    if not (folder / files.CONFIG).is_file():
        raise ConfigError(f"{folder} holds no run (no {files.CONFIG}); give the folder that `gcl train` wrote")
    settings = files.read_config(folder / files.CONFIG)
    reference = dataset if dataset is not None else settings["dataset"]
    if reference is None:
        raise ConfigError(f"{folder} was trained on a graph in memory; give it again as dataset=")
    data = load_dataset(
        reference,
        kind=files.kind_of(settings),
        data_root=data_root or settings["data_root"],
        interactions=settings.get("interactions"),
        metapath=settings.get("metapath"),
    )
    return train(settings, data, folder, progress=progress)


def train(
    settings: Mapping[str, Any],
    data: Dataset,
    folder: Path | None,
    *,
    progress: bool | None = False,
    seed_folders: bool | None = None,
) -> Result:
    """Trains and evaluates every seed; seeds that a folder holds finished are read, unfinished ones are resumed.

    ``seed_folders`` puts every seed in a folder ``seed-K`` of its own; by default where there are several.
    """
    if seed_folders is None:
        seed_folders = len(settings["seeds"]) > 1
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

    trainer: Trainer = resolve("trainer", settings["trainer"])
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
    prepared = _resolve_method(settings).prepare(graph, streams)
    if place is not None:
        place.path.mkdir(parents=True, exist_ok=True)
        place.write_spec(graph.spec)
        files.save_tensors(place / files.PREPARED, prepared.tensors)
    return prepared


def _fingerprints(settings: Mapping[str, Any], graph: Graph, place: RunDirectory | None) -> dict[str, str]:
    """What a checkpoint belongs to."""
    if place is None:
        return {}
    config = {key: settings[key] for key in ("method", "trainer")}
    return {
        "data": graph_fingerprint(graph),
        "prepared": files.sha256_of(place / files.PREPARED),
        "config": hashlib.sha256(json.dumps(describe(config), sort_keys=True).encode()).hexdigest(),
    }


def known_pairs(graph: Graph) -> dict[str, Tensor]:
    """Every interaction of a graph by part, int64 ``[2, n]``, user above item."""
    return {"train": graph.adjacency.edge_index().flip(0), **graph.held}


def _resolve_method(settings: Mapping[str, Any]) -> Method:
    method: Method = resolve("method", _own(settings["method"]))
    return method


def _own(spec: Any) -> Any:
    """A copy for one seed: an object in a specification must not carry weights from one seed to the next."""
    return copy.deepcopy(spec)


def _dataset_reference(given: Any, data: Dataset) -> str | None:
    """How a resumed run finds its data: a name, an absolute path, or nothing for an object."""
    if not isinstance(given, str | Path):
        return None
    return data.name if data.card is not None else str(Path(given).resolve())


def _given(**arguments: Any) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if value is not None}


__all__ = ["Result", "configure", "pipeline", "resume", "train"]
