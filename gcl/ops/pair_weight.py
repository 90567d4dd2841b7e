"""Weights of pairs that are evaluated inside a tile of :func:`~gcl.ops.product_logsumexp.product_logsumexp`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from gcl.core.errors import DataError

Tensors = tuple[Tensor, ...]
OfPairs = Callable[[Tensors, Tensors, Tensors], Tensor]
Gradient = Callable[[Tensors, Tensors, Tensors, Tensor], tuple[Tensor | None, ...]]


@dataclass(frozen=True, eq=False)
class PairWeight:
    r"""The weight of the pair (i, j) as a function of what row *i* and key *j* know: :math:`\log w_{ij} = f(r_i, c_j)`.

    The function sees one tile at a time, so that the weights of all pairs never exist at once. Gradients flow to the
    row, column and shared tensors that require one. ``log_weight`` alone is enough; ``weight`` and ``gradient`` say the
    same faster.

    Args:
        row: tensors ``[n, ...]``, one entry for each row.
        col: tensors ``[m, ...]``, one entry for each key.
        shared: tensors that every tile needs whole, such as the weights of a small network.
        log_weight: ``log_weight(row tile, col tile, shared) -> [r, c]`` with tuples of tensors; ``-inf`` = the pair is
            absent (its gradient is then multiplied by 0 and must be finite).
        weight: the weight itself, by the same arguments, 0 = absent. It spares the logarithm where logits are small
            enough to be summed without a shift, and is called without gradients.
        gradient: ``gradient(row tile, col tile, shared, share)`` with ``share`` ``[r, c]``, the derivative of the loss
            by each log weight, gives the derivative by each tensor of row, col and shared (``None``: there is none). In
            its absence autograd does it, which keeps every step of ``log_weight``.
        mutual: row *i* and key *i* are the same node, and :math:`w_{ij} = w_{ji}`. A problem of one set of nodes
            against itself is then symmetric, and takes half the time.
        key: names a kernel that computes the same on a GPU.
        bound: an upper bound of ``|log w|`` over the pairs that are present, where one is known; it saves the running
            maximum when everything is small.
        scratch: values per pair that the functions hold at once; tiles shrink accordingly where memory is short.
    """

    row: Tensors
    col: Tensors
    shared: Tensors = ()
    log_weight: OfPairs = field(kw_only=True)
    weight: OfPairs | None = field(default=None, kw_only=True)
    gradient: Gradient | None = field(default=None, kw_only=True)
    mutual: bool = field(default=False, kw_only=True)
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
    same = labels_col is labels_row
    row, col = (labels if labels.dim() == 2 else labels.unsqueeze(1) for labels in (labels_row, labels_col))
    if row.shape[1] != col.shape[1]:
        raise DataError(
            f"labels_row has {row.shape[1]} clusterings and labels_col has {col.shape[1]}; give both the same ones"
        )
    row, col = _narrow(row, col)
    return PairWeight(
        row=(row,),
        col=(row if same else col,),
        log_weight=lambda row, col, shared: _separations(row, col, shared).log_(),  # log 0 = -inf
        weight=_separations,
        mutual=same,
        key="cluster_ids",
        bound=math.log(max(row.shape[1], 1)),
        scratch=2,
    )


def _narrow(row: Tensor, col: Tensor) -> tuple[Tensor, Tensor]:
    """Labels as int32, which compare five times as fast as int64; numbered anew where they are too large for that."""
    limit = torch.iinfo(torch.int32)
    for labels in (row, col):
        if labels.numel() and (int(labels.min()) < limit.min or int(labels.max()) > limit.max):
            both = torch.cat([row.flatten(), col.flatten()]).unique(return_inverse=True)[1]
            row, col = both[: row.numel()].view_as(row), both[row.numel() :].view_as(col)
            break
    return row.to(torch.int32), col.to(torch.int32)


def _separations(row: Tensors, col: Tensors, shared: Tensors) -> Tensor:
    (labels_row,), (labels_col,) = row, col
    size = labels_row.shape[0], labels_col.shape[0]
    count = torch.zeros(size, device=labels_row.device)
    differs = torch.empty_like(count) if labels_row.shape[1] > 1 else count
    for g in range(labels_row.shape[1]):
        torch.ne(labels_row[:, g, None], labels_col[:, g], out=differs)  # into numbers: adding booleans is slow
        if g == 0:
            count, differs = differs, count
        else:
            count += differs
    return count


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
    # G1 is linear, so its product is per node and not per pair: G1(p_i + p_j) + g1 = u_i + u_j
    u_row = p_row @ G1.t() + g1 / 2  # [n, h]
    u_col = u_row if p_col is p_row else p_col @ G1.t() + g1 / 2
    # |log sigmoid(x)| <= |x| + log 2, and |tanh| <= 1
    bound = float(g2.detach().abs().sum() + g0.detach().abs().sum()) + math.log(2)
    return PairWeight(
        row=(u_row,),
        col=(u_col,),
        shared=(g2, g0),
        log_weight=lambda row, col, shared: F.logsigmoid(_score(row, col, shared)),
        weight=lambda row, col, shared: _score(row, col, shared).sigmoid_(),
        gradient=_additive_mlp_gradient,
        mutual=p_col is p_row,
        key="additive_mlp",
        bound=bound,
        scratch=4,
    )


def _score(row: Tensors, col: Tensors, shared: Tensors) -> Tensor:
    """The network's output before the last sigmoid, ``[r, c]``: one hidden unit after the other."""
    (u_row,), (u_col,), (g2, g0) = row, col, shared
    units = _HiddenUnits(u_row, u_col)
    score = u_row.new_full(units.size, float(g0) + float(g2.sum()))
    for k, weight in enumerate(g2.tolist()):
        units.add_below(k, score, -2 * weight)
    return score


