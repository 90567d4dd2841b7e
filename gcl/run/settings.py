"""From what a user says to the whole configuration of a run."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gcl.core.classes import find_class, names
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.files import atomic_write
from gcl.core.resolve import NAME, describe, dotted_key, normalise
from gcl.data.interaction_options import InteractionOptions
from gcl.data.metapath_options import MetaPathOptions
from gcl.data.names import find_name
from gcl.data.resources import resource_folder
from gcl.data.transforms import transform_names

# Keys of a configuration beside the arguments of the method.
SETTINGS = ("seeds", "trainer", "evaluate", "floors", "interactions", "metapath", "transform")
# What a file of settings may hold besides; a run's own config.yaml is such a file.
RECORDED = ("method", "dataset", "paper", "note", "format", "data_root", "transform_given")
RESERVED = (*SETTINGS, *RECORDED)
HEAD_OPTIONS = ("steps", "learning_rate", "weight_decay", "num_probes")  # of a classifier's protocol

# What is evaluated where nothing is said, by the kind of method.
EVALUATE: dict[str, dict[str, Any]] = {
    "node": {"classification": {"name": "classification"}, "clustering": {"name": "clustering"}},
    "cluster": {"assignment": {"name": "assignment"}, "clustering": {"name": "clustering"}},
    "hetero": {"classification": {"name": "classification"}, "clustering": {"name": "clustering"}},
    "rec": {"ranking": {"name": "ranking"}},
}


def experiment_file(method: str, dataset: str | None) -> Path | None:
    """The shipped settings of a method or a family of experiments: for a dataset, else its defaults, else ``None``.

    A dataset is ``collection/stem``.

    They are ``experiments/METHOD/COLLECTION-STEM.yaml``, or ``STEM.yaml`` for the set that the stem alone names with
    this method: ``acm`` is ``cluster/acm`` to PamC, and ``hetero/acm`` has no settings there.
    """
    root = resource_folder("experiments")
    alike = (entry for entry in root.iterdir() if entry.name.replace("-", "_") == method.lower().replace("-", "_"))
    folder = next(alike, root / method)
    collection, _, stem = (dataset or "").rpartition("/")
    candidates = [f"{collection}-{stem}.yaml", "default.yaml"]
    if (folder / f"{stem}.yaml").is_file() and _is_meant(stem, dataset, method):
        candidates.insert(1, f"{stem}.yaml")
    return next((path for name in candidates if (path := folder / name).is_file()), None)


def _is_meant(stem: str, dataset: str | None, method: str) -> bool:
    """Whether a dataset is the one that its stem alone names, with a method or a family of experiments."""
    kind: str = find_class("method", experiment_method(method)).kind  # type: ignore[attr-defined]
    try:
        return find_name(stem, kind=kind) == dataset
    except DataError:  # several
        return False


def experiment_method(name: str) -> str:
    """The method of a family of shipped experiments: ``name`` itself, or what its files say (``pot-grace``: grace).

    Raises:
        ConfigError: neither a method nor a family of experiments (the nearest name is given).
    """
    if name in names("method") or ":" in name:
        return name
    root = resource_folder("experiments")
    families = {folder.name: folder for folder in root.iterdir() if folder.is_dir() and any(folder.glob("*.yaml"))}
    spoken = {key.replace("-", "_"): folder for key, folder in families.items()}
    folder = spoken.get(name.lower().replace("-", "_"))
    files = [] if folder is None else sorted(folder.glob("*.yaml"))
    method = read_yaml(files[0]).get("method") if files else None
    if method is None:
        raise ConfigError(unknown("method or experiment", name, {*names("method"), *families}))
    return str(method)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file as plain dictionaries.

    Raises:
        ConfigError: the file is missing, is not YAML, or is no mapping.
    """
    source = Path(path)
    if not source.is_file():
        raise ConfigError(f"configuration file {source} does not exist")
    try:
        record = OmegaConf.to_container(OmegaConf.load(source), resolve=True)
    except Exception as error:  # OmegaConf passes many parser errors through
        raise ConfigError(f"{source} is not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{source} must hold a mapping of keys to values")
    return {str(key): value for key, value in record.items()}


def write_yaml(path: str | Path, record: Mapping[str, Any]) -> None:
    """Writes a configuration as YAML, atomically."""
    with atomic_write(path) as temporary:
        OmegaConf.save(OmegaConf.create(dict(record)), temporary)


