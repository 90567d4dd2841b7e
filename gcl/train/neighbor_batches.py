"""Batches of nodes with some of their neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch

from gcl.core.context import Batch, Clock
from gcl.core.graph import Graph
from gcl.core.last_result import LastResult
from gcl.core.streams import Streams
from gcl.ops.neighbor_sampler import NeighborSampler, check_fanout
from gcl.ops.rank_rows import own_rows
from gcl.train.batches import check_size, shuffled


class NeighborBatches:
    """Every node once an epoch, at random, with a sample of what lies around it.

    The loss is about the nodes of the batch; their neighbours only feed the encoder. Hamilton, Ying, Leskovec:
    *Inductive Representation Learning on Large Graphs*, NeurIPS 2017, arXiv 1706.02216. An encoder that normalises by
    degree, as GCN does, sees the degrees of the sampled part. With ``fanout=[-1, -1, -1]`` two layers see all that
    they see of the whole graph. Of several processes each takes its share of the batch; what is drawn then depends
    on how many they are.

    Args:
        batch_size: nodes of a batch, from 2; they are shared out evenly.
        fanout: neighbours that are drawn in each hop, each from 1; -1 = all. One hop for each layer of the encoder.

    Raises:
        ConfigError: a number out of range.
    """

    own_parts: ClassVar[bool] = True  # of several processes each gets a part of its own

    def __init__(self, *, batch_size: int = 1024, fanout: Sequence[int] = (10, 10)):
        check_size("batch_size", batch_size, 2)
        check_fanout(fanout)
        self.batch_size = batch_size
        self.fanout = fanout
        self._sampler = LastResult[NeighborSampler]()

    def __call__(self, graph: Graph, clock: Clock, streams: Streams) -> Iterator[Batch]:
        """The batches of an epoch."""
        sampler = self._sampler.of(graph, lambda: NeighborSampler(graph.adjacency.with_ids(None), self.fanout))
        (name,) = graph.relations
        for number, seeds in enumerate(shuffled(graph.num_nodes, self.batch_size, clock, streams)):
            shared = clock.world > 1 and seeds.numel() >= clock.world  # else every process takes the whole batch
            own = own_rows(seeds, clock) if shared else seeds
            counters = (clock.stage_index, clock.epoch, number, *([clock.rank] if shared else []))
            generator = streams.generator("neighbors", *counters, device=graph.device)
            nodes, part = sampler(own.to(graph.device), generator=generator)
            index = torch.arange(own.numel(), device=graph.device)
            yield Batch(
                graph.part({graph.target: nodes}, {name: part}),
                index,
                index_only=True,
                all_rows=seeds.numel() if shared else None,
            )
