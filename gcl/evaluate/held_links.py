"""What link prediction holds out of training."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.ops.absent_pairs import sample_absent_pairs


@dataclass(frozen=True, eq=False)
class LabelledPairs:
    """Pairs of nodes, some of them links.

    Args:
        pairs: int64 ``[2, n]``, source above target.
        is_link: boolean ``[n]``.
    """

    pairs: Tensor
    is_link: Tensor

    @classmethod
    def of(cls, links: Tensor, others: Tensor) -> LabelledPairs:
        """Links ``[2, n]``, then pairs that are none, ``[2, m]``."""
        is_link = torch.arange(links.shape[1] + others.shape[1]) < links.shape[1]
        return cls(torch.cat([links, others], 1).cpu(), is_link)


@dataclass(frozen=True, eq=False)
class SelectionLinks:
    """The pairs that selection may see: links to fit a decoder to, and those of validation, where there are some."""

    train: LabelledPairs
    valid: LabelledPairs | None


@dataclass(frozen=True, eq=False)
class HeldLinks:
    """Held-out links, absent from the training graph, and pairs that are no links.

    Args:
        train: edges of the training graph, and pairs without an edge there.
        valid: or ``None``.
        test: held out; with ``reconstruction`` edges of the training graph.
        num_nodes: of the graph.
    """

    train: LabelledPairs
    valid: LabelledPairs | None
    test: LabelledPairs
    num_nodes: int

    @property
    def validation(self) -> str:
        """Whether there is a validation part: ``carved`` or ``none``."""
        return "none" if self.valid is None else "carved"

    def for_selection(self) -> SelectionLinks:
        """The same without the test part."""
        return SelectionLinks(self.train, self.valid)


class _Links:
    """The edges of a graph without direction and loops: the pairs, and which of them each arc is of."""

    def __init__(self, graph: Graph):
        adjacency = _relation(graph)
        self.num_nodes = adjacency.shape[0]
        row, col = adjacency.row.long(), adjacency.col.long()
        key = torch.maximum(row, col) * self.num_nodes + torch.minimum(row, col)
        pairs, self.of_arc = key.unique(return_inverse=True)  # [E]
        self.high, self.low = pairs // self.num_nodes, pairs % self.num_nodes
        self.edges = (self.high != self.low).nonzero().squeeze(1)  # without loops

    def pairs(self, edges: Tensor) -> Tensor:
        """Ends of some edges, int64 ``[2, n]``."""
        return torch.stack([self.low[edges], self.high[edges]])

    def arcs_without(self, *gone: Tensor) -> Tensor:
        """The arcs that are of none of some edges, boolean ``[E]``."""
        keep = torch.ones(self.high.numel(), dtype=torch.bool)
        for edges in gone:
            keep[edges] = False
        return keep[self.of_arc]

    def absent(self, count: float, generator: Generator, *unknown: Tensor) -> Tensor:
        """Pairs that are no edges, as far as known: int64 ``[2, count]``, or all where there are fewer.

        Edges that are ``unknown`` count as none.
        """
        known = torch.ones(self.high.numel(), dtype=torch.bool)
        for edges in unknown:
            known[edges] = False
        ends = torch.stack([self.low[known], self.high[known]])
        both = torch.cat([ends, ends.flip(0)], dim=1)
        structure = Adjacency.from_edge_index(both, (self.num_nodes, self.num_nodes), duplicates="first")
        row, col = sample_absent_pairs(structure, math.ceil(round(count, 6)), undirected=True, generator=generator)
        if not row.numel():
            raise DataError("every pair of nodes has an edge, so no link can be told from a pair that is none")
        return torch.stack([col, row])


def hold_links_out(
    graph: Graph, *, valid: float, test: float, negatives: float, seed: int, most_train: int
) -> tuple[Graph, HeldLinks]:
    """The graph without a share of its edges, and these.

    A link is a pair of nodes with an arc in either direction, and all its arcs go: scores of pairs know no direction,
    so a reverse arc that stayed would be the answer. Loops stay. Pairs without an edge are drawn uniformly, those of
    the test among all that have none in the whole graph, those of validation and training among those that have none
    that is known by then, so that nothing is learnt of the test by what is left out.

    Args:
        graph: one node type, one relation; edges of any weight.
        valid: share of the edges for validation, from 0.
        test: share of the edges for the test, above 0.
        negatives: pairs without an edge for each link.
        seed: of the split and of the draws.
        most_train: links of training that a decoder is fitted to, at most.

    Raises:
        DataError: another kind of graph, or too few edges for the parts.
    """
    links, streams = _Links(graph), Streams(seed)
    total = links.edges.numel()
    counts = [math.floor(round(share * total, 6)) for share in (valid, test)]
    needed = [("test", test, counts[1]), *([("validation", valid, counts[0])] if valid else [])]
    for part, share, count in needed:
        if count < 1:
            raise DataError(
                f"a share of {share:g} of {total} edges leaves none for {part}; give a larger share or graph"
            )
    if total - sum(counts) < 1:
        raise DataError(f"no edge of {total} is left to train on; give smaller shares")
    edges = links.edges[torch.randperm(total, generator=streams.generator("links"))]
    of_valid, of_test, of_train = edges.split([*counts, total - sum(counts)])

    def labelled(part: Tensor, purpose: str, *unknown: Tensor) -> LabelledPairs:
        others = links.absent(negatives * part.numel(), streams.generator(purpose), *unknown)
        return LabelledPairs.of(links.pairs(part), others)

    held = HeldLinks(
        train=labelled(of_train[:most_train], "links of training", of_valid, of_test),
        valid=labelled(of_valid, "links of validation", of_test) if valid else None,
        test=labelled(of_test, "links of the test"),
        num_nodes=links.num_nodes,
    )
    return with_arcs(graph, links.arcs_without(of_valid, of_test)), held


def all_links(graph: Graph, *, negatives: float, seed: int, most_train: int) -> HeldLinks:
    """Every edge of a graph as a link to find again, with pairs that are none; nothing is held out."""
    links, streams = _Links(graph), Streams(seed)
    if not links.edges.numel():
        raise DataError("the graph has no edge, and there is nothing to reconstruct; leave the evaluation out")
    edges = links.edges[torch.randperm(links.edges.numel(), generator=streams.generator("links"))]
    parts = []
    for part, purpose in ((edges[:most_train], "links of training"), (edges, "links of the test")):
        others = links.absent(negatives * part.numel(), streams.generator(purpose))
        parts.append(LabelledPairs.of(links.pairs(part), others))
    return HeldLinks(train=parts[0], valid=None, test=parts[1], num_nodes=links.num_nodes)


def with_arcs(graph: Graph, keep: Tensor) -> Graph:
    """A whole graph of some arcs of another, ``keep`` ``[E]``; its arcs are numbered anew, as those of any graph."""
    (name,) = graph.relations
    adjacency = graph.relations[name]
    keep = keep.to(adjacency.device)
    kept = Adjacency.from_sorted(
        adjacency.row[keep].long(),
        adjacency.col[keep],
        adjacency.shape,
        None if adjacency.weight is None else adjacency.weight[keep],
    )
    attrs = {key: value[keep] for key, value in graph.edge_attrs.get(name, {}).items()}
    return dataclasses.replace(graph, relations={name: kept}, edge_attrs={name: attrs} if attrs else {})


def _relation(graph: Graph) -> Adjacency:
    """The relation of a graph of one node type, on the CPU.

    Raises:
        DataError: another kind of graph, or a view with dropped arcs.
    """
    if len(graph.num_nodes_by_type) != 1 or len(graph.relations) != 1:
        raise DataError(
            f"link prediction needs a graph of one node type and one relation, got types "
            f"{', '.join(sorted(graph.num_nodes_by_type))} and relations "
            f"{', '.join(sorted(graph.relations)) or 'none'}; join its target nodes with metapath=..., or rank items "
            "for users with the evaluator 'ranking'"
        )
    if graph.adjacency.keep is not None:
        raise DataError("link prediction needs a whole graph, and this is a view with dropped edges; give the graph")
    return graph.adjacency.to("cpu")
