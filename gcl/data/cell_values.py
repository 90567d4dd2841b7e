"""What cells of text mean: whole numbers, numbers, times and distinct words, for all rows at once."""

from __future__ import annotations

import warnings

import numpy as np

from gcl.data.text_cells import CellBlock, cell_text

_ZERO, _DIGITS = ord("0"), 18  # 18 digits always fit in int64
_WIDEST_NUMBER = 64
_NO_DATE = (ValueError, OverflowError, UserWarning, DeprecationWarning)


def whole_numbers(buffer: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray | None:
    """The cells as int64, or ``None`` where one is not a whole number from 0 without leading zeros and sign."""
    length = end - start
    if not length.size:
        return np.zeros(0, dtype=np.int64)
    widest = int(length.max())
    if int(length.min()) < 1 or widest > _DIGITS or bool(((buffer[start] == _ZERO) & (length > 1)).any()):
        return None
    value = np.zeros(length.size, dtype=np.int64)
    for place in range(widest):
        at = end - 1 - place
        inside = at >= start
        digit = buffer[np.maximum(at, 0)] - np.uint8(_ZERO)  # anything below "0" wraps around to above 9
        digit *= inside
        if int(digit.max()) > 9:
            return None
        value += digit.astype(np.int64) * 10**place  # NumPy 1 would multiply small numbers as bytes
    return value


def numbers(block: CellBlock, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The cells as int64 or float64, and which of them are no finite numbers (``None`` = all are finite)."""
    whole = whole_numbers(block.buffer, start, end)
    if whole is not None:
        return whole, None
    text = _fixed_width(block.buffer, start, end)
    try:
        value = text.astype(np.float64)
    except ValueError:
        value = np.array([_as_float(cell) for cell in text.tolist()])
    bad = ~np.isfinite(value) | (end - start > _WIDEST_NUMBER)
    return value, bad if bad.any() else None


def dates(block: CellBlock, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Dates of ISO 8601, such as ``2020-01-31`` or ``2020-01-31T12:00:00Z``, as microseconds since 1970 in int64.

    A zone other than ``Z`` is not read, and neither are years alone.

    Returns:
        The values, and which of them are not dates (``None`` = all are).
    """
    text = np.char.decode(np.char.rstrip(_fixed_width(block.buffer, start, end), b"Z"), "ascii", "replace")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy warns of a zone that it would ignore
        try:
            value = text.astype("datetime64[us]")
        except _NO_DATE:
            value = np.array([_as_date(cell) for cell in text.tolist()], dtype="datetime64[us]")
    bad = np.isnat(value) | (end - start < len("2020-01")) | (end - start > _WIDEST_NUMBER)
    bad |= block.buffer[np.minimum(start + len("2020"), block.buffer.size - 1)] != ord("-")
    return value.astype(np.int64), bad if bad.any() else None


def distinct(buffer: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Which of the distinct cells each cell is, int64 ``[cells]``, and their texts.

    Cells of one length are compared at a time, as rows of 64-bit words. Cells of other bytes may have one text, where
    one of them has doubled quotes.
    """
    length = end - start
    code = np.empty(length.size, dtype=np.int64)
    words: list[str] = []
    for size in np.unique(length).tolist():
        at = np.flatnonzero(length == size)
        if size == 0:
            code[at] = len(words)
            words.append("")
            continue
        cells = np.zeros((at.size, -(-size // 8) * 8), dtype=np.uint8)  # [cells, bytes up to a multiple of 8]
        cells[:, :size] = np.lib.stride_tricks.sliding_window_view(buffer, size)[start[at]]
        first, inverse = _distinct_rows(cells.view(np.uint64))
        code[at] = inverse + len(words)
        words += [cell_text(row.tobytes()) for row in cells[first, :size]]
    return code, words


def _distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of one row of each kind, and the kind of every row; rows are ``[cells, words]`` of uint64."""
    key = rows[:, 0].copy()
    for column in range(1, rows.shape[1]):
        key ^= key >> np.uint64(29)
        key *= np.uint64(0x9E3779B97F4A7C15)
        key += rows[:, column]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    if rows.shape[1] > 1 and not np.array_equal(rows[first][inverse], rows):  # two kinds share a key
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def _fixed_width(buffer: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The cells as fixed-width bytes ``[cells]``, longer ones cut."""
    length = np.minimum(end - start, _WIDEST_NUMBER)
    width = max(int(length.max()), 1)
    text = np.zeros((length.size, width), dtype=np.uint8)
    for place in range(width):
        inside = place < length
        text[inside, place] = buffer[start[inside] + place]
    return text.view(f"S{width}").reshape(-1)


def _as_float(cell: bytes) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _as_date(cell: str) -> np.datetime64:
    try:
        return np.datetime64(cell, "us")
    except _NO_DATE:
        return np.datetime64("NaT")
