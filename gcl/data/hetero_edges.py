"""One file of edges between two node types, as it is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gcl.core.errors import DataError
from gcl.data.edges import as_edge_index
from gcl.data.hetero_names import RelationFile
from gcl.data.node_files import edge_rows, is_sparse, naming, read_table_or_array
from gcl.data.table_columns import edge_columns
from gcl.data.table_header import end_names
from gcl.data.tables import Table

Column = list[str] | np.ndarray  # ids as text, or whole numbers int64 [E]


@dataclass(frozen=True)
class HeteroEdges:
    """The edges of a relation before its nodes are numbered.

    Args:
        file: the file, the relation and its types.
        columns: ids of the sources and of the receivers, each ``[E]``; positions where ``shape`` is given.
        weight: ``[E]``, unchecked; ``None`` = 1.
        lines: line of each edge in a text file.
        shape: ``(sources, receivers)`` of a matrix.
    """

    file: RelationFile
    columns: tuple[Column, Column]
    weight: np.ndarray | None = None
    lines: list[int] | None = None
    shape: tuple[int, int] | None = None

    def place(self, at: int) -> str:
        """Names file, direction and line of an edge, for messages."""
        return f"{self.file} {self.row(at)}"

    def row(self, at: int) -> str:
        """Names the line of an edge, for messages."""
        return f"edge {at}" if self.lines is None else f"line {self.lines[at]}"

    def ends_of(self, kind: str) -> list[int]:
        """Which ends are of a type: 0 is the source, 1 the receiver."""
        return [end for end, at in enumerate((self.file.source, self.file.receiver)) if at == kind]


def read_hetero_edges(file: RelationFile) -> HeteroEdges:
    """Reads a table (source, receiver and perhaps a weight), an array ``[2, E]`` or ``[E, 2]``, or a SciPy matrix.

    The columns of a table may be called as the two types are. The rows of a matrix are sources, its columns receivers.

    Raises:
        DataError: unreadable, no edges, columns of which it is not clear what they hold, or ids that are neither text
            nor whole numbers.
    """
    edges = read_table_or_array(file.path, "edges")
    if isinstance(edges, Table):
        edges = _without_heading(edges, file)
        columns = edge_columns(edges, (file.source, file.receiver))
        return HeteroEdges(file, (columns.source, columns.target), columns.weight, edges.lines)
    shape, weight = None, None
    if is_sparse(edges):
        matrix = edges.tocsr(copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        matrix = matrix.tocoo()
        weight = None if bool((matrix.data == 1).all()) else matrix.data
        edges, shape = np.stack([matrix.row, matrix.col]), matrix.shape
    edges = edge_rows(edges)
    if edges.dtype.kind == "U" and edges.ndim == 2 and edges.shape[0] == 2 and edges.size:
        return HeteroEdges(file, (edges[0].tolist(), edges[1].tolist()))
    with naming(str(file)):
        arcs, _ = as_edge_index(edges, np.iinfo(np.int64).max)
    return HeteroEdges(file, (arcs[0].numpy(), arcs[1].numpy()), weight, shape=shape)


def _without_heading(edges: Table, file: RelationFile) -> Table:
    """Takes a first line that names the two types for a heading, even above ids that are words."""
    first = sorted(end_names(edges.rows[0][:2]))
    if edges.header is not None or first != sorted(end_names([file.source, file.receiver])):
        return edges
    if len(edges.rows) == 1:
        raise DataError(f"{file} holds a header but no rows; write at least one or remove the file")
    return Table(edges.path, tuple(cell.lower() for cell in edges.rows[0]), edges.rows[1:], edges.lines[1:])
