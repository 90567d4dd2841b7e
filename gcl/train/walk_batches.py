"""Batches of the nodes that random walks visit."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from gcl.core.context import Batch, Clock
from gcl.core.graph import Graph
from gcl.core.last_result import LastResult
from gcl.core.streams import Streams
from gcl.ops.random_walk import RandomWalk
from gcl.ops.true_places import true_places
from gcl.train.batches import check_size, induced


class WalkBatches:
    """The nodes on some random walks, with all edges among them; an epoch takes as many steps as there are nodes.

    Zeng et al.: *GraphSAINT*, ICLR 2020, arXiv 1907.04931, without its weights: nodes of high degree come more
    often.

    Args:
        batch_size: roots and steps of a batch in all, from 2; nodes that are met twice count once.
        walk_length: steps of each walk, from 1.

    Raises:
        ConfigError: a number out of range, or walks longer than a batch.
    """

    def __init__(self, *, batch_size: int = 1024, walk_length: int = 3):
        check_size("batch_size", batch_size, 2)
        check_size("walk_length", walk_length, 1)
        check_size(f"batch_size, for a walk of {walk_length} steps and its root,", batch_size, walk_length + 1)
        self.batch_size = batch_size
        self.walk_length = walk_length
        self._walk = LastResult[RandomWalk]()

    def __call__(self, graph: Graph, clock: Clock, streams: Streams) -> Iterator[Batch]:
        """The batches of an epoch."""
        walk = self._walk.of(graph, lambda: RandomWalk(graph.adjacency))
        stage, epoch = clock.stage_index, clock.epoch
        roots = torch.randperm(graph.num_nodes, generator=streams.generator("batches", stage, epoch))
        roots = roots[: math.ceil(graph.num_nodes / (self.walk_length + 1))].to(graph.device)
        count = math.ceil(roots.numel() * (self.walk_length + 1) / self.batch_size)
        for number, start in enumerate(roots.tensor_split(count)):
            generator = streams.generator("walks", stage, epoch, number, device=graph.device)
            yield induced(graph, true_places(walk.visited(start, self.walk_length, generator=generator)))
