"""The one sparse structure of the package."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gcl.core.arc_lists import Duplicates, check_csr, sorted_arcs
from gcl.core.compressed import (
    Turned,
    compacted,
    entries_of_rows,
    index_dtype,
    inverse_of,
    position_of,
    row_pointer,
    sort_rows,
    transposed,
)
from gcl.core.errors import DataError


@dataclass(frozen=True, eq=False)
class Adjacency:
    r"""A rectangular sparse matrix in which row *i* receives from column *j*; immutable, sorted once.

    It keeps the CSR form of the matrix and of its transpose with the permutation between their values, so that
    products and their gradients never sort. Dropping arcs is a mask (:meth:`masked`), not a new structure.

    Args:
        row_ptr: CSR row pointer, ``[num_rows + 1]``.
        col: column of each arc, ``[E]``, ascending inside a row.
        t_row_ptr: row pointer of the transpose, ``[num_cols + 1]``.
        t_col: column of each arc of the transpose, ``[E]``.
        t_perm: ``[E]``, ``values_of_transpose = values[t_perm]``. On a symmetric structure it is also the reverse arc.
        shape: ``(num_rows, num_cols)``.
        weight: base weight of each arc, ``[E]``; ``None`` means 1.
        edge_id: position of each arc in the arc list of the graph that augmenters were fitted on; ``None`` = arange.
        symmetric: whether the *structure* is symmetric (the values need not be).
        keep: boolean ``[E]``, ``False`` = the arc is dropped in this view; ``None`` = all are kept.
        derived: what was computed from the structure alone; copies with other weights or masks share it.
    """

    row_ptr: Tensor
    col: Tensor
    t_row_ptr: Tensor
    t_col: Tensor
    t_perm: Tensor
    shape: tuple[int, int]
    weight: Tensor | None = None
    edge_id: Tensor | None = None
    symmetric: bool = False
    keep: Tensor | None = None
    derived: dict[str, Any] = field(default_factory=dict, repr=False)

    # -- construction ------------------------------------------------------------------------------------------------

    @classmethod
    def from_edge_index(
        cls,
        edge_index: Tensor,
        shape: tuple[int, int],
        weight: Tensor | None = None,
        *,
        duplicates: Duplicates = "error",
    ) -> Adjacency:
        """Builds the structure from a PyG ``edge_index`` (row 0 = source = column, row 1 = target = row).

        Args:
            edge_index: integer ``[2, E]``.
            shape: ``(num_targets, num_sources)``.
            weight: ``[E]`` or ``None``.
            duplicates: what to do with an arc that is listed twice: refuse, add the weights, or keep the first.

        Raises:
            DataError: wrong shape or dtype, an index out of range, or a duplicate under ``duplicates="error"``.
        """
        row, col, weight = sorted_arcs(edge_index, shape, weight, duplicates)
        return cls.from_sorted(row, col, shape, weight)

    @classmethod
    def from_csr(cls, row_ptr: Tensor, col: Tensor, shape: tuple[int, int], weight: Tensor | None = None) -> Adjacency:
        """Builds the structure from CSR arrays; nothing is sorted, and int32 arrays are taken over, not copied.

        Args:
            row_ptr: integer ``[num_rows + 1]``, where each row begins, and the number of arcs.
            col: column of each arc, ascending inside a row, without repetition, ``[E]``.
            shape: ``(num_rows, num_cols)``.
            weight: ``[E]`` or ``None``.

        Raises:
            DataError: wrong shape or dtype, a pointer that falls, a column out of range or out of order.
        """
        check_csr(row_ptr, col, shape, weight)
        return cls._of(row_ptr, col, shape, weight)

    @classmethod
    def from_sorted(
        cls,
        row: Tensor,
        col: Tensor,
        shape: tuple[int, int],
        weight: Tensor | None = None,
        edge_id: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Adjacency:
        """Builds both CSR forms from arcs sorted by (row, col) without duplicates, which is not checked."""
        return cls._of(row_pointer(row, shape[0]), col, shape, weight, edge_id, keep)

    @classmethod
    def _of(
        cls,
        row_ptr: Tensor,
        col: Tensor,
        shape: tuple[int, int],
        weight: Tensor | None = None,
        edge_id: Tensor | None = None,
        keep: Tensor | None = None,
        turned: Turned | None = None,
    ) -> Adjacency:
        """Builds the transpose beside a valid CSR structure, unless it is known (``turned``)."""
        dtype = index_dtype(col.numel(), shape)
        row_ptr, col = row_ptr.to(dtype), col.to(dtype)
        t_row_ptr, t_col, t_perm = transposed(row_ptr, col, shape) if turned is None else turned
        symmetric = shape[0] == shape[1] and torch.equal(row_ptr, t_row_ptr) and torch.equal(col, t_col)
        return cls(
            row_ptr=row_ptr,
            col=col,
            t_row_ptr=row_ptr if symmetric else t_row_ptr,
            t_col=col if symmetric else t_col,
            t_perm=t_perm,
            shape=(int(shape[0]), int(shape[1])),
            weight=weight,
            edge_id=edge_id,
            symmetric=symmetric,
            keep=keep,
        )

    def _with_values_of(
        self, arc: Tensor, row_ptr: Tensor, col: Tensor, shape: tuple[int, int], turned: Turned | None = None
    ) -> Adjacency:
        """A valid CSR structure whose arcs are some of these, with their weights, ids and masks."""
        return self._of(
            row_ptr,
            col,
            shape,
            None if self.weight is None else self.weight.index_select(0, arc),
            arc if self.edge_id is None else self.edge_id.index_select(0, arc),
            None if self.keep is None else self.keep.index_select(0, arc),
            turned,
        )

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def num_arcs(self) -> int:
        """Stored arcs, dropped ones included."""
        return self.col.numel()

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.col.device

    @property
    def row(self) -> Tensor:
        """Row (receiving node) of each stored arc, ``[E]``."""
        if "row" not in self.derived:
            counts = (self.row_ptr[1:] - self.row_ptr[:-1]).long()
            rows = torch.arange(self.shape[0], dtype=self.col.dtype, device=self.device)
            self.derived["row"] = torch.repeat_interleave(rows, counts, output_size=self.num_arcs)
        row: Tensor = self.derived["row"]
        return row

    @property
    def is_loop(self) -> Tensor | None:
        """Boolean ``[E]``: arcs from a node to itself; ``None`` where there is none."""
        if "is_loop" not in self.derived:
            loops = self.row == self.col if self.shape[0] == self.shape[1] else None
            self.derived["is_loop"] = loops if loops is not None and bool(loops.any()) else None
        is_loop: Tensor | None = self.derived["is_loop"]
        return is_loop

    @cached_property
    def memo(self) -> dict[Any, Any]:
        """Where operations keep what they computed from this very adjacency, its weights and mask; empty at first."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        # What was computed can be computed again, and may hold functions, which no other process can read.
        return {entry.name: {} if entry.name == "derived" else getattr(self, entry.name) for entry in fields(self)}

    def values(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Value of each stored arc, ``[E]``: its weight (1 if none), and 0 where it is dropped."""
        if self.weight is None:
            if self.keep is None:
                return torch.ones(self.num_arcs, dtype=dtype, device=self.device)
            return self.keep.to(dtype)
        weight = self.weight.to(dtype)
        return weight if self.keep is None else weight * self.keep

    def edge_index(self) -> Tensor:
        """Kept arcs in PyG order ``[source, target]``, int64 ``[2, kept]``, sorted by (target, source)."""
        arcs = torch.stack([self.col.long(), self.row.long()])
        return arcs if self.keep is None else arcs[:, self.keep]

    def edge_weight(self) -> Tensor | None:
        """Weights of the kept arcs in the order of :meth:`edge_index`, or ``None``."""
        if self.weight is None or self.keep is None:
            return self.weight
        return self.weight[self.keep]

    def arc_ids(self) -> Tensor:
        """Position of each stored arc in the fitted graph's arc list, ``[E]``, int64."""
        if self.edge_id is None:
            return torch.arange(self.num_arcs, device=self.device)
        return self.edge_id.long()

    def to_dense(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Dense copy, for tests and tiny graphs only."""
        dense = torch.zeros(self.shape, dtype=dtype, device=self.device)
        dense[self.row.long(), self.col.long()] = self.values(dtype)
        return dense

    # -- derived structures ------------------------------------------------------------------------------------------

    def masked(self, keep: Tensor, *, compact: bool | None = None) -> Adjacency:
        """Drops the arcs where ``keep`` is ``False``, on top of those dropped already; never sorts.

        Products on the CPU skip dropped arcs either way.

        Args:
            keep: boolean ``[E]``.
            compact: make a smaller structure without the dropped arcs, in place of a mask on this one.
        """
        if keep.shape != self.col.shape or keep.dtype != torch.bool:
            raise DataError(
                f"keep must be a boolean mask of shape [{self.num_arcs}], got {keep.dtype} {list(keep.shape)}"
            )
        if self.keep is not None:
            keep = keep & self.keep
        return self._compacted(keep) if compact else dataclasses.replace(self, keep=keep)

    def _compacted(self, keep: Tensor) -> Adjacency:
        row_ptr, (t_row_ptr, t_col, t_perm) = compacted(self.row_ptr, (self.t_row_ptr, self.t_col, self.t_perm), keep)
        return Adjacency(
            row_ptr=row_ptr,
            col=self.col[keep],
            t_row_ptr=t_row_ptr,
            t_col=t_col,
            t_perm=t_perm,
            shape=self.shape,
            weight=None if self.weight is None else self.weight[keep],
            edge_id=self.arc_ids()[keep],
            symmetric=False,
        )

    def with_weight(self, weight: Tensor | None) -> Adjacency:
        """The same structure with other base weights ``[E]``."""
        if weight is not None and weight.shape != self.col.shape:
            raise DataError(f"weight must have shape [{self.num_arcs}], got {list(weight.shape)}")
        return dataclasses.replace(self, weight=weight)

    def with_ids(self, edge_id: Tensor | None) -> Adjacency:
        """The same structure with other ids of its arcs; ``None`` = their places here."""
        return dataclasses.replace(self, edge_id=edge_id)

    def subgraph(self, rows: Tensor, cols: Tensor | None = None) -> Adjacency:
        """The block of the given rows and columns (``None``: the same as the rows), in the order given; keeps ids.

        It reads the arcs of those rows only.
        """
        place = position_of(rows, self.shape[0])
        if cols is not None:
            place = position_of(cols, self.shape[1])
        row, arc = self.entries_of(rows)
        col = place.index_select(0, self.col.index_select(0, arc))
        inside = col >= 0
        row, arc, col = row[inside], arc[inside], col[inside]
        shape = (rows.numel(), rows.numel() if cols is None else cols.numel())
        return self.taken(row_pointer(row, shape[0]), col, arc, shape)

    def rows_of(self, rows: Tensor) -> Adjacency:
        """Some rows with all columns, in the order given, which may repeat; keeps ids. It reads those rows only."""
        row, arc = self.entries_of(rows)
        col = self.col.index_select(0, arc)
        return self._with_values_of(arc, row_pointer(row, rows.numel()), col, (rows.numel(), self.shape[1]))

    def entries_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The stored arcs of some rows, one row after the other: position in ``rows`` and place here, int64 ``[e]``.

        Args:
            rows: row indices, repeats allowed, ``[r]``.
        """
        return entries_of_rows(self.row_ptr, rows)

    def taken(self, row_ptr: Tensor, col: Tensor, arc: Tensor, shape: tuple[int, int]) -> Adjacency:
        """Some of these arcs between other nodes, with their weights, masks and ids; nothing is checked.

        Args:
            row_ptr: where each new row begins, ``[rows + 1]``.
            col: the new column of each arc, in any order inside a row, without repetition, ``[e]``.
            arc: which arc it is here, ``[e]``.
            shape: rows and columns.
        """
        dtype = index_dtype(col.numel(), shape)
        row_ptr, col, turned, order = sort_rows(row_ptr.to(dtype), col.to(dtype), shape)
        return self._with_values_of(arc.index_select(0, order), row_ptr, col, shape, turned)

    def without_self_loops(self) -> Adjacency:
        """Drops the arcs from a node to itself."""
        if self.is_loop is None:
            return self
        return self._compacted(~self.is_loop if self.keep is None else ~self.is_loop & self.keep)

    def t(self) -> Adjacency:
        """The transpose, without sorting. Its arcs carry the ids of the arcs that they are."""
        perm = self.t_perm.long()
        return Adjacency(
            row_ptr=self.t_row_ptr,
            col=self.t_col,
            t_row_ptr=self.row_ptr,
            t_col=self.col,
            t_perm=inverse_of(self.t_perm),
            shape=(self.shape[1], self.shape[0]),
            weight=None if self.weight is None else self.weight[perm],
            edge_id=self.arc_ids()[perm],
            symmetric=self.symmetric,
            keep=None if self.keep is None else self.keep[perm],
        )

    def to(self, device: torch.device | str) -> Adjacency:
        """A copy on another device (this object if it is there already)."""
        if self.device == torch.device(device):
            return self
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **moved, derived={})

    def __repr__(self) -> str:
        extra = ["symmetric"] * self.symmetric + ["weighted"] * (self.weight is not None)
        kept = "" if self.keep is None else f", kept={int(self.keep.sum())}"
        return f"Adjacency(shape={self.shape}, arcs={self.num_arcs}{kept}{''.join(', ' + word for word in extra)})"
