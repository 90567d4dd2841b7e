"""Sorting the arcs of a graph that need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gcl.core.errors import DataError
from gcl.data.edge_blocks import EdgeBlock
from gcl.data.npy_files import new_mapped_array, save_array, with_header

ARC_BYTES = 64  # of an arc while it is sorted: ids, keys and order


class ArcFiles:
    """Writes the CSR arrays of a graph and of its transpose as ``.npy`` files, in bounded memory.

    Edges come in blocks, in any order. They are written to a file for each range of rows as they come, and each range
    is then sorted for itself. Memory is that of a range and some numbers a node.

    Args:
        folder: gets the files, and temporary ones.
        directed: ``False`` adds the reverse of each edge.
        memory: bytes for arcs.
    """

    def __init__(self, folder: Path, *, directed: bool, memory: int):
        self.folder = folder
        self.directed = directed
        self.memory = memory
        self.weighted: bool | None = None
        self.count = 0  # arcs so far, repeated ones among them

    def write(self, blocks: Iterable[EdgeBlock], num_nodes: int | None) -> tuple[int, int]:
        """Writes all arrays.

        Args:
            blocks: the edges; each may be listed once or, with one weight, several times.
            num_nodes: ``None`` = one more than the largest id.

        Returns:
            Numbers of nodes and of arcs.

        Raises:
            DataError: an id out of range, no edges, or an edge with two weights.
            OSError: the disk is full.
        """
        spool = self.folder / "spool.tmp"
        largest = -1
        with open(spool, "wb") as stream:
            for block in blocks:
                arcs = self._arcs(block)
                if block.source.size:
                    high = int(max(block.source.max(), block.target.max()))
                    if num_nodes is not None and high >= num_nodes:
                        raise DataError(
                            f"an edge names node {high}, out of range for {num_nodes} nodes (valid: 0 to "
                            f"{num_nodes - 1}); give the right number of nodes or drop the edge"
                        )
                    largest = max(largest, high)
                self.count += arcs.size
                stream.write(arcs.data)
        if num_nodes is None and largest >= max(1_000_000, 100 * self.count):
            raise DataError(
                f"an edge names node {largest}, and there are {self.count} arcs; ids are positions from 0, so number "
                "the nodes or give their number"
            )
        num_nodes = largest + 1 if num_nodes is None else num_nodes
        num_arcs = self._sort(spool, self.count, num_nodes)
        if not num_arcs:
            raise DataError("the graph has no edges; a graph method needs at least one")
        self._transpose(num_nodes, num_arcs)
        return num_nodes, num_arcs

    @property
    def disk_bytes(self) -> int:
        """What the files of the arcs so far take at the worst: their records, and again while they are parted."""
        return self.count * self._record.itemsize * (2 if self.count > self._room else 1)

    def _arcs(self, block: EdgeBlock) -> np.ndarray:
        """A block as records of row, column and, where edges have them, weight."""
        source, target, weight = block
        if self.weighted is None:
            self.weighted = weight is not None
        if weight is not None:
            weight = weight.astype(np.float32)
        ends = [(target, source)]
        if not self.directed:
            proper = source != target
            ends.append((source[proper], target[proper]))
        arcs = np.empty(sum(row.size for row, _ in ends), dtype=self._record)
        at = 0
        for turned, (row, col) in enumerate(ends):
            part = arcs[at : at + row.size]
            part["row"], part["col"] = row, col
            if weight is not None:
                part["weight"] = weight[proper] if turned else weight
            at += row.size
        return arcs

    @property
    def _room(self) -> int:
        """Arcs that there is memory for."""
        return max(self.memory // ARC_BYTES, 1)

    @property
    def _record(self) -> np.dtype:
        fields = [("row", np.int64), ("col", np.int64)]
        return np.dtype([*fields, ("weight", np.float32)] if self.weighted else fields)

    def _sort(self, spool: Path, count: int, num_nodes: int) -> int:
        """Writes ``row_ptr``, ``col`` and ``weight``; the number of different arcs."""
        bounds = self._ranges(spool, count, num_nodes)
        parts = [self.folder / f"range-{number}.tmp" for number in range(len(bounds) - 1)]
        if len(parts) == 1:
            spool.rename(parts[0])
        else:
            self._distribute(spool, bounds, parts)
            spool.unlink()
        row_ptr = np.zeros(num_nodes + 1, dtype=np.int64)
        dtype = np.int32 if max(count, num_nodes) < 2**31 else np.int64
        written = 0
        with open(self.folder / "col.raw", "wb") as cols, open(self.folder / "weight.raw", "wb") as weights:
            for number, part in enumerate(parts):
                arcs = _merged(np.fromfile(part, dtype=self._record), num_nodes, self.directed)
                part.unlink()
                first, last = bounds[number], bounds[number + 1]
                row_ptr[first + 1 : last + 1] = np.bincount(arcs["row"] - first, minlength=last - first)
                cols.write(arcs["col"].astype(dtype).data)
                if self.weighted:
                    weights.write(np.ascontiguousarray(arcs["weight"]).data)
                written += arcs.size
        np.cumsum(row_ptr, out=row_ptr)
        save_array(self.folder / "row_ptr.npy", row_ptr.astype(dtype))
        with_header(self.folder / "col.raw", dtype, (written,))
        if self.weighted:
            with_header(self.folder / "weight.raw", np.float32, (written,))
        else:
            (self.folder / "weight.raw").unlink()
        return written

    def _ranges(self, spool: Path, count: int, num_nodes: int) -> list[int]:
        """Bounds of ranges of rows, each of which has no more arcs than there is memory for, if no row has."""
        room = self._room
        if count <= room:
            return [0, num_nodes]
        degree = np.zeros(num_nodes, dtype=np.int64)
        for arcs in self._spooled(spool, room):
            degree += np.bincount(arcs["row"], minlength=num_nodes)
        ends = np.cumsum(degree)
        bounds = [0]
        while bounds[-1] < num_nodes:
            before = int(ends[bounds[-1] - 1]) if bounds[-1] else 0
            bounds.append(max(int(np.searchsorted(ends, before + room, side="right")), bounds[-1] + 1))
        return bounds

    def _spooled(self, spool: Path, room: int) -> Iterable[np.ndarray]:
        with open(spool, "rb") as stream:
            while (arcs := np.fromfile(stream, dtype=self._record, count=room)).size:
                yield arcs

    def _distribute(self, spool: Path, bounds: list[int], parts: list[Path]) -> None:
        """Every arc to the file of its range."""
        inner = np.array(bounds[1:-1])
        for arcs in self._spooled(spool, self._room):
            own = np.searchsorted(inner, arcs["row"], side="right")
            order = np.argsort(own, kind="stable")
            edges = np.searchsorted(own[order], np.arange(len(parts) + 1))
            for number in np.unique(own).tolist():
                with open(parts[number], "ab") as stream:
                    stream.write(arcs[order[edges[number] : edges[number + 1]]].data)
        for part in parts:
            part.touch()

    def _transpose(self, num_nodes: int, num_arcs: int) -> None:
        """Writes ``t_perm`` and, of a directed graph, ``t_row_ptr`` and ``t_col``.

        Arcs are passed in order of their rows, and each goes to the next free place of its column.
        """
        row_ptr = np.load(self.folder / "row_ptr.npy", mmap_mode="r")
        col = np.load(self.folder / "col.npy", mmap_mode="r")
        dtype = col.dtype
        perm = new_mapped_array(self.folder / "t_perm.npy", dtype, (num_arcs,))
        t_row_ptr, t_col = row_ptr.astype(np.int64), None
        room = self._room
        if self.directed:
            count = np.zeros(num_nodes, dtype=np.int64)
            for start in range(0, num_arcs, room):
                count += np.bincount(col[start : start + room], minlength=num_nodes)
            t_row_ptr = np.concatenate([[0], np.cumsum(count)])
            save_array(self.folder / "t_row_ptr.npy", t_row_ptr.astype(dtype))
            t_col = new_mapped_array(self.folder / "t_col.npy", dtype, (num_arcs,))
        free = t_row_ptr[:-1].copy()
        for start in range(0, num_arcs, room):
            own = np.asarray(col[start : start + room])
            order = np.argsort(own, kind="stable")
            sorted_own = own[order]
            first = np.flatnonzero(np.concatenate([[True], sorted_own[1:] != sorted_own[:-1]]))
            size = np.diff(np.concatenate([first, [own.size]]))
            place = free[sorted_own] + np.arange(own.size) - np.repeat(first, size)
            perm[place] = start + order
            if t_col is not None:
                row = np.searchsorted(row_ptr, start + order, side="right") - 1
                t_col[place] = row
            free[sorted_own[first]] += size
        for array in (perm, t_col):
            if array is not None:
                array.flush()
        if t_col is not None and np.array_equal(row_ptr, t_row_ptr):
            same = all(
                np.array_equal(col[start : start + room], t_col[start : start + room])
                for start in range(0, num_arcs, room)
            )
            if same:  # every edge has its reverse, as where edges have no direction
                self.directed = False
                del t_col
                for name in ("t_row_ptr", "t_col"):
                    (self.folder / f"{name}.npy").unlink()


def _merged(arcs: np.ndarray, num_nodes: int, directed: bool) -> np.ndarray:
    """Arcs in order of rows and columns, each once; what then has the weight 0 is none.

    Raises:
        DataError: one has two weights.
    """
    key = arcs["row"] * num_nodes + arcs["col"]
    order = np.argsort(key, kind="stable")
    key, arcs = key[order], arcs[order]
    first = np.concatenate([[True], key[1:] != key[:-1]]) if key.size else np.zeros(0, dtype=bool)
    weighted = "weight" in (arcs.dtype.names or ())
    if weighted and not first.all():
        differs = ~first
        differs[1:] &= arcs["weight"][1:] != arcs["weight"][:-1]
        if differs.any():
            at = int(differs.argmax())
            arrow, mend = ("->", "") if directed else ("-", ", or say that edges are directed if directions differ")
            raise DataError(
                f"the edge {arcs['col'][at]} {arrow} {arcs['row'][at]} has the weight {arcs['weight'][at - 1]:g} and "
                f"the weight {arcs['weight'][at]:g}; keep one of them{mend}"
            )
    arcs = arcs[first]
    return arcs[arcs["weight"] > 0] if weighted else arcs
