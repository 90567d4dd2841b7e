"""Which scores of compactness are bounds: by enumeration of every admissible graph.

    python -m benchmarks.soundness [--graphs 80] [--seed 0]

draws graphs of 5 to 7 nodes with random features, weights and budgets, enumerates all graphs that the budgets admit,
and prints, for each score, the share of nodes for which it lies below the value at a random admissible view, the share
for which it lies below the true minimum, and the mean distance to that minimum.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.ops.budgeted_bounds import BudgetedBounds
from gcl.ops.certificate import certificate
from gcl.ops.compactness import (
    BoundedLayer,
    certified_score,
    contrast_direction,
    reference_score,
    relaxed_score,
    target_score,
)
from gcl.ops.propagation_bounds import PropagationBounds

SLACK = 1e-9


def main() -> None:
    """Prints one table for each activation and way of deletion."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| activation, deletion | score | <= value at the view | <= true minimum | mean gap to the minimum |")
    print("| --- | --- | ---: | ---: | ---: |")
    for slope, deletion in itertools.product((0.0, 0.25), ("edges", "arcs")):
        name = f"{'ReLU' if slope == 0 else 'PReLU 0.25'}, {deletion}"
        for score, (below_value, below_least, gap) in table(given.graphs, given.seed, slope, deletion).items():
            shown = f"{gap:.3f}" if below_least == 1 else "-"
            print(f"| {name} | {score} | {below_value:.2f} | {below_least:.2f} | {shown} |")


def table(graphs: int, seed: int, slope: float, deletion: str) -> dict[str, tuple[float, float, float]]:
    """Shares and gap of every score over the nodes of all graphs."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = defaultdict(list)
    for _ in range(graphs):
        for name, (score, value, least) in problem(generator, slope, deletion).items():
            found[name].append(torch.stack([score <= value + SLACK, score <= least + SLACK, least - score]).double())
    return {name: tuple(torch.cat(parts, 1).mean(1).tolist()) for name, parts in found.items()}  # type: ignore[misc]


def problem(generator: torch.Generator, slope: float, deletion: str) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Each score beside the value at a view and the true minimum, on one random graph."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    size = int(torch.randint(5, 8, (1,), generator=generator))
    pairs = torch.combinations(torch.arange(size))
    pairs = pairs[torch.randperm(len(pairs), generator=generator)][: 9 if deletion == "edges" else 6]
    arcs = torch.zeros(size, size, dtype=torch.float64)
    arcs[pairs[:, 0], pairs[:, 1]] = arcs[pairs[:, 1], pairs[:, 0]] = 1
    degree = arcs.sum(1)
    budget = torch.minimum(torch.round(0.4 * degree), (degree - 1).clamp(min=0))
    x = normal(size, 4)
    layers = [
        BoundedLayer(0.5 * normal(4, 5), 0.2 * normal(5), slope),
        BoundedLayer(0.5 * normal(5, 3), 0.2 * normal(3), slope),
    ]
    w = contrast_direction(normal(size, 3))

    matrices = gcn(admissible(arcs, budget, deletion))
    value, _ = encode(matrices, x, layers)
    values = (value * w).sum(-1)
    view = int(torch.randint(len(matrices), (1,), generator=generator))
    _, seen = encode(matrices[view], x, layers)
    clean, _ = encode(gcn(arcs), x, layers[:1])

    row, col = arcs.nonzero(as_tuple=True)
    adjacency = Adjacency.from_edge_index(torch.stack([col, row]), (size, size))
    plain = PropagationBounds.of(adjacency, budget, deletion=deletion, tight=False)  # type: ignore[arg-type]
    tight = PropagationBounds.of(adjacency, budget, deletion=deletion)  # type: ignore[arg-type]
    counted = BudgetedBounds(adjacency, budget, deletion=deletion)  # type: ignore[arg-type]
    product, hidden = x @ layers[0].weight, clean @ layers[1].weight

    def times(y: Tensor) -> Tensor:
        return matrices[view] @ y

    scores = {
        "reference": reference_score(plain, lambda y: matrices[view].t() @ y, product, hidden, layers, w),
        "target": target_score(plain, times, times, product, hidden, layers, w),
        "relaxed": relaxed_score(tight, tight, times, product, seen, layers, w),
        "certified, entry-wise": certified_score(plain, plain, product, layers, w),
        "certified, tight (training)": certified_score(tight, tight, product, layers, w),
        "certificate, counted": certificate(counted, product, layers, w, paths=False),
        "certificate, counted, with paths": certificate(counted, product, layers, w),
    }
    return {name: (score, values[view], values.amin(0)) for name, score in scores.items()}


def encode(a: Tensor, x: Tensor, layers: list[BoundedLayer]) -> tuple[Tensor, Tensor]:
    """Output and first pre-activation."""
    first, hidden = None, x
    for layer in layers:
        before = a @ (hidden @ layer.weight) + layer.bias
        first = before if first is None else first
        hidden = torch.where(before >= 0, before, layer.slope * before)
    assert first is not None
    return hidden, first


def gcn(arcs: Tensor) -> Tensor:
    """GCN matrices of 0/1 arc matrices ``[..., N, N]``."""
    looped = arcs + torch.eye(arcs.shape[-1], dtype=arcs.dtype)
    factor = looped.sum(-1).rsqrt()
    return looped * factor.unsqueeze(-1) * factor.unsqueeze(-2)


def admissible(arcs: Tensor, budget: Tensor, deletion: str) -> Tensor:
    """Every graph with at most ``budget[i]`` deletions at node i, ``[K, N, N]``."""
    size = arcs.shape[0]
    places = [
        (i, j) for i, j in itertools.product(range(size), repeat=2) if arcs[i, j] and (deletion == "arcs" or i < j)
    ]
    masks = torch.tensor(list(itertools.product([1.0, 0.0], repeat=len(places))), dtype=arcs.dtype)
    graphs = torch.zeros(masks.shape[0], size, size, dtype=arcs.dtype)
    for at, (i, j) in enumerate(places):
        graphs[:, i, j] = masks[:, at]
        if deletion == "edges":
            graphs[:, j, i] = masks[:, at]
    return graphs[((arcs - graphs).sum(-1) <= budget).all(1)]


if __name__ == "__main__":
    main()
