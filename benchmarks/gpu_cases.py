"""What ``benchmarks.gpu`` checks and times: each Triton kernel beside the formula as a textbook writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.graphs import community_graph
from gcl.core.adjacency import Adjacency
from gcl.ops.meta_nodes import meta_node_sum
from gcl.ops.neighbor_logsumexp import neighbor_logsumexp
from gcl.ops.pair_weight import cluster_ids
from gcl.ops.product_logsumexp import product_logsumexp
from gcl.ops.segment import segment_sum
from gcl.ops.sparse_product import sparse_product

TEMPERATURE = 0.4
# Largest difference from float64, of the largest entry. Half precision rounds the gradients that are returned.
LIMITS = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
Step = Callable[[], list[Tensor]]


@dataclass(frozen=True, eq=False)
class Work:
    """One input, and several ways to the same values and gradients.

    Args:
        ours: with the name of a backend.
        plain: the textbook form, on the input cast to a type.
        scatter: the same by torch_scatter, where it has such an operation.
        limit: largest difference of ours from the plain form in float64.
        amount: FLOP or bytes that forward and backward need at least.
        unit: ``TFLOP/s`` or ``GB/s``.
    """

    ours: Callable[[str], list[Tensor]]
    plain: Callable[[torch.dtype], list[Tensor]]
    limit: float
    amount: float
    unit: str
    scatter: Step | None = None


@dataclass(frozen=True, eq=False)
class GPUCase:
    """One row: ``build(device, **arguments)`` at the size that is timed, ``**small`` at one that is checked."""

    kernel: str
    label: str
    build: Callable[..., Work]
    arguments: Mapping[str, Any]
    small: Mapping[str, Any]


def all_cases(*, quick: bool = False) -> list[GPUCase]:
    """The rows of the table; tiny ones where ``quick``."""
    found = []

    def add(
        kernel: str, label: str, build: Callable[..., Work], arguments: dict[str, Any], small: dict[str, Any]
    ) -> None:
        found.append(GPUCase(kernel, f"{kernel}: {label}", build, small if quick else arguments, small))

    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        for form in ("plain", "key bias", "cluster ids", "both sums"):
            for n in (2708, 8000, 20_000) if form == "plain" else (8000,):
                options = {"form": form, "dtype": dtype}
                add("product_logsumexp", f"{form}, N={n:,}, d=256, {name}", products,
                    {"n": n, "d": 256, **options}, {"n": 70, "d": 24, **options})  # fmt: skip
        graph, tiny = (
            {"num_nodes": 169_343, "num_edges": 1_157_799, "d": 128},
            {"num_nodes": 60, "num_edges": 200, "d": 20},
        )
        arcs = f"169,343 nodes, 2,315,598 arcs, d=128, {name}"
        add("segment_sum", arcs, segments, {**graph, "dtype": dtype}, {**tiny, "dtype": dtype})
        for drop_prob in (0.3, 0.7):
            options = {"drop_prob": drop_prob, "dtype": dtype}
            add("sparse_product", f"{arcs}, drop {drop_prob}", propagations, {**graph, **options}, {**tiny, **options})
        add("neighbor_logsumexp", arcs, neighbors, {**graph, "dtype": dtype}, {**tiny, "dtype": dtype})
        for k in (10, 1000):
            options = {"num_clusters": k, "d": 64, "dtype": dtype}
            add("meta_node_sum", f"1,000,000 nodes, d=64, {k:,} clusters, {name}", clusters,
                {"n": 1_000_000, **options}, {"n": 300, **options})  # fmt: skip
    return found


def products(device: str, n: int, d: int, form: str, dtype: torch.dtype) -> Work:
    """All-pairs log-sum-exp of unit rows with themselves, weighted as in a loss; ``both sums`` against other keys."""
    draw = _generator(device)
    rows, others = (torch.nn.functional.normalize(_normal(draw, n, d)).to(dtype) for _ in range(2))
    bias = torch.rand(n, generator=draw, device=device) if form == "key bias" else None
    labels = torch.randint(0, 10, (n, 2), generator=draw, device=device) if form == "cluster ids" else None
    weight, column_weight = (torch.rand(n, generator=draw, device=device) for _ in range(2))
    both = form == "both sums"

    def ours(backend: str) -> list[Tensor]:
        a, b = _leaf(rows), _leaf(others) if both else None
        options: dict[str, Any] = {"temperature": TEMPERATURE, "key_bias": bias, "backend": backend}
        if labels is not None:
            options["pair_weight"] = cluster_ids(labels, labels)
        if both:
            of_rows, of_columns = product_logsumexp(a, b, reduce="both", **options)
            value = (of_rows * weight).sum() + (of_columns * column_weight).sum()
        else:
            value = product_logsumexp(a, row_weight=weight, **options)  # type: ignore[assignment]
        return [value.detach().view(1), *torch.autograd.grad(value, [a] if b is None else [a, b])]

    def plain(wide: torch.dtype) -> list[Tensor]:
        a, b = _leaf(rows.to(wide)), _leaf(others.to(wide)) if both else None
        logits = a @ (a if b is None else b).T
        logits = (logits if bias is None else logits + bias.to(wide)) / TEMPERATURE
        if labels is not None:
            apart = (labels.unsqueeze(1) != labels.unsqueeze(0)).sum(2)
            logits = logits + apart.to(wide).log()
        if not both:
            logits = logits.masked_fill(torch.eye(n, dtype=torch.bool, device=device), -torch.inf)
        value = (logits.logsumexp(1) * weight.to(wide)).sum()
        if both:
            value = value + (logits.logsumexp(0) * column_weight.to(wide)).sum()
        return [value.detach().view(1), *torch.autograd.grad(value, [a] if b is None else [a, b])]

    return Work(ours, plain, LIMITS[dtype], (6.0 if both else 4.0) * n * n * d, "TFLOP/s")


def segments(device: str, num_nodes: int, num_edges: int, d: int, dtype: torch.dtype) -> Work:
    """Sums of the arcs of each node."""
    adjacency = _adjacency(device, num_nodes, num_edges)
    row, row_ptr = adjacency.row.long(), adjacency.row_ptr
    draw = _generator(device)
    values, grad = _normal(draw, adjacency.num_arcs, d).to(dtype), _normal(draw, num_nodes, d).to(dtype)

    def ours(backend: str) -> list[Tensor]:
        return _both_ways(lambda x: segment_sum(x, row_ptr=row_ptr, backend=backend), values, grad)  # type: ignore[arg-type]

    def plain(wide: torch.dtype) -> list[Tensor]:
        start = torch.zeros(num_nodes, d, dtype=wide, device=device)
        return _both_ways(lambda x: start.index_add(0, row, x), values.to(wide), grad.to(wide))

    def by_scatter() -> list[Tensor]:
        from torch_scatter import segment_csr

        return _both_ways(lambda x: segment_csr(x, row_ptr.long()), values, grad)

    moved = 2.0 * values.element_size() * d * (adjacency.num_arcs + num_nodes)
    return Work(ours, plain, LIMITS[dtype], moved, "GB/s", by_scatter)


def propagations(device: str, num_nodes: int, num_edges: int, d: int, drop_prob: float, dtype: torch.dtype) -> Work:
    """A weighted adjacency with a mask, times dense rows."""
    adjacency = _adjacency(device, num_nodes, num_edges)
    draw = _generator(device)
    keep = torch.rand(adjacency.num_arcs, generator=draw, device=device) >= drop_prob
    weight = torch.rand(adjacency.num_arcs, generator=draw, device=device)
    x, grad = _normal(draw, num_nodes, d).to(dtype), _normal(draw, num_nodes, d).to(dtype)
    values = weight * keep

    def ours(backend: str) -> list[Tensor]:
        return _both_ways(lambda x: sparse_product(adjacency, x, values, backend=backend), x, grad)  # type: ignore[arg-type]

    row, col = adjacency.row.long(), adjacency.col.long()

    def kept() -> tuple[Tensor, Tensor, Tensor]:
        return row[keep], col[keep], weight[keep].unsqueeze(1)

    def plain(wide: torch.dtype) -> list[Tensor]:
        target, source, factor = kept()
        start = torch.zeros(num_nodes, d, dtype=wide, device=device)
        return _both_ways(lambda x: start.index_add(0, target, factor.to(wide) * x[source]), x.to(wide), grad.to(wide))

    def by_scatter() -> list[Tensor]:
        from torch_scatter import scatter_sum

        target, source, factor = kept()
        return _both_ways(lambda x: scatter_sum(factor.to(dtype) * x[source], target, 0, dim_size=num_nodes), x, grad)

    moved = 2.0 * x.element_size() * d * (float(keep.sum()) + num_nodes)
    return Work(ours, plain, LIMITS[dtype], moved, "GB/s", by_scatter)


def neighbors(device: str, num_nodes: int, num_edges: int, d: int, dtype: torch.dtype) -> Work:
    """Log-sum-exp over each node's neighbours."""
    adjacency = _adjacency(device, num_nodes, num_edges)
    row, col = adjacency.row.long(), adjacency.col.long()
    draw = _generator(device)
    z = torch.nn.functional.normalize(_normal(draw, num_nodes, d)).to(dtype)
    there = adjacency.row_ptr.diff() > 0
    weight = torch.rand(num_nodes, generator=draw, device=device)[there]

    def ours(backend: str) -> list[Tensor]:
        operation = lambda z: neighbor_logsumexp(z, None, adjacency, temperature=TEMPERATURE, backend=backend)[there]  # noqa: E731
        return _both_ways(operation, z, weight)

    def plain(wide: torch.dtype) -> list[Tensor]:
        def operation(z: Tensor) -> Tensor:
            logits = (z[row] * z[col]).sum(1) / TEMPERATURE  # at most 1 / temperature: no maximum is needed
            return torch.zeros(num_nodes, dtype=wide, device=device).index_add(0, row, logits.exp())[there].log()

        return _both_ways(operation, z.to(wide), weight.to(wide))

    moved = 3.0 * z.element_size() * d * (adjacency.num_arcs + num_nodes)
    return Work(ours, plain, LIMITS[dtype], moved, "GB/s")