def _additive_mlp_gradient(row: Tensors, col: Tensors, shared: Tensors, share: Tensor) -> tuple[Tensor, ...]:
    (u_row,), (u_col,), (g2, g0) = row, col, shared
    units = _HiddenUnits(u_row, u_col)
    slope = _score(row, col, shared).neg_().sigmoid_().mul_(share)  # d log sigmoid(x) / dx = sigmoid(-x)
    total = slope.sum(1).sum(dtype=torch.float64)
    grad_row, grad_col = torch.empty_like(units.row), torch.empty_like(units.col)  # [h, r], [h, c]
    rows, through = torch.empty_like(units.row), torch.empty_like(slope)
    for k, weight in enumerate(g2.tolist()):
        below = units.below(k)
        torch.mul(slope, below, out=through)
        torch.sum(through, 1, out=rows[k])
        through.addcmul_(through, below, value=-1)  # tanh' = 4 below (1 - below)
        torch.sum(through, 1, out=grad_row[k]).mul_(4 * weight)
        torch.sum(through, 0, out=grad_col[k]).mul_(4 * weight)
    grad_g2 = (total - 2 * rows.sum(1, dtype=torch.float64)).to(g2.dtype)  # tanh = 1 - 2 below
    return grad_row.t(), grad_col.t(), grad_g2, total.to(g0.dtype).expand(g0.shape)


