"""Large tables of text, some lines at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from gcl.core.errors import DataError
from gcl.data.table_header import is_header
from gcl.data.tables import Table
from gcl.data.text_cells import CellBlock, read_blocks

HEAD = 50  # lines that are looked at to say what the columns are


def table_blocks(path: Path, kind: str, row: str) -> tuple[Table, Iterator[CellBlock]]:
    """The first lines of a table, with the header if it has one, and all of its lines without the header.

    Args:
        path: a text file.
        kind: ``edges`` or ``features``, as :func:`gcl.data.table_header.is_header` takes it.
        row: what a line holds, for messages.

    Raises:
        DataError: unreadable, empty, or first lines of different lengths.
    """
    blocks = (block for block in read_blocks(path) if block.count.size)
    first = next(blocks, None)
    if first is None:
        raise DataError(f"{path} is empty; write {row}")
    head = _first_lines(path, first, kind)
    return head, itertools.chain([first.without_first_line() if head.header else first], blocks)


def _first_lines(path: Path, block: CellBlock, kind: str) -> Table:
    rows, cell = [], 0
    for count in block.count[:HEAD].tolist():
        rows.append([block.text(cell + at) for at in range(count)])
        cell += count
    if len({*map(len, rows)}) > 1:
        block.table(int(block.count[0]))  # says which line
    lines = block.line[: len(rows)].tolist()
    if not is_header(rows, kind):
        return Table(path, None, rows, lines)
    header = tuple(name.lower() for name in rows[0])
    if len(rows) == 1:
        raise DataError(f"{path} has a header and no line below it")
    return Table(path, header, rows[1:], lines[1:])
