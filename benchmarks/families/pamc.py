"""PamC: the loss by neighbours and meta-nodes, the exact one, and the method's step."""

from __future__ import annotations

import functools
from typing import Any

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from benchmarks.case import Case, Options, Point, Sides, compare
from benchmarks.plain import pamc as plain
from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock, LossContext
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.data.load import load_dataset
from gcl.losses.neighbor_contrast import NeighborContrast
from gcl.losses.pamc import PamCLoss
from gcl.methods.pamc import PamC
from gcl.ops.transition_weights import transition_weights

TITLE = "PamC"
SUMMARY = (
    "The loss and its gradient by embeddings of 10 columns, positives within 4 hops of USPS's graph of 3 nearest "
    "neighbours (140 pairs a row) or of one of random points (as many), 10 clusters, scale 0.5. The plain side gathers "
    "the ends of every pair, scatters to rows, and multiplies one-hot memberships with all embeddings, as the "
    "published formula reads. *Dense*: the exact loss by the dense matrix of similarities on the plain side, and on "
    "ours PamC in its place, or the same exact loss in tiles. Growth: 2 hops, the same number of neighbours a row at "
    "every size; of the loss, and of the method's whole step (16 features, an encoder of 64 and 10, Adam)."
)
WIDTH, CLUSTERS, SCALE, ORDER, SPACE = 10, 10, 0.5, 4, 10
SIZES = (9_298, 20_000, 50_000)
USPS = 9_298
DENSE = (20_000,)
DOUBLINGS = (20_000, 50_000, 100_000, 200_000, 500_000)


def cases(options: Options) -> list[Case]:
    small = {"num_nodes": 400, "order": ORDER}
    quick = options.quick
    graphs: list[tuple[str, dict[str, Any]]] = [
        (f"N={n:,}", {"num_nodes": n, "order": ORDER}) for n in options.nodes(*SIZES, quick=(600,))
    ]
    if not quick and options.sizes is None and usps() is not None:
        graphs = [(f"USPS, {name}" if name == f"N={USPS:,}" else name, shape) for name, shape in graphs]
        graphs[0][1]["data"] = True
    repeats, plain_repeats = options.pick(7, 1), options.pick(5, 1)
    made = [
        Case(
            label=f"PamC, {name}",
            build=meta_node_sides,
            arguments=shape,
            small=small,
            repeats=repeats,
            plain_repeats=plain_repeats,
            plain_bytes=40.0 * 150 * shape["num_nodes"] * WIDTH,
            memory=True,
            goals={} if quick else {"ratio": 8.0, "memory_ratio": 20.0},
        )
        for name, shape in graphs
    ]
    for what, build in (("PamC for the dense exact loss", instead_sides), ("exact loss in tiles, dense", exact_sides)):
        made.extend(
            Case(
                label=f"{what}, {name}",
                build=build,
                arguments=shape,
                small=small,
                repeats=options.pick(5, 1),
                plain_repeats=options.pick(3, 1),
                plain_bytes=40.0 * shape["num_nodes"] ** 2,
                memory=True,
            )
            for name, shape in graphs
            if shape["num_nodes"] in (600, USPS, *DENSE)
        )
    for curve, build, count in (
        ("PamC: seconds of the loss by nodes, 2 hops", growth_sides, options.pick(7, 1)),
        ("PamC: seconds of a step by nodes, 2 hops", step_sides, options.pick(5, 1)),
    ):
        made.extend(
            Case(
                label=f"{curve}, N={n:,}",
                build=build,
                arguments={"num_nodes": n, "order": 2, "space": 3},
                small=small,
                repeats=count,
                point=Point(curve, n, 1, "seconds"),
            )
            for n in options.nodes(*DOUBLINGS, quick=(600, 1200))
        )
    return made


@functools.lru_cache(maxsize=1)
def usps() -> Adjacency | None:
    """The graph of USPS, where its archive is there."""
    try:
        return load_dataset("cluster/usps").graph.adjacency
    except DataError:
        return None


