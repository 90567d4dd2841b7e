"""From a table of interactions to a graph with held-out parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.data.carve_validation import carve_validation
from gcl.data.interaction_filters import k_core, keep_rated, merge_duplicates
from gcl.data.interaction_options import InteractionOptions, core_numbers
from gcl.data.interaction_splits import leave_one_out, ratio_split, time_split
from gcl.data.interaction_table import InteractionTable
from gcl.data.interactions import HELD_PARTS, interaction_graph
from gcl.data.splits import PARTS


def prepare_interactions(
    table: InteractionTable, options: InteractionOptions | None = None
) -> tuple[Graph, InteractionTable]:
    """Filters, splits and makes a graph, in the order of :class:`InteractionOptions`.

    Ratings decide first, then repeats are merged (the earliest stays), then the k-core is taken, of all parts together.
    After a filter (``min_rating`` or ``k_core``) users and items without any interaction are no nodes; without one all
    are, also those that nobody took. Those that are in a held-out part only are nodes without a training interaction.

    Returns:
        The graph, and the table that it was made of: filtered, each pair once, with ``part`` and ids.

    Raises:
        DataError: nothing left, a column that is needed and missing, or a pair in two parts.
    """
    options = options or InteractionOptions()
    split = options.split
    if split == "auto":
        split = "ratio" if table.part is None else "stored"
    if split == "stored" and table.part is None:
        raise DataError(f"{table.where} has no parts of its own; use split ratio, leave-one-out or time")
    if split != "stored":
        table = dataclasses.replace(table, part=None, parts=())
    if options.min_rating is not None:
        table = keep_rated(table, options.min_rating)
    table = merge_duplicates(table)
    core = core_numbers(options.k_core)
    if any(core):
        table = k_core(table, core)
    if options.min_rating is not None or any(core):
        table = table.without_empty()
    if split != "stored":
        table = _split(table, split, options)
    graph = graph_of_table(table)
    if options.validation is not None and "valid" not in graph.held:
        graph = carve_validation(graph, options.validation, options.seed)
    return graph, table


def graph_of_table(table: InteractionTable) -> Graph:
    """The graph of a table whose pairs are each in a part once.

    Raises:
        DataError: no training interactions, or a pair in two parts.
    """
    pairs = torch.from_numpy(np.stack([table.user, table.item]).astype(np.int64))
    parts = {"train": pairs}
    if table.part is not None:
        part = torch.from_numpy(table.part)
        names = ("train", *(name for name in HELD_PARTS if name in table.parts))
        parts = {name: pairs[:, part == PARTS.index(name)] for name in names}
    return interaction_graph(parts, table.shape, table.where, user_ids=table.user_ids, item_ids=table.item_ids)


def table_of_graph(
    graph: Graph,
    where: str,
    *,
    user_ids: list[str] | None = None,
    item_ids: list[str] | None = None,
    info: Mapping[str, Any] | None = None,
) -> InteractionTable:
    """All interactions of a graph with the parts that they are in.

    Ratings and times come from ``info`` where it has the arrays ``raw_user``, ``raw_item``, ``raw_rating`` and
    ``raw_timestamp`` of an archive and these hold every pair.
    """
    item, user = graph.adjacency.edge_index().cpu()
    blocks = {"train": torch.stack([user, item]), **{part: pairs.cpu() for part, pairs in graph.held.items()}}
    pairs = torch.cat(list(blocks.values()), dim=1).numpy()
    table = InteractionTable(
        user=pairs[0],
        item=pairs[1],
        shape=graph.adjacency.shape,
        part=np.repeat([np.uint8(PARTS.index(name)) for name in blocks], [block.shape[1] for block in blocks.values()]),
        parts=tuple(part for part in HELD_PARTS if part in graph.held),
        user_ids=user_ids,
        item_ids=item_ids,
        where=where,
    )
    raw = {name: np.asarray((info or {}).get(f"raw_{name}", [])) for name in ("user", "item", "rating", "timestamp")}
    if not raw["user"].size or len({values.size for values in raw.values()}) > 1:
        return table
    key = raw["user"].astype(np.int64) * table.shape[1] + raw["item"]
    order = np.argsort(key, kind="stable")
    at = order[np.minimum(np.searchsorted(key[order], table.key), key.size - 1)]
    if not np.array_equal(key[at], table.key):
        return table
    return dataclasses.replace(
        table, rating=raw["rating"][at].astype(np.float64), time=raw["timestamp"][at].astype(np.int64)
    )


def _split(table: InteractionTable, split: str, options: InteractionOptions) -> InteractionTable:
    if split == "ratio":
        part = ratio_split(table.user, options.fractions, seed=options.seed)
    elif split == "leave-one-out":
        part = leave_one_out(table.user, table.time, seed=options.seed)
    elif table.time is None:
        raise DataError(f"{table.where} has no times, so it cannot be split by time; use split ratio or leave-one-out")
    else:
        part = time_split(table.time, options.fractions)
    shares = (1, 1, 1) if split == "leave-one-out" else options.fractions
    parts = tuple(name for name in HELD_PARTS if shares[PARTS.index(name)] > 0)
    return dataclasses.replace(table, part=part, parts=parts)
