"""Graphs of user-item interactions, and the layout of the archives of ``rec/``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.data.archive import csr_from_archive, facts_from_archive

USER = "user"
ITEM = "item"
INTERACTION = "interaction"
HELD_PARTS = ("valid", "test")


def interactions_from_archive(
    arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]
) -> tuple[Graph, dict[str, Any]]:
    """The training graph of an archive of interactions, with the held-out pairs, and facts about it.

    The graph has node types ``user`` (the target) and ``item``, no features, and one relation ``interaction`` of type
    ``("item", "user")``: row u holds the training items of user u, and its ``.t()`` the users of each item. Users and
    items without a training interaction are nodes like the others.

    Args:
        arrays: ``num_users``, ``num_items``, and ``<part>_indptr`` and ``<part>_indices`` (the items of each user) of
            ``train`` and, where the set has them, ``valid`` and ``test``.
        path: the file, for messages.

    Returns:
        The graph, held-out pairs in ``held``, and facts, ``raw_*`` arrays among them.

    Raises:
        DataError: a missing key, an id out of range, no training interactions, or parts that share a pair.
    """
    shape = (_count(arrays, "num_users", path), _count(arrays, "num_items", path))
    parts = {
        part: _pairs(arrays, part, shape, path)
        for part in ("train", *HELD_PARTS)
        if part == "train" or f"{part}_indptr" in arrays or f"{part}_indices" in arrays
    }
    graph = interaction_graph(parts, shape, path)
    info = facts_from_archive(arrays)
    info.update({key: arrays[key] for key in sorted(arrays) if key.startswith("raw_")})
    return graph, info


def interaction_graph(
    parts: Mapping[str, Tensor],
    shape: tuple[int, int],
    where: str | os.PathLike[str],
    *,
    user_ids: Sequence[str] | None = None,
    item_ids: Sequence[str] | None = None,
) -> Graph:
    """The graph of the training pairs, with the other parts in ``held``.

    Args:
        parts: int64 ``[2, n]``, user above item, each pair once: ``train``, and ``valid`` and ``test`` where there are.
        shape: number of users and of items.
        where: what the pairs come from, for messages.
        user_ids: the user's own ids of users, for messages; ``None`` = positions.
        item_ids: those of items.

    Raises:
        DataError: no training interactions, or parts that share a pair.
    """
    user, item = parts["train"]
    if not user.numel():
        raise DataError(f"{where} has no training interactions; a recommender needs at least one")
    _refuse_shared(parts, shape[1], where, user_ids, item_ids)
    return Graph(
        relations={INTERACTION: Adjacency.from_edge_index(torch.stack([item, user]), shape)},
        relation_types={INTERACTION: (ITEM, USER)},
        num_nodes_by_type={USER: shape[0], ITEM: shape[1]},
        target=USER,
        held={part: pairs for part, pairs in parts.items() if part != "train"},
    )


def _count(arrays: Mapping[str, np.ndarray], key: str, path: str | os.PathLike[str]) -> int:
    if key not in arrays or arrays[key].size != 1 or arrays[key].dtype.kind not in "iu" or int(arrays[key]) < 1:
        raise DataError(f"{path} must have a key {key} with a whole number from 1")
    return int(arrays[key])


def _pairs(arrays: Mapping[str, np.ndarray], part: str, shape: tuple[int, int], path: str | os.PathLike[str]) -> Tensor:
    """The pairs of a part, each once, sorted. Shape ``[2, n]``, int64, user above item."""
    matrix = csr_from_archive(arrays, part, path, what=f"{part} interactions", shape=shape)
    matrix.sum_duplicates()
    matrix = matrix.tocoo()
    return torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))


def _refuse_shared(
    parts: Mapping[str, Tensor],
    num_items: int,
    path: str | os.PathLike[str],
    user_ids: Sequence[str] | None,
    item_ids: Sequence[str] | None,
) -> None:
    keys = {part: (pairs[0] * num_items + pairs[1]).numpy() for part, pairs in parts.items()}
    names = list(keys)
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            shared = np.intersect1d(keys[first], keys[second], assume_unique=True)
            if shared.size:
                user, item = divmod(int(shared[0]), num_items)
                raise DataError(
                    f"{path} has {shared.size} pairs in both {first} and {second}, the first user "
                    f"{user_ids[user] if user_ids else user}, item {item_ids[item] if item_ids else item}; "
                    "drop them from one of the two"
                )
