"""The sampled surroundings of some nodes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
from gcl.ops.distinct_offsets import distinct_offsets
from gcl.ops.true_places import true_places

ALL = -1  # in a fan-out: every neighbour


class NeighborSampler:
    """Draws some neighbours of some nodes, some of theirs, and so on; each node's once.

    Hamilton, Ying, Leskovec: *Inductive Representation Learning on Large Graphs*, NeurIPS 2017, arXiv 1706.02216. Of a
    node with more neighbours than are asked for every subset is as likely, and none comes twice. The draw depends on
    the seeds, the graph and the generator alone. A call costs what it gives, and, where it gives more than a 64th of
    the nodes, one pass over a bit for each node: not the size of the graph.

    Args:
        adjacency: square, ``[N, N]``; row i receives from column j. Dropped arcs are not drawn, weights go along.
        fanout: how many neighbours in each hop, from the seeds on, each from 1; -1 = all.

    Raises:
        ConfigError: a fan-out that is empty or holds another number, or an adjacency that is not square.

    Example:
        >>> from gcl.ops.knn_graph import knn_graph
        >>> graph = knn_graph(torch.randn(50, 3), 4)
        >>> nodes, part = NeighborSampler(graph, [2, 2])(torch.tensor([7, 3]), generator=torch.Generator())
        >>> nodes[:2].tolist(), part.shape[0] == nodes.numel()
        ([7, 3], True)
    """

    def __init__(self, adjacency: Adjacency, fanout: Sequence[int]):
        check_fanout(fanout)
        if adjacency.shape[0] != adjacency.shape[1]:
            raise ConfigError(f"neighbours of neighbours need a square adjacency, got {adjacency.shape}")
        if adjacency.keep is not None:
            adjacency = adjacency.masked(adjacency.keep, compact=True)
        self.adjacency = adjacency
        self.fanout = fanout
        # where each node of a draw stands in it; -1 between draws
        self._place = torch.full((adjacency.shape[0],), -1, dtype=adjacency.col.dtype, device=adjacency.device)

    def __call__(self, seeds: Tensor, *, generator: Generator | None = None) -> tuple[Tensor, Adjacency]:
        """The seeds, what was drawn around them, and the drawn arcs.

        Args:
            seeds: different nodes, int64 ``[s]``, which is not checked.
            generator: on the device of the adjacency.

        Returns:
            Nodes, int64 ``[n]``, the seeds first; and the arcs among them, ``[n, n]``, which keep their ids. Nodes of
            the last hop receive from none.
        """
        adjacency = self.adjacency
        frontier = seeds.long()
        found, counts, arcs, cols = [frontier], [], [], []
        end = self._number(frontier, 0)
        for size in self.fanout:
            count, arc = self._draw(frontier, size, generator)
            col = adjacency.col.index_select(0, arc)
            frontier = self._new(col)
            end = self._number(frontier, end)
            found.append(frontier)
            counts.append(count)
            arcs.append(arc)
            cols.append(col)
        nodes = torch.cat(found)
        col = self._place.index_select(0, torch.cat(cols))
        self._place.index_fill_(0, nodes, -1)
        counts.append(torch.zeros_like(frontier))  # the last hop receives from none
        row_ptr = torch.zeros(nodes.numel() + 1, dtype=torch.int64, device=nodes.device)
        torch.cumsum(torch.cat(counts), 0, out=row_ptr[1:])
        return nodes, adjacency.taken(row_ptr, col, torch.cat(arcs), (nodes.numel(), nodes.numel()))

    def _draw(self, frontier: Tensor, size: int, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """How many arcs were drawn for each node of the frontier, and their places, node by node."""
        adjacency = self.adjacency
        start = adjacency.row_ptr.index_select(0, frontier).long()
        degree = adjacency.row_ptr.index_select(0, frontier + 1).long() - start
        many = degree > size
        if size == ALL or not bool(many.any()):
            return degree, adjacency.entries_of(frontier)[1]
        few, many = true_places(~many), true_places(many)
        count = degree.clamp_max(size)
        first = count.cumsum(0) - count  # place of each node's first arc among the drawn ones
        arc = torch.empty(int(count.sum()), dtype=torch.int64, device=frontier.device)
        row, whole = adjacency.entries_of(frontier[few])
        arc.scatter_(0, whole + (first - start)[few].index_select(0, row), whole)
        drawn = start[many] + distinct_offsets(degree[many], size, generator=generator)  # [size, m]
        place = first[many] + torch.arange(size, device=frontier.device).unsqueeze(1)
        arc.scatter_(0, place.reshape(-1), drawn.reshape(-1))
        return count, arc

    def _number(self, nodes: Tensor, first: int) -> int:
        """Gives nodes the places from ``first`` on, and says which is next."""
        end = first + nodes.numel()
        places = torch.arange(first, end, dtype=self._place.dtype, device=nodes.device)
        self._place.scatter_(0, nodes, places)
        return end

    def _new(self, nodes: Tensor) -> Tensor:
        """Those without a place yet, each once, ascending, int64."""
        nodes = nodes[true_places(self._place.index_select(0, nodes) < 0)].long()
        if 64 * nodes.numel() < self._place.numel():
            return nodes.unique()
        mark = torch.zeros(self._place.numel(), dtype=torch.bool, device=nodes.device)
        return true_places(mark.index_fill_(0, nodes, True))


def check_fanout(fanout: Sequence[int]) -> None:
    """Refuses what is no list of numbers of neighbours.

    Raises:
        ConfigError: such a one.
    """
    listed = isinstance(fanout, Sequence) and not isinstance(fanout, str) and len(fanout) > 0
    if not listed or any(isinstance(n, bool) or not isinstance(n, int) or (n < 1 and n != ALL) for n in fanout):
        raise ConfigError(
            f"fanout must list how many neighbours to draw in each hop, each from 1 or -1 for all, got {fanout!r}"
        )
