"""Means over the nodes that lie on the way of meta-paths, without an instance of a path ever being made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gcl.core.graph import Graph
from gcl.ops.metapath import MetaPath, check_size, estimated_pairs
from gcl.ops.propagation import Propagation
from gcl.ops.scipy_matrix import adjacency_of

DENSE = 0.05  # share of stored pairs from which a byte a pair and a dense product are less than a sparse one
ENTRY_BYTES = 32  # of memory of a sparse mean: 25 while it is made and 28 with its first product, measured
MOST_BYTES = 2**32
BLOCK_PAIRS = 2**22  # of a byte mask that are numbers at a time

Steps = tuple[tuple[str, bool], ...]  # relations on a way, and whether each is walked against its adjacency


class Slot(NamedTuple):
    """One place of a meta-path between its ends.

    Args:
        kind: the node type there.
        steps: the relations on the way to it, which name its operator.
    """

    kind: str
    steps: Steps


def context_slots(path: MetaPath) -> list[Slot]:
    """The places between the ends of a meta-path, in order."""
    steps = tuple(zip(path.relations, path.flipped, strict=True))
    return [Slot(path.types[place], steps[:place]) for place in range(1, len(steps))]


def context_operators(graph: Graph, paths: Sequence[MetaPath]) -> dict[Steps, Mean]:
    r"""For every slot of some meta-paths, the mean over the nodes that a target node reaches there.

    .. math:: M_r = \mathrm{rownorm}\big(1[B_1 \cdots B_r > 0]\big)

    A target node that reaches none has a row of zeros. Paths that begin alike share operators. Where each node of the
    slot has one neighbour at most on the way back, the mean is two sparse products (:class:`FactoredMean`); a matrix
    that is hardly sparse is kept as a byte a pair (:class:`MaskMean`). Both are exact. Yu and Li, MEOW (SDM 2023).

    Args:
        graph: with the relations of the paths.
        paths: meta-paths.

    Returns:
        By ``Slot.steps``, operators ``[N, nodes of the slot's type]``.

    Raises:
        DataError: a mean over more nodes than memory allows.
    """
    operators: dict[Steps, Mean] = {}
    reached: dict[Steps, sp.csr_matrix] = {}
    passed = {slot.steps for path in paths for slot in context_slots(path)[:-1]}  # on the way to another slot
    for path in paths:
        incidences = path.steps(graph)
        for slot, step in zip(context_slots(path), incidences, strict=False):
            if slot.steps in operators:
                continue
            before = reached.get(slot.steps[:-1])
            if before is None:
                reached[slot.steps] = step
                operators[slot.steps] = Propagation(adjacency_of(step), normalize="row")
                continue
            last = slot.steps not in passed
            if last and step.getnnz(axis=0).max(initial=0) <= 1:
                operators[slot.steps] = FactoredMean.of(before, step)
                continue
            expected = estimated_pairs([before, step])
            pairs = before.shape[0] * step.shape[1]
            if last and expected > DENSE * pairs and pairs <= MOST_BYTES:
                operators[slot.steps] = MaskMean.of(before, step)
                continue
            what = f"the way of meta-path {path.name} to its nodes of type {slot.kind}"
            check_size(expected, entry_bytes=ENTRY_BYTES, most_bytes=MOST_BYTES, what=what, mend="take a shorter one")
            product = before @ step
            product.data[:] = 1.0
            reached[slot.steps] = product
            operators[slot.steps] = Propagation(adjacency_of(product), normalize="row")
    return operators


class FactoredMean:
    r"""The mean over disjoint unions: :math:`(R (B x)) / (R s)` with s the row sums of B.

    It is the row-normalised :math:`1[R B > 0]` where every column of B has one entry at most: then no node is reached
    in two ways.

    Args:
        outer: R, ``[N, k]``, not normalised.
        inner: B, ``[k, m]``, not normalised.
        inverse: one over the number of nodes that each row reaches, 0 for none, ``[N]``.
    """

    def __init__(self, outer: Propagation, inner: Propagation, inverse: Tensor):
        self.outer, self.inner, self.inverse = outer, inner, inverse

    @classmethod
    def of(cls, outer: sp.csr_matrix, inner: sp.csr_matrix) -> FactoredMean:
        """From two binary matrices."""
        size = outer @ np.asarray(inner.sum(axis=1)).ravel()
        first, last = (Propagation(adjacency_of(part), normalize="none") for part in (outer, inner))
        inverse = np.divide(1.0, size, out=np.zeros(len(size)), where=size > 0)
        return cls(first, last, torch.from_numpy(inverse))

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, m)``."""
        return self.outer.shape[0], self.inner.shape[1]

    def matmul(self, x: Tensor) -> Tensor:
        """The means of the rows of ``x``, ``[N, d]``."""
        return self.outer.matmul(self.inner.matmul(x)) * self.inverse.to(x).unsqueeze(1)

    def to(self, device: torch.device | str) -> FactoredMean:
        """The operator on another device."""
        return FactoredMean(self.outer.to(device), self.inner.to(device), self.inverse.to(device))


class MaskMean:
    """The mean over the nodes that a boolean matrix marks, a byte a pair; blocks of it are numbers while they multiply.

    Args:
        mask: uint8 ``[N, m]``, 0 or 1.
    """

    def __init__(self, mask: Tensor):
        self.mask = mask
        size = mask.sum(dim=1, dtype=torch.int64).double()
        self.inverse = torch.where(size > 0, 1 / size, 0.0)

    @classmethod
    def of(cls, outer: sp.csr_matrix, inner: sp.csr_matrix) -> MaskMean:
        """Of the pairs that some way through two binary matrices joins."""
        mask = torch.zeros(outer.shape[0], inner.shape[1], dtype=torch.uint8)
        size = max(1, BLOCK_PAIRS // max(inner.shape[1], 1))
        for start in range(0, outer.shape[0], size):
            mask[start : start + size] = torch.from_numpy((outer[start : start + size] @ inner).toarray() > 0)
        return cls(mask)

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, m)``."""
        return self.mask.shape[0], self.mask.shape[1]

    def matmul(self, x: Tensor) -> Tensor:
        """The means of the rows of ``x``, ``[N, d]``."""
        product: Tensor = _MaskProduct.apply(x, self.mask)
        return product * self.inverse.to(x).unsqueeze(1)

    def to(self, device: torch.device | str) -> MaskMean:
        """The operator on another device."""
        return MaskMean(self.mask.to(device))


class _MaskProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.mask = mask
        return torch.cat([block.to(x.dtype) @ x for block in _blocks(mask)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        wide = torch.promote_types(grad.dtype, torch.float32)
        total = grad.new_zeros(ctx.mask.shape[1], grad.shape[1], dtype=wide)
        blocks = _blocks(ctx.mask)
        for block, part in zip(blocks, grad.split([len(block) for block in blocks]), strict=True):
            total.addmm_(block.to(wide).t(), part.to(wide))
        return total.to(grad.dtype), None


def _blocks(mask: Tensor) -> tuple[Tensor, ...]:
    return mask.split(max(1, BLOCK_PAIRS // max(mask.shape[1], 1)))


Mean = Propagation | FactoredMean | MaskMean
