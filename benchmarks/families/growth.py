"""How time and memory grow with the graph."""

from __future__ import annotations

import torch

from benchmarks.case import Case, Options, Point, Sides, compare
from benchmarks.families import propagation
from benchmarks.families.loss import both_ways, exact_loss, two_views
from benchmarks.plain.contrast import grace_loss
from gcl.core.context import LossContext

TITLE = "Growth"
SUMMARY = (
    "Exponents of the size in measured time and peak memory: least squares on logarithms. Times are the least of seven "
    "(of the larger ones some take twice as long here, while the system looks for free pages). Memory is measured with "
    "a small budget for tiles, so that what grows with the nodes shows; each point in a fresh process."
)
WIDTH, ANCHORS, SMALL_BUDGET, DOUBLINGS, REPEATS = 256, 512, 2**20, 5, 7


def cases(options: Options) -> list[Case]:
    width = options.pick(WIDTH, 16)
    made = []
    for curve, first, build, timed, expected, extra in (
        ("exact loss: seconds by nodes", 1000, loss_sides, True, 2, {}),
        ("exact loss: MiB by nodes", 1000, loss_sides, False, 1, {"memory": SMALL_BUDGET}),
        (f"{ANCHORS} anchors: seconds by nodes", 4000, anchor_sides, True, 1, {}),
        (f"{ANCHORS} anchors: MiB by nodes", 4000, anchor_sides, False, 1, {"memory": SMALL_BUDGET}),
    ):
        if options.quick and not timed:
            continue
        made.extend(
            Case(
                label=f"{curve}, N={n:,}",
                build=build,
                arguments={"num_nodes": n, "width": width, **extra},
                small={"num_nodes": 600, "width": width, **extra},
                repeats=options.pick(REPEATS, 1),
                timed=timed,
                memory=not timed,
                point=Point(curve, n, expected, "seconds" if timed else "mib"),
            )
            for n in options.nodes(*(first * 2**k for k in range(DOUBLINGS)), quick=(600, 1200))
        )
    for n in options.nodes(*(32_000 * 2**k for k in range(DOUBLINGS)), quick=(600, 1200)):
        arguments = {"num_edges": 7 * n, "width": propagation.WIDTH, "drop_prob": 0.3}
        made.append(
            Case(
                label=f"propagation: seconds by arcs, {14 * n:,} arcs",
                build=propagation_sides,
                arguments={"num_nodes": n, **arguments},
                small={"num_nodes": 600, **arguments, "num_edges": 4200},
                repeats=options.pick(REPEATS, 1),
                point=Point("propagation: seconds by arcs", 14 * n, 1, "seconds"),
            )
        )
    return made


def loss_sides(num_nodes: int, width: int, memory: int | None = None) -> Sides:
    z1, z2 = two_views(num_nodes, width)
    ours = lambda: both_ways(lambda: exact_loss(z1, z2, memory=memory), z1, z2)  # noqa: E731
    plain = lambda: both_ways(lambda: grace_loss(z1, z2, 0.4), z1, z2)  # noqa: E731
    return Sides(ours, check=lambda: compare(ours(), plain()))


def anchor_sides(num_nodes: int, width: int, memory: int | None = None) -> Sides:
    z1, z2 = two_views(num_nodes, width)
    order = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(1))
    some = LossContext(anchors=order[:ANCHORS].sort().values)
    ours = lambda: both_ways(lambda: exact_loss(z1, z2, memory=memory, context=some), z1, z2)  # noqa: E731

    def check() -> float:  # over all anchors it is the whole loss
        everyone = LossContext(anchors=torch.arange(num_nodes))
        mine = both_ways(lambda: exact_loss(z1, z2, memory=memory, context=everyone), z1, z2)
        ours()
        return compare(mine, both_ways(lambda: grace_loss(z1, z2, 0.4), z1, z2))

    return Sides(ours, check=check)


def propagation_sides(num_nodes: int, num_edges: int, width: int, drop_prob: float) -> Sides:
    """Ours alone."""
    whole = propagation.sides(num_nodes, num_edges, width, drop_prob)
    return Sides(whole.ours, check=whole.check)
