"""Embeddings of a graph that is larger than memory: layer by layer, in blocks of nodes, into a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, GCLError, OutputError
from gcl.core.files import atomic_write
from gcl.core.graph import Graph
from gcl.data.npy_files import new_mapped_array
from gcl.encoders.affine_stack import AffineStack
from gcl.encoders.encoder import Encoder, in_channels_of
from gcl.encoders.gcn import GCN
from gcl.encoders.mlp import MLP
from gcl.ops.feature_product import feature_product
from gcl.ops.fixed_matrix import power

Rows = NDArray[np.float32]


def takes_blocks(encoder: object) -> bool:
    """Whether an encoder can embed in blocks of nodes: the package's own :class:`GCN` and :class:`MLP`."""
    return type(encoder) in (GCN, MLP)


@torch.no_grad()
def embed_by_blocks(encoder: Encoder, graph: Graph, path: str | os.PathLike[str], *, memory: int = 2**30) -> Path:
    """What ``encoder.embed(graph)`` gives, up to rounding, as an ``.npy`` file of float32 ``[N, out_channels]``.

    Each layer is made in two passes over the nodes: features times weight, and sums over neighbours. What lies between
    is in temporary files beside ``path``, of which the rows are read that a block has as neighbours. So memory holds a
    block, and a number for each node and arc where the graph itself is in memory. Features are read in order.

    Args:
        encoder: a built :class:`~gcl.encoders.gcn.GCN` or :class:`~gcl.encoders.mlp.MLP`.
        graph: of one relation, on the CPU; its arrays may be mapped.
        path: a new ``.npy`` file.
        memory: bytes that a block may take, about.

    Raises:
        ConfigError: another encoder, or no memory.
        DataError: features of another width.
        NotFittedError: the encoder was not built.
        OutputError: the file exists, or cannot be written.
    """
    if not takes_blocks(encoder):
        raise ConfigError(f"{type(encoder).__name__} does not embed in blocks; use its embed(graph)")
    if isinstance(memory, bool) or not isinstance(memory, int) or memory < 1:
        raise ConfigError(f"memory must be a whole number of bytes from 1, got {memory!r}")
    encoder._require_built("layers_")
    path, stack = Path(path), encoder.layers_
    assert isinstance(stack, AffineStack)
    if path.suffix != ".npy":
        raise OutputError(f"{path} must end in .npy")
    features = graph.features[graph.target]
    if in_channels_of(graph.spec) != stack.weights[0].shape[0]:
        raise DataError(
            f"the encoder was built for {stack.weights[0].shape[0]} feature columns and got {features.shape[1]}; build "
            "it again with this graph's spec"
        )
    adjacency = graph.adjacency if isinstance(encoder, GCN) else None
    try:
        _write(path, stack, features, adjacency, graph.num_nodes, memory)
    except GCLError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); make room or choose another place") from error
    return path


def _write(
    path: Path,
    stack: AffineStack,
    features: Tensor | Adjacency,
    adjacency: Adjacency | None,
    num_nodes: int,
    memory: int,
) -> None:
    """All layers, the last one into the file."""
    factor = None if adjacency is None else _degree_factor(adjacency, memory)
    with atomic_write(path, overwrite=False) as temporary, tempfile.TemporaryDirectory(dir=path.parent) as folder:
        layer: Rows | None = None
        last = len(stack.weights) - 1
        for index, (weight, bias) in enumerate(zip(stack.weights, stack.biases, strict=True)):
            shape = (num_nodes, weight.shape[1])
            final = temporary if index == last else Path(folder) / f"layer-{index}.npy"
            wanted = _new(final, shape)
            product = wanted if adjacency is None else _new(Path(folder) / f"product-{index}.npy", shape)
            for start, end in _blocks(num_nodes, 4 * (sum(weight.shape) + 1), memory):
                part = _part(features if layer is None else layer, start, end)
                product[start:end] = feature_product(part, weight.t()).numpy()
            if adjacency is not None and factor is not None:
                for start, end in _arc_blocks(adjacency, 4 * (weight.shape[1] + 4), memory):
                    wanted[start:end] = _sums(adjacency, factor, product, start, end)
            for start, end in _blocks(num_nodes, 8 * weight.shape[1], memory):
                wanted[start:end] = stack.activation(torch.from_numpy(wanted[start:end]) + bias).numpy()
            wanted.flush()
            layer = wanted
        del layer, wanted, product


