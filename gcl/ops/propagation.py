"""One normalised step of message passing."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.ops.fixed_matrix import FixedMatrix, fixed_matrix, power
from gcl.ops.segment import segment_sum
from gcl.ops.sparse_product import FULL_PRECISION, check_factor, is_fixed, own_matrix, sparse_product

Normalization = Literal["gcn", "symmetric", "row", "none"]


class Propagation:
    r"""The operator diag(l) (A + c I) diag(r) of a graph, never materialised: messages from sources j to targets i.

    With values :math:`a_{ij}` of the kept arcs (their weights, 1 if none) the weight of the arc from j to i is

    ==============  ==============================================  ===================================================
    ``normalize``   weight                                          degrees
    ==============  ==============================================  ===================================================
    ``gcn``         :math:`a_{ij} / \sqrt{\tilde d_i \tilde d_j}`   :math:`\tilde d_i = 1 + \sum_{j \ne i} a_{ij}`
    ``symmetric``   :math:`a_{ij} / \sqrt{r_i c_j}`                 :math:`r_i = \sum_j a_{ij}, c_j = \sum_i a_{ij}`
    ``row``         :math:`a_{ij} / r_i`                            :math:`r_i = \sum_j a_{ij}`
    ``none``        :math:`a_{ij}`
    ==============  ==============================================  ===================================================

    In ``gcn`` (Kipf and Welling, 2017) every node has exactly one self-loop of weight 1; self-loops of the data are
    ignored, in the degree too. Both factors are *in*-degrees, as in PyG, which matters on directed or masked graphs.
    ``symmetric`` and ``row`` add no loop; rows and columns whose degree is not positive are zero.

    Args:
        adjacency: the structure and its mask.
        normalize: see the table; ``gcn`` needs a square adjacency.
        values: value of each stored arc, ``[E]``, in place of the weights; dropped arcs stay dropped. A gradient
            flows back to it, through the degrees too.
        scale: a factor of the whole operator.

    Raises:
        ConfigError: an unknown ``normalize``, or ``gcn`` on a rectangle.
        DataError: ``values`` of another shape.
    """

    def __init__(
        self,
        adjacency: Adjacency,
        *,
        normalize: Normalization = "gcn",
        values: Tensor | None = None,
        scale: float = 1.0,
    ):
        if normalize not in get_args(Normalization):
            raise ConfigError(unknown("normalization", str(normalize), get_args(Normalization)))
        if normalize == "gcn" and adjacency.shape[0] != adjacency.shape[1]:
            raise ConfigError(
                f"normalize='gcn' adds self-loops and needs a square adjacency, got {list(adjacency.shape)}; "
                "use 'symmetric' for relations between two node types"
            )
        if values is not None and values.shape != adjacency.col.shape:
            raise DataError(f"values must have shape [{adjacency.num_arcs}], one an arc, got {list(values.shape)}")
        self.adjacency = adjacency
        self.normalize: Normalization = normalize
        self.values = values
        self.scale = scale
        self._loops: Tensor | None = None  # [N] diagonal of a transposed gcn operator
        self._cache: dict[torch.dtype, tuple[Tensor, Tensor | None]] = {}
        self._matrices: dict[torch.dtype, FixedMatrix] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        return self.adjacency.shape

    def matmul(self, x: Tensor) -> Tensor:
        """The product with ``x`` of shape ``[columns, d]``; shape ``[rows, d]``."""
        check_factor(self.shape, x)
        dtype = x.dtype if x.dtype in FULL_PRECISION else torch.float32
        matrix = self._matrix(dtype)
        if matrix is not None:
            return matrix.matmul(x.to(dtype)).to(x.dtype)
        arcs, loops = self.weights(dtype)
        y = sparse_product(self.adjacency, x, arcs)
        return y if loops is None else y.addcmul_(loops.unsqueeze(1).to(x.dtype), x)

    def thinned(self, drop_prob: float, generator: Generator | None) -> Propagation:
        """The operator with each entry dropped independently and the rest scaled up, so that its mean is this one.

        The two entries of an undirected edge are drawn apart. Degrees stay those of the whole.

        Args:
            drop_prob: from 0 and below 1.
            generator: on the adjacency's device; ``None`` = torch's global one.
        """
        adjacency, (values, loops) = self.adjacency, self.weights()
        if loops is not None:
            raise ConfigError("an operator with added self-loops cannot be thinned; use normalize='symmetric'")
        keep = torch.rand(adjacency.num_arcs, generator=generator, device=adjacency.device) >= drop_prob
        return Propagation(adjacency.masked(keep), normalize="none", values=values, scale=1 / (1 - drop_prob))

    def _matrix(self, dtype: torch.dtype) -> FixedMatrix | None:
        """The operator laid out for the CPU, self-loops among its entries; ``None`` where a value takes a gradient."""
        # On the GPU a compaction would wait for the number of kept arcs, and zeros cost less than that.
        if self._loops is not None or not is_fixed(self.adjacency):
            return None
        if self.values is None:
            return own_matrix(self.adjacency, dtype, normalize=self.normalize, scale=self.scale)
        if self.values.requires_grad:
            return None
        if dtype not in self._matrices:
            self._matrices[dtype] = fixed_matrix(
                self.adjacency, normalize=self.normalize, values=self.values, scale=self.scale, dtype=dtype
            )
        return self._matrices[dtype]

    def weights(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor | None]:
        """Final weight of each stored arc ``[E]``, and of each added self-loop ``[N]`` (``None`` if none is added)."""
        # The factors go into the values: two gathers of E numbers, once for all layers and the backward pass. Scaling x
        # before and after would read and write N * d numbers twice in every product, and E is mostly far below N * d.
        if dtype in self._cache:
            return self._cache[dtype]
        weights = self._compute_weights(dtype)
        # Nothing that hangs on an autograd graph is kept: a second backward pass would find that graph freed.
        if not any(part is not None and part.requires_grad for part in (self.values, self.adjacency.weight)):
            self._cache[dtype] = weights
        return weights

    def _compute_weights(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        adjacency, loops = self.adjacency, self._loops
        if self.values is None:
            values = adjacency.values(dtype)
        else:
            values = self.values.to(dtype)
            if adjacency.keep is not None:
                values = torch.where(adjacency.keep, values, 0.0)
        if self.normalize == "gcn":
            if adjacency.is_loop is not None:
                values = torch.where(adjacency.is_loop, 0.0, values)
            factor = power(1.0 + segment_sum(values, adjacency.row, self.shape[0]), -0.5)
            values = values * factor.index_select(0, adjacency.row) * factor.index_select(0, adjacency.col)
            loops = factor.square()
        elif self.normalize == "symmetric":
            left = power(segment_sum(values, adjacency.row, self.shape[0]), -0.5)
            right = power(segment_sum(values, adjacency.col, self.shape[1]), -0.5)
            values = values * left.index_select(0, adjacency.row) * right.index_select(0, adjacency.col)
        elif self.normalize == "row":
            left = power(segment_sum(values, adjacency.row, self.shape[0]), -1.0)
            values = values * left.index_select(0, adjacency.row)
        if self.scale != 1.0:
            values, loops = values * self.scale, None if loops is None else loops * self.scale
        return values, None if loops is None else loops.to(dtype)

    def t(self) -> Propagation:
        """The transpose, with the weights of this operator (not those of the transposed graph)."""
        arcs, loops = self.weights(torch.float64)  # cast to x's dtype in the product
        transposed = Propagation(self.adjacency.with_weight(arcs).t(), normalize="none")
        transposed._loops = loops
        return transposed

    def to(self, device: torch.device | str) -> Propagation:
        """The operator on another device (this object if it is there already)."""
        adjacency = self.adjacency.to(device)
        if adjacency is self.adjacency:
            return self
        values = None if self.values is None else self.values.to(device)
        moved = Propagation(adjacency, normalize=self.normalize, values=values, scale=self.scale)
        moved._loops = None if self._loops is None else self._loops.to(device)
        return moved

    def rows(self, index: Tensor) -> Propagation:
        """The operator restricted to some rows, in the order given (repeats allowed); reads their arcs only."""
        adjacency = self.adjacency
        weight, loops = self.weights(torch.float64)
        index = index.nonzero().squeeze(1) if index.dtype == torch.bool else index.long()
        position = torch.arange(index.numel(), device=adjacency.device)
        row, arcs = adjacency.entries_of(index)
        col, weight = adjacency.col[arcs].long(), weight[arcs]
        if loops is not None:  # they become arcs; a self-loop of the data has weight 0 and merges with them
            row, col = torch.cat([row, position]), torch.cat([col, index])
            weight = torch.cat([weight, loops[index]])
        shape = (index.numel(), self.shape[1])
        part = Adjacency.from_edge_index(torch.stack([col, row]), shape, weight, duplicates="sum")
        return Propagation(part, normalize="none")

    def dense(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Dense copy, for tests and tiny graphs only."""
        return self.matmul(torch.eye(self.shape[1], dtype=dtype, device=self.adjacency.device))

    def __repr__(self) -> str:
        return f"Propagation({self.adjacency!r}, normalize={self.normalize!r}, scale={self.scale})"
