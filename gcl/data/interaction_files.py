"""Interactions from tables of text and parquet, from LightGCN's lists, and from folders of ready-made parts."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gcl.core.errors import DataError
from gcl.data.cell_values import distinct
from gcl.data.interaction_builder import InteractionBuilder
from gcl.data.interaction_columns import find_columns, is_header
from gcl.data.interaction_options import InteractionOptions
from gcl.data.interaction_parquet import add_parquet
from gcl.data.interaction_table import InteractionTable
from gcl.data.node_files import EDGES, plain_edge_files
from gcl.data.table_header import is_number
from gcl.data.text_cells import CellBlock, find_delimiter, read_blocks

SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".inter", ".parquet")
STEMS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}


def is_interaction_file(path: Path) -> bool:
    """Whether a file can be a table of interactions, by its ending; ``edges`` or ``arcs`` is part of a graph."""
    return path.suffix.lower() in SUFFIXES and path.stem not in EDGES


def is_interaction_folder(path: Path) -> bool:
    """Whether a folder holds interactions rather than a graph: a training part, or one table of them, and no edges."""
    if plain_edge_files(path):
        return False
    return _part_file(path, "train") is not None or _whole_file(path) is not None


def read_interactions(path: str | os.PathLike[str], options: InteractionOptions | None = None) -> InteractionTable:
    """The interactions of a file or of a folder, unfiltered, with repeats.

    - A table (csv, tsv, txt, MovieLens' ``.dat``, RecBole's ``.inter``, parquet) has a row for each interaction: user,
      item and, where there are, rating and time, found by the header or by position
      (:func:`gcl.data.interaction_columns.find_columns`). Other columns are passed over. Ratings and times are read
      where the options need them.
    - A text file without header, between blanks or tabs, in which each user has one line, is in LightGCN's form: a user
      and all its items. A user without items is a user all the same. In a folder the training part decides for all.
      ``options.layout`` decides where the guess is wrong.
    - A folder has ``train.*``, with ``test.*``, ``valid.*`` or both, each in one of these forms (RecBole's
      ``NAME.train.inter`` too); or one table named ``interactions.*`` or as the folder is. With ``train.*`` alone it
      has no parts, as a single file has none.

    Ids are text: ``007`` is not ``7``. They are numbered from 0 over all parts: ascending where all are whole numbers,
    else by code points. Ids that occur in a held-out part only are numbered like the others.

    Raises:
        DataError: an unreadable file or value, with its line and column, missing columns, or no interactions.
    """
    path, options = Path(path), options or InteractionOptions()
    builder = InteractionBuilder(str(path), options.needed)
    if path.is_dir():
        files = {part: _part_file(path, part) for part in STEMS}
        if files["train"] is None:
            files = {"train": _whole_file(path)}
        if files["train"] is None:
            raise DataError(f"{path} has no file train{' or train'.join(SUFFIXES)}; write one, with test beside it")
    else:
        files = {"train": path}
    lists: bool | None = None  # of the training part, and then of all: a part of one line a user looks like lists
    for part, file in files.items():
        if file is not None:
            lists = _add_file(builder, file, part, options, lists)
    table = builder.finish(tuple(part for part in ("valid", "test") if files.get(part) is not None))
    first = files["train"]
    assert first is not None
    if options.header is None and not lists and first.suffix.lower() != ".parquet":
        _warn_of_a_header(table, first)
    return table


def _warn_of_a_header(table: InteractionTable, path: Path) -> None:
    """Says so if the first interaction looks like names of columns: text that occurs nowhere else."""
    once = [(index == index[0]).sum() == 1 for index in (table.user, table.item)]
    if len(table) < 3 or not all(once) or table.user_ids is None or table.item_ids is None:
        return
    cells = table.user_ids[int(table.user[0])], table.item_ids[int(table.item[0])]
    ids_repeat = len(table) > max(table.shape)
    if ids_repeat and not any(map(is_number, cells)):
        warnings.warn(
            f"the first line of {path} was read as an interaction of the user {cells[0]!r} and the item {cells[1]!r}, "
            'which occur nowhere else; if they name the columns, give interactions={"header": true, "columns": '
            f'{{"user": "{cells[0]}", "item": "{cells[1]}"}}}}, else "header": false',
            stacklevel=2,
        )


def _part_file(folder: Path, part: str) -> Path | None:
    stems = [name for stem in STEMS[part] for name in (stem, f"{folder.resolve().name}.{stem}")]
    return _only(folder, stems)


def _whole_file(folder: Path) -> Path | None:
    return _only(folder, ["interactions", folder.resolve().name])


def _only(folder: Path, stems: list[str]) -> Path | None:
    names = [f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} has both {found[0].name} and {found[1].name}; keep one of them")
    return found[0] if found else None


def _add_file(
    builder: InteractionBuilder, path: Path, part: str, options: InteractionOptions, lists: bool | None
) -> bool | None:
    """Reads one file; gives back whether the text without header, so far, is lists."""
    if path.suffix.lower() == ".parquet":
        add_parquet(builder, path, part, options)
        return lists
    blocks = _filled(read_blocks(path))
    first = next(blocks, None)
    if first is None:
        return lists  # an empty file is an empty part
    second = first.without_first_line().first_line()
    header = options.header
    if header is None:
        header = is_header(first.first_line(), second, options.columns, path)
    if not header and lists is None:
        lists = _is_lists(path, first, options)
    if not header and lists:
        for block in itertools.chain([first], blocks):
            builder.add_lists(block, part)
        return lists
    width, names = int(first.count[0]), first.first_line() if header else None
    columns = find_columns(names, width, options.columns, builder.needed, path)
    for block in itertools.chain([first.without_first_line() if header else first], blocks):
        builder.add_table(block, width, columns, part)
    return lists


def _filled(blocks: Iterator[CellBlock]) -> Iterator[CellBlock]:
    return (block for block in blocks if block.count.size)


def _is_lists(path: Path, first: CellBlock, options: InteractionOptions) -> bool:
    """Whether each line is a user and its items.

    Raises:
        DataError: it could as well be a table, of one interaction a user with its rating or time.
    """
    if options.layout != "auto" or options.columns:
        return options.layout == "lists"
    if find_delimiter(path, first.buffer.tobytes()) not in (b"", b"\t"):
        return False
    seen: set[str] = set()
    widths: set[int] = set()
    for block in _filled(read_blocks(path)):  # no line is kept; most tables repeat a user in the first block
        at = np.cumsum(block.count) - block.count
        code, users = distinct(block.buffer, block.start[at], block.end[at])
        if len(users) < code.size or not seen.isdisjoint(users):
            return False
        seen.update(users)
        widths |= set(np.unique(block.count).tolist())
    if widths in ({3}, {4}) and len(seen) > 1:
        raise DataError(
            f"{path} has one line of {widths.pop()} cells for each user, which could be a table (user, item, rating) "
            "or lists (a user and its items); say which by interactions.layout=table or lists"
        )
    return True
