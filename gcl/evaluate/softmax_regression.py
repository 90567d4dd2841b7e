"""Penalised softmax regressions on many sets of rows, each at many strengths, solved together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Bound of the gradient of the mean loss, in the norm of all its entries. scikit-learn stops by default where the
# largest entry is below 1e-4; at 1e-6 the accuracies are those of 1e-5.
TOLERANCE = 1e-5
MAX_ITERATIONS = 1000
MEMORY = 5  # pairs of steps that the curvature is learnt from; 15 take no fewer iterations
LINE_SEARCH = 8  # points that are tried along a direction
FLAT_ENOUGH = 0.3  # share of the slope at the start that may be left where a line search ends
LARGEST_BASIS = 3000  # columns whose eigenvectors are worth finding
MAX_BYTES = 2**26  # logits of the sets that are solved together


@dataclass(frozen=True, eq=False)
class Solutions:
    """The solutions of one set of rows.

    Args:
        weight: float64 ``[G, d, C]``.
        bias: float64 ``[G, C]``.
        unconverged: how many of the G are short of the tolerance.
    """

    weight: Tensor
    bias: Tensor
    unconverged: int


def softmax_regressions(
    rows: Sequence[Tensor],
    targets: Sequence[Tensor],
    strengths: Sequence[float],
    *,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> list[Solutions]:
    r"""Solves, for every set of rows and every strength C,

    .. math:: \min_{W, b}\; \tfrac12 \lVert W \rVert^2 + C \sum_i -\log \mathrm{softmax}(W z_i + b)_{t_i}

    in float64. With two classes the penalty counts twice, which makes it that of the binary form,
    :math:`\tfrac12 \lVert w_1 - w_0 \rVert^2`. The optima are those of scikit-learn's ``LogisticRegression``, which
    solves one problem after the other.

    All strengths, and sets of rows by padding, share the two matrix products of an iteration. The penalty does not see
    a rotation, so the columns are centred and turned to the eigenvectors of the rows, where

    .. math:: \kappa_c \lambda_k + 1 / (C n), \qquad \kappa_c = \tfrac1n \sum_i p_{ic} (1 - p_{ic})

    is a good diagonal of the Hessian for every strength at once; L-BFGS (Nocedal and Wright, *Numerical Optimization*,
    algorithm 7.4) learns the rest. The loss along a direction needs no product, so that each step is searched for.

    Args:
        rows: float64 ``[n_s, d]`` each.
        targets: classes 0 to C_s - 1, all of which occur, at least two, ``[n_s]`` each.
        strengths: the G values of C.
        tolerance: bound of the norm of the gradient of the mean loss.
        max_iterations: after which a solution counts as unconverged.

    Returns:
        One :class:`Solutions` a set.
    """
    found = []
    for group in _groups(targets, len(strengths)):
        chosen = [_Rows.of(rows[index], targets[index]) for index in group]
        found += _solve(chosen, torch.tensor(strengths, dtype=torch.float64), tolerance, max_iterations)
    return found


def _groups(targets: Sequence[Tensor], num_strengths: int) -> Iterator[list[int]]:
    """Consecutive sets that fit into ``MAX_BYTES`` together, padded to the largest."""
    group: list[int] = []
    largest = 0
    for index, target in enumerate(targets):
        entries = target.numel() * (int(target.max()) + 1) * num_strengths
        if group and (len(group) + 1) * max(largest, entries) * 8 > MAX_BYTES:
            yield group
            group, largest = [], 0
        group.append(index)
        largest = max(largest, entries)
    if group:
        yield group


@dataclass(frozen=True, eq=False)
class _Rows:
    """A set of rows in coordinates of its own: ``basis.T @ (z - mean)``, ``[n, k]``."""

    coordinates: Tensor
    eigenvalues: Tensor  # of coordinates.T @ coordinates, or its diagonal
    basis: Tensor  # orthonormal columns, [d, k]
    mean: Tensor
    target: Tensor

    @staticmethod
    def of(z: Tensor, target: Tensor) -> _Rows:
        mean = z.mean(dim=0)
        coordinates = z - mean
        basis = None
        if z.shape[0] < z.shape[1]:  # the solution lies in the span of the rows
            basis, triangle = torch.linalg.qr(coordinates.T)
            coordinates = triangle.T
        if coordinates.shape[1] <= LARGEST_BASIS:
            eigenvalues, vectors = torch.linalg.eigh(coordinates.T @ coordinates)
            coordinates = coordinates @ vectors
            basis = vectors if basis is None else basis @ vectors
        else:
            eigenvalues = coordinates.square().sum(dim=0)
            basis = torch.eye(z.shape[1], dtype=z.dtype) if basis is None else basis
        return _Rows(coordinates, eigenvalues.clamp(min=0), basis, mean, target)

    @property
    def num_classes(self) -> int:
        return int(self.target.max()) + 1


class _Problems:
    """The sets of rows side by side, S of them, padded to n rows, k columns and C classes.

    Weights are ``[S, G, C, k + 1]``, the bias last; logits ``[S, G, C, n]``. All is of the mean loss.
    """

    def __init__(self, sets: Sequence[_Rows], strengths: Tensor):
        n, k = (max(rows.coordinates.shape[axis] for rows in sets) for axis in (0, 1))
        classes, count = max(rows.num_classes for rows in sets), len(sets)
        self.x = _zeros(count, n, k + 1)
        self.share = _zeros(count, 1, 1, n)  # of each row in the mean
        self.y = _zeros(count, 1, classes, n)
        self.absent = _zeros(count, 1, classes, 1)  # -inf for classes that a set does not have
        self.eigenvalues = _zeros(count, 1, 1, k + 1)
        self.penalty = _zeros(count, len(strengths), 1, k + 1)
        self.length = _zeros(count, 1)
        for index, rows in enumerate(sets):
            size, width = rows.coordinates.shape
            self.x[index, :size, :width] = rows.coordinates
            self.x[index, :size, k] = 1
            self.share[index, 0, 0, :size] = 1 / size
            self.y[index, 0, rows.target, torch.arange(size)] = 1
            self.absent[index, 0, rows.num_classes :] = -math.inf
            self.eigenvalues[index, 0, 0, :width] = rows.eigenvalues / size
            self.eigenvalues[index, 0, 0, k] = 1
            twice = 2 if rows.num_classes == 2 else 1
            self.penalty[index, :, 0, :k] = (twice / (strengths * size)).unsqueeze(1)
            self.length[index] = 1 + rows.mean.norm()
        self.ragged = bool(self.absent.any())

    def logits(self, weight: Tensor) -> Tensor:
        return torch.bmm(weight.flatten(1, 2), self.x.transpose(1, 2)).view(*weight.shape[:3], -1)

    def gradient(self, residual: Tensor, weight: Tensor) -> Tensor:
        product = torch.bmm(residual.flatten(1, 2), self.x).view(weight.shape)
        return torch.addcmul(product, self.penalty, weight)

    def probabilities(self, logits: Tensor) -> Tensor:
        return (logits + self.absent if self.ragged else logits).softmax(dim=2)

    def residual(self, probabilities: Tensor) -> Tensor:
        """Derivative of the mean loss by the logits."""
        return (probabilities - self.y) * self.share

    def norm(self, gradient: Tensor) -> Tensor:
        """At least the norm of the gradient in the coordinates that the rows came in, ``[S, G]``."""
        return gradient[..., :-1].norm(dim=(2, 3)) + self.length * gradient[..., -1].norm(dim=2)

    def curvature(self, probabilities: Tensor) -> Tensor:
        """The approximate diagonal of the Hessian."""
        one = torch.addcmul(probabilities, probabilities, probabilities, value=-1)
        kappa = torch.matmul(one, self.share.transpose(2, 3))
        return torch.addcmul(self.penalty, kappa, self.eigenvalues).clamp_(min=1e-12)


def _solve(sets: Sequence[_Rows], strengths: Tensor, tolerance: float, max_iterations: int) -> list[Solutions]:
    problems = _Problems(sets, strengths)
    weight = _zeros(len(sets), len(strengths), problems.y.shape[2], problems.x.shape[2])
    solved, short = torch.empty_like(weight), torch.zeros(len(sets), len(strengths), dtype=torch.bool)
    left = torch.arange(len(strengths))  # strengths that are still worked at
    logits = _zeros(*weight.shape[:3], problems.x.shape[1])
    probabilities = problems.probabilities(logits)
    gradient = problems.gradient(problems.residual(probabilities), weight)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    for iteration in range(max_iterations + 1):
        above = problems.norm(gradient) > tolerance  # [S, G]
        above |= ~gradient.isfinite().flatten(2).all(dim=2)
        done = ~above.any(dim=0) | (iteration == max_iterations)
        if done.any():
            solved[:, left[done]], short[:, left[done]] = weight[:, done], above[:, done]
            on = ~done
            if not on.any():
                break
            left, problems.penalty = left[on], problems.penalty[:, on]
            weight, logits, probabilities, gradient = (
                tensor[:, on] for tensor in (weight, logits, probabilities, gradient)
            )
            pairs = [(step[:, on], change[:, on], scale[:, on]) for step, change, scale in pairs]
        direction = _direction(gradient, problems.curvature(probabilities), pairs)
        along = problems.logits(direction)
        length, logits, probabilities = _search(problems, weight, gradient, direction, logits, along)
        step = direction.mul_(length)
        weight = weight + step
        before, gradient = gradient, problems.gradient(problems.residual(probabilities), weight)
        change = gradient - before
        product = _dot(step, change)
        enough = product > 1e-14 * (_dot(step, step) * _dot(change, change)).sqrt()  # else rounding: left out
        pairs = [*pairs, (step, change, torch.where(enough, 1 / product, 0.0))][-MEMORY:]
    return [_in_own_columns(rows, *parts) for rows, *parts in zip(sets, solved, short, strict=True)]


def _direction(gradient: Tensor, curvature: Tensor, pairs: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Minus the gradient, times what is known of the inverse of the Hessian."""
    direction = -gradient
    factors = []
    for step, change, scale in reversed(pairs):
        factors.append(scale * _dot(step, direction))
        direction.addcmul_(factors[-1], change, value=-1)
    direction /= curvature
    for (step, change, scale), factor in zip(pairs, reversed(factors), strict=True):
        direction.addcmul_(factor - scale * _dot(change, direction), step)
    return direction


