"""Cutting text into cells, and what the cells mean, against plain Python."""

from __future__ import annotations

import csv
import datetime
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcl.core.errors import DataError
from gcl.data.cell_values import _distinct_rows, dates, distinct, numbers, whole_numbers
from gcl.data.id_codes import IdCodes
from gcl.data.text_cells import CellBlock, find_delimiter, read_blocks

WORDS = st.one_of(
    st.integers(-20, 10**19).map(str),
    st.sampled_from(
        ["007", "0", "00", "", "a", "a" * 8, "a" * 9, "ä", "7 ", "日本", "x" * 40, "-1", "-0", "+1", "1.0"]
    ),
    st.text("ab01-", max_size=12),
)


def cells(words):
    """A block whose cells are the words, one after another."""
    content = [word.encode() for word in words]
    end = np.cumsum([len(word) + 1 for word in content], dtype=np.int64) - 1
    start = end - [len(word) for word in content]
    buffer = np.frombuffer(b"\n".join(content) + b"\n", dtype=np.uint8)
    ones = np.ones(len(words), np.int64)
    return CellBlock(Path("x"), buffer, np.asarray(start, np.int64), end, ones, np.cumsum(ones))


def rows_of(path, **options):
    """(line, cells) of a file."""
    rows = []
    for block in read_blocks(path, **options):
        at = 0
        for line, count in zip(block.line.tolist(), block.count.tolist(), strict=True):
            rows.append((line, [block.text(at + cell) for cell in range(count)]))
            at += count
        assert at == block.start.size
    return rows


@given(st.lists(WORDS, min_size=1, max_size=30))
def test_distinct_cells_are_those_of_python(words):
    block = cells(words)
    code, found = distinct(block.buffer, block.start, block.end)
    assert [found[at] for at in code] == words
    assert sorted(found) == sorted(set(words))


@given(st.lists(WORDS, min_size=1, max_size=10))
def test_whole_numbers_are_canonical(words):
    block = cells(words)
    value = whole_numbers(block.buffer, block.start, block.end)
    if all(re.fullmatch(r"0|[1-9][0-9]{0,17}", word) for word in words):
        assert value.tolist() == [int(word) for word in words]
    else:
        assert value is None


@given(st.lists(WORDS, min_size=1, max_size=20), st.lists(st.integers(0, 19), max_size=4), st.randoms())
def test_ids_do_not_depend_on_blocks_or_order(words, cuts, random):
    ids = sorted(set(words))
    if all(re.fullmatch(r"0|-?[1-9][0-9]{0,17}", word) for word in ids):
        ids.sort(key=int)
    for _ in range(2):
        codes = IdCodes()
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(words)], strict=True):
            if words[start:end]:
                block = cells(words[start:end])
                codes.add_cells(block.buffer, block.start, block.end)
        code, found = codes.finish()
        assert found == ids
        assert [found[at] for at in code] == words
        random.shuffle(words)


def test_rows_with_one_key_are_told_apart(monkeypatch):
    rows = np.array([[1, 2], [3, 4], [1, 2], [3, 5]], np.uint64)
    first, kind = _distinct_rows(rows)
    assert (rows[first][kind] == rows).all()
    assert len(first) == 3
    # Two rows that the mixing maps to one key: the second word takes up the difference of the first.
    shift, factor = np.uint64(29), np.uint64(0x9E3779B97F4A7C15)
    one, two = (np.array([value], np.uint64) for value in (12345, 67890))
    gap = (one ^ (one >> shift)) * factor - (two ^ (two >> shift)) * factor
    clash = np.array([[one[0], 0], [two[0], gap[0]]], np.uint64)
    first, kind = _distinct_rows(clash)
    assert (clash[first][kind] == clash).all()
    assert len(first) == 2


def test_no_ids():
    code, ids = IdCodes().finish()
    assert (code.tolist(), ids) == ([], [])


def test_integers_of_a_table_are_decimal_strings():
    codes = IdCodes()
    codes.add_integers(np.array([10**12, -5, 7]))
    codes.add_words(np.array([0, 2, 0]), ["7", "not there", "30"])
    code, ids = codes.finish()
    assert ids == ["-5", "7", "30", str(10**12)]
    assert [ids[at] for at in code] == [str(10**12), "-5", "7", "7", "30", "7"]


@pytest.mark.parametrize(
    ("words", "bad"),
    [
        (["1", "22", "0"], []),
        (["1.5", "-2", "3e2", "+4"], []),
        (["nan", "1", "inf", "-inf"], [0, 2, 3]),
        (["1", "", "x", "0x10", "1,5", "٣"], [1, 2, 3, 4, 5]),
        (["1", "9" * 100], [1]),
    ],
)
def test_numbers(words, bad):
    block = cells(words)
    value, wrong = numbers(block, block.start, block.end)
    assert (wrong if wrong is None else np.flatnonzero(wrong).tolist()) == (bad or None)
    good = [at for at in range(len(words)) if at not in bad]
    assert value[good].tolist() == [float(words[at]) for at in good]


