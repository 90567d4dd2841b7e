"""What a run leaves on disk, and how it is opened again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gcl.core.classes import find_class
from gcl.core.context import Outputs, Prepared
from gcl.core.errors import BusyError, CheckpointError, OutputError
from gcl.core.files import atomic_write, claimed
from gcl.core.files import sha256_of as sha256_of
from gcl.core.graph_spec import GraphSpec
from gcl.core.resolve import describe, resolve
from gcl.core.streams import Streams
from gcl.methods.method import Method
from gcl.run.settings import read_yaml

CONFIG, SPEC, PREPARED = "config.yaml", "graph_spec.json", "prepared.safetensors"
MODEL, EMBEDDINGS, METRICS = "model.safetensors", "embeddings.safetensors", "metrics.jsonl"
INTERACTIONS = "interactions.safetensors"  # of a recommender: the pairs of every part, as [2, n]
RESULT, REPORT, ENVIRONMENT = "result.json", "report.json", "environment.json"
UNTRAINED = "untrained.json"  # scores before training, so that a resumption need not take them again
FLOORS = "floors.json"  # so that they are scored once for all seeds, also where these come later
LOCK = ".lock"  # held by the process that trains there
FORMAT = 1
META, ASSIGNMENT, EXTRA = "gcl", "assignment!", "extra!"  # names in the file of embeddings that no embedding has


@dataclass(frozen=True)
class RunDirectory:
    """The files of one trained run (one seed)."""

    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def is_finished(self) -> bool:
        """Whether training and evaluation ended."""
        return (self / RESULT).is_file()

    @property
    def is_started(self) -> bool:
        """Whether it was prepared, so that it can be resumed."""
        return (self / PREPARED).is_file() and (self / SPEC).is_file()

    def write_spec(self, spec: GraphSpec) -> None:
        """Saves what modules are built from."""
        with atomic_write(self / SPEC) as temporary:
            temporary.write_text(json.dumps(spec.to_json(), indent=2) + "\n", encoding="utf-8")

    def read_spec(self) -> GraphSpec:
        """What modules are built from."""
        record = read_json(self / SPEC, keys=("num_nodes", "in_channels", "relations", "target"))
        return GraphSpec.from_json(record)

    def read_result(self) -> dict[str, Any]:
        """Scores, times and sizes of the run."""
        return read_json(self / RESULT, keys=("seed", "scores", "fingerprints", "fit", "timing"))


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Makes the folder of a run where there is none, and keeps other processes from writing in it.

    Raises:
        BusyError: one is at it.
        OutputError: it is no folder, has files but no run, or cannot be written to.
    """
    if folder.exists():  # what is not ours gets no lock file
        names = _names(folder) if folder.is_dir() else {folder.name}
        if names and not names & {LOCK, CONFIG}:
            raise OutputError(f"{folder} is not an empty folder; choose another --out")
    with claimed(folder / LOCK) as is_ours:
        if not is_ours:
            raise BusyError(f"another process trains in {folder}; wait for it, or stop it first")
        yield


def require_new(folder: Path) -> None:
    """Refuses a folder, claimed before, that holds more than the lock.

    Raises:
        OutputError: with the way out.
    """
    names = _names(folder) - {LOCK}
    if CONFIG in names:
        raise OutputError(
            f"{folder} holds a run; choose another --out, remove it, or go on by `gcl train --resume {folder}`"
        )
    if names:
        raise OutputError(f"{folder} is not an empty folder; choose another --out")


def _names(folder: Path) -> set[str]:
    return {child.name for child in folder.iterdir()}


def build_method(spec: Any, graph_spec: GraphSpec, prepared: Prepared, streams: Streams) -> Method:
    """A method with its modules; initial weights come from the ``init`` stream."""
    method: Method = resolve("method", spec)
    with streams.scope("init"):
        return method.build(graph_spec, prepared)


def writable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain values, as ``config.yaml`` holds it."""
    return {"format": FORMAT, **describe(dict(settings))}


def read_config(path: Path) -> dict[str, Any]:
    """The configuration that a run was started with.

    Raises:
        CheckpointError: it is incomplete or of another format.
    """
    settings = read_yaml(path)
    if settings.pop("format", None) != FORMAT:
        raise CheckpointError(f"{path} is of another format or damaged; open it with the version that wrote it")
    keys = ("method", "dataset", "seeds", "trainer", "evaluate", "floors", "transform", "data_root")
    missing = [key for key in keys if key not in settings]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; it is damaged, train again into another folder")
    return settings


def kind_of(settings: Mapping[str, Any]) -> str | None:
    """The collection in which the run's method looks up bare dataset names."""
    return getattr(find_class("method", settings["method"]["name"]), "kind", None)


def save_trained(
    place: RunDirectory,
    method: Method,
    outputs: Outputs,
    interactions: Mapping[str, Tensor],
    ids: list[str] | None,
    other_ids: Mapping[str, list[str]] = {},
) -> None:
    """Writes what training gave: weights, embeddings and, of a recommender, the pairs of every part."""
    save_tensors(place / MODEL, method.state_dict())
    save_outputs(place / EMBEDDINGS, outputs, ids, other_ids)
    if interactions:
        save_tensors(place / INTERACTIONS, interactions)


def save_outputs(path: Path, outputs: Outputs, ids: list[str] | None, other_ids: Mapping[str, list[str]] = {}) -> None:
    """Writes embeddings by name, with the ids of their rows; an assignment and extras beside them."""
    tensors = dict(outputs.embeddings)
    if outputs.assignment is not None:
        tensors[ASSIGNMENT] = outputs.assignment
    tensors |= {f"{EXTRA}{name}": value for name, value in outputs.extras.items()}
    # One entry: safetensors writes several in an order that changes from process to process.
    meta = {"order": list(outputs.embeddings), "ids": ids, "other_ids": dict(other_ids)}
    save_tensors(path, tensors, {META: json.dumps(meta)})


def read_outputs(path: Path) -> Outputs:
    """The inverse of :func:`save_outputs`.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    tensors, metadata = read_tensors(path), read_metadata(path)
    try:
        embeddings = {name: tensors[name] for name in json.loads(metadata[META])["order"]}
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is not the embeddings of a run; train again into another folder") from error
    extras = {name[len(EXTRA) :]: value for name, value in tensors.items() if name.startswith(EXTRA)}
    return Outputs(embeddings, tensors.get(ASSIGNMENT), extras)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file atomically."""
    # safetensors refuses two names for one storage
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(whole, temporary, dict(metadata) if metadata else None)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 -- not a mapping
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({error}); train again into another folder") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The text metadata of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as stream:
            return dict(stream.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({error}); train again into another folder") from error


def read_prepared(path: Path) -> Prepared:
    """What was computed once before training."""
    return Prepared(read_tensors(path))


def read_json(path: Path, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON file of a run.

    Raises:
        CheckpointError: it is missing or damaged, or lacks a key.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({error}); train again into another folder") from error
    missing = [key for key in keys if not isinstance(record, dict) or key not in record]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; it is damaged, train again into another folder")
    return record


def to_cpu(outputs: Outputs) -> Outputs:
    """The outputs on the CPU."""
    return Outputs(
        {name: value.cpu() for name, value in outputs.embeddings.items()},
        None if outputs.assignment is None else outputs.assignment.cpu(),
        {name: value.cpu() for name, value in outputs.extras.items()},
    )
