"""The linear probe over many splits."""

from __future__ import annotations

import torch

from benchmarks.case import Case, Options, Sides
from benchmarks.plain.probe import probe
from gcl.evaluate.linear_probe import REGULARIZATION, linear_probe

TITLE = "Linear probe"
SUMMARY = (
    "Protocol `linear`: logistic regression on fixed embeddings for every 10/10/80 split and seven strengths, all "
    "solved together. The plain side fits one scikit-learn model a split and strength and stops sooner, at its default "
    "tolerance of 1e-4 for the gradient's largest entry (ours at 1e-5 for its norm). At one strength and a tight "
    "tolerance both give the same test accuracies."
)
WIDTH, CLASSES, STRENGTHS = 256, 7, tuple(REGULARIZATION)


def cases(options: Options) -> list[Case]:
    width, splits = options.pick(WIDTH, 8), options.pick(10, 2)
    return [
        Case(
            label=f"N={n:,}, d={width}, {splits} splits, {len(STRENGTHS)} strengths",
            build=sides,
            arguments={"num_nodes": n, "width": width, "num_splits": splits},
            small={"num_nodes": 300, "width": width, "num_splits": 2},
            repeats=options.pick(3, 1),
            plain_repeats=options.pick(2, 1),
        )
        for n in options.nodes(2708, 13_752, quick=(300,))
    ]


def sides(num_nodes: int, width: int, num_splits: int) -> Sides:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(CLASSES, (num_nodes,), generator=generator)
    y[:CLASSES] = torch.arange(CLASSES)
    signal = torch.randn(CLASSES, width, generator=generator)
    z = (signal[y] + 3 * torch.randn(num_nodes, width, generator=generator)).relu()
    parts = torch.tensor([0, 1, *[2] * 8], dtype=torch.uint8).repeat(num_nodes // 10 + 1)[:num_nodes]
    splits = torch.stack([parts[torch.randperm(num_nodes, generator=generator)] for _ in range(num_splits)], dim=1)
    arrays = (z.double().numpy(), y.numpy(), splits.numpy())

    def check() -> float:
        """The largest difference of a split's test accuracy at one strength."""
        mine = linear_probe(z, y, splits, regularization=[1.0]).values["accuracy"]
        theirs = probe(*arrays, [1.0], tol=1e-8)
        error = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
        assert error <= 4 / num_nodes, f"test accuracies differ by {error}"
        return error

    return Sides(
        ours=lambda: linear_probe(z, y, splits, regularization=STRENGTHS),
        plain=lambda: probe(*arrays, STRENGTHS),
        check=check,
    )
