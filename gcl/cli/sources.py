"""Embeddings and labels from files and run folders, for the commands that score them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcl.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Source:
    """Embeddings ``[N, d]`` with the ids of their rows, and the dataset that a run was trained on.

    ``kind``, ``data_root``, ``metapath`` and ``transform`` say how that dataset is found. ``assignment`` is the run's
    own, where it made one.
    """

    values: Tensor
    ids: list[str] | None
    dataset: str | None = None
    kind: str | None = None
    data_root: str | None = None
    assignment: Tensor | None = None
    metapath: Mapping[str, Any] | None = None
    transform: list[str] | None = None


def read_source(path: Path) -> Source:
    """A run folder or an embedding file. Of a run with several seeds the first is read, and a warning says so."""
    if not path.exists():
        raise DataError(f"{path} does not exist; give an embedding file or a run folder")
    if path.is_dir():
        from gcl.run.open_run import open_run
        from gcl.run.run_directory import kind_of

        run = open_run(path)
        place = run.directory.path
        count = sum(folder.name[5:].isdigit() for folder in path.glob("seed-*")) if place != path else 1
        if count > 1:
            warnings.warn(f"{path} has {count} seeds; this is {place.name}", stacklevel=2)
        settings = run.settings
        outputs = run.outputs
        kind, root = kind_of(settings), settings["data_root"]
        path_of, transform = settings.get("metapath"), settings.get("transform")
        return Source(outputs.main, run.ids, settings["dataset"], kind, root, outputs.assignment, path_of, transform)
    from gcl.evaluate.embedding_files import read_embeddings

    table = read_embeddings(path)
    return Source(table.values, table.ids)


def labels_of(
    source: Source, labels: Path | None, dataset: str | None, data_root: Path | None
) -> tuple[Tensor | None, Tensor | None]:
    """Labels ``[N]`` and stored splits ``[N, S]``: from a file, else the named dataset, else the run's own.

    They are put in the order of the embeddings by their ids.
    """
    from gcl.evaluate.embedding_files import read_labels

    if labels is not None:
        y = read_labels(labels, ids=source.ids)
        if y.numel() != source.values.shape[0]:
            raise DataError(
                f"{labels} has {y.numel()} labels for {source.values.shape[0]} embeddings; give one label a row"
            )
        return y, None
    name = dataset or source.dataset
    if name is None:
        return None, None
    from gcl.data.load import load_dataset

    data = load_dataset(name, kind=source.kind, data_root=data_root or source.data_root)
    if data.graph.num_nodes != source.values.shape[0]:
        raise DataError(f"{data.name} has {data.graph.num_nodes} nodes, the embeddings {source.values.shape[0]} rows")
    if source.ids is None or data.y is None:
        return data.y, data.splits
    order = order_of(source.ids, data.node_ids, data.name)
    return data.y[order], None if data.splits is None else data.splits[order]


def order_of(ids: list[str], node_ids: list[str] | None, name: str) -> list[int]:
    """The node of each row of the embeddings; nodes without ids are called by their positions.

    Raises:
        DataError: ids that are not the dataset's, or one that is there twice.
    """
    place = {node: at for at, node in enumerate(node_ids or map(str, range(len(ids))))}
    absent = [row for row in ids if row not in place]
    if absent:
        whose = "other ids" if node_ids else "no ids but the positions from 0"
        raise DataError(
            f"{name} has {whose}: {len(absent)} of the {len(ids)} ids of the embeddings are not there, first "
            f"{absent[0]!r}; give the dataset that they were made from, or --labels FILE with an id column"
        )
    if len(place) != len(ids) or len(set(ids)) != len(ids):
        raise DataError(f"{name} or the embeddings have an id more than once; ids must differ")
    return [place[row] for row in ids]


def need(value: Any, sentence: str) -> Any:
    """The value, or a :class:`ConfigError`."""
    if value is None:
        raise ConfigError(sentence)
    return value
