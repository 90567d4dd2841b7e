"""Cells of large text files as positions in a buffer, so that no row becomes a Python object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gcl.core.errors import DataError

BLOCK_BYTES = 1 << 24
_NEWLINE, _RETURN, _SPACE, _TAB, _QUOTE, _HASH = b'\n\r \t"#'
_BLANKS = b"\n\r \t"
_IS_BLANK = np.zeros(256, dtype=bool)
_IS_BLANK[[_NEWLINE, _RETURN, _SPACE, _TAB]] = True


@dataclass(frozen=True, eq=False)
class CellBlock:
    """Some lines of a text file, cut into cells.

    Args:
        path: the file, for messages.
        buffer: its bytes, uint8.
        start: where each cell begins in ``buffer``, int64 ``[cells]``, line by line.
        end: one behind its last byte, ``[cells]``.
        count: cells of each line, ``[lines]``; blank lines and comments are left out.
        line: line number in the file, ``[lines]``.
    """

    path: Path
    buffer: np.ndarray
    start: np.ndarray
    end: np.ndarray
    count: np.ndarray
    line: np.ndarray

    def text(self, cell: int) -> str:
        """One cell; doubled quotes stand for one."""
        return cell_text(self.buffer[self.start[cell] : self.end[cell]].tobytes())

    def first_line(self) -> list[str]:
        """The cells of the first line."""
        return [self.text(cell) for cell in range(int(self.count[0]))] if self.count.size else []

    def without_first_line(self) -> CellBlock:
        """The other lines."""
        cells = int(self.count[0])
        return CellBlock(self.path, self.buffer, self.start[cells:], self.end[cells:], self.count[1:], self.line[1:])

    def table(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends as ``[lines, width]``.

        Raises:
            DataError: a line has another number of cells; names the first.
        """
        ragged = self.count != width
        if ragged.any():
            at = int(ragged.argmax())
            raise DataError(
                f"{self.path} line {int(self.line[at])} has {int(self.count[at])} cells, expected {width} as in the "
                "first line; mend that line"
            )
        return self.start.reshape(-1, width), self.end.reshape(-1, width)


def cell_text(cell: bytes) -> str:
    """The text of a cell's bytes."""
    return cell.decode().replace('""', '"')


def read_blocks(path: Path, *, block_bytes: int | None = None) -> Iterator[CellBlock]:
    """The lines of a delimited text file, some megabytes at a time.

    The delimiter is what the first line has: comma, semicolon, tab or ``::``, else blanks (see :func:`find_delimiter`).
    Cells are stripped of blanks and of a pair of quotes; a delimiter inside quotes is text. Blank lines and lines that
    start with ``#`` are left out. ``block_bytes`` is how much is read at a time, ``BLOCK_BYTES`` by default.

    Raises:
        DataError: unreadable, not UTF-8, or a quote that does not end on its line.
    """
    first_line, delimiter = 1, None
    for content in _read_lines(path, first_line, block_bytes or BLOCK_BYTES):
        buffer = np.frombuffer(content, dtype=np.uint8)
        if delimiter is None:
            delimiter = find_delimiter(path, content)
        if delimiter is not None:
            yield _cut(path, buffer, delimiter, first_line) if delimiter else _cut_blanks(path, buffer, first_line)
        first_line += content.count(b"\n")


def find_delimiter(path: Path, content: bytes) -> bytes | None:
    """The delimiter of the first line with text: empty for blanks, ``None`` where there is no such line."""
    line = next((line for line in _lines(content) if line.strip(_BLANKS) and not line.startswith(b"#")), None)
    if line is None:
        return None
    if path.suffix.lower() in (".tsv", ".inter"):
        return b"\t"
    found = next((mark for mark in (b",", b";", b"\t", b"::") if mark in line), None)
    return found or (b"," if path.suffix.lower() == ".csv" else b"")


