"""The one call: a dataset and a method in, embeddings and honest figures out."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcl.core.classes import find_class
from gcl.core.errors import ConfigError, unknown
from gcl.core.resolve import describe, resolve
from gcl.data.dataset import Dataset
from gcl.data.features import require_features, warn_of_scales
from gcl.data.load import load_dataset
from gcl.methods.method import Method
from gcl.run import run_directory as files
from gcl.run.result import Result
from gcl.run.run_data import load_for_run
from gcl.run.scoring import resolve_evaluators
from gcl.run.settings import read_yaml, settle, write_yaml
from gcl.run.training import resolve_method, train
from gcl.train.launch import lend_a_hand
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
    transform: str | list[str] | None = None,
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
        transform: names of :data:`gcl.data.transforms.TRANSFORMS` for the features, ``[]`` = as they are stored;
            ``None`` = what the dataset's card says.
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
        RankError: one of several processes is gone.

    Example:
        >>> import gcl
        >>> result = gcl.pipeline("grace", "karate", trainer={"epochs": 2}, floors=False)
        >>> result.outputs.main.shape[0]
        34
    """
    lend_a_hand()
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
                transform=transform,
            ),
        },
    )
    check(settings, data)
    if out is None:
        return train(settings, data, None, progress=progress)
    folder = Path(out)
    with files.claim(folder):
        files.require_new(folder)
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
    if data.graph.node_id is not None:  # nothing was fitted on what it is a part of
        data = dataclasses.replace(data, graph=data.graph.whole())
    settings = settle(method, data.name, overrides=overrides, preset=preset)
    if settings["interactions"] != data.info.get("interactions") and settings["interactions"] is not None:
        # the settings of a shipped experiment or a file, which the name of the data was needed for
        data = load_dataset(dataset, kind=cls.kind, data_root=data_root, interactions=settings["interactions"])
    settings["interactions"] = data.info.get("interactions")
    if settings["transform"] is not None and settings["transform"] != list(data.info.get("transform", ())):
        asked_for_it = "transform" in overrides or config is not None
        data = _with_transform(dataset, cls.kind, data_root, settings, data, asked_for_it)
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
    transform = list(data.info.get("transform", ()))
    settings["transform_given"] = settings["transform"] == transform  # by the user or an experiment, not by the data
    settings["transform"] = transform
    settings["data_root"] = None if data_root is None else str(Path(data_root).resolve())
    return settings, data


def check(settings: Mapping[str, Any], data: Dataset) -> None:
    """Refuses what cannot work, before anything is written: parts, features, labels and splits."""
    method: Method = resolve_method(settings)
    if method.needs_features:
        require_features(data.graph)
        if data.card is None:  # features of a named set are what papers take
            warn_of_scales(data.graph)
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
    method.check(trainer.batch_spec(data.graph.spec))


def resume(
    out: str | Path,
    *,
    dataset: Any = None,
    data_root: str | Path | None = None,
    devices: int | None = None,
    progress: bool | None = False,
) -> Result:
    """Goes on with a run that was interrupted, bit for bit as if it had not been.

    Args:
        out: the run's folder.
        dataset: needed only where the run was started on an object in memory.
        data_root: where named datasets lie; ``None`` = where they lay when the run was started.
        devices: go on in so many processes, up to the order of sums; ``None`` = as it was started.
        progress: as in :func:`pipeline`.

    Raises:
        ConfigError: no run is there.
        BusyError: another process is at it.
        CheckpointError: it is damaged, or the data is not what the run was started on.
    """
    lend_a_hand()
    folder = Path(out)
    if not (folder / files.CONFIG).is_file() and (folder.parent / files.CONFIG).is_file():
        folder = folder.parent  # one seed of several was named
    if not (folder / files.CONFIG).is_file():
        raise ConfigError(f"{folder} holds no run (no {files.CONFIG}); give the folder that `gcl train` wrote")
    with files.claim(folder):
        settings = files.read_config(folder / files.CONFIG)
        if devices is not None:
            settings["trainer"] = {**settings["trainer"], "devices": devices}
        data = load_for_run(settings, dataset, data_root=data_root, where=str(folder), same=True)
        return train(settings, data, folder, progress=progress)


def _with_transform(
    given: Any,
    kind: str,
    data_root: str | Path | None,
    settings: Mapping[str, Any],
    data: Dataset,
    asked_for: bool,
) -> Dataset:
    """The data with the features transformed as the settings say, in place of the card's way.

    A dataset that was loaded otherwise stays as it is where only a shipped experiment says so.
    """
    if isinstance(given, Dataset) and given.info.get("transform") and not asked_for:
        warnings.warn(
            f"the settings shipped for {data.name} take its features with transform={settings['transform']}, and it "
            f"was loaded with {given.info['transform']}; load it so, or give its name, for what they were made for",
            stacklevel=4,
        )
        return data
    if isinstance(given, Dataset) and given.info.get("transform"):
        raise ConfigError(
            f"the dataset was loaded with transform={given.info['transform']}, not {settings['transform']}; load it "
            "with the other, or leave out one of the two"
        )
    return load_dataset(
        given,
        kind=kind,
        data_root=data_root,
        interactions=settings["interactions"],
        transform=settings["transform"],
    )


def _dataset_reference(given: Any, data: Dataset) -> str | None:
    """How a resumed run finds its data: a name, an absolute path, or nothing for an object."""
    if not isinstance(given, str | Path):
        return None
    return data.name if data.card is not None else str(Path(given).resolve())


def _given(**arguments: Any) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if value is not None}


__all__ = ["Result", "configure", "pipeline", "resume", "train"]
