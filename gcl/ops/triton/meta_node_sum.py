# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""The Triton twin of :func:`gcl.ops.meta_nodes.meta_node_sum`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from gcl.ops.csr import clusters_as_rows
from gcl.ops.triton.rows import accumulator, interpretable
from gcl.ops.triton.sparse_product import gathered_sum

if TYPE_CHECKING:
    from gcl.ops.triton.resources import Case

MAX_CLUSTERS = 64  # as many sums as a program holds; more clusters are sorted first
BLOCK_NODES, BLOCK_D = 32, 64
PARTS = 512  # programs along the nodes at most, each with sums of its own


@triton.jit
def meta_node_sum_kernel(
    z, labels, parts, num_nodes, num_clusters, nodes_per_part,
    D: tl.constexpr, BLOCK_NODES: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Sums over one part of the nodes of all clusters, as a product with their memberships, which are made on the chip.

    Grid (parts, blocks of columns); ``parts`` is ``[parts, num_clusters, D]``.
    """
    part = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    clusters = tl.arange(0, BLOCK_K)
    start = part.to(tl.int64) * nodes_per_part
    stop = tl.minimum(start + nodes_per_part, num_nodes)
    total = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    for first in range(start, stop, BLOCK_NODES):
        nodes = first + tl.arange(0, BLOCK_NODES)
        label = tl.load(labels + nodes, mask=nodes < stop, other=-1)
        rows = tl.load(
            z + nodes[:, None] * D + columns[None, :], mask=(label >= 0)[:, None] & (columns < D)[None, :], other=0.0
        )
        member = (clusters[:, None] == label[None, :]).to(rows.dtype)  # [K, nodes]
        total = tl.dot(member, rows, total, input_precision="ieee")
    address = parts + (part.to(tl.int64) * num_clusters + clusters[:, None]) * D + columns[None, :]
    tl.store(address, total, mask=(clusters < num_clusters)[:, None] & (columns < D)[None, :])


def meta_node_sum_triton(z: Tensor, labels: Tensor, num_clusters: int) -> Tensor:
    """Sums of rows by cluster, outside autograd, in one pass over ``z`` and without atomics.

    Up to ``MAX_CLUSTERS`` clusters every program sums a part of the nodes into all of them, and the parts are added in
    a fixed order. More clusters, and float64, are sums of rows gathered in the order of the clusters, which is sorted.
    A number in ``z`` that is not finite spoils its column in every cluster, not in its own alone as on the CPU.

    Args:
        z: float64, or float32, bfloat16 and float16 summed in float32, ``[N, d]``.
        labels: int32 or int64, -1 = in no cluster, ``[N]``.
        num_clusters: K.
    """
    if num_clusters > MAX_CLUSTERS or z.dtype == torch.float64:
        row_ptr, members = clusters_as_rows(labels, num_clusters)
        return gathered_sum(row_ptr, members, None, z)
    rows = interpretable(z.detach())
    n, d = rows.shape
    nodes_per_part = max(triton.cdiv(triton.cdiv(n, PARTS), BLOCK_NODES), 1) * BLOCK_NODES
    count = triton.cdiv(n, nodes_per_part)
    parts = rows.new_empty(count, num_clusters, d, dtype=accumulator(z.dtype))
    meta_node_sum_kernel[(count, triton.cdiv(d, BLOCK_D))](
        rows, labels.contiguous(), parts, n, num_clusters, nodes_per_part,
        D=d, BLOCK_NODES=BLOCK_NODES, BLOCK_K=_block_k(num_clusters), BLOCK_D=BLOCK_D, num_warps=4, num_stages=2,
    )  # fmt: skip
    return parts.sum(0).to(z.dtype)


def _block_k(num_clusters: int) -> int:
    return max(16, triton.next_power_of_2(num_clusters))  # 16 is the least that a product takes


def cases() -> list[Case]:
    """What to compile ahead of time."""
    from gcl.ops.triton.resources import Case

    found = []
    for dtype in ("fp32", "bf16"):
        for index in ("i32", "i64"):
            for clusters in (10, MAX_CLUSTERS):
                for d in (10, 128):
                    constexprs = {"D": d, "BLOCK_NODES": BLOCK_NODES, "BLOCK_K": _block_k(clusters), "BLOCK_D": BLOCK_D}
                    signature = {"z": f"*{dtype}", "labels": f"*{index}", "parts": "*fp32"}
                    signature |= dict.fromkeys(("num_nodes", "num_clusters", "nodes_per_part"), "i32")
                    signature |= dict.fromkeys(constexprs, "constexpr")
                    name = f"meta_node_sum/{dtype}-{index}/d{d}/{clusters}-clusters"
                    found.append(Case(name, meta_node_sum_kernel, signature, constexprs, 4, 2))
    return found
