"""Message passing on a freshly masked graph."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.case import Case, Options, Sides, compare
from benchmarks.graphs import community_graph
from benchmarks.plain.propagation import gcn_propagate
from gcl.core.adjacency import Adjacency
from gcl.ops.communities import detect_communities
from gcl.ops.propagation import Propagation

TITLE = "Propagation"
SUMMARY = (
    "One GCN propagation of a synthetic graph (communities, heavy-tailed degrees, node ids without order), forward and "
    "backward, with a fresh edge mask and its degrees in every step. The plain side gathers and scatters on the edge "
    "list. The share is that of the copy rate, counting one row read for each kept arc and one written for each node, "
    "in both passes; caches can take it above 100 %. `in community order` numbers the nodes by the communities that "
    "Leiden finds (both sides; finding them is not timed)."
)
WIDTH, ARCS_A_NODE = 128, 13.67  # ogbn-arxiv: 169,343 nodes, 2,315,598 arcs
GRAPHS = {169_343: 1_157_799, 19_717: 44_324}


def cases(options: Options) -> list[Case]:
    width = options.pick(WIDTH, 8)
    small = {"num_nodes": 500, "num_edges": 2000, "width": width, "drop_prob": 0.5}
    made = []
    for n in options.nodes(*GRAPHS, quick=(600,)):
        num_edges = GRAPHS.get(n, round(n * ARCS_A_NODE / 2))
        orders = (False, True) if n >= 100_000 or options.quick else (False,)
        for drop_prob in (0.3, 0.7):
            for ordered in orders:
                arguments = {"num_nodes": n, "num_edges": num_edges, "width": width, "drop_prob": drop_prob}
                made.append(
                    Case(
                        label=f"{n:,} nodes, {2 * num_edges:,} arcs, d={width}, drop {drop_prob}"
                        + (", in community order" if ordered else ""),
                        build=sides,
                        arguments={**arguments, "ordered": ordered},
                        small={**small, "ordered": ordered},
                        repeats=options.pick(5 if n >= 100_000 else 9, 1),
                        plain_repeats=options.pick(5 if n >= 100_000 else 9, 1),
                        memory=not options.quick and not ordered and drop_prob == 0.3,
                        goals={"ratio": 5.0} if n >= 100_000 and not ordered else {},
                    )
                )
    return made


def sides(num_nodes: int, num_edges: int, width: int, drop_prob: float, ordered: bool = False) -> Sides:
    edge_index = community_graph(num_nodes, num_edges)
    if ordered:
        edge_index = _in_community_order(edge_index, num_nodes)
    adjacency = Adjacency.from_edge_index(edge_index, (num_nodes, num_nodes))
    edge_index = adjacency.edge_index()  # the same arcs in the same order
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(num_nodes, width, generator=generator).requires_grad_()
    grad = torch.randn(num_nodes, width, generator=generator)
    arcs = adjacency.num_arcs

    def draw(seed: int | None = None) -> Tensor:
        return torch.rand(arcs, generator=None if seed is None else generator.manual_seed(seed)) >= drop_prob

    def our_step(keep: Tensor) -> list[Tensor]:
        y = Propagation(adjacency.masked(keep)).matmul(x)
        return [y.detach(), *torch.autograd.grad(y, x, grad)]

    def plain_step(keep: Tensor) -> list[Tensor]:
        y = gcn_propagate(x, edge_index[:, keep])
        return [y.detach(), *torch.autograd.grad(y, x, grad)]

    moved = 2 * 4.0 * width * (arcs * (1 - drop_prob) + num_nodes)
    return Sides(
        ours=lambda: our_step(draw()),
        plain=lambda: plain_step(draw()),
        check=lambda: compare(our_step(draw(2)), plain_step(draw(2))),
        work=("copy", moved),
    )


def _in_community_order(edge_index: Tensor, num_nodes: int) -> Tensor:
    labels = detect_communities(Adjacency.from_edge_index(edge_index, (num_nodes, num_nodes)))
    rank = torch.empty_like(labels)
    rank[torch.argsort(labels, stable=True)] = torch.arange(num_nodes)
    return rank[edge_index]
