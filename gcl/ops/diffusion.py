"""Graph diffusion: weighted sums of the powers of a transition matrix, as sparse rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, unknown
from gcl.ops.row_top import row_top
from gcl.ops.scipy_matrix import adjacency_of
from gcl.ops.transition_weights import transition_matrix

DiffusionNormalization = Literal["symmetric", "row"]

TAIL = 1e-8  # of a series that has no end, what is left out
BLOCK_ENTRIES = 2**23  # of a block of dense rows; sparse ones take far less


def diffusion_weights(
    adjacency: Adjacency,
    coefficients: Sequence[float],
    *,
    normalize: DiffusionNormalization = "symmetric",
    tolerance: float = 1e-5,
    top: int | None = None,
    threshold: float = 0.0,
) -> tuple[Adjacency, Tensor]:
    r"""The diffusion matrix of a graph, its small entries left out.

    .. math:: S = \sum_{k=0}^{K} \theta_k T^k, \qquad T = \tilde D^{-1/2} (A + I) \tilde D^{-1/2} \;(\text{symmetric})
        \quad\text{or}\quad T = \tilde D^{-1} (A + I) \;(\text{row}), \qquad \tilde d_i = 1 + \sum_j a_{ij}

    Gasteiger, Weißenberger, Günnemann: *Diffusion Improves Graph Learning*, NeurIPS 2019, arXiv 1911.05485.

    Each row is a walk: mass starts at its node and is passed on K times. Mass that has become small is counted where it
    lies and not passed on: at node j, after k steps, where it is below :math:`\tau \tilde d_j / \sum_{m > k} \theta_m`.
    So no entry is too large, and in an undirected graph none of the row form is too small by more than
    :math:`K \tau \tilde d_j`. The work for a row does not grow with the graph.

    Args:
        adjacency: ``[N, N]``, values of 0 or more; stored loops add to the identity.
        coefficients: :math:`\theta_0, \dots, \theta_K`, each 0 or more; :func:`pagerank_coefficients`,
            :func:`heat_coefficients` and :func:`markov_coefficients` sum to 1.
        normalize: of the transition matrix; ``symmetric`` takes the in-degree on both sides.
        tolerance: :math:`\tau`, from 0 (exact, and dense where the graph hangs together).
        top: entries kept of each row, the largest (of equal ones those of the smallest columns); ``None`` = all.
        threshold: smaller entries are left out.

    Returns:
        ``[N, N]`` with float32 weights, and the mass of each row that was not passed on, float64 ``[N]``: what its row
        of the row form lacks, before ``top`` and ``threshold``.

    Raises:
        ConfigError: an unknown word, or a number out of range.
        DataError: a rectangle, or a value that is negative or not finite.
    """
    check_diffusion(coefficients, normalize, tolerance, top, threshold)
    step, degree = transition_matrix(adjacency)
    num_nodes, theta = step.shape[0], np.asarray(coefficients, dtype=np.float64)
    size = max(64, BLOCK_ENTRIES // max(num_nodes, 1))
    blocks, lost = [], [np.zeros(0)]
    for start in range(0, num_nodes, size):
        rows = np.arange(start, min(start + size, num_nodes))
        block, missing = _walk(step, degree, rows, theta, tolerance)
        if normalize == "symmetric":
            factor = np.sqrt(degree[rows]).repeat(np.diff(block.indptr)) / np.sqrt(degree[block.indices])
            block.data *= factor
        if threshold > 0:
            block.data[block.data < threshold] = 0
            block.eliminate_zeros()
        block.sort_indices()
        blocks.append(block if top is None else row_top(block, top))
        lost.append(missing)
    matrix = sp.vstack(blocks, format="csr") if blocks else step
    return adjacency_of(matrix, weighted=True), torch.from_numpy(np.concatenate(lost))


def pagerank_coefficients(alpha: float) -> list[float]:
    r"""Personalised PageRank, :math:`\theta_k = \alpha (1 - \alpha)^k`, to a tail of 1e-8.

    Args:
        alpha: probability that a walk ends in each step, from 0.001 to 1.

    Raises:
        ConfigError: out of range.
    """
    _check_range("alpha", alpha, 0.001, 1)
    length = 1 if alpha == 1 else math.ceil(math.log(TAIL) / math.log1p(-alpha))
    return [alpha * (1 - alpha) ** k for k in range(length)]


def heat_coefficients(time: float) -> list[float]:
    r"""The heat kernel, :math:`\theta_k = e^{-t} t^k / k!`, to a tail of 1e-8.

    Args:
        time: t, from 0 to 100.

    Raises:
        ConfigError: out of range.
    """
    _check_range("time", time, 0, 100)
    found, left = [math.exp(-time)], -math.expm1(-time)
    while left > TAIL:
        found.append(found[-1] * time / len(found))
        left -= found[-1]
    return found


def markov_coefficients(alpha: float, order: int) -> list[float]:
    r"""The mean of the first steps and the node itself, :math:`\theta_0 = \alpha, \theta_k = (1 - \alpha) / K`.

    Zhu and Koniusz: *Simple Spectral Graph Convolution*, ICLR 2021; with :math:`\alpha = 0` the Markov diffusion kernel
    of Fouss et al., Neural Networks 31 (2012).

    Args:
        alpha: share that stays, from 0 to 1.
        order: K, from 1.

    Raises:
        ConfigError: out of range.
    """
    _check_range("alpha", alpha, 0, 1)
    _check_count("order", order)
    return [float(alpha), *[(1 - alpha) / order] * order]


def check_diffusion(
    coefficients: Sequence[float], normalize: str, tolerance: float, top: int | None, threshold: float
) -> None:
    """Refuses settings of :func:`diffusion_weights` that cannot be.

    Raises:
        ConfigError: with the name and the value.
    """
    if normalize not in get_args(DiffusionNormalization):
        raise ConfigError(unknown("normalization", str(normalize), get_args(DiffusionNormalization)))
    if not len(coefficients) or not all(_is_number(value) for value in coefficients) or not any(coefficients):
        raise ConfigError(f"coefficients must be numbers of 0 or more, not all 0, got {list(coefficients)}")
    for name, value in (("tolerance", tolerance), ("threshold", threshold)):
        if not _is_number(value):
            raise ConfigError(f"{name} must be a finite number from 0, got {value!r}")
    if top is not None:
        _check_count("top", top)


def _walk(
    step: sp.csr_matrix, degree: np.ndarray, rows: np.ndarray, theta: np.ndarray, tolerance: float
) -> tuple[sp.csr_matrix, np.ndarray]:
    """Some rows of the row form, and the mass of each that was not passed on."""
    size = (rows.size, step.shape[0])
    mass = sp.csr_matrix((np.ones(rows.size), rows, np.arange(rows.size + 1)), shape=size)
    total, lost = theta[0] * mass, np.zeros(rows.size)
    tail = theta[::-1].cumsum()[::-1]  # tail[k] = what is still to come from step k on
    for k in range(1, theta.size):
        if tolerance > 0:
            stays = mass.data * tail[k] < tolerance * degree[mass.indices]
            owner = np.arange(rows.size).repeat(np.diff(mass.indptr))
            lost += tail[k] * np.bincount(owner[stays], mass.data[stays], rows.size)
            mass.data[stays] = 0
            mass.eliminate_zeros()
        if not mass.nnz:
            break
        mass = sp.csr_matrix(mass @ step)
        if theta[k]:
            total = total + theta[k] * mass
    total.eliminate_zeros()
    return sp.csr_matrix(total), lost


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not _is_number(value) or not least <= value <= most:
        raise ConfigError(f"{name} must be a number from {least:g} to {most:g}, got {value!r}")


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number from 1, got {value!r}")
