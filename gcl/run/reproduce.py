"""A paper's setting, with its figure beside ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcl.core.classes import find_class
from gcl.core.errors import CheckpointError, ConfigError
from gcl.core.files import write_json
from gcl.core.resolve import describe, normalise
from gcl.data.cards import read_card
from gcl.data.dataset import Dataset
from gcl.data.load import load_dataset
from gcl.data.names import find_name
from gcl.data.resources import resource_folder
from gcl.run import run_directory as files
from gcl.run.pipeline import check, configure
from gcl.run.result import Result
from gcl.run.settings import by_dotted_name, experiment_file, experiment_method, read_yaml, settle, write_yaml
from gcl.run.training import train
from gcl.train.launch import lend_a_hand

# the settings that a paper's figure belongs to
COMPARED = ("method", "trainer", "evaluate", "interactions", "metapath", "transform")


def reproduce(
    method: str,
    dataset: str,
    *,
    out: str | Path | None = None,
    seeds: int | list[int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
    progress: bool | None = False,
) -> tuple[Result, list[dict[str, Any]], Path]:
    """Runs the shipped experiment of a method on a dataset; finished seeds are kept, an unfinished one is resumed.

    Args:
        method: the name of a method, or of a family of experiments with one (``pot-grace``).
        dataset: a dataset's name.
        out: folder of the runs and of ``results.json``; by default ``runs/reproduce/METHOD-STEM``, with changed
            settings another one beside it.
        seeds: number of seeds, or a list; the experiment's own by default. More seeds than before add to what is there.
        overrides: settings to change, as in :func:`gcl.run.pipeline.pipeline`. The record says which.
        data_root: where named datasets lie.
        progress: as in :func:`gcl.run.pipeline.pipeline`.

    Returns:
        The result, the comparison (one record a figure of the paper), and the path of ``results.json``.

    Raises:
        ConfigError: no experiment is shipped for the pair.
        CheckpointError: the folder holds runs of other settings.
        OutputError: the folder holds something else, or another process is at it.
    """
    lend_a_hand()
    settings, data = planned(method, dataset, seeds=seeds, overrides=overrides, data_root=data_root)
    folder = Path(out) if out is not None else Path("runs") / "reproduce" / _folder_name(method, data.name, overrides)
    with files.claim(folder):
        return run_planned(settings, data, folder, overrides=overrides, progress=progress)


def _folder_name(method: str, dataset: str, overrides: Mapping[str, Any] | None) -> str:
    """Changed settings have a folder of their own, the same ones the same."""
    name = f"{method}-{dataset.rpartition('/')[2]}"
    if not overrides:
        return name
    text = json.dumps(describe(dict(overrides)), sort_keys=True)
    return f"{name}-changed-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def run_planned(
    settings: Mapping[str, Any],
    data: Dataset,
    folder: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    progress: bool | None = False,
) -> tuple[Result, list[dict[str, Any]], Path]:
    """What :func:`reproduce` does once everything is checked and the folder is claimed."""
    settings = _begin(folder, settings)
    result = train(settings, data, folder, progress=progress, seed_folders=True)
    comparison = compare(result)
    path = folder / "results.json"
    write_json(path, {"comparison": comparison, "changed": describe(dict(overrides or {})), **result.to_json()})
    return result, comparison, path


def planned(
    method: str,
    dataset: str,
    *,
    seeds: int | list[int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
) -> tuple[dict[str, Any], Dataset]:
    """The whole configuration of a shipped experiment and its data, checked as before training; see :func:`reproduce`.

    Raises:
        ConfigError, DataError: what :func:`reproduce` refuses before it writes or trains anything.
    """
    base = experiment_method(method)
    cls = find_class("method", base)
    data = load_dataset(dataset, kind=cls.kind, data_root=data_root)  # type: ignore[attr-defined]
    source = experiment_file(method, data.name)
    preset = read_yaml(source) if source is not None else {}
    if not preset.get("paper"):
        known = sorted(f"{path.parent.name} {path.stem}" for path in _experiments())
        raise ConfigError(
            f"no experiment with a paper's figure for {method} on {data.name}; there are: {', '.join(known)}"
        )
    changed = {**(overrides or {}), **({} if seeds is None else {"seeds": seeds})}
    settings, data = configure(base, dataset, overrides=changed, config=preset, data_root=data_root)
    check(settings, data)
    return settings, data


def compare(result: Result) -> list[dict[str, Any]]:
    """The paper's figures beside ours: mean, standard deviation and difference, in percent."""
    records = []
    for figure in result.settings["paper"]["figures"]:
        rows = result.scores.get(figure["evaluate"], {})
        if "trained" not in rows:
            raise ConfigError(f"the experiment compares with evaluator {figure['evaluate']!r}, which it does not run")
        report, metric = rows["trained"], figure.get("metric", "accuracy")
        records.append(
            {
                "evaluate": figure["evaluate"],
                "metric": metric,
                "paper": figure["value"],
                "paper_std": figure.get("std"),
                "source": figure.get("source"),
                "note": figure.get("note"),
                "ours": round(100 * report.mean(metric), 3),
                "ours_std": round(100 * report.std(metric), 3) if len(result.runs) > 1 else None,
                "difference": round(100 * report.mean(metric) - figure["value"], 3),
                "runs_per_seed": len(next(iter(result.runs[0].scores["trained"][figure["evaluate"]].values.values()))),
                "seeds": [run.seed for run in result.runs],
                "protocol": report.protocol,
                "floors": {
                    name: round(100 * floor.mean(metric), 3) for name, floor in rows.items() if name != "trained"
                },
            }
        )
    return records


