"""PamC: the loss by neighbours and meta-nodes, and the exact one."""

from __future__ import annotations

import functools

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from benchmarks.case import Case, Options, Point, Sides, compare
from benchmarks.plain import pamc as plain
from gcl.core.adjacency import Adjacency
from gcl.core.context import LossContext
from gcl.losses.neighbor_contrast import NeighborContrast
from gcl.losses.pamc import PamCLoss
from gcl.ops.transition_weights import transition_weights

TITLE = "PamC"
SUMMARY = (
    "The loss and its gradient by embeddings of 10 columns, positives within 4 hops of a graph of 3 nearest neighbours "
    "(of random points; about 140 pairs a row, as USPS has), 10 clusters, scale 0.5. The plain side gathers the ends "
    "of every pair, scatters to rows, and multiplies one-hot memberships with all embeddings, as the published formula "
    "reads; that of the exact loss has the dense matrix of similarities. Growth: 2 hops, the same number of neighbours "
    "a row at every size."
)
WIDTH, CLUSTERS, SCALE, ORDER, SPACE = 10, 10, 0.5, 4, 10
SIZES = (9_298, 20_000, 50_000)
EXACT = 9_298
DOUBLINGS = (20_000, 50_000, 100_000, 200_000, 500_000)


def cases(options: Options) -> list[Case]:
    small = {"num_nodes": 400, "order": ORDER}
    made = [
        Case(
            label=f"PamC, N={n:,}",
            build=meta_node_sides,
            arguments={"num_nodes": n, "order": ORDER},
            small=small,
            repeats=options.pick(7, 1),
            plain_repeats=options.pick(5, 1),
            plain_bytes=40.0 * 150 * n * WIDTH,
            memory=True,
            goals={} if options.quick else {"ratio": 8.0, "memory_ratio": 20.0},
        )
        for n in options.nodes(*SIZES, quick=(600,))
    ]
    n = options.pick(EXACT, 600)
    made.append(
        Case(
            label=f"exact, N={n:,}",
            build=exact_sides,
            arguments={"num_nodes": n, "order": ORDER},
            small=small,
            repeats=options.pick(5, 1),
            plain_repeats=options.pick(3, 1),
            plain_bytes=40.0 * n * n,
            memory=True,
        )
    )
    curve = "PamC: seconds by nodes, 2 hops"
    made.extend(
        Case(
            label=f"{curve}, N={n:,}",
            build=growth_sides,
            arguments={"num_nodes": n, "order": 2, "space": 3},
            small=small,
            repeats=options.pick(7, 1),
            point=Point(curve, n, 1, "seconds"),
        )
        for n in options.nodes(*DOUBLINGS, quick=(600, 1200))
    )
    return made


@functools.lru_cache(maxsize=2)
def problem(num_nodes: int, order: int, space: int) -> tuple[Tensor, Adjacency, Tensor]:
    """Embeddings with gradient, positives, clusters."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(num_nodes, space, generator=generator, dtype=torch.float64).numpy()
    _, nearest = cKDTree(points).query(points, k=4)
    row = torch.arange(num_nodes).repeat_interleave(3)
    col = torch.from_numpy(nearest[:, 1:].reshape(-1))
    arcs = torch.stack([torch.cat([row, col]), torch.cat([col, row])])
    graph = Adjacency.from_edge_index(arcs, (num_nodes, num_nodes), duplicates="first").with_weight(None)
    z = torch.randn(num_nodes, WIDTH, generator=generator).requires_grad_()
    labels = torch.randint(CLUSTERS, (num_nodes,), generator=generator)
    labels[:CLUSTERS] = torch.arange(CLUSTERS)
    return z, transition_weights(graph, order), labels


def both(loss: Tensor, z: Tensor) -> list[Tensor]:
    """The value and the gradient."""
    return [loss.detach(), *torch.autograd.grad(loss, [z])]


def meta_node_sides(num_nodes: int, order: int, space: int = SPACE) -> Sides:
    z, gamma, labels = problem(num_nodes, order, space)
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


def exact_sides(num_nodes: int, order: int) -> Sides:
    z, gamma, _ = problem(num_nodes, order, SPACE)
    row, col = gamma.row.long(), gamma.col.long()
    assert gamma.weight is not None
    weight, loss, context = gamma.weight, NeighborContrast(SCALE), LossContext(positives=gamma)

    def ours() -> list[Tensor]:
        return both(loss(z, context=context), z)

    def textbook() -> list[Tensor]:
        return both(plain.attraction(z, row, col, weight, SCALE) + plain.all_pairs(z, SCALE), z)

    return Sides(ours, textbook, check=lambda: compare(ours(), textbook()))


def growth_sides(num_nodes: int, order: int, space: int = SPACE) -> Sides:
    sides = meta_node_sides(num_nodes, order, space)
    return Sides(sides.ours, check=sides.check)
