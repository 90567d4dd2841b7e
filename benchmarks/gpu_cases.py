"""What ``benchmarks.gpu`` runs: each kernel's operation, its textbook form, and the sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
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
ROWS_AT_ONCE, GRAPH_ROWS_AT_ONCE = 1024, 16_384  # of the reference, so that float64 fits
PRODUCT_FORMS = (
    "plain",
    "key bias",
    "two clusterings",
    "columns",
    "both",
    "exclude self",  # from here on one matrix is rows and keys, as in GRACE's loss, and each pair is visited once
    "exclude self, two clusterings",
    "exclude self, row weights",
)
Side = Callable[..., Any]  # takes the leaves, returns a tensor or a tuple of tensors
Parts = Iterator[tuple[int, Any, Side]]


@dataclass(frozen=True)
class Arithmetic:
    """Type of the input, what ``torch.set_float32_matmul_precision`` is given for all sides, and the largest error."""

    dtype: torch.dtype
    limit: float  # of value and gradients, relative to each tensor's largest entry
    precision: str = "highest"


# bfloat16 rounds by 2^-9 and TF32 by 2^-11, in operands, probabilities and results: room for a few of these
ARITHMETIC = {
    "float32": Arithmetic(torch.float32, 1e-4),
    "bfloat16": Arithmetic(torch.bfloat16, 2e-2),
    "tf32x3": Arithmetic(torch.float32, 1e-4, "high"),
    "tf32": Arithmetic(torch.float32, 1e-2, "medium"),
}


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation on one input.

    Args:
        leaves: what gradients go to.
        factors: what the gradients of each value start from; they have its shape.
        sides: ``ours`` (Triton) and others to time it against.
        parts: of the reference: of which value, which rows of it, and a function for these alone.
        work: floating-point operations, or bytes of memory, of a step of ours.
        unit: ``TFLOP/s`` or ``GB/s``.
    """

    leaves: tuple[Tensor, ...]
    factors: tuple[Tensor, ...]
    sides: Mapping[str, Side]
    parts: Callable[[], Parts]
    work: float
    unit: str


@dataclass(frozen=True, eq=False)
class GPUCase:
    """One row of the table."""

    kernel: str
    label: str
    arithmetic: str
    build: Callable[[torch.device], Operation]


def all_cases(*, tiny: bool) -> list[GPUCase]:
    """Every case, at the sizes to time or at ones that a check alone needs."""
    products = [(150, 40)] if tiny else [(2708, 256), (8000, 256), (20_000, 256)]
    nodes, edges, width = size = (120, 400, 24) if tiny else (170_000, 1_150_000, 128)
    rows, columns = (600, 24) if tiny else (1_000_000, 64)
    made: list[GPUCase] = []

    def add(kernel: str, what: str, arithmetic: str, build: Callable[..., Operation], *arguments: Any) -> None:
        build = functools.partial(build, ARITHMETIC[arithmetic].dtype)
        label = f"{kernel}: {what}, {arithmetic}"
        made.append(GPUCase(kernel, label, arithmetic, lambda device: build(device, *arguments)))

    for n, d in products:
        for form in PRODUCT_FORMS:
            for arithmetic in ARITHMETIC if form in ("plain", "exclude self, row weights") else ("float32", "bfloat16"):
                add("product_logsumexp", f"{form}, {n:,} x {d}", arithmetic, product_case, form, n, d)
    graph = f"{nodes:,} nodes, {2 * edges:,} arcs, d={width}"
    for arithmetic in ("float32", "bfloat16"):
        add("segment_sum", graph, arithmetic, segment_case, *size)
        for drop in (0.3, 0.7):
            add("sparse_product", f"fresh mask, drop {drop}, {graph}", arithmetic, sparse_case, *size, drop)
        add("sparse_product", f"values with a gradient, {graph}", arithmetic, sparse_case, *size, None)
        add("neighbor_logsumexp", f"weights with a gradient, {graph}", arithmetic, neighbor_case, *size, None)
        add("neighbor_logsumexp", f"fresh mask, drop 0.3, {graph}", arithmetic, neighbor_case, *size, 0.3)
        for clusters in (10, 100 if tiny else 1000):  # few are summed at once, many are sorted first
            what = f"{rows:,} x {columns}, {clusters:,} clusters"
            add("meta_node_sum", what, arithmetic, meta_node_case, rows, columns, clusters)
    return made


# -- all pairs --------------------------------------------------------------------------------------------------------