class _HiddenUnits:
    r"""How far each hidden unit of a tile lies below 1, by half: :math:`(1 - \tanh x)/2 = 1 / (1 + e^{2x})`.

    With :math:`x = u_i + u_j` that is :math:`e^{-2 u_i} / (e^{-2 u_i} + e^{2 u_j})`: an addition and a division a pair,
    and no transcendental function. Inputs too large for it take the sigmoid.
    """

    LARGEST = 40.0  # |u| at which e^(2u) and its reciprocal are still inside float32

    def __init__(self, u_row: Tensor, u_col: Tensor):
        self.size = u_row.shape[0], u_col.shape[0]
        self.separate = not u_row.is_cuda and all(
            not u.numel() or float(u.abs().max()) <= self.LARGEST for u in (u_row, u_col)
        )
        row, col = -2 * u_row, 2 * u_col
        if self.separate:
            row, col = row.exp_(), col.exp_()
        self.row, self.col = row.t().contiguous(), col.t().contiguous()  # [h, r], [h, c]: a unit is contiguous
        self.out = u_row.new_empty(self.size)

    def below(self, k: int) -> Tensor:
        """That of unit ``k``, ``[r, c]``, in a buffer that the next call uses again."""
        row, col = self.row[k].unsqueeze(1), self.col[k]
        if self.separate:
            return torch.div(row, torch.add(row, col, out=self.out), out=self.out)
        return torch.sub(row, col, out=self.out).sigmoid_()

    def add_below(self, k: int, out: Tensor, factor: float) -> None:
        """Adds it ``factor`` times to ``out``."""
        if self.separate:
            row = self.row[k].unsqueeze(1)
            out.addcdiv_(row, torch.add(row, self.col[k], out=self.out), value=factor)
        else:
            out.add_(self.below(k), alpha=factor)


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
        weight=_table,
        mutual=unit_col is unit_row,
        key="similarity",
        bound=_log_range(table.detach()),
        scratch=16,
    )


def stored(matrix: Tensor) -> PairWeight:
    """Weights that are there for all pairs: for few nodes, and weights that many steps share.

    Args:
        matrix: ``[n, m]``, finite and not negative; it gets no gradient.

    Raises:
        DataError: another shape, or a weight that is negative or not finite.
    """
    if matrix.dim() != 2 or not matrix.is_floating_point():
        raise DataError(f"stored weights must be a matrix of real numbers, got {matrix.dtype} {list(matrix.shape)}")
    matrix = matrix.detach()
    low, high = (float(value) for value in matrix.aminmax()) if matrix.numel() else (0.0, 0.0)
    if not (low >= 0 and high < math.inf):
        raise DataError(f"stored weights must be finite and not negative, got values from {low} to {high}")
    return PairWeight(
        row=(matrix,),
        col=(torch.arange(matrix.shape[1], device=matrix.device),),
        log_weight=lambda row, col, shared: _stored(row, col, shared).log(),
        weight=_stored,
        bound=max(abs(math.log(low)), abs(math.log(high))) if low > 0 else None,
        scratch=1,
    )


def _stored(row: Tensors, col: Tensors, shared: Tensors) -> Tensor:
    (rows,), (keys,) = row, col
    return rows[:, int(keys[0]) : int(keys[0]) + keys.numel()] if keys.numel() else rows[:, :0]


def _log_range(table: Tensor) -> float | None:
    """Bound of ``|log w|`` over positive weights; unknown where a weight may lie anywhere between 0 and another."""
    if bool((table == 0).all()):
        return 0.0
    low, high = float(table.min()), float(table.max())
    return max(abs(math.log(low)), abs(math.log(high))) if low > 0 else None


def _table(row: Tensors, col: Tensors, shared: Tensors) -> Tensor:
    (unit_row,), (unit_col,), (table,) = row, col, shared
    position = (unit_row @ unit_col.t()).clamp_(-1, 1).add_(1).mul_((table.numel() - 1) / 2)  # [r, c], 0 to K - 1
    cell = position.to(torch.int32).view(-1)
    slope = torch.cat([table.diff(), table.new_zeros(1)])  # [K]
    weight = position.frac_().view(-1).mul_(slope.index_select(0, cell)).add_(table.index_select(0, cell))
    return weight.view(position.shape)


def _log_table(row: Tensors, col: Tensors, shared: Tensors) -> Tensor:
    (unit_row,), (unit_col,), (table,) = row, col, shared
    steps = table.numel() - 1
    position = (unit_row @ unit_col.t()).clamp(-1, 1).add(1).mul(steps / 2)  # [r, c], 0 to steps
    cell = position.detach().long().clamp(max=steps - 1)
    part = position - cell
    weight = table[cell] * (1 - part) + table[cell + 1] * part
    present = weight > 0
    return torch.where(present, torch.where(present, weight, 1).log(), -math.inf)  # no 0 * inf in the gradient