def neighbours(num_nodes: int, space: int) -> Adjacency:
    """Random points, each joined to its 3 nearest."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(num_nodes, space, generator=generator, dtype=torch.float64).numpy()
    _, nearest = cKDTree(points).query(points, k=4)
    row = torch.arange(num_nodes).repeat_interleave(3)
    col = torch.from_numpy(nearest[:, 1:].reshape(-1))
    arcs = torch.stack([torch.cat([row, col]), torch.cat([col, row])])
    return Adjacency.from_edge_index(arcs, (num_nodes, num_nodes), duplicates="first").with_weight(None)


@functools.lru_cache(maxsize=2)
def problem(num_nodes: int, order: int, space: int, data: bool) -> tuple[Tensor, Adjacency, Tensor]:
    """Embeddings with gradient, positives, clusters."""
    graph = usps() if data else neighbours(num_nodes, space)
    assert graph is not None
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(num_nodes, WIDTH, generator=generator).requires_grad_()
    labels = torch.randint(CLUSTERS, (num_nodes,), generator=generator)
    labels[:CLUSTERS] = torch.arange(CLUSTERS)
    return z, transition_weights(graph, order), labels


def both(loss: Tensor, z: Tensor) -> list[Tensor]:
    """The value and the gradient."""
    return [loss.detach(), *torch.autograd.grad(loss, [z])]


def meta_node_sides(num_nodes: int, order: int, space: int = SPACE, data: bool = False) -> Sides:
    z, gamma, labels = problem(num_nodes, order, space, data)
    row, col = gamma.row.long(), gamma.col.long()
    assert gamma.weight is not None
    weight, loss = gamma.weight, PamCLoss(SCALE)
    context = LossContext(positives=gamma, clusters=labels)

    def ours() -> list[Tensor]:
        return both(loss(z, context=context), z)

    def textbook() -> list[Tensor]:
        value = plain.attraction(z, row, col, weight, SCALE) + plain.meta_nodes(z, labels, CLUSTERS, SCALE)
        return both(value, z)

    return Sides(ours, textbook, check=lambda: compare(ours(), textbook()))


def exact_sides(num_nodes: int, order: int, space: int = SPACE, data: bool = False) -> Sides:
    z, gamma, _ = problem(num_nodes, order, space, data)
    row, col = gamma.row.long(), gamma.col.long()
    assert gamma.weight is not None
    weight, loss, context = gamma.weight, NeighborContrast(SCALE), LossContext(positives=gamma)

    def ours() -> list[Tensor]:
        return both(loss(z, context=context), z)

    def textbook() -> list[Tensor]:
        return both(plain.attraction(z, row, col, weight, SCALE) + plain.all_pairs(z, SCALE), z)

    return Sides(ours, textbook, check=lambda: compare(ours(), textbook()))


def instead_sides(num_nodes: int, order: int, space: int = SPACE, data: bool = False) -> Sides:
    """PamC against the loss that it stands for: two values, each checked against its own plain form elsewhere."""
    proxy, exact = (build(num_nodes, order, space, data) for build in (meta_node_sides, exact_sides))
    return Sides(proxy.ours, exact.plain, check=proxy.check)


def growth_sides(num_nodes: int, order: int, space: int = SPACE) -> Sides:
    sides = meta_node_sides(num_nodes, order, space)
    return Sides(sides.ours, check=sides.check)


def step_sides(num_nodes: int, order: int, space: int = SPACE) -> Sides:
    """A step of the method in its second stage: encoder, assignment, loss, backward, optimiser."""
    x = torch.randn(num_nodes, 16, generator=torch.Generator().manual_seed(2))
    graph, streams = Graph.homogeneous(x, neighbours(num_nodes, space)), Streams(0)
    method = PamC(num_clusters=CLUSTERS, order=order, hidden_channels=[64], embedding_dim=WIDTH, n_init=1)
    with streams.scope("init"):
        method.build(graph.spec, method.prepare(graph, streams))
    stage = method.stages()[-1]
    clock = Clock(stage.name, epoch=1, stage_index=1)
    method.place_centers(graph, clock, streams)
    optimizer = torch.optim.Adam(method.joint_parameters(), lr=1e-3)

    def ours() -> None:
        optimizer.zero_grad()
        method.training_step(Batch(graph), clock, streams).loss.backward()
        optimizer.step()

    return Sides(ours)
