"""What link prediction holds out of training."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import EDGE, Graph
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
    """Held-out links, absent from the training graph, with as many pairs that are no links.

    Args:
        train: edges of the training graph, and pairs without an edge there.
        valid: or ``None``.
        test: held out; with ``reconstruction`` edges of the training graph.
        directed: whether a pair is another one than its reverse.
    """

    train: LabelledPairs
    valid: LabelledPairs | None
    test: LabelledPairs
    directed: bool

    @property
    def validation(self) -> str:
        """Whether there is a validation part: ``carved`` or ``none``."""
        return "none" if self.valid is None else "carved"

    def for_selection(self) -> SelectionLinks:
        """The same without the test part."""
        return SelectionLinks(self.train, self.valid)


def hold_links_out(
    graph: Graph, *, valid: float, test: float, negatives: float, seed: int, most_train: int
) -> tuple[Graph, HeldLinks]:
    """The graph without a share of its edges, and these.

    Of an undirected graph both arcs of an edge go. Self-loops stay. Pairs without an edge are drawn uniformly, those of
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
    adjacency = adjacency_for_links(graph)
    directed = not adjacency.symmetric
    streams = Streams(seed)
    row, col = adjacency.row.long(), adjacency.col.long()
    once = row != col if directed else row > col
    edges = once.nonzero().squeeze(1)
    counts = [math.floor(round(share * edges.numel(), 6)) for share in (valid, test)]
    needed = [("test", test, counts[1]), *([("validation", valid, counts[0])] if valid else [])]
    for part, share, count in needed:
        if count < 1:
            raise DataError(
                f"a share of {share:g} of {edges.numel()} edges leaves none for {part}; give a larger share or graph"
            )
    if edges.numel() - sum(counts) < 1:
        raise DataError(f"no edge of {edges.numel()} is left to train on; give smaller shares")
    edges = edges[torch.randperm(edges.numel(), generator=streams.generator("links"))]
    of_valid, of_test, of_train = edges.split([*counts, edges.numel() - sum(counts)])

    def ends(arcs: Tensor) -> Tensor:
        return torch.stack([col[arcs], row[arcs]])

    def without(*parts: Tensor) -> Tensor:
        keep = torch.ones(adjacency.num_arcs, dtype=torch.bool)
        for part in parts:
            keep[part] = False
            if not directed:
                keep[adjacency.t_perm[part].long()] = False
        return keep

    def labelled(arcs: Tensor, known: Adjacency, purpose: str) -> LabelledPairs:
        others = absent_links(known, negatives * arcs.numel(), directed, streams.generator(purpose))
        return LabelledPairs.of(ends(arcs), others)

    for_training = without(of_valid, of_test)
    training = with_edges(graph, for_training)
    before_test = with_edges(graph, without(of_test)).adjacency
    held = HeldLinks(
        train=labelled(of_train[:most_train], training.adjacency, "links of training"),
        valid=labelled(of_valid, before_test, "links of validation") if valid else None,
        test=labelled(of_test, adjacency, "links of the test"),
        directed=directed,
    )
    return training, held


def all_links(graph: Graph, *, negatives: float, seed: int, most_train: int) -> HeldLinks:
    """Every edge of a graph as a link to find again, with pairs that are none; nothing is held out."""
    adjacency = adjacency_for_links(graph)
    directed, streams = not adjacency.symmetric, Streams(seed)
    row, col = adjacency.row.long(), adjacency.col.long()
    edges = (row != col if directed else row > col).nonzero().squeeze(1)
    if not edges.numel():
        raise DataError("the graph has no edge, and there is nothing to reconstruct; leave the evaluation out")
    edges = edges[torch.randperm(edges.numel(), generator=streams.generator("links"))]
    parts = []
    for arcs, purpose in ((edges[:most_train], "links of training"), (edges, "links of the test")):
        others = absent_links(adjacency, negatives * arcs.numel(), directed, streams.generator(purpose))
        parts.append(LabelledPairs.of(torch.stack([col[arcs], row[arcs]]), others))
    return HeldLinks(train=parts[0], valid=None, test=parts[1], directed=directed)


def absent_links(adjacency: Adjacency, count: float, directed: bool, generator: Generator) -> Tensor:
    """Pairs without an edge, source above target, int64 ``[2, count]``, or all where there are fewer."""
    row, col = sample_absent_pairs(adjacency, math.ceil(round(count, 6)), undirected=not directed, generator=generator)
    if not row.numel():
        raise DataError("every pair of nodes has an edge, so no link can be told from a pair that is none")
    return torch.stack([col, row])


def with_edges(graph: Graph, keep: Tensor) -> Graph:
    """A whole graph of some arcs of another, ``keep`` ``[E]``; its arcs are numbered anew, as those of any graph."""
    (name,) = graph.relations
    adjacency = graph.relations[name]
    kept = Adjacency.from_sorted(
        adjacency.row[keep].long(),
        adjacency.col[keep],
        adjacency.shape,
        None if adjacency.weight is None else adjacency.weight[keep],
    )
    attrs = {key: value[keep] for key, value in graph.edge_attrs.get(name, {}).items()}
    return dataclasses.replace(graph, relations={name: kept}, edge_attrs={name: attrs} if attrs else {})


def adjacency_for_links(graph: Graph) -> Adjacency:
    """The relation of a graph of one node type, on the CPU, without dropped arcs.

    Raises:
        DataError: another kind of graph.
    """
    if len(graph.num_nodes_by_type) != 1 or len(graph.relations) != 1:
        raise DataError(
            f"link prediction needs a graph of one node type and one relation, got types "
            f"{', '.join(sorted(graph.num_nodes_by_type))} and relations "
            f"{', '.join(sorted(graph.relations)) or 'none'}; join its target nodes with metapath=..., or rank items "
            "for users with the evaluator 'ranking'"
        )
    adjacency = graph.adjacency
    if adjacency.keep is not None:
        raise DataError(f"link prediction needs a whole graph, and relation {EDGE!r} is a view with dropped edges")
    return adjacency.to("cpu")
