"""Features times a weight matrix, whether the features are dense or sparse."""

from __future__ import annotations

from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.ops.matmul import linear
from gcl.ops.sparse_product import sparse_product


def feature_product(x: Tensor | Adjacency, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.t() + bias``, with gradients to the weight, the bias and what ``x`` holds.

    Args:
        x: ``[N, i]``, dense or sparse, of any floating type.
        weight: ``[o, i]``.
        bias: ``[o]``.

    Returns:
        ``[N, o]``, in the type of the weight.

    Raises:
        DataError: sparse features of another width.
    """
    if isinstance(x, Tensor):
        return linear(x.to(weight.dtype), weight, bias)
    product = sparse_product(x, weight.t())
    return product if bias is None else product + bias


def masked_weight(weight: Tensor, mask: Tensor | None) -> Tensor:
    """The weight ``[o, i]`` whose product with x is that of x without its masked columns, of which no copy is made.

    Args:
        weight: ``[o, i]``.
        mask: the columns that are used, boolean ``[i]``; ``None`` = all.
    """
    return weight if mask is None else weight * mask.to(weight.dtype)