def _search(
    problems: _Problems, weight: Tensor, gradient: Tensor, direction: Tensor, logits: Tensor, along: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Newton's method for the length of each step: lengths ``[S, G, 1, 1]``, logits and probabilities there."""
    slope_at_start = _dot(gradient, direction)
    weighted = problems.penalty * direction
    of_penalty, curvature_of_penalty = _dot(weighted, weight), _dot(weighted, direction)
    length = torch.ones_like(slope_at_start)
    along_share = along * problems.share
    for attempt in range(LINE_SEARCH):
        there = torch.addcmul(logits, length, along)
        probabilities = problems.probabilities(there)
        slope = _dot(probabilities - problems.y, along_share) + of_penalty + length * curvature_of_penalty
        flat = slope.abs() <= FLAT_ENOUGH * slope_at_start.abs()
        if attempt == LINE_SEARCH - 1 or bool(flat.all()):
            break
        moved = probabilities * along
        mean = moved.sum(dim=2, keepdim=True)
        curvature = _dot(moved.addcmul_(probabilities, mean, value=-1), along_share) + curvature_of_penalty
        better = torch.minimum(torch.maximum(length - slope / curvature, length / 10), length * 4)
        length = torch.where(flat, length, better)
    return length, there, probabilities


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """One number a set and strength, ``[S, G, 1, 1]``."""
    return torch.matmul(a.flatten(2).unsqueeze(2), b.flatten(2).unsqueeze(3))


def _zeros(*size: int) -> Tensor:
    return torch.zeros(size, dtype=torch.float64)


def _in_own_columns(rows: _Rows, solved: Tensor, short: Tensor) -> Solutions:
    """Back from padded coordinates to the columns that the rows came in."""
    solved = solved[:, : rows.num_classes]  # [G, C, k + 1]
    solved = solved - solved.mean(dim=1, keepdim=True)  # a shift of all classes only adds to the penalty
    weight = rows.basis @ solved[..., : rows.basis.shape[1]].transpose(1, 2)  # [G, d, C]
    bias = solved[..., -1] - rows.mean @ weight
    return Solutions(weight, bias, int(short.sum()))