def test_dates():
    words = ["2020-01-31", "2020-01-31T12:30:15", "1969-12-31 23:59:59Z", "2020-02-30", "2020", "20200131"]
    words += ["2020-01-31T12:00:00+01:00", "today", "ä", "", "9" * 20 + "-01-01", "2020-01-31T12:00:00.25"]
    block = cells(words)
    value, bad = dates(block, block.start, block.end)
    assert np.flatnonzero(bad).tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    for at in (0, 1, 2, 11):
        moment = datetime.datetime.fromisoformat(words[at].removesuffix("Z")).replace(tzinfo=datetime.UTC)
        assert value[at] == round(moment.timestamp() * 1e6)
    good = cells(words[:2])
    assert dates(good, good.start, good.end)[1] is None


# -- cutting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "a,b\n1,2\n", [(1, ["a", "b"]), (2, ["1", "2"])]),
        ("a.csv", "\ufeffa,b\r\n\r\n# no\n 1 ,\t2 \r\n   \n3,4", [(1, ["a", "b"]), (4, ["1", "2"]), (6, ["3", "4"])]),
        ("a.csv", 'x,"a,b"\n"q ""q""",\n,\n', [(1, ["x", "a,b"]), (2, ['q "q"', ""]), (3, ["", ""])]),
        ("a.csv", "a b\nc\n", [(1, ["a b"]), (2, ["c"])]),
        ("a.txt", "  1  2 3\n\n#\n\t4 \r\n", [(1, ["1", "2", "3"]), (4, ["4"])]),
        ("a.txt", "1;2;a, b\n", [(1, ["1;2;a", "b"])]),
        ("a.txt", "1;2\n", [(1, ["1", "2"])]),
        ("a.dat", "1::22::3\n44::5::6\n", [(1, ["1", "22", "3"]), (2, ["44", "5", "6"])]),
        ("a.tsv", "a b\tc\td,e\n\tx\t\n", [(1, ["a b", "c", "d,e"]), (2, ["", "x", ""])]),
        ("a.inter", "user_id:token\n1\n", [(1, ["user_id:token"]), (2, ["1"])]),
        ("a.txt", "ä ö\n", [(1, ["ä", "ö"])]),
        ("a.txt", "", []),
        ("a.txt", "\n# x\n", []),
    ],
)
def test_cells_of_a_file(tmp_path, name, text, expected, block_bytes):
    path = tmp_path / name
    path.write_bytes(text.encode())
    if block_bytes == 1 and text.startswith("\ufeff"):
        block_bytes = 3  # a block is never smaller than a mark of three bytes
    assert rows_of(path, block_bytes=block_bytes) == expected


@given(
    st.lists(st.lists(st.text('ab",; 0', max_size=5).map(str.strip), min_size=2, max_size=2), min_size=1, max_size=8)
)
def test_what_csv_writes_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with open(path, "w", newline="") as stream:
        stream.write("x,x\n")  # so that the delimiter is clear
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows(rows)
    assert [cells for _, cells in rows_of(path)][1:] == rows


def test_bad_text_names_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" * 1000 + b"\xff,1\n")
    for block_bytes in (10, 1 << 20):
        with pytest.raises(DataError, match=r"a\.csv line 1001 is not UTF-8"):
            rows_of(path, block_bytes=block_bytes)
    path.write_text('a,b\n"c,d\ne",f\n')
    with pytest.raises(DataError, match="line 2 has a quote without its partner"):
        rows_of(path)
    with pytest.raises(DataError, match="cannot read"):
        rows_of(tmp_path / "none.csv")


@pytest.mark.parametrize("lead", ["# a comment\n", "\n", " \t\n", "#,;\n\n"])
@pytest.mark.parametrize("block_bytes", [50, 1 << 20])
def test_many_comments_before_the_rows(tmp_path, lead, block_bytes):
    path = tmp_path / "a.csv"
    path.write_text(lead * 200 + "1;2\n3;4\n")
    at = 200 * lead.count("\n")
    assert rows_of(path, block_bytes=block_bytes) == [(at + 1, ["1", "2"]), (at + 2, ["3", "4"])]


def test_delimiters():
    assert find_delimiter(Path("a.csv"), b"#,\n" * 1000 + b"a;b") == b";"
    assert find_delimiter(Path("a.csv"), b"#,\n" * 1000) is None
    assert find_delimiter(Path("a.csv"), b"#,\n\na;b\n") == b";"
    assert find_delimiter(Path("a.csv"), b"ab\n") == b","
    assert find_delimiter(Path("a.txt"), b"ab\n") == b""
    assert find_delimiter(Path("a.txt"), b"\n\n") is None
