"""Embeddings and labels from files and run folders, for the commands that score them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcl.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Source:
    """Embeddings ``[N, d]`` with the ids of their rows, and the dataset that a run was trained on."""

    values: Tensor
    ids: list[str] | None
    dataset: str | None
    kind: str | None = None


def read_source(path: Path, data_root: Path | None) -> Source:
    """A run folder or an embedding file."""
    if not path.exists():
        raise DataError(f"{path} does not exist; give an embedding file or a run folder")
    if path.is_dir():
        from gcl.run.run_directory import kind_of, open_run

        run = open_run(path)
        return Source(run.outputs.main, run.ids, run.settings["dataset"], kind_of(run.settings))
    from gcl.evaluate.embedding_files import read_embeddings

    table = read_embeddings(path)
    return Source(table.values, table.ids, None)


def labels_of(
    source: Source, labels: Path | None, dataset: str | None, data_root: Path | None
) -> tuple[Tensor | None, Tensor | None]:
    """Labels ``[N]`` and stored splits ``[N, S]``: from a file, else the named dataset, else the run's own."""
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

    data = load_dataset(name, kind=source.kind, data_root=data_root)
    if data.graph.num_nodes != source.values.shape[0]:
        raise DataError(f"{data.name} has {data.graph.num_nodes} nodes, the embeddings {source.values.shape[0]} rows")
    return data.y, data.splits


def need(value: Any, sentence: str) -> Any:
    """The value, or a :class:`ConfigError`."""
    if value is None:
        raise ConfigError(sentence)
    return value