def product_case(dtype: torch.dtype, device: torch.device, form: str, n: int, d: int) -> Operation:
    draw = _Draw(dtype, device)
    reduce: Any = form if form in ("columns", "both") else "rows"
    alone = form.startswith("exclude self")
    names = ["a"] if alone else ["a", "b"]
    leaves = [draw.unit_rows(n, d) for _ in names]
    for name, words in (("key_bias", "key bias"), ("row_weight", "row weights")):
        if words in form:
            names.append(name)
            leaves.append(draw.uniform(n))
    labels = draw.integers(8, n, 2) if "two clusterings" in form else None
    every, whole = torch.arange(n, device=device), slice(None)

    def operation(backend: Any, *leaves: Tensor) -> Any:
        weight = None if labels is None else cluster_ids(labels, labels)
        given: dict[str, Any] = dict(zip(names, leaves, strict=True))
        return product_logsumexp(**given, temperature=TEMPERATURE, pair_weight=weight, reduce=reduce, backend=backend)

    def logits(leaves: tuple[Tensor, ...], rows: slice = whole, columns: slice = whole) -> Tensor:
        given = dict(zip(names, leaves, strict=True))
        products = given["a"][rows] @ given.get("b", given["a"])[columns].T
        if "key_bias" in given:
            products = products + given["key_bias"][columns]
        products = products / TEMPERATURE
        if labels is not None:
            count = (labels[rows].unsqueeze(1) != labels[columns].unsqueeze(0)).sum(2)
            products = products + count.to(products.dtype).log()
        if alone:
            products = products.masked_fill(every[rows].unsqueeze(1) == every[columns], -torch.inf)
        return products

    def textbook(*leaves: Tensor) -> Any:
        every_pair = logits(leaves)
        if "row_weight" in names:
            return (leaves[-1] * every_pair.logsumexp(1)).sum()
        return tuple(every_pair.logsumexp(dim) for dim in {"rows": (1,), "columns": (0,), "both": (1, 0)}[reduce])

    def parts() -> Parts:
        for part in _slices(n, ROWS_AT_ONCE):
            if "row_weight" in names:
                yield 0, ..., lambda *leaves, part=part: leaves[-1][part] @ logits(leaves, rows=part).logsumexp(1)
            elif reduce != "columns":
                yield 0, part, lambda *leaves, part=part: logits(leaves, rows=part).logsumexp(1)
            if reduce != "rows":
                yield -1, part, lambda *leaves, part=part: logits(leaves, columns=part).logsumexp(0)

    shapes = [()] if "row_weight" in names else [(n,), (n,)] if form == "both" else [(n,)]
    flops = 8.0 * n * n * d  # 2 for the value, 6 for the gradients, which make the logits again
    return Operation(
        leaves=_with_gradient(*leaves),
        factors=tuple(draw.uniform(*shape) + 0.5 for shape in shapes),
        sides={**_backends(operation), "textbook": textbook},
        parts=parts,
        work=flops / 2 if alone else flops,
        unit="TFLOP/s",
    )


# -- graphs -----------------------------------------------------------------------------------------------------------


def segment_case(dtype: torch.dtype, device: torch.device, nodes: int, edges: int, d: int) -> Operation:
    draw, adjacency = _Draw(dtype, device), _adjacency(nodes, edges, device)
    pointer, row = adjacency.row_ptr, adjacency.row.long()
    leaves = _with_gradient(draw.normal(adjacency.num_arcs, d))

    def operation(backend: Any, values: Tensor) -> Tensor:
        return segment_sum(values, row_ptr=pointer, backend=backend)

    def textbook(values: Tensor) -> Tensor:
        return values.new_zeros(nodes, d).index_add_(0, row, values)

    sides: dict[str, Side] = {**_backends(operation), "textbook": textbook}
    if (scatter := _torch_scatter()) is not None:
        long = pointer.long()
        sides["scatter"] = lambda values: scatter.segment_csr(values, long, reduce="sum")
    work = 2.0 * (adjacency.num_arcs + nodes) * d * dtype.itemsize
    return Operation(leaves, (draw.normal(nodes, d),), sides, lambda: iter([(0, ..., textbook)]), work, "GB/s")


def sparse_case(
    dtype: torch.dtype, device: torch.device, nodes: int, edges: int, d: int, drop: float | None
) -> Operation:
    """With a mask that no step has seen, or with values that take a gradient."""
    draw, adjacency = _Draw(dtype, device), _adjacency(nodes, edges, device)
    arcs = _Arcs(adjacency, None if drop is None else draw.uniform(adjacency.num_arcs) >= drop)
    leaves = [draw.normal(nodes, d)] + ([draw.uniform(adjacency.num_arcs)] if drop is None else [])

    def operation(backend: Any, x: Tensor, values: Tensor | None = None) -> Tensor:
        return sparse_product(arcs.view(), x, values, backend=backend)

    def messages(x: Tensor, values: Tensor | None, part: slice) -> tuple[Tensor, Tensor]:
        target, source = arcs.ends(part)
        return (x[source] if values is None else x[source] * values[part].unsqueeze(1).to(x.dtype)), target

    def sums(x: Tensor, values: Tensor | None = None, *, rows: slice, part: slice) -> Tensor:
        message, target = messages(x, values, part)
        return x.new_zeros(rows.stop - rows.start, d).index_add_(0, target - rows.start, message)

    sides: dict[str, Side] = {**_backends(operation), "textbook": arcs.whole(sums)}
    if (scatter := _torch_scatter()) is not None:
        sides["scatter"] = lambda x, values=None: scatter.scatter(*messages(x, values, slice(None)), 0, dim_size=nodes)
    work = (3.0 if drop is None else 2.0) * (arcs.present + nodes) * d * dtype.itemsize
    factors = (draw.normal(nodes, d),)
    return Operation(_with_gradient(*leaves), factors, sides, lambda: arcs.parts(sums), work, "GB/s")


