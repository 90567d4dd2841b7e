"""Datasets that need no file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gcl.core.errors import MissingDependencyError
from gcl.core.graph import Graph
from gcl.data.from_arrays import from_arrays

NUM_NEIGHBORS = 10


def digits() -> tuple[Graph, dict[str, Any]]:
    """scikit-learn's 1,797 handwritten digits: pixels / 16, joined to their 10 nearest neighbours (union).

    Distances are Euclidean; of equally near images the one with the smallest index is taken.
    """
    from sklearn.datasets import load_digits

    from gcl.ops.nearest_neighbors import nearest_neighbors

    bunch = load_digits()
    x = torch.from_numpy(bunch.data / 16).float()  # [1797, 64]; multiples of 1/16, so that distances are exact
    neighbor, _ = nearest_neighbors(x, NUM_NEIGHBORS)  # [N, 10]
    source = torch.arange(x.shape[0]).repeat_interleave(NUM_NEIGHBORS)
    edge_index = torch.stack([source, neighbor.reshape(-1).long()])
    graph = from_arrays(edge_index, x, y=bunch.target)
    return graph, {"class_names": tuple(str(digit) for digit in range(10))}


def karate() -> tuple[Graph, dict[str, Any]]:
    """Zachary's karate club of networkx: 34 members, identity features, the two clubs after the split as classes."""
    try:
        import networkx
    except ImportError:
        raise MissingDependencyError("dataset karate needs networkx; pip install networkx") from None
    club = networkx.karate_club_graph()
    clubs = ("Mr. Hi", "Officer")
    y = [clubs.index(club.nodes[node]["club"]) for node in club]
    edge_index = np.array(list(club.edges()), dtype=np.int64).T
    graph = from_arrays(edge_index, np.eye(club.number_of_nodes(), dtype=np.float32), y=y)
    return graph, {"class_names": clubs}


def blocks() -> tuple[Graph, dict[str, Any]]:
    """:class:`gcl.data.interaction_blocks.InteractionBlocks` with its defaults, 80/20, validation out of train."""
    from gcl.data.interaction_blocks import InteractionBlocks

    return InteractionBlocks().graph(), {"split_kind": "random 80/20, then 10 percent of each user's train"}


def davis() -> tuple[Graph, dict[str, Any]]:
    """The 18 women and 14 events of networkx's Davis graph, a random event of each held out for test.

    Of women with three events or more another one is held out for validation.
    """
    try:
        import networkx
    except ImportError:
        raise MissingDependencyError("dataset davis needs networkx; pip install networkx") from None
    from gcl.data.interaction_options import InteractionOptions
    from gcl.data.interaction_table import InteractionTable
    from gcl.data.prepare_interactions import prepare_interactions

    club = networkx.davis_southern_women_graph()
    women, events = club.graph["top"], club.graph["bottom"]
    user, item = zip(
        *((women.index(woman), events.index(event)) for woman in women for event in club[woman]), strict=True
    )
    table = InteractionTable(
        user=np.array(user),
        item=np.array(item),
        shape=(len(women), len(events)),
        user_ids=list(women),
        item_ids=list(events),
        where="dataset davis",
    )
    graph, _ = prepare_interactions(table, InteractionOptions(split="leave-one-out"))
    info = {"split_kind": "leave-one-out, random", "node_ids": list(women), "other_ids": {"item": list(events)}}
    return graph, info


EMBEDDED: dict[str, Callable[[], tuple[Graph, dict[str, Any]]]] = {
    "node/digits": digits,
    "node/karate": karate,
    "rec/blocks": blocks,
    "rec/davis": davis,
}