def parse_overrides(assignments: Iterable[str]) -> dict[str, Any]:
    """``["loss.temperature=0.4", "encoder=mlp"]`` as a nested dictionary.

    Raises:
        ConfigError: an assignment without ``=``, with an empty key, or with an unreadable value.
    """
    record: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        path = key.split(".")
        if not equals or not all(path):
            raise ConfigError(f"{assignment!r} is not a setting; write key=value, for example loss.temperature=0.4")
        try:
            value = OmegaConf.to_object(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[call-overload, index]
        except Exception as error:
            raise ConfigError(f"the value of {assignment!r} is not readable: {' '.join(str(error).split())}") from error
        node = record
        for step in path[:-1]:
            below = node.get(step)
            if isinstance(below, str):  # encoder=mlp encoder.num_layers=3
                below = {NAME: below}
            node[step] = below if isinstance(below, dict) else {}
            node = node[step]
        if isinstance(node.get(path[-1]), dict) and isinstance(value, str):
            value = {**node[path[-1]], NAME: value}
        node[path[-1]] = value
    return record


def settle(
    method: Any, dataset: str | None, *, overrides: Mapping[str, Any], preset: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The whole configuration of a run: defaults of the classes, under a preset, under what the user said.

    Args:
        method: a method's name, dotted name, class or object.
        dataset: the canonical dataset name, to find shipped settings; ``None`` where there is none.
        overrides: arguments of the method, beside ``trainer``, ``evaluate``, ``seeds``, ``floors``, ``interactions``,
            ``metapath`` and ``transform``.
        preset: settings that take the place of the shipped ones.

    Returns:
        ``{"method": {"name", ...every argument}, "dataset", "seeds", "trainer", "evaluate", "floors", "interactions",
        "metapath", "transform", "paper"}``.

    Raises:
        ConfigError: an unknown key (the nearest is given) or a value of the wrong type.
    """
    is_object = not isinstance(method, str | type)
    cls = type(method) if is_object else find_class("method", method) if isinstance(method, str) else method
    name = describe(cls)[NAME]
    if preset is None:
        # the graph of a meta-path is another one than an experiment's
        of = dataset if overrides.get("metapath") is None else None
        shipped = experiment_file(name, of) if name in names("method") else None
        preset = {} if shipped is None else read_yaml(shipped)
    preset = _flat(preset, name, dataset)
    allowed = {*inspect.signature(cls).parameters, *SETTINGS}
    for key in overrides:
        if key not in allowed:
            inner = _owner_of(key, cls, {**preset, **overrides})
            if inner is not None:
                raise ConfigError(f"unknown key {key!r}; did you mean '{inner}'?")
            raise ConfigError(unknown("key", key, allowed))
    for key in preset:
        if key not in allowed and key not in RECORDED:
            raise ConfigError(f"configuration: {unknown('key', key, {*allowed, *RECORDED})}")
    given = {key: value for key, value in overrides.items() if key not in RESERVED}
    if is_object and given:
        raise ConfigError(f"the method is an object; its arguments {sorted(given)} cannot be changed")
    base = {key: value for key, value in preset.items() if key not in RESERVED}
    return {
        "method": method if is_object else normalise("method", {NAME: name, **given}, {NAME: name, **base}),
        "dataset": dataset,
        "seeds": _seeds(overrides.get("seeds", preset.get("seeds", 1))),
        "trainer": normalise("trainer", overrides.get("trainer"), preset.get("trainer")),
        "evaluate": _evaluators(overrides.get("evaluate"), preset.get("evaluate"), getattr(cls, "kind", "node")),
        "floors": _flag("floors", overrides.get("floors", preset.get("floors", True))),
        "interactions": _interactions(overrides.get("interactions"), preset.get("interactions")),
        "metapath": _metapath(overrides.get("metapath", preset.get("metapath"))),
        "transform": _transform(overrides.get("transform", preset.get("transform"))),
        "paper": preset.get("paper"),
    }


def _owner_of(key: str, method: type, given: Mapping[str, Any]) -> str | None:
    """Where a key that stands at the top belongs: to a part that is set before one that is not."""
    trainer = find_class("trainer", "trainer")
    of_trainer = given.get("trainer")
    of_trainer = of_trainer if isinstance(of_trainer, Mapping) else {}
    if inner := dotted_key(method, key, given):
        return inner
    if key in inspect.signature(trainer).parameters:
        return f"trainer.{key}"
    for absent in (False, True):
        if inner := dotted_key(trainer, key, of_trainer, absent=absent):
            return f"trainer.{inner}"
    return dotted_key(method, key, given, absent=True)


def _flat(preset: Mapping[str, Any], method: str, dataset: str | None) -> dict[str, Any]:
    """Settings with the method's arguments at the top, as shipped files have them; a run's config.yaml nests them."""
    flat = dict(preset)
    named = flat.pop("method", None)
    if isinstance(named, Mapping):
        flat |= {key: value for key, value in named.items() if key != NAME}
        named = named.get(NAME)
    if named not in (None, method):
        raise ConfigError(f"the configuration is for method {named!r}, not {method!r}; give the right file or method")
    meant = flat.pop("dataset", None)
    if meant is not None and dataset is not None and meant != dataset and Path(meant).name != dataset:
        raise ConfigError(f"the configuration is for dataset {meant!r}, not {dataset!r}; leave the key out of the file")
    if flat.pop("transform_given", None) is False:
        flat.pop("transform", None)  # it came with the data of that run, and these have their own
    return flat


def by_dotted_name(value: Any, path: str = "") -> dict[str, str]:
    """A nested configuration as ``trainer.epochs: "200"`` and so on, values as JSON."""
    if isinstance(value, Mapping) and value:
        inner = [by_dotted_name(each, f"{path}.{key}" if path else str(key)) for key, each in value.items()]
        return {name: text for part in inner for name, text in part.items()}
    return {path: json.dumps(value)}


def _interactions(given: Any, preset: Any) -> dict[str, Any] | None:
    """How interactions are read, filtered and split: the user's settings over the preset's; ``None`` = as stored."""
    layers = [layer for layer in (preset, given) if layer is not None]
    for layer in layers:
        if not isinstance(layer, Mapping):
            raise ConfigError(f"interactions must be a mapping of settings, got {layer!r}")
    merged = {key: value for layer in layers for key, value in layer.items()}
    return InteractionOptions.of(merged).describe() if merged else None


def _metapath(value: Any) -> dict[str, Any] | None:
    """The meta-path that makes a graph of one node type of the data; ``None`` = the data as they are."""
    return None if value is None else MetaPathOptions.of(value).describe()


def _transform(value: Any) -> list[str] | None:
    """Names of transforms of the features; ``None`` = those of the dataset's card."""
    if value is None:
        return None
    if not isinstance(value, str | list | tuple):
        raise ConfigError(f"transform must be a name or a list of names, got {value!r}")
    return list(transform_names(value))


def _evaluators(given: Any, preset: Any, kind: str) -> dict[str, Any]:
    """Named evaluators. A key that is an evaluator's name needs no ``name``; ``null`` takes an entry out."""
    given = {} if given is None else given
    if given is False or given == "none":
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"evaluate must be a mapping of names to evaluators, or false for none, got {given!r}")

    def named(key: str, spec: Any) -> Any:
        return {NAME: key, **spec} if isinstance(spec, Mapping) and key in names("evaluator") else spec

    preset = {} if preset is False or preset == "none" else preset
    base = dict(EVALUATE.get(kind, {}) if preset is None else preset)
    settled: dict[str, Any] = {}
    for key in (*base, *(key for key in given if key not in base)):
        if given.get(key, {}) is None or base.get(key, {}) is None:
            continue
        below = named(key, base[key]) if key in base else None
        if isinstance(below, Mapping) and isinstance(given.get(key), Mapping):
            below = _without_other_heads(below, given[key])
        spec = given.get(key) if key in base else named(key, given[key])
        try:
            settled[key] = normalise("evaluator", spec or None, below)
        except ConfigError as error:
            raise ConfigError(f"evaluate.{key}: {error}") from None
    return settled


def _without_other_heads(below: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A preset of an evaluator without the options of its protocol's heads, where another protocol is given."""
    changed = "protocol" in given and given["protocol"] != below.get("protocol", given["protocol"])
    return {key: value for key, value in below.items() if not (changed and key in HEAD_OPTIONS)}


def _seeds(value: Any) -> list[int]:
    """``5`` means seeds 0 to 4; a list is taken as it is."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return list(range(value))
    is_list = isinstance(value, list | tuple) and len(value) > 0
    if is_list and all(type(seed) is int and 0 <= seed < 2**63 for seed in value) and len(set(value)) == len(value):
        return list(value)
    raise ConfigError(f"seeds must be a number of runs from 1 or a list of different whole numbers, got {value!r}")


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{key} must be true or false, got {value!r}")
    return value
