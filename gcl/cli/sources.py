"""Embeddings and labels from files and run folders, for the commands that score them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gcl.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from gcl.core.adjacency import Adjacency


@dataclass(frozen=True, eq=False)
class Source:
    """Embeddings ``[N, d]`` with the ids of their rows, and the dataset that a run was trained on.

    ``kind`` and ``data_root`` say where that dataset is found. ``assignment`` is the run's own, where it made one.
    """

    values: Tensor
    ids: list[str] | None
    dataset: str | None = None
    kind: str | None = None
    data_root: str | None = None
    assignment: Tensor | None = None


def read_source(path: Path) -> Source:
    """A run folder or an embedding file. Of a run with several seeds the first is read, and standard error says so."""
    if not path.exists():
        raise DataError(f"{path} does not exist; give an embedding file or a run folder")
    if path.is_dir():
        from gcl.run.run_directory import kind_of, open_run

        run = open_run(path)
        place = run.directory.path
        count = sum(folder.name[5:].isdigit() for folder in path.glob("seed-*")) if place != path else 1
        if count > 1:
            typer.echo(f"{path} has {count} seeds; this is {place.name}", err=True)
        settings = run.settings
        outputs = run.outputs
        kind, root = kind_of(settings), settings["data_root"]
        return Source(outputs.main, run.ids, settings["dataset"], kind, root, outputs.assignment)
    from gcl.evaluate.embedding_files import read_embeddings

    table = read_embeddings(path)
    return Source(table.values, table.ids)


def read_rows(source: str, data_root: Path | None, *, kind: str | None = None) -> Source:
    """As :func:`read_source`, and the features of a dataset, by its name, or the folder or archive of a graph.

    Args:
        source: the file, folder or name.
        data_root: where named datasets lie.
        kind: the collection that a bare name is looked up in first.

    Raises:
        DataError: neither a file, a run nor a dataset, or a dataset without features.
    """
    path = Path(source)
    if (path.is_file() and not _is_graph_archive(path)) or (path.is_dir() and not any(path.glob("edges.*"))):
        return read_source(path)
    from gcl.data.load import load_dataset
    from gcl.data.names import find_name

    if not path.exists() and find_name(source, kind=kind) is None:
        raise DataError(f"{source} does not exist; give an embedding file, a run folder or a dataset")
    data = load_dataset(source, kind=kind, data_root=data_root)
    if data.graph.target not in data.graph.features:
        raise DataError(f"{data.name} has no features; give embeddings of its nodes")
    from gcl.core.view import View

    name = data.name if data.card is not None else source
    return Source(View.of(data.graph).x, data.node_ids, name, None, None if data_root is None else str(data_root))


def _is_graph_archive(path: Path) -> bool:
    if path.suffix != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "edge_index.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False  # the reader of embeddings says what is wrong


def graph_of(source: Source, dataset: str | None, data_root: Path | None) -> Adjacency | None:
    """The graph over the rows: of the named dataset, else of the run's own; ``None`` where there is none."""
    name = dataset or source.dataset
    if name is None:
        return None
    from gcl.data.load import load_dataset

    data = load_dataset(name, kind=source.kind, data_root=data_root or source.data_root)
    if len(data.graph.relations) != 1 or data.graph.adjacency.shape[0] != data.graph.adjacency.shape[1]:
        return None
    if data.graph.num_nodes != source.values.shape[0]:
        raise DataError(f"{data.name} has {data.graph.num_nodes} nodes, the embeddings {source.values.shape[0]} rows")
    adjacency = data.graph.adjacency
    if source.ids is None:
        return adjacency
    import torch

    order = order_of(source.ids, data.node_ids, data.name)
    return adjacency if order == list(range(len(order))) else adjacency.subgraph(torch.tensor(order))


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