def _new(path: Path, shape: tuple[int, int]) -> Any:
    """An array of zeros on disk."""
    try:
        return new_mapped_array(path, np.float32, shape)
    except OSError as error:
        raise OutputError(f"{path} of {shape[0]} by {shape[1]} numbers cannot be made ({error}); make room") from error


def _part(rows: Any, start: int, end: int) -> Tensor | Adjacency:
    if isinstance(rows, Adjacency):
        return rows.rows_of(torch.arange(start, end))
    return torch.from_numpy(np.asarray(rows[start:end])) if isinstance(rows, np.ndarray) else rows[start:end]


def _blocks(rows: int, bytes_a_row: int, memory: int) -> Iterator[tuple[int, int]]:
    size = max(1, memory // max(bytes_a_row, 1))
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def _arc_blocks(adjacency: Adjacency, bytes_an_arc: int, memory: int) -> Iterator[tuple[int, int]]:
    """Consecutive nodes with about so many arcs; at least one node."""
    rows, most, start = adjacency.shape[0], max(1, memory // bytes_an_arc), 0
    while start < rows:
        limit = min(int(adjacency.row_ptr[start]) + most, adjacency.num_arcs)  # no number past the pointer's type
        end = int(torch.searchsorted(adjacency.row_ptr, limit, right=True)) - 1
        end = min(max(end, start + 1), rows, start + most)  # each node is one of its own sources
        yield start, end
        start = end


def _arcs(adjacency: Adjacency, start: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
    """Place in the block, source, and value of each kept arc into some nodes; loops of the data left out."""
    first, past = int(adjacency.row_ptr[start]), int(adjacency.row_ptr[end])
    row = torch.arange(end - start).repeat_interleave(adjacency.row_ptr[start : end + 1].diff().long())
    col = adjacency.col[first:past].long()
    value = torch.ones(past - first) if adjacency.weight is None else adjacency.weight[first:past].float()
    kept = col != row + start
    if adjacency.keep is not None:
        kept &= adjacency.keep[first:past]
    return row[kept], col[kept], value[kept]


def _degree_factor(adjacency: Adjacency, memory: int) -> Tensor:
    """One over the root of each node's degree with its loop, ``[N]``."""
    degree = torch.ones(adjacency.shape[0])
    for start, end in _arc_blocks(adjacency, 32, memory):
        row, _, value = _arcs(adjacency, start, end)
        degree[start:end].index_add_(0, row, value)
    return power(degree, -0.5)


def _sums(adjacency: Adjacency, factor: Tensor, product: Rows, start: int, end: int) -> Rows:
    """Rows of the normalised operator times the product, ``[end - start, d]``."""
    row, col, value = _arcs(adjacency, start, end)
    value = value * factor[start + row] * factor[col]
    sources, place = col.unique(return_inverse=True)
    counts = torch.zeros(end - start + 1, dtype=torch.int64)
    counts[1:] = row.bincount(minlength=end - start).cumsum(0)
    local = torch.sparse_csr_tensor(
        counts, place, value, (end - start, max(sources.numel(), 1)), check_invariants=False
    )
    there = torch.from_numpy(
        product[sources.numpy()] if sources.numel() else np.zeros((1, product.shape[1]), np.float32)
    )
    own = torch.from_numpy(product[start:end]) * factor[start:end].square().unsqueeze(1)
    result: Rows = (local @ there).add_(own).numpy()
    return result
