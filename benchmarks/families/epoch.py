"""A whole training step of GRACE."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.case import Case, Options, Sides, compare
from benchmarks.graphs import community_graph, graph_of, real_graph, sparse_features
from benchmarks.plain.grace import PlainGRACE
from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock, Prepared
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.methods.grace import GRACE
from gcl.run.settings import settle

TITLE = "GRACE training step"
SUMMARY = (
    "Two fresh views, encoder, projector, loss, backward and Adam, with the settings of `experiments/grace`. The plain "
    "side is PyG's GCNConv on an edge list with dense features and the dense loss. Both start from the same weights; "
    "loss and gradients are compared on the same views. Data: where the benchmark data is absent (the row says so), a "
    "synthetic graph of the same size and density stands in."
)
# nodes, edges, attributes, their density
SHAPES = {"cora": (2708, 5278, 1433, 0.0127), "pubmed": (19_717, 44_324, 500, 0.1002)}


def cases(options: Options) -> list[Case]:
    plan: list[tuple[str, int | None, dict[str, float]]]
    if options.quick:
        plan = [("cora", n, {}) for n in options.nodes(quick=(400,))]
    elif options.sizes:
        plan = [("pubmed", n, {}) for n in options.sizes]
    else:
        plan = [("cora", None, {"ratio": 4.0}), ("pubmed", 8000, {}), ("pubmed", None, {})]
    made = []
    for name, part, goals in plan:
        n = part or SHAPES[name][0]
        there = not options.quick and real_graph(name) is not None
        label = name.capitalize() + ("" if there else ", synthetic")
        label += f", {n:,} nodes" if part is None else f", {n:,} of its nodes at random" if there else f", {n:,} nodes"
        made.append(
            Case(
                label=label,
                build=sides,
                arguments={"name": name, "num_nodes": part, "synthetic": not there},
                small={"name": name, "num_nodes": 300, "synthetic": True},
                repeats=1 if options.quick else (5 if n < 5000 else 3 if n < 12_000 else 1),
                plain_bytes=10 * 4.0 * n * n,
                plain_only_with_all=n > 12_000,
                memory=not options.quick,
                goals=goals,
            )
        )
    return made


def sides(name: str, num_nodes: int | None, synthetic: bool) -> Sides:
    graph = None if synthetic else real_graph(name)
    if graph is None:
        graph = _stand_in(name, num_nodes)
    elif num_nodes is not None:
        order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(0))
        graph = _alone(graph.subgraph(order[:num_nodes].sort().values))
    method = _method(name, graph)
    optimizer = torch.optim.Adam(method.parameters(), lr=5e-4, weight_decay=1e-5)
    streams, clock = Streams(0), {"epoch": 0}
    x, edge_index = graph.x, graph.adjacency.edge_index()
    plain = _plain(method, x.shape[1])

    def ours() -> None:
        clock["epoch"] += 1
        optimizer.zero_grad()
        method.training_step(Batch(graph), Clock(epoch=clock["epoch"]), streams).loss.backward()
        optimizer.step()

    def check() -> float:
        views = method._views(graph, streams, "check")
        h1, h2 = (method.projector_(method.encoder_(view)) for view in views)
        mine, theirs = method.loss_(h1, h2), plain.loss([(view.x, view.edge_index) for view in views])
        stack, head = method.encoder_.layers_, method.projector_.layers_
        our_weights = [*stack.weights, *stack.biases, head[0].weight, head[2].weight]
        convolutions = (plain.first, plain.second)
        weights = [*(c.lin.weight for c in convolutions), *(c.bias for c in convolutions)]
        weights += [plain.head1.weight, plain.head2.weight]
        our_grads = list(torch.autograd.grad(mine, our_weights))
        our_grads[:2] = [grad.T for grad in our_grads[:2]]
        return compare([mine, *our_grads], [theirs, *torch.autograd.grad(theirs, weights)])

    return Sides(ours, lambda: plain.step(x, edge_index), check=check)


def _method(name: str, graph: Graph) -> Any:
    settings = settle("grace", f"node/{name}", overrides={})["method"]
    parts = {key: settings[key] for key in ("augment", "encoder", "projector", "loss")}
    method = GRACE(**parts)
    method.prepare(graph, Streams(0))
    with Streams(0).scope("build"):
        method.build(graph.spec, Prepared())
    return method.train()


def _plain(method: Any, num_features: int) -> PlainGRACE:
    """With the rates, widths and weights of ours."""
    stack, head = method.encoder_.layers_, method.projector_.layers_
    views = tuple(
        (method.augment[view]["edge"]["drop_prob"], method.augment[view]["feature"]["drop_prob"])
        for view in ("view1", "view2")
    )
    model = PlainGRACE(num_features, stack.weights[1].shape[1], method.loss_.temperature, views)
    with torch.no_grad():
        for layer, weight, bias in zip((model.first, model.second), stack.weights, stack.biases, strict=True):
            layer.lin.weight.copy_(weight.T)
            layer.bias.copy_(bias)
        for mine, theirs in ((head[0], model.head1), (head[2], model.head2)):
            theirs.load_state_dict(mine.state_dict())
    return model


def _stand_in(name: str, num_nodes: int | None) -> Graph:
    nodes, edges, columns, density = SHAPES[name]
    n = num_nodes or nodes
    return graph_of(community_graph(n, edges * n // nodes), n, sparse_features(n, columns, density))


def _alone(graph: Graph) -> Graph:
    """A part as a graph of its own: no ids into the whole."""
    (adjacency,) = graph.relations.values()
    (features,) = graph.features.values()
    square = Adjacency.from_edge_index(adjacency.edge_index(), adjacency.shape)
    return Graph.homogeneous(features, square)
