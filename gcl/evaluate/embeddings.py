"""The check that every protocol makes of the embeddings it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcl.core.errors import DataError


def as_embeddings(z: Tensor, *, name: str = "embeddings") -> Tensor:
    """Checked embeddings on the CPU, float32 or float64 ``[N, d]``, without gradient.

    Half precision and whole numbers become float32.

    Args:
        z: ``[N, d]``.
        name: what the message calls them.

    Raises:
        DataError: not a matrix of real numbers, empty, or a value that is not finite.
    """
    if z.dim() != 2 or 0 in z.shape or z.is_complex():
        raise DataError(f"{name} must be a matrix [N, d] of real numbers, got {z.dtype} {list(z.shape)}")
    z = z.detach().cpu()
    if z.dtype not in (torch.float32, torch.float64):
        z = z.float()
    refuse_non_finite(z, name)
    return z


def array_tensor(array: Any, *, name: str = "embeddings") -> Tensor:
    """A tensor of what holds numbers: a tensor, an array in any order of bytes or steps, nested lists, a sparse matrix.

    Raises:
        DataError: it does not hold real numbers.
    """
    if isinstance(array, Tensor):
        return array.to_dense() if array.layout != torch.strided else array
    if callable(getattr(array, "toarray", None)):  # of scipy
        array = array.toarray()
    try:
        array = np.asarray(array)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of different lengths, tensors that have a gradient
        raise DataError(f"{name} must be a matrix of real numbers ({error}); give a tensor or an array") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} must be real numbers, got an array of type {array.dtype}")
    wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
    if array.dtype.kind == "u" or wide or not array.dtype.isnative:  # torch has few such types and one byte order
        array = array.astype(np.float32 if array.dtype.itemsize < 8 else np.float64)
    return torch.from_numpy(np.ascontiguousarray(array))


def refuse_non_finite(z: Tensor, name: str) -> None:
    """Refuses NaN and infinite values in ``[N, d]``, naming the first row and how many rows have one.

    Raises:
        DataError: there is one.
    """
    finite = torch.isfinite(z.sum(dim=1))  # one number a row; a sum that overflows is looked at again
    if bool(finite.all()):
        return
    bad = (~torch.isfinite(z).all(dim=1)).nonzero().squeeze(1)
    if bad.numel():
        raise DataError(
            f"{name} have NaN or infinite values in {bad.numel()} of {z.shape[0]} rows, first in row {int(bad[0])} "
            "(counted from 0); remove or replace them"
        )
