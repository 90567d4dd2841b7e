"""Batches of whole communities."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gcl.core.context import Batch, Clock
from gcl.core.graph import Graph
from gcl.core.last_result import LastResult
from gcl.core.streams import Streams
from gcl.ops.communities import detect_communities
from gcl.train.batches import check_size, induced


class CommunityBatches:
    """Every node once an epoch, some random communities at a time, with all edges among them.

    Chiang et al.: *Cluster-GCN*, KDD 2019, arXiv 1905.07953, with Leiden's communities, found once, in place of METIS's
    partition; communities that are larger than a batch are cut. Negatives come from few communities, so they are
    harder than those of the whole graph.

    Args:
        batch_size: nodes of a batch, from 2, more or less.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(self, *, batch_size: int = 1024):
        check_size("batch_size", batch_size, 2)
        self.batch_size = batch_size
        self._pieces = LastResult[list[Tensor]]()

    def __call__(self, graph: Graph, clock: Clock, streams: Streams) -> Iterator[Batch]:
        """The batches of an epoch."""
        seed = streams.integer("batch communities", bits=31)
        pieces = self._pieces.of(graph, lambda: self._cut(graph, seed), key=seed)
        generator = streams.generator("batches", clock.stage_index, clock.epoch)
        order = torch.randperm(len(pieces), generator=generator).tolist()
        nodes = torch.cat([pieces[piece] for piece in order])
        size = torch.tensor([pieces[piece].numel() for piece in order])
        count = max(1, round(graph.num_nodes / self.batch_size))
        own = ((size.cumsum(0) - size / 2) * count / graph.num_nodes).long().clamp_max(count - 1)  # ascending
        sizes = torch.zeros(count, dtype=torch.int64).index_add_(0, own, size)
        for part in nodes.split(sizes.tolist()):
            if part.numel():
                yield induced(graph, part.sort().values)

    def _cut(self, graph: Graph, seed: int) -> list[Tensor]:
        """The nodes of each community, int64; of a large one in parts."""
        labels = detect_communities(graph.adjacency, seed=seed)
        order = torch.argsort(labels, stable=True)
        pieces: list[Tensor] = []
        for nodes in order.split(torch.bincount(labels).tolist()):
            pieces += nodes.tensor_split(math.ceil(nodes.numel() / self.batch_size))
        return pieces
