"""What CSGCL does once before training."""

from __future__ import annotations

from torch import Tensor

from benchmarks.case import Case, Options, Sides, compare
from benchmarks.graphs import community_graph, graph_of, sparse_features
from benchmarks.plain import communities as plain
from gcl.core.context import Prepared
from gcl.core.streams import Streams
from gcl.methods.csgcl import CSGCL
from gcl.ops.communities import modularity

TITLE = "CSGCL's preparation"
SUMMARY = (
    "From a graph to communities, their strength, and the scores of edges and attributes. Ours: `CSGCL.prepare` with "
    "its defaults (NetworKit's Leiden), on the sorted graph that training needs anyway. Plain: a networkx graph from "
    "the edge list, its Louvain, and Python loops over plain lists of numbers; `loops over tensors` reads each number "
    "out of a tensor instead, as published code does. Scores are compared on the same partition."
)
# Amazon-Computers, and a graph of ogbn-arxiv's size
GRAPHS = {13_752: (245_861, 767), 169_343: (1_157_799, 128)}


def cases(options: Options) -> list[Case]:
    small = {"num_nodes": 500, "num_edges": 3000, "num_features": 20}
    made = []
    for n in options.nodes(*GRAPHS, quick=(600,)):
        num_edges, num_features = GRAPHS.get(n, (9 * n, 64))
        large = n > 50_000
        for loops_over_tensors in (False,) if large else (False, True):
            arguments = {"num_nodes": n, "num_edges": num_edges, "num_features": num_features}
            goals = {"seconds": 10.0} if large else {"ratio": 20.0} if loops_over_tensors else {}
            label = f"{n:,} nodes, {num_edges:,} edges, {num_features} attributes"
            made.append(
                Case(
                    label=label + (", plain loops over tensors" if loops_over_tensors else ""),
                    build=sides,
                    arguments={**arguments, "loops_over_tensors": loops_over_tensors},
                    small=small,
                    repeats=1 if options.quick else 3,
                    plain_repeats=1 if options.quick else 2,
                    plain_only_with_all=large,
                    memory=not options.quick and not loops_over_tensors,
                    goals=goals,
                )
            )
    return made


def sides(num_nodes: int, num_edges: int, num_features: int, loops_over_tensors: bool = False) -> Sides:
    edge_index = community_graph(num_nodes, num_edges)
    x = sparse_features(num_nodes, num_features, 0.1)
    graph = graph_of(edge_index, num_nodes, x)
    loops = plain.edge_weights_by_element if loops_over_tensors else plain.edge_weights

    def ours() -> Prepared:
        return CSGCL().prepare(graph, Streams(0))

    def check() -> float:
        tensors = ours().tensors
        labels = tensors["community"].tolist()
        arcs = graph.adjacency.edge_index()
        edge, attribute = plain.scores(plain.to_networkx(edge_index, num_nodes), arcs, x, labels, loops)
        mine = [_one(tensors, "edge.score"), _one(tensors, "feature.score")]
        assert modularity(graph.adjacency, tensors["community"]) > 0.2, "the communities found are no communities"
        return compare([part.float() for part in mine], [edge, attribute])

    return Sides(ours, lambda: plain.prepare(edge_index, num_nodes, x, loops), check=check)


def _one(tensors: dict[str, Tensor], ending: str) -> Tensor:
    """The first view's tensor of that name."""
    return next(value for name, value in tensors.items() if name.startswith("view1.") and name.endswith(ending))
