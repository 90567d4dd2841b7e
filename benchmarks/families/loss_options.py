"""All-pairs losses with a bias or a weight of their pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.case import Case, Options, Sides, compare
from benchmarks.families.loss import DENSE_MATRICES, both_ways, two_views
from benchmarks.plain.contrast import cluster_weighted_loss, network_weighted_loss, network_weighted_sums, team_up_loss
from gcl.core.context import LossContext
from gcl.losses.infonce import InfoNCE
from gcl.losses.team_up import TeamUp
from gcl.ops.pair_weight import PairWeight, additive_mlp, cluster_ids
from gcl.ops.product_logsumexp import product_logsumexp

TITLE = "Loss with a key bias or pair weights"
SUMMARY = (
    "Forward and backward, float32. `key bias` is CSGCL's Team-up (both views stacked, both directions); `two "
    "clusterings` and `network, h=16` weigh the pairs of two views in one direction as MEOW and AdaMEOW do. `of ours "
    "without` is the time over that of our own loss of the same shape without bias or weights. The plain side makes "
    "the N x N bias, the N x N weights, or the N x N x h hidden layer. Its gradient of the network's last layer, one "
    "float32 sum over N² rows, is off by percents at these sizes: that one of ours is compared with float64 instead."
)
WIDTH, HIDDEN, TEMPERATURE, STRENGTH = 256, 16, 0.4, 0.05


def cases(options: Options) -> list[Case]:
    width = options.pick(WIDTH, 16)
    made = []
    for n in options.nodes(2708, 4000, quick=(300,)):
        for label, build, matrices in (
            ("key bias", key_bias, DENSE_MATRICES + 2),
            ("two clusterings", clusterings, DENSE_MATRICES),
            (f"network, h={HIDDEN}", network, 5 * HIDDEN + DENSE_MATRICES),
        ):
            made.append(
                Case(
                    label=f"{label}, N={n:,}, d={width}",
                    build=build,
                    arguments={"num_nodes": n, "width": width},
                    small={"num_nodes": 200, "width": width},
                    repeats=options.pick(3, 1),
                    plain_bytes=4.0 * matrices * n * n,
                    memory=not options.quick and n == 2708,
                )
            )
    return made


def key_bias(num_nodes: int, width: int) -> Sides:
    z1, z2 = two_views(num_nodes, width)
    strength = STRENGTH * torch.rand(num_nodes, generator=torch.Generator().manual_seed(1))
    loss, context = TeamUp(TEMPERATURE, ramp_start=0), LossContext(epoch=100, node_weight=strength)
    ours = lambda: both_ways(lambda: loss(z1, z2, context=context), z1, z2)  # noqa: E731
    plain = lambda: both_ways(lambda: team_up_loss(z1, z2, strength, loss.gamma(100), TEMPERATURE), z1, z2)  # noqa: E731
    base = lambda: both_ways(lambda: InfoNCE(TEMPERATURE)(z1, z2), z1, z2)  # noqa: E731
    return Sides(ours, plain, base, check=lambda: compare(ours(), plain()))


def clusterings(num_nodes: int, width: int) -> Sides:
    a, b = _unit_views(num_nodes, width)
    labels = torch.randint(8, (num_nodes, 2), generator=torch.Generator().manual_seed(1))
    ours = lambda: both_ways(lambda: _one_way(a, b, cluster_ids(labels, labels)), a, b)  # noqa: E731
    plain = lambda: both_ways(lambda: cluster_weighted_loss(a, b, labels, TEMPERATURE), a, b)  # noqa: E731
    base = lambda: both_ways(lambda: _one_way(a, b, None), a, b)  # noqa: E731
    return Sides(ours, plain, base, check=lambda: compare(ours(), plain()))


def network(num_nodes: int, width: int) -> Sides:
    a, b = _unit_views(num_nodes, width)
    generator = torch.Generator().manual_seed(1)
    shapes = ((HIDDEN, width), (HIDDEN,), (HIDDEN,), ())
    G1, g1, g2, g0 = (torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)
    inputs = (a, b, G1, g1, g2, g0)

    def our_loss() -> Tensor:
        return _one_way(a, b, additive_mlp(a, b, G1=G1, g1=g1, g2=g2, g0=g0))

    ours = lambda: both_ways(our_loss, *inputs)  # noqa: E731
    plain = lambda: both_ways(lambda: network_weighted_loss(*inputs, TEMPERATURE), *inputs)  # noqa: E731
    base = lambda: both_ways(lambda: _one_way(a, b, None), a, b)  # noqa: E731

    def check() -> float:
        mine, theirs = ours(), plain()
        # In float32 the plain gradient of g2, one sum over N*N rows, is off by percents: ours is held to float64.
        theirs[5] = _gradient_of_g2(*inputs)
        return compare(mine, theirs)

    return Sides(ours, plain, base, check=check)


def _gradient_of_g2(*inputs: Tensor) -> Tensor:
    """In float64, the plain way, some rows at a time."""
    a, *rest = (tensor.detach().double() for tensor in inputs)
    g2 = rest[3].requires_grad_()
    total = torch.zeros_like(g2)
    for rows in a.split(500):
        total += torch.autograd.grad(network_weighted_sums(rows, *rest, TEMPERATURE)[1].sum(), g2)[0]
    return total / a.shape[0]


def _unit_views(num_nodes: int, width: int) -> tuple[Tensor, Tensor]:
    a, b = two_views(num_nodes, width)
    return F.normalize(a.detach()).requires_grad_(), F.normalize(b.detach()).requires_grad_()


def _one_way(a: Tensor, b: Tensor, weight: PairWeight | None) -> Tensor:
    """Rows of unit length in, the mean over the rows out."""
    rows = torch.full((a.shape[0],), 1 / a.shape[0])
    repulsion = product_logsumexp(a, b, temperature=TEMPERATURE, pair_weight=weight, row_weight=rows)
    assert isinstance(repulsion, Tensor)
    return repulsion - (a * b).sum(1).mean() / TEMPERATURE