def clusters(device: str, n: int, d: int, num_clusters: int, dtype: torch.dtype) -> Work:
    """One row in place of all rows of a cluster."""
    draw = _generator(device)
    labels = torch.randint(0, num_clusters, (n,), generator=draw, device=device)
    z, grad = _normal(draw, n, d).to(dtype), _normal(draw, num_clusters, d).to(dtype)

    def ours(backend: str) -> list[Tensor]:
        return _both_ways(lambda z: meta_node_sum(z, labels, num_clusters, backend=backend), z, grad)  # type: ignore[arg-type]

    def plain(wide: torch.dtype) -> list[Tensor]:
        start = torch.zeros(num_clusters, d, dtype=wide, device=device)
        return _both_ways(lambda z: start.index_add(0, labels, z), z.to(wide), grad.to(wide))

    def by_scatter() -> list[Tensor]:
        from torch_scatter import scatter_sum

        return _both_ways(lambda z: scatter_sum(z, labels, 0, dim_size=num_clusters), z, grad)

    return Work(ours, plain, LIMITS[dtype], 2.0 * z.element_size() * d * n, "GB/s", by_scatter)


def _adjacency(device: str, num_nodes: int, num_edges: int) -> Adjacency:
    edge_index = community_graph(num_nodes, num_edges)
    return Adjacency.from_edge_index(edge_index, (num_nodes, num_nodes)).to(device)


def _both_ways(operation: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> list[Tensor]:
    """The value and the gradient."""
    leaf = _leaf(x)
    value = operation(leaf)
    return [value.detach(), *torch.autograd.grad(value, leaf, grad.to(value.dtype))]


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def _generator(device: str) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def _normal(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=draw, device=draw.device)
