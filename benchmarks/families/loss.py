"""The exact loss of GRACE, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.case import Case, Options, Sides, compare
from benchmarks.plain.contrast import grace_loss
from gcl.core.context import LossContext
from gcl.losses.functional import anchor_weights, pair_attraction, unit_pair
from gcl.losses.infonce import InfoNCE
from gcl.ops.product_logsumexp import product_logsumexp

TITLE = "Exact all-pairs loss"
SUMMARY = (
    "GRACE's InfoNCE with all nodes of both views as negatives, forward and backward, float32. The plain side is the "
    "authors' formula with its N x N matrices. The share is that of the sgemm rate, counting 16 N²d FLOP however many "
    "are done (12 N²d suffice where the budget keeps the tiles; the plain side does 24)."
)
WIDTH, TEMPERATURE = 256, 0.4
DENSE_MATRICES = 8  # N x N float32 matrices that the plain form holds at its peak (measured: about 7.3)


def cases(options: Options) -> list[Case]:
    width = options.pick(WIDTH, 16)
    small = {"num_nodes": 300, "width": width}
    if options.quick or options.sizes:
        plan = [(n, None, {}, 2) for n in options.nodes(quick=(400,))]
    else:
        plan = [
            (2708, 4 * 2**30, {}, 5),
            (4000, 4 * 2**30, {"ratio": 2.5}, 5),
            (8000, None, {"ratio": 2.0, "memory_ratio": 20}, 3),
            (20000, None, {"share": 0.75, "peak_mib": 400}, 2),
        ]
    made = []
    for n, memory, goals, repeats in plan:
        budget = "default budget" if memory is None else f"budget {memory // 2**30} GiB"
        made.append(
            Case(
                label=f"N={n:,}, d={width}, {budget}",
                build=sides,
                arguments={"num_nodes": n, "width": width, "memory": memory},
                small=small,
                repeats=repeats,
                plain_bytes=DENSE_MATRICES * 4.0 * n * n,
                plain_only_with_all=n > 12_000,
                memory=True,
                goals=goals,
            )
        )
    return made


def sides(num_nodes: int, width: int, memory: int | None = None) -> Sides:
    z1, z2 = two_views(num_nodes, width)
    ours = lambda: both_ways(lambda: exact_loss(z1, z2, memory=memory), z1, z2)  # noqa: E731
    plain = lambda: both_ways(lambda: grace_loss(z1, z2, TEMPERATURE), z1, z2)  # noqa: E731
    work = ("sgemm", 16.0 * num_nodes**2 * width)
    return Sides(ours, plain, check=lambda: compare(ours(), plain()), work=work)


def two_views(num_nodes: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Embeddings of two views that resemble each other, as in training."""
    generator = torch.Generator().manual_seed(seed)
    z1 = torch.randn(num_nodes, width, generator=generator)
    z2 = z1 + torch.randn(num_nodes, width, generator=generator)
    return z1.requires_grad_(), z2.requires_grad_()


def both_ways(loss: Callable[[], Tensor], *inputs: Tensor) -> list[Tensor]:
    """The loss and its gradients."""
    value = loss()
    return [value.detach(), *torch.autograd.grad(value, inputs)]


def exact_loss(z1: Tensor, z2: Tensor, *, memory: int | None = None, context: LossContext | None = None) -> Tensor:
    """InfoNCE as GRACE calls it; with a budget of bytes, the same from its parts."""
    if memory is None:
        return InfoNCE(TEMPERATURE)(z1, z2, context=context)
    context = LossContext() if context is None else context
    h1, h2 = unit_pair(z1, z2, "InfoNCE")
    keys, anchors = torch.cat([h1, h2]), context.anchors
    rows = None if anchors is None else torch.cat([anchors, anchors + h1.shape[0]])
    repulsion = product_logsumexp(
        keys if rows is None else keys[rows],
        None if rows is None else keys,
        temperature=TEMPERATURE,
        exclude=rows,
        row_weight=anchor_weights(h1, context).repeat(2) / 2,
        memory=memory,
    )
    assert isinstance(repulsion, Tensor)
    return pair_attraction(h1, h2, temperature=TEMPERATURE, context=context) + repulsion
