"""Weights of pairs that are evaluated inside a tile of :func:`~gcl.ops.product_logsumexp.product_logsumexp`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from gcl.core.errors import DataError

LogWeight = Callable[[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]


@dataclass(frozen=True, eq=False)
class PairWeight:
    r"""The weight of the pair (i, j) as a function of what row *i* and key *j* know: :math:`\log w_{ij} = f(r_i, c_j)`.

    The function sees one tile at a time, so that the weights of all pairs never exist at once. Gradients flow to the
    row, column and shared tensors that require one.

    Args:
        row: tensors ``[n, ...]``, one entry for each row.
        col: tensors ``[m, ...]``, one entry for each key.
        shared: tensors that every tile needs whole, such as the weights of a small network.
        log_weight: ``log_weight(row tile, col tile, shared) -> [r, c]`` with tuples of tensors; ``-inf`` = the pair is
            absent (its gradient is then multiplied by 0 and must be finite).
        key: names a kernel that computes the same on a GPU.
        bound: an upper bound of ``|log w|`` over the pairs that are present, where one is known; it saves the running
            maximum when everything is small.
        scratch: values per pair that ``log_weight`` and its gradient hold at once; tiles shrink accordingly.
    """

    row: tuple[Tensor, ...]
    col: tuple[Tensor, ...]
    shared: tuple[Tensor, ...] = ()
    log_weight: LogWeight = field(kw_only=True)
    key: str | None = None
    bound: float | None = None
    scratch: int = 4


def cluster_ids(labels_row: Tensor, labels_col: Tensor) -> PairWeight:
    r"""Counts the clusterings that separate a pair: :math:`w_{ij} = \sum_g 1[a_g(i) \ne a_g(j)]` (MEOW, eq. 11).

    A pair that no clustering separates is absent.

    Args:
        labels_row: integers ``[n]``, or ``[n, G]`` for G clusterings.
        labels_col: integers ``[m]``, or ``[m, G]``.

    Raises:
        DataError: labels that are not integers, or different numbers of clusterings.
    """
    for name, labels in (("labels_row", labels_row), ("labels_col", labels_col)):
        if labels.dim() not in (1, 2) or labels.is_floating_point() or labels.is_complex():
            raise DataError(
                f"{name} must be integers of shape [N] or [N, G], got {labels.dtype} {list(labels.shape)}; "
                "give one column of cluster ids for each clustering"
            )
    row = labels_row if labels_row.dim() == 2 else labels_row.unsqueeze(1)
    col = labels_col if labels_col.dim() == 2 else labels_col.unsqueeze(1)
    if row.shape[1] != col.shape[1]:
        raise DataError(
            f"labels_row has {row.shape[1]} clusterings and labels_col has {col.shape[1]}; give both the same ones"
        )
    num_clusterings = row.shape[1]
    log_count = torch.arange(num_clusterings + 1, dtype=torch.float64, device=row.device).log()  # log 0 = -inf
    return PairWeight(
        row=(row,),
        col=(col,),
        shared=(log_count,),
        log_weight=_log_separations,
        key="cluster_ids",
        bound=math.log(max(num_clusterings, 1)),
        scratch=6,
    )


def _log_separations(row: tuple[Tensor, ...], col: tuple[Tensor, ...], shared: tuple[Tensor, ...]) -> Tensor:
    (labels_row,), (labels_col,), (log_count,) = row, col, shared
    count = torch.zeros(labels_row.shape[0], labels_col.shape[0], dtype=torch.int32, device=labels_row.device)
    for g in range(labels_row.shape[1]):
        count += labels_row[:, g, None] != labels_col[None, :, g]
    return log_count.index_select(0, count.view(-1)).view_as(count)


def additive_mlp(p_row: Tensor, p_col: Tensor, *, G1: Tensor, g1: Tensor, g2: Tensor, g0: Tensor) -> PairWeight:
    r"""A small network of the sum of two projections (AdaMEOW).

    .. math:: w_{ij} = \sigma(g_2 \cdot \tanh(G_1 (p_i + p_j) + g_1) + g_0)

    Args:
        p_row: ``[n, q]``.
        p_col: ``[m, q]``.
        G1: ``[h, q]``, first layer (h = 16 in the paper).
        g1: ``[h]``, its bias.
        g2: ``[h]``, second layer.
        g0: scalar, its bias.

    Raises:
        DataError: shapes that do not fit.
    """
    hidden, width = G1.shape if G1.dim() == 2 else (-1, -1)
    fits = p_row.dim() == p_col.dim() == 2 and p_row.shape[1] == p_col.shape[1] == width
    if not fits or g1.shape != (hidden,) or g2.shape != (hidden,) or g0.numel() != 1:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (p_row, p_col, G1, g1, g2, g0))
        raise DataError(f"additive_mlp needs shapes [n, q], [m, q], [h, q], [h], [h] and a scalar, got {shapes}")
    # |log sigmoid(x)| <= |x| + log 2, and |tanh| <= 1
    bound = float(g2.detach().abs().sum() + g0.detach().abs().sum()) + math.log(2)
    return PairWeight(
        row=(p_row,),
        col=(p_col,),
        shared=(G1, g1, g2, g0),
        log_weight=_log_additive_mlp,
        key="additive_mlp",
        bound=bound,
        scratch=4 * hidden,
    )


def _log_additive_mlp(row: tuple[Tensor, ...], col: tuple[Tensor, ...], shared: tuple[Tensor, ...]) -> Tensor:
    (p_row,), (p_col,), (G1, g1, g2, g0) = row, col, shared
    # G1 is linear: G1(p_i + p_j) = G1 p_i + G1 p_j, so the product is per node and not per pair
    hidden = torch.tanh((p_row @ G1.t()).unsqueeze(1) + (p_col @ G1.t() + g1))  # [r, c, h]
    return F.logsigmoid(hidden @ g2 + g0)


def similarity(unit_row: Tensor, unit_col: Tensor, *, table: Tensor) -> PairWeight:
    r"""A tabulated function of the similarity of unit vectors: :math:`w_{ij} = T(u_i \cdot v_j)` (ProGCL).

    Args:
        unit_row: ``[n, d]``, rows of length 1.
        unit_col: ``[m, d]``, rows of length 1.
        table: ``[K]``, K >= 2, weights (not negative) at K evenly spaced similarities from -1 to 1; linear in between.

    Raises:
        DataError: shapes that do not fit, or a negative or non-finite weight.
    """
    if unit_row.dim() != 2 or unit_col.dim() != 2 or unit_row.shape[1] != unit_col.shape[1]:
        raise DataError(
            f"unit_row and unit_col must have shapes [n, d] and [m, d], got {list(unit_row.shape)} and "
            f"{list(unit_col.shape)}"
        )
    if table.dim() != 1 or table.numel() < 2:
        raise DataError(f"table must have shape [K] with K >= 2, got {list(table.shape)}")
    low, high = float(table.detach().min()), float(table.detach().max())
    if not (low >= 0 and high < math.inf):
        raise DataError(f"table must hold finite weights that are not negative, got values from {low} to {high}")
    return PairWeight(
        row=(unit_row,),
        col=(unit_col,),
        shared=(table,),
        log_weight=_log_table,
        key="similarity",
        bound=max(abs(math.log(low)), abs(math.log(high))) if low > 0 else None,
        scratch=16,
    )


def _log_table(row: tuple[Tensor, ...], col: tuple[Tensor, ...], shared: tuple[Tensor, ...]) -> Tensor:
    (unit_row,), (unit_col,), (table,) = row, col, shared
    steps = table.numel() - 1
    position = (unit_row @ unit_col.t()).clamp(-1, 1).add(1).mul(steps / 2)  # [r, c], 0 to steps
    cell = position.detach().long().clamp(max=steps - 1)
    part = position - cell
    weight = table[cell] * (1 - part) + table[cell + 1] * part
    present = weight > 0
    return torch.where(present, torch.where(present, weight, 1).log(), -math.inf)  # no 0 * inf in the gradient
