"""Drawing the surroundings of some nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.case import Case, Options, Sides, compare
from benchmarks.graphs import community_graph
from benchmarks.plain import sampling as plain
from gcl.core.adjacency import Adjacency
from gcl.ops.neighbor_sampler import NeighborSampler

TITLE = "Neighbour sampling"
SUMMARY = (
    "The sampled surroundings of 1,024 nodes of a synthetic graph, 20 batches a step: neighbours without replacement, "
    "each node's once, nodes renumbered. Ours ends with both CSR forms of the part, sorted; the plain side, which "
    "gives every arc of the frontier a random key and sorts, with an edge list. With all neighbours both give the same "
    "nodes and arcs (the check). Items are sampled arcs. PyG's own sampler needs pyg-lib, which PyPI does not have."
)
BATCH, BATCHES = 1024, 20
GRAPHS = {169_343: 1_157_799, 1_000_000: 10_000_000}


def cases(options: Options) -> list[Case]:
    made = []
    for n in options.nodes(*GRAPHS, quick=(3000,)):
        for fanout in ((10, 10), (15, 10, 5)):
            num_edges = GRAPHS.get(n, 7 * n)
            made.append(
                Case(
                    label=f"{n:,} nodes, {2 * num_edges:,} arcs, fan-out {', '.join(map(str, fanout))}",
                    build=sides,
                    arguments={"num_nodes": n, "num_edges": num_edges, "fanout": fanout},
                    small={"num_nodes": 2000, "num_edges": 8000, "fanout": fanout},
                    repeats=options.pick(5, 1),
                    plain_repeats=options.pick(3, 1),
                    goals={"rate": 5e6, "ratio": 2.0},
                )
            )
    return made


def sides(num_nodes: int, num_edges: int, fanout: tuple[int, ...]) -> Sides:
    adjacency = Adjacency.from_edge_index(community_graph(num_nodes, num_edges), (num_nodes, num_nodes))
    row_ptr, col = adjacency.row_ptr.long(), adjacency.col.long()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(num_nodes, generator=generator)
    seeds = [order[first : first + BATCH] for first in range(0, min(num_nodes, BATCH * BATCHES), BATCH)]
    sampler = NeighborSampler(adjacency, fanout)
    draw = generator.manual_seed
    arcs = sum(sampler(batch, generator=draw(at))[1].num_arcs for at, batch in enumerate(seeds))

    def ours() -> None:
        for at, batch in enumerate(seeds):
            sampler(batch, generator=draw(at))

    def plain_side() -> None:
        for at, batch in enumerate(seeds):
            plain.sample_neighbors(row_ptr, col, batch, fanout, draw(at))

    return Sides(ours=ours, plain=plain_side, check=lambda: _check(adjacency, seeds[0][:64]), items=arcs)


def _check(adjacency: Adjacency, seeds: Tensor) -> float:
    """Both give the same nodes and arcs where nothing is left to chance, two hops around a few nodes."""
    nodes, part = NeighborSampler(adjacency, (-1, -1))(seeds)
    expected, edge_index = plain.sample_neighbors(
        adjacency.row_ptr.long(), adjacency.col.long(), seeds, (-1, -1), torch.Generator()
    )
    size = nodes.numel()
    arcs = [(target * size + source).sort().values.double() for source, target in (part.edge_index(), edge_index)]
    return compare([nodes.double(), arcs[0]], [expected.double(), arcs[1]])
