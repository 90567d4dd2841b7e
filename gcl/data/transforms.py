"""Feature transforms by name, as cards list them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph

Matrix = Tensor | Adjacency


def row_normalize(matrix: Matrix) -> Matrix:
    r"""Divides each row by its sum: :math:`x_{ij} / \sum_k x_{ik}`; empty rows stay empty.

    Raises:
        DataError: a negative value, for which the sum says nothing.
    """
    values = _values(matrix)
    if values.numel() and float(values.min()) < 0:
        raise DataError(
            f"row_normalize needs non-negative features, the smallest is {float(values.min()):g}; use transform=None"
        )
    if isinstance(matrix, Adjacency):
        total = torch.zeros(matrix.shape[0], dtype=torch.float64).index_add_(0, matrix.row.long(), values.double())
        return matrix.with_weight((values.double() / total[matrix.row.long()].clamp_min(_TINY)).float())
    return matrix / matrix.sum(dim=1, keepdim=True).clamp_min(_TINY)


def normalized_features(matrix: Matrix) -> Matrix:
    """Divides each row by its sum where that says something, as the programs of MEOW and HeCo do.

    Features with a negative value stay as they are, and so does a single column, which would become 1 everywhere.
    """
    values = _values(matrix)
    unfit = matrix.shape[1] < 2 or (values.numel() > 0 and float(values.min()) < 0)
    return matrix if unfit else row_normalize(matrix)


def binarize(matrix: Matrix) -> Matrix:
    """1 where a value is positive, else 0."""
    if isinstance(matrix, Adjacency):
        return matrix.with_weight((_values(matrix) > 0).float())
    return (matrix > 0).to(matrix.dtype)


def shift_min(matrix: Matrix) -> Matrix:
    """Subtracts the smallest value, so that dense features start at 0.

    Raises:
        DataError: sparse features whose smallest value is not 0; they would become dense.
    """
    smallest = float(_values(matrix).min()) if _values(matrix).numel() else 0.0
    if isinstance(matrix, Adjacency):
        if smallest < 0:
            raise DataError(f"shift_min would fill sparse features (smallest {smallest:g}); load them dense")
        return matrix
    return matrix - smallest


TRANSFORMS: dict[str, Callable[[Matrix], Matrix]] = {
    "row_normalize": row_normalize,
    "binarize": binarize,
    "shift_min": shift_min,
}
_TINY = torch.finfo(torch.float32).tiny


def apply_transform(graph: Graph, transform: str | Sequence[str] | None) -> Graph:
    """The graph with the features of its target type transformed, in the order given.

    Args:
        graph: any graph; one without features is returned as it is.
        transform: a name of ``TRANSFORMS``, several, or ``None`` or ``"none"`` for no change.

    Raises:
        ConfigError: an unknown name.
        DataError: features that the transform does not suit.
    """
    matrix = graph.features.get(graph.target)
    for name in transform_names(transform):
        if matrix is not None:
            matrix = TRANSFORMS[name](matrix)
    if matrix is None or matrix is graph.features[graph.target]:
        return graph
    return dataclasses.replace(graph, features={**graph.features, graph.target: matrix})


def transform_names(transform: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of a transform argument, checked, without ``none``."""
    names = (transform,) if isinstance(transform, str) else tuple(transform or ())
    for name in names:
        if name not in TRANSFORMS and name != "none":
            raise ConfigError(unknown("transform", str(name), [*TRANSFORMS, "none"]))
    return tuple(name for name in names if name != "none")


def _values(matrix: Matrix) -> Tensor:
    return matrix.values() if isinstance(matrix, Adjacency) else matrix
