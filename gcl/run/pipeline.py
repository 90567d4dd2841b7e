"""The one call: a dataset and a method in, embeddings and honest figures out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcl.core.context import Outputs, Prepared
from gcl.core.errors import CheckpointError, ConfigError
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
from gcl.evaluate.floors import FLOORS
from gcl.methods.method import Method
from gcl.report.environment import describe_environment
from gcl.run import run_directory as files
from gcl.run.result import Result, SeedRun
from gcl.run.run_directory import RunDirectory
from gcl.run.settings import read_yaml, settle, write_yaml
from gcl.train.trainer import Trainer

FORMAT = 1


def pipeline(
    method: Any = "csgcl",
    dataset: Any = "digits",
    *,
    trainer: Mapping[str, Any] | None = None,
    evaluate: Mapping[str, Any] | None = None,
    seeds: int | list[int] | None = None,
    floors: bool | None = None,
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
        evaluate: named evaluators; ``None`` as a value takes one out.
        seeds: how many training seeds (from 0), or a list of them.
        floors: also evaluate raw features, propagated features and the untrained encoder.
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
        overrides={**arguments, **_given(trainer=trainer, evaluate=evaluate, seeds=seeds, floors=floors)},
    )
    folder = None
    if out is not None:
        folder = files.new_folder(Path(out))
        write_yaml(folder / files.CONFIG, {"format": FORMAT, **_writable(settings)})
    return train(settings, data, folder, progress=progress)


def configure(
    method: Any,
    dataset: Any,
    *,
    overrides: Mapping[str, Any],
    config: str | Path | Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
) -> tuple[dict[str, Any], Dataset]:
    """The whole configuration of a run and its data, both checked."""
    cls = find_class("method", method) if isinstance(method, str) else method
    data = load_dataset(dataset, kind=getattr(cls, "kind", None), data_root=data_root)
    preset = read_yaml(config) if isinstance(config, str | Path) else config
    settings = settle(method, data.name, overrides=overrides, preset=preset)
    settings["dataset"] = _dataset_reference(dataset, data)
    return settings, data


def resume(
    out: str | Path, *, dataset: Any = None, data_root: str | Path | None = None, progress: bool | None = False
) -> Result:
    """Goes on with a run that was interrupted, bit for bit as if it had not been.

    Args:
        out: the run's folder.
        dataset: needed only where the run was started on an object in memory.
        data_root: where named datasets lie.
        progress: as in :func:`pipeline`.

    Raises:
        ConfigError: no run is there.
        CheckpointError: it is damaged, or the data is not what the run was started on.
    """
    folder = Path(out)
    if not (folder / files.CONFIG).is_file():
        raise ConfigError(f"{folder} holds no run (no {files.CONFIG}); give the folder that `gcl train` wrote")
    settings = read_yaml(folder / files.CONFIG)
    if settings.pop("format", None) != FORMAT:
        raise CheckpointError(f"{folder / files.CONFIG} is of another format; resume it with the version that wrote it")
    reference = dataset if dataset is not None else settings["dataset"]
    if reference is None:
        raise ConfigError(f"{folder} was trained on a graph in memory; give it again as dataset=")
    method = settings["method"]["name"]
    data = load_dataset(reference, kind=getattr(find_class("method", method), "kind", None), data_root=data_root)
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
    require_features(data.graph)
    evaluators = {name: resolve("evaluator", spec) for name, spec in settings["evaluate"].items()}
    for evaluator in evaluators.values():
        evaluator.split(data.graph, seed=settings["seeds"][0])  # bad labels or splits are said before training
    runs = []
    for seed in settings["seeds"]:
        place = None
        if folder is not None:
            place = RunDirectory(folder / f"seed-{seed}" if seed_folders else folder)
        runs.append(_run_seed(settings, data, seed, evaluators, place, progress))
    floors = _floors(data.graph, settings, evaluators) if settings["floors"] else {}
    result = Result(dict(settings), data.name, data.node_ids, tuple(runs), floors, describe_environment())
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
    if place is not None and place.is_finished:
        return SeedRun.read(place, settings)
    streams, watch, seconds = Streams(seed), _Stopwatch(time.perf_counter()), {}
    held = {}
    graph = data.graph.for_training()
    for name, evaluator in evaluators.items():
        graph, held[name] = _split(evaluator, data.graph, graph, seed)
    prepared = _prepare(settings, graph, streams, place)
    method = files.build_method(settings["method"], graph.spec, prepared, streams)
    seconds["prepare"] = watch.lap()

    scores: dict[str, dict[str, Report]] = {"untrained": {}, "trained": {}}
    if settings["floors"]:
        scores["untrained"] = _evaluate(evaluators, method.outputs(graph), held, seed)
        seconds["evaluate_untrained"] = watch.lap()

    trainer: Trainer = resolve("trainer", settings["trainer"])
    placed = trainer.place(graph)  # as the trained method sees it
    fit = trainer.fit(
        method,
        graph,
        streams=streams,
        run_dir=None if place is None else place.path,
        resume=place is not None and (place / files.CHECKPOINT).is_dir(),
        fingerprints=_fingerprints(settings, graph, place),
        validate=_validator(evaluators, held, method, placed) if trainer.select == "validation" else None,
        progress=progress,
    )
    seconds["train"] = watch.lap()
    outputs = files.to_cpu(method.outputs(placed))
    scores["trained"] = _evaluate(evaluators, outputs, held, seed)
    seconds["evaluate"] = watch.lap()
    run = SeedRun(
        seed=seed,
        outputs=outputs,
        scores=scores,
        diagnostics=diagnostics(outputs.main),
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
    )
    if place is not None:
        run.write(place, data.node_ids)
    return run


def _split(evaluator: Any, whole: Graph, graph: Graph, seed: int) -> tuple[Graph, Any]:
    """The training graph and what is held out; evaluators that change the graph cannot be combined."""
    training, held = evaluator.split(whole, seed=seed)
    same = all(training.relations[name].num_arcs == adjacency.num_arcs for name, adjacency in graph.relations.items())
    if not same and any(whole.relations[name].num_arcs != a.num_arcs for name, a in graph.relations.items()):
        raise ConfigError("two evaluators hold out edges; evaluate one of them at a time")
    return (graph if same else training), held


def _prepare(settings: Mapping[str, Any], graph: Graph, streams: Streams, place: RunDirectory | None) -> Prepared:
    """Prepares once; a resumed run reads what it had prepared."""
    if place is not None and place.is_started:
        return files.read_prepared(place / files.PREPARED)
    method: Method = resolve("method", settings["method"])
    prepared = method.prepare(graph, streams)
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
        "config": hashlib.sha256(json.dumps(_writable(config), sort_keys=True).encode()).hexdigest(),
    }


def _evaluate(evaluators: Mapping[str, Any], outputs: Outputs, held: Mapping[str, Any], seed: int) -> dict[str, Report]:
    return {name: evaluator.evaluate(outputs, held[name], seed=seed) for name, evaluator in evaluators.items()}


def _validator(evaluators: Mapping[str, Any], held: Mapping[str, Any], method: Method, graph: Graph) -> Any:
    """The first evaluator's validation score, which never opens the test part."""
    if not evaluators:
        raise ConfigError("trainer.select=validation needs an evaluator; select last or loss, or add one")
    name, evaluator = next(iter(evaluators.items()))

    def validate() -> float:
        return float(next(iter(evaluator.validate(files.to_cpu(method.outputs(graph)), held[name]).values())))

    return validate


def _floors(graph: Graph, settings: Mapping[str, Any], evaluators: Mapping[str, Any]) -> dict[str, dict[str, Report]]:
    """Scores of embeddings that need no training, by evaluator."""
    seed = settings["seeds"][0]
    floors: dict[str, dict[str, Report]] = {name: {} for name in evaluators}
    for row, make in FLOORS.items():
        outputs = Outputs({"embedding": make(graph.for_training())})
        for name, evaluator in evaluators.items():
            _, held = evaluator.split(graph, seed=seed)
            floors[name][row] = evaluator.evaluate(outputs, held, seed=seed)
    return floors


def _dataset_reference(given: Any, data: Dataset) -> str | None:
    """How a resumed run finds its data: a name, an absolute path, or nothing for an object."""
    if isinstance(given, str | Path):
        path = Path(given)
        return str(path.resolve()) if path.exists() else data.name
    return None


def _writable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as plain values; objects become their descriptions."""
    return {key: describe(value) for key, value in settings.items()}


def _given(**arguments: Any) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if value is not None}


__all__ = ["Result", "configure", "pipeline", "resume", "train"]