def neighbor_case(
    dtype: torch.dtype, device: torch.device, nodes: int, edges: int, d: int, drop: float | None
) -> Operation:
    """With a mask that no step has seen, or with weights that take a gradient."""
    draw, adjacency = _Draw(dtype, device), _adjacency(nodes, edges, device)
    arcs = _Arcs(adjacency, None if drop is None else draw.uniform(adjacency.num_arcs) >= drop)
    leaves = [draw.unit_rows(nodes, d) for _ in range(2)]
    leaves += [draw.uniform(adjacency.num_arcs) + 0.5] if drop is None else []

    def operation(backend: Any, a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
        view = arcs.view().with_weight(weight)
        return neighbor_logsumexp(a, b, view, temperature=TEMPERATURE, backend=backend)

    def sums(a: Tensor, b: Tensor, weight: Tensor | None = None, *, rows: slice, part: slice) -> Tensor:
        target, source = arcs.ends(part)
        powers = ((a[target] * b[source]).sum(1) / TEMPERATURE).exp()  # unit rows: nothing overflows
        powers = powers if weight is None else powers * weight[part]
        return powers.new_zeros(rows.stop - rows.start).index_add_(0, target - rows.start, powers).log()

    work = 3.0 * (arcs.present + nodes) * d * dtype.itemsize  # the value and two gradients
    sides = {**_backends(operation), "textbook": arcs.whole(sums)}
    factors = (draw.uniform(nodes) + 0.5,)
    return Operation(_with_gradient(*leaves), factors, sides, lambda: arcs.parts(sums), work, "GB/s")


def meta_node_case(dtype: torch.dtype, device: torch.device, n: int, d: int, clusters: int) -> Operation:
    draw = _Draw(dtype, device)
    leaves, labels = _with_gradient(draw.normal(n, d)), draw.integers(clusters, n)

    def operation(backend: Any, z: Tensor) -> Tensor:
        return meta_node_sum(z, labels, clusters, backend=backend)

    def textbook(z: Tensor) -> Tensor:
        return z.new_zeros(clusters, d).index_add_(0, labels, z)

    sides: dict[str, Side] = {**_backends(operation), "textbook": textbook}
    if (scatter := _torch_scatter()) is not None:
        sides["scatter"] = lambda z: scatter.scatter(z, labels, 0, dim_size=clusters)
    work = 2.0 * n * d * dtype.itemsize
    return Operation(leaves, (draw.normal(clusters, d),), sides, lambda: iter([(0, ..., textbook)]), work, "GB/s")


# -- shared -----------------------------------------------------------------------------------------------------------


class _Draw:
    """Numbers that are the same on every device."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device, self.generator = dtype, device, torch.Generator().manual_seed(0)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(self.device, self.dtype)

    def unit_rows(self, *shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, generator=self.generator)).to(self.device, self.dtype)

    def uniform(self, *shape: int) -> Tensor:
        """Float32 in any case."""
        return torch.rand(shape, generator=self.generator).to(self.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator).to(self.device)


class _Arcs:
    """The arcs of a graph under a mask, whole or some rows at a time."""

    def __init__(self, adjacency: Adjacency, keep: Tensor | None) -> None:
        self.adjacency, self.keep = adjacency, keep
        self.present = adjacency.num_arcs if keep is None else int(keep.sum())
        self._row, self._col = adjacency.row.long(), adjacency.col.long()

    def view(self) -> Adjacency:
        """A new one each time, as each training step has."""
        return self.adjacency if self.keep is None else self.adjacency.masked(self.keep)

    def ends(self, part: slice) -> tuple[Tensor, Tensor]:
        """Rows and columns of the arcs that are kept."""
        row, col = self._row[part], self._col[part]
        return (row, col) if self.keep is None else (row[self.keep[part]], col[self.keep[part]])

    def whole(self, function: Side) -> Side:
        return functools.partial(function, rows=slice(0, self.adjacency.shape[0]), part=slice(None))

    def parts(self, function: Side) -> Parts:
        for rows in _slices(self.adjacency.shape[0], GRAPH_ROWS_AT_ONCE):
            part = slice(int(self.adjacency.row_ptr[rows.start]), int(self.adjacency.row_ptr[rows.stop]))
            yield 0, rows, functools.partial(function, rows=rows, part=part)


@functools.lru_cache(maxsize=1)
def _adjacency(nodes: int, edges: int, device: torch.device) -> Adjacency:
    return Adjacency.from_edge_index(community_graph(nodes, edges), (nodes, nodes)).to(device)


def _with_gradient(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.requires_grad_() for tensor in tensors)


def _backends(operation: Side) -> dict[str, Side]:
    return {"ours": functools.partial(operation, "triton"), "torch": functools.partial(operation, "torch")}


def _slices(size: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, size)) for first in range(0, size, step)]


@functools.cache
def _torch_scatter() -> Any | None:
    try:
        import torch_scatter
    except (ImportError, OSError):  # OSError: built for another torch
        return None
    return torch_scatter
