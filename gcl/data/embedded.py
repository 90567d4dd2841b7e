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


EMBEDDED: dict[str, Callable[[], tuple[Graph, dict[str, Any]]]] = {"node/digits": digits, "node/karate": karate}