def _lines(content: bytes) -> Iterator[bytes]:
    """One line after another, without cutting the others."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        yield content[start:end]
        start = end + 1


def _read_lines(path: Path, first_line: int, block_bytes: int) -> Iterator[bytes]:
    """Pieces of a file that end with a line."""
    rest = b""
    try:
        with open(path, "rb") as stream:
            while block := stream.read(block_bytes):
                if first_line == 1 and not rest:
                    block = block.removeprefix(b"\xef\xbb\xbf")
                block = rest + block
                cut = block.rfind(b"\n") + 1
                content, rest = block[:cut], block[cut:]
                if content:
                    _require_utf8(path, content, first_line)
                    yield content
                    first_line += content.count(b"\n")
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}); check the path and its permissions") from None
    if rest:
        _require_utf8(path, rest, first_line)
        yield rest + b"\n"


def _require_utf8(path: Path, content: bytes, first_line: int) -> None:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        raise DataError(f"{path} line {line} is not UTF-8 text; save the file as UTF-8") from None


def _cut(path: Path, buffer: np.ndarray, delimiter: bytes, first_line: int) -> CellBlock:
    """Cells between delimiters."""
    line_end = np.flatnonzero(buffer == _NEWLINE)
    line_start = np.concatenate([[0], line_end[:-1] + 1])
    mark = buffer == delimiter[0]
    if len(delimiter) == 2:
        mark[:-1] &= buffer[1:] == delimiter[1]
    quotes = buffer == _QUOTE
    quoted = bool(quotes.any())
    if quoted:
        inside = np.cumsum(quotes, dtype=np.uint8) & 1  # the parity survives the overflow
        if inside[line_end].any():
            line = first_line + int(inside[line_end].argmax())
            raise DataError(f"{path} line {line} has a quote without its partner; end each quoted cell on its line")
        mark &= inside == 0
    marks = np.flatnonzero(mark)
    count = np.diff(np.searchsorted(marks, line_end), prepend=0)  # delimiters of each line
    first, last = _strip(buffer, line_start, line_end)
    kept = (first < last) & (buffer[line_start] != _HASH)
    if not kept.all():
        marks = marks[np.repeat(kept, count)]
        line_start, line_end, count = line_start[kept], line_end[kept], count[kept]
    count = count + 1
    opens = np.zeros(int(count.sum()), dtype=bool)  # the first cell of each line
    closes = opens.copy()
    closes[np.cumsum(count) - 1] = True
    opens[np.cumsum(count) - count] = True
    start = np.empty(opens.size, dtype=np.int64)
    end = np.empty_like(start)
    start[opens], start[~opens] = line_start, marks + len(delimiter)
    end[closes], end[~closes] = line_end, marks
    start, end = _strip(buffer, start, end)
    if quoted:
        bare = (end - start >= 2) & (buffer[start] == _QUOTE) & (buffer[end - 1] == _QUOTE)
        start, end = start + bare, end - bare
    return CellBlock(path, buffer, start, end, count, first_line + np.flatnonzero(kept))


def _cut_blanks(path: Path, buffer: np.ndarray, first_line: int) -> CellBlock:
    """Cells between runs of blanks."""
    line_end = np.flatnonzero(buffer == _NEWLINE)
    blank = np.concatenate([[True], _IS_BLANK[buffer]])  # the buffer ends with a newline
    start = np.flatnonzero(blank[:-1] & ~blank[1:])
    end = np.flatnonzero(~blank[:-1] & blank[1:])
    count = np.diff(np.searchsorted(start, line_end), prepend=0)
    kept = (count > 0) & (buffer[np.concatenate([[0], line_end[:-1] + 1])] != _HASH)
    if not kept.all():
        inside = np.repeat(kept, count)
        start, end, count = start[inside], end[inside], count[kept]
    return CellBlock(path, buffer, start, end, count, first_line + np.flatnonzero(kept))


def _strip(buffer: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions without the blanks on both sides."""
    while (blank := (start < end) & _IS_BLANK[buffer[start]]).any():
        start = start + blank
    while (blank := (start < end) & _IS_BLANK[buffer[end - 1]]).any():
        end = end - blank
    return start, end
