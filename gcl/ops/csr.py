"""A sparse matrix by rows, and its product with a dense one."""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import torch
from torch import Tensor


class CSR(NamedTuple):
    """A matrix in compressed rows.

    Args:
        row_ptr: ``[rows + 1]``.
        col: column of each entry, ``[nnz]``, of the same integer type.
        values: ``[nnz]``, float32 or float64.
        shape: ``(rows, columns)``.
    """

    row_ptr: Tensor
    col: Tensor
    values: Tensor
    shape: tuple[int, int]

    def matmul(self, x: Tensor) -> Tensor:
        """The product with ``x`` of shape ``[columns, d]`` and the dtype of the values; outside autograd."""
        if 0 in (*self.shape, x.shape[1], self.col.numel()):
            return x.new_zeros(self.shape[0], x.shape[1])
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            if x.device.type == "cpu" and x.dtype == torch.float32:
                # A weighted bag of rows is this product. Torch's kernel for it fetches rows ahead and takes int32
                # indices as they are: 4 times as fast as MKL's CSR product where x is larger than the cache.
                return torch.embedding_bag(
                    x.contiguous(), self.col, self.row_ptr, False, 0, False, self.values.contiguous(), True
                )[0]
            return self.tensor() @ x.contiguous()

    def tensor(self) -> Tensor:
        """As a torch tensor."""
        _silence_beta_warning()
        return torch.sparse_csr_tensor(self.row_ptr, self.col, self.values, self.shape, check_invariants=False)


@functools.cache
def _silence_beta_warning() -> None:
    """Torch warns of the beta state of CSR once a process: let it do so here, unheard, and leave the filters alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zero = torch.zeros(1, dtype=torch.int64)
        torch.sparse_csr_tensor(zero, zero[:0], zero[:0], (0, 0), check_invariants=False)


def clusters_as_rows(labels: Tensor, num_clusters: int) -> tuple[Tensor, Tensor]:
    """The nodes of each cluster one after the other: CSR pointer ``[K + 1]`` and nodes, both int64."""
    order = labels.argsort(stable=True)
    count = torch.bincount(labels + 1, minlength=num_clusters + 1)  # of -1, 0, ...
    row_ptr = count.cumsum(0) - count[0]
    return row_ptr, order[count[0] :]
