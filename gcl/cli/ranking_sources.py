"""Embeddings of users and items, and the interactions that they are scored on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcl.cli.sources import need, order_of
from gcl.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from gcl.core.context import Outputs
    from gcl.core.graph import Graph
    from gcl.data.dataset import Dataset
    from gcl.evaluate.embedding_files import EmbeddingTable

RANKING: dict[str, Any] = {"name": "ranking", "validation": 0.0}  # nothing is selected here


@dataclass(frozen=True, eq=False)
class RankingSource:
    """Embeddings in the order of the graph's users and items, and what to score them with.

    ``evaluator`` is the specification of their run, so that the figures are those of its report.
    """

    outputs: Outputs
    graph: Graph
    evaluator: dict[str, Any]


def read_ranking(users: Path, items: Path | None, dataset: str | None, data_root: Path | None) -> RankingSource:
    """Two files of embeddings, or a run folder, with the interactions of a dataset (by default the run's own).

    Raises:
        ConfigError: one file without the other, or files without a dataset.
        DataError: a file or dataset that cannot be read, or that does not fit the other.
    """
    for path in (users, items):
        if path is not None and not path.exists():
            raise DataError(f"{path} does not exist; give a file of embeddings or a run folder")
    if users.is_dir():
        if items is not None:
            raise ConfigError(f"{users} is a run folder, which holds users and items; leave {items} out")
        return _of_run(users, dataset, data_root)
    items = need(items, f"{users} holds the users; give ITEMS, the file of the items, too (or a run folder alone)")
    name = need(dataset, "ranking needs interactions; give --dataset NAME or a path")
    from gcl.core.context import Outputs
    from gcl.data.interactions import ITEM, USER
    from gcl.evaluate.embedding_files import read_embeddings

    data = _load(name, data_root)
    tables = {USER: read_embeddings(users), ITEM: read_embeddings(items)}
    ids = {USER: data.node_ids, ITEM: data.other_ids.get(ITEM)}
    embeddings = {kind: _in_order(table, ids[kind], data, kind) for kind, table in tables.items()}
    return RankingSource(Outputs(embeddings), data.graph, dict(RANKING))


def _of_run(folder: Path, dataset: str | None, data_root: Path | None) -> RankingSource:
    from gcl.core.context import Outputs
    from gcl.data.interactions import ITEM, USER
    from gcl.run.open_run import open_run

    run = open_run(folder)
    place = run.directory.path
    count = sum(part.name[5:].isdigit() for part in folder.glob("seed-*")) if place != folder else 1
    if count > 1:
        warnings.warn(f"{folder} has {count} seeds; this is {place.name}", stacklevel=2)
    settings = run.settings
    name = need(dataset or settings["dataset"], f"{folder} was trained on a graph in memory; give --dataset NAME")
    outputs = run.outputs
    missing = [kind for kind in (USER, ITEM) if kind not in outputs.embeddings]
    if missing:
        held = ", ".join(map(repr, outputs.embeddings))
        raise DataError(f"{folder} has no embeddings {missing[0]!r}, only {held}; give the run of a recommender")
    own = settings.get("interactions") if dataset is None else None
    data = _load(name, data_root or settings["data_root"], own)
    for kind in (USER, ITEM):
        _check_count(outputs.embeddings[kind], data, kind)
    evaluator = next((spec for spec in settings["evaluate"].values() if spec["name"] == "ranking"), RANKING)
    embeddings = {kind: outputs.embeddings[kind] for kind in (USER, ITEM)}
    return RankingSource(Outputs(embeddings), data.graph, dict(evaluator))


def _load(name: str, data_root: Path | str | None, interactions: Any = None) -> Dataset:
    from gcl.data.load import load_dataset
    from gcl.evaluate.held_interactions import interactions_of

    data = load_dataset(name, kind="rec", data_root=data_root, interactions=interactions)
    interactions_of(data.graph)  # refuses a graph of another kind
    return data


def _in_order(table: EmbeddingTable, node_ids: list[str] | None, data: Dataset, kind: str) -> Tensor:
    """The rows in the order of the dataset: by ids where the file has them, else as they are."""
    _check_count(table.values, data, kind)
    if table.ids is None:
        return table.values
    ordered = table.values.new_empty(table.values.shape)
    ordered[order_of(table.ids, node_ids, f"{data.name} ({kind}s)")] = table.values
    return ordered


def _check_count(values: Tensor, data: Dataset, kind: str) -> None:
    count = data.graph.num_nodes_by_type[kind]
    if values.shape[0] != count:
        raise DataError(f"{data.name} has {count} {kind}s, the embeddings {values.shape[0]} rows; give a row for each")
