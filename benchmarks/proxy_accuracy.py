"""How well clusters stand for all pairs in a contrastive loss.

    python -m benchmarks.proxy_accuracy

600 points in 6 Gaussian blobs of equal size in 10 dimensions, float64: the exact negative term, the bounds by blocks
and PamC's proxy, and the cosine of each one's gradient with the exact one. ``spread`` is twice the deviation inside a
blob; that of the centres is 1.5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gcl.losses.blocks import block_repulsion, meta_node_repulsion
from gcl.losses.neighbor_contrast import all_pairs_repulsion
from gcl.ops.unit_rows import unit_rows

SETTINGS = ((0.25, 0.3), (0.5, 1.0), (0.5, 3.0), (1.0, 1.0), (2.0, 1.0), (2.0, 3.0))
NODES, WIDTH, CLUSTERS = 600, 10, 6


def main() -> None:
    """Prints the table."""
    values = "exact | blocks, nodes | blocks | blocks + 2nd order | PamC | PamC + ln(N/K)"
    print(f"| scale | spread | {values} | cosine: nodes | blocks | 2nd order | PamC | length of PamC's |")
    print("| " + " | ".join(["---:"] * 13) + " |")
    for scale, spread in SETTINGS:
        values, cosines, ratio = measure(scale, spread)
        cells = [f"{scale:g}", f"{spread:g}", *(f"{value:.4f}" for value in values)]
        print("| " + " | ".join([*cells, *(f"{cosine:.3f}" for cosine in cosines), f"{ratio:.2f}"]) + " |")


def measure(scale: float, spread: float, seed: int = 0) -> tuple[list[float], list[float], float]:
    """Values, cosines of the gradients with the exact one, and the length of PamC's gradient over the exact one's."""
    generator = torch.Generator().manual_seed(seed)
    centres = 1.5 * torch.randn(CLUSTERS, WIDTH, generator=generator, dtype=torch.float64)
    labels = torch.arange(NODES) % CLUSTERS
    noise = torch.randn(NODES, WIDTH, generator=generator, dtype=torch.float64)
    z = (centres[labels] + 0.5 * spread * noise).requires_grad_()
    h = unit_rows(z)
    natural = (scale * h @ h.t()).logsumexp(dim=1).mean()
    nodes = block_repulsion(h, labels, scale=scale, rows="nodes")
    blocks = block_repulsion(h, labels, scale=scale)
    second = block_repulsion(h, labels, scale=scale, second_order=True)
    proxy = meta_node_repulsion(z, labels, scale=scale)

    def gradient(value: Tensor) -> Tensor:
        return torch.autograd.grad(value, z, retain_graph=True)[0].flatten()

    exact = gradient(all_pairs_repulsion(h, scale=scale))
    found = [gradient(value) for value in (nodes, blocks, second, proxy)]
    values = [value.item() for value in (natural, nodes, blocks, second, proxy)]
    cosines = [float(torch.cosine_similarity(exact, part, dim=0)) for part in found]
    return [*values, values[-1] + math.log(NODES / CLUSTERS)], cosines, float(found[-1].norm() / exact.norm())


if __name__ == "__main__":
    main()
