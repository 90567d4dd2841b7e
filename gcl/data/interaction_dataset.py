"""Datasets of interactions."""

from __future__ import annotations

import dataclasses
from typing import Any

from gcl.core.errors import ConfigError
from gcl.data.dataset import Dataset
from gcl.data.interaction_options import InteractionOptions
from gcl.data.interaction_table import InteractionTable
from gcl.data.interactions import INTERACTION, ITEM
from gcl.data.prepare_interactions import prepare_interactions, table_of_graph


def dataset_of_table(name: str, table: InteractionTable, options: InteractionOptions, **info: Any) -> Dataset:
    """The dataset of a table, with ids and with the settings in its facts."""
    graph, table = prepare_interactions(table, options)
    others = {} if table.item_ids is None else {ITEM: table.item_ids}
    return Dataset(
        name, graph, node_ids=table.user_ids, info={**info, "interactions": options.describe()}, other_ids=others
    )


def with_options(dataset: Dataset, options: InteractionOptions) -> Dataset:
    """A dataset of interactions, filtered and split anew.

    Raises:
        ConfigError: the dataset has no interactions.
        DataError: as :func:`gcl.data.prepare_interactions.prepare_interactions`.
    """
    if INTERACTION not in dataset.graph.relations:
        raise ConfigError(f"dataset {dataset.name} has no interactions of users and items; leave out interactions=")
    table = table_of_graph(
        dataset.graph,
        f"dataset {dataset.name}",
        user_ids=dataset.node_ids,
        item_ids=dataset.other_ids.get(ITEM),
        info=dataset.info,
    )
    made = dataset_of_table(dataset.name, table, options)
    info = {**dataset.info, **made.info}
    return dataclasses.replace(dataset, graph=made.graph, node_ids=made.node_ids, other_ids=made.other_ids, info=info)