def shipped_changes(record: Mapping[str, Any]) -> list[str] | None:
    """The settings by which a run with a paper's figures differs from the shipped experiment that has these figures.

    Args:
        record: of a run, as ``report.json`` has it.

    Returns:
        Dotted names, with the run's value; ``None`` where no shipped experiment has these figures.
    """
    found: list[list[str]] = []
    meant = _meant(record["settings"])
    # of a named set the full name is recorded, of data of one's own a path; a folder may be called as a set is
    name = record["settings"].get("dataset") or ""
    known = "/" in name and not Path(name).is_absolute() and find_name(name) is not None
    transform = list(read_card(name).transform) if known else meant.get("transform")
    for path in _experiments():
        preset = read_yaml(path)
        if describe(preset["paper"]) != record["paper"]:
            continue
        base = experiment_method(path.parent.name)
        if describe(find_class("method", base))["name"] != record["method"]:
            continue
        shipped = _meant(describe(settle(base, record["dataset"], overrides={}, preset=preset)))
        own = shipped.get("transform")
        found.append(_changes(meant, {**shipped, "transform": transform if own is None else own}))
    return min(found, key=len) if found else None


def _changes(ran: Mapping[str, Any], shipped: Mapping[str, Any]) -> list[str]:
    """What differs of two configurations, of which some parts may be missing."""
    ran, shipped = ({key: record.get(key) for key in COMPARED} for record in (ran, shipped))
    evaluators: dict[str, Any] = dict(ran["evaluate"] or {})
    added = [key for key in evaluators if key not in (shipped["evaluate"] or {})]
    ran["evaluate"] = {key: spec for key, spec in evaluators.items() if key not in added}
    here, there = (
        {name: text for name, text in by_dotted_name(each).items() if text != "null"} for each in (ran, shipped)
    )
    changed = [name for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
    return [*(f"{name}={here.get(name, 'null')}" for name in changed), *(_added(key, evaluators[key]) for key in added)]


def _added(key: str, spec: Any) -> str:
    """An evaluator beside the experiment's own; what it takes out of the graph is missing to all of them."""
    takes = isinstance(spec, Mapping) and spec.get("name") == "links" and spec.get("protocol") != "reconstruction"
    return f"evaluate.{key} added" + (" (its edges were held out of training)" if takes else "")


def _experiments() -> list[Path]:
    paths = sorted(resource_folder("experiments").glob("*/*.yaml"))
    return [path for path in paths if read_yaml(path).get("paper")]


def _begin(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Starts the folder, or checks that it holds runs of these settings (the seeds may differ); the settings to use.

    What an earlier version recorded has its meaning, though a part may have more options now; its words are kept, which
    checkpoints know.
    """
    config = folder / files.CONFIG
    settings = dict(settings)
    if config.is_file():
        recorded = read_yaml(config)
        if _meant(recorded) != _meant(files.writable(settings)):
            raise CheckpointError(f"{folder} holds runs of other settings; choose another --out or move it away")
        settings |= {key: recorded[key] for key in ("method", "trainer", "evaluate")}
    else:
        files.require_new(folder)
    write_yaml(config, files.writable(settings))
    return settings


def _meant(record: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded configuration with every option of its parts, and without what may differ between runs."""
    meant = {key: value for key, value in record.items() if key not in ("seeds", "paper", "data_root")}
    for slot in ("method", "trainer"):
        meant[slot] = _normal(slot, record.get(slot))
    evaluators = record.get("evaluate")
    if isinstance(evaluators, Mapping):
        meant["evaluate"] = {name: _normal("evaluator", spec) for name, spec in evaluators.items()}
    return meant


def _normal(slot: str, spec: Any) -> Any:
    """A specification with every option; one that is not understood any more as it stands."""
    try:
        return normalise(slot, spec)
    except ConfigError:
        return spec
