"""Reading interactions from files and objects of every form."""

from __future__ import annotations

import csv
import json
import warnings

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

import gcl.data.text_cells as text_cells
from gcl.core.errors import ConfigError, DataError
from gcl.data.interaction_blocks import InteractionBlocks
from gcl.data.interaction_files import read_interactions
from gcl.data.interaction_options import InteractionOptions
from gcl.data.load import load_dataset

IDS = st.one_of(st.integers(0, 30).map(str), st.sampled_from(["007", "7", "x y", "ä", 'q"q', "a,b", "#1", "x" * 30]))
TRAIN_ONLY = {"fractions": [1, 0, 0]}


def parts_of(dataset):
    """(user's id, item's id) of each part."""
    users, items = dataset.node_ids, dataset.other_ids["item"]
    item, user = dataset.graph.adjacency.edge_index().tolist()
    parts = {"train": zip(user, item, strict=True)}
    parts |= {part: zip(*pairs.tolist(), strict=True) for part, pairs in dataset.held.items()}
    return {part: {(users[u], items[i]) for u, i in pairs} for part, pairs in parts.items()}


def rows_of(table):
    """Rows as the user wrote them: ids, then rating and time where they were read."""
    ids = ([table.user_ids[at] for at in table.user], [table.item_ids[at] for at in table.item])
    extra = [column.tolist() for column in (table.rating, table.time) if column is not None]
    return list(zip(*ids, *extra, strict=True))


def read(path, **settings):
    return read_interactions(path, InteractionOptions.of(settings))


# -- tables ----------------------------------------------------------------------------------------------------------

ALL = {"min_rating": 0, "split": "time"}  # so that ratings and times are read
ROWS = [("7", "x", 4.5, 30), ("007", "y", 3, 10), ("7", "y", 5, 20)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "user_id,item_id,rating,timestamp\n7,x,4.5,30\n007,y,3,10\n7,y,5,20\n"),
        ("a.csv", "time,Movie-ID,other,Score,UserId\n30,x,q,4.5,7\n10,y,q,3,007\n20,y,q,5,7\n"),
        ("a.csv", '"uid";"isbn";"Rating";"date"\n"7";"x";"4.5";"30"\n"007";"y";"3";"10"\n"7";"y";"5";"20"'),
        (
            "a.inter",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\tx\t4.5\t30\n007\ty\t3\t10\n7\ty\t5\t20\n",
        ),
        ("a.tsv", "7\tx\t4.5\t30\n007\ty\t3\t10\n7\ty\t5\t20\n"),
        ("a.dat", "7::x::4.5::30\n007::y::3::10\n7::y::5::20\n"),
        ("a.txt", "7 x 4.5 30\n007 y 3 10\n7 y 5 20\n"),
        ("a.txt", "user item rating time\n7 x 4.5 30\n007 y 3 10\n7 y 5 20\n"),
        ("a.TXT", "# MovieLens\r\n7,x,4.5,30\r\n\r\n007,y,3,10\r\n7,y,5,20"),
    ],
)
def test_every_form_of_table_is_the_same(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, newline="")
    table = read(path, **ALL)
    assert rows_of(table) == ROWS
    assert (table.user_ids, table.item_ids) == (["007", "7"], ["x", "y"])
    assert read(path).rating is None
    assert read(path).time is None
    assert table.part is None


UNUSUAL = "cust\tthing\nann\tx\nbob\tx\nann\ty\n"


def test_a_first_line_that_may_be_a_header_is_pointed_out(tmp_path):
    path = tmp_path / "set.tsv"
    path.write_text(UNUSUAL)
    with pytest.warns(
        UserWarning, match=r"the user 'cust' and the item 'thing', which occur nowhere else.*\"header\": true"
    ):
        assert len(read(path)) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(path, header=False)) == 4
        assert rows_of(read(path, header=True, columns={"user": "cust", "item": "thing"}))[0] == ("ann", "x")
        path.write_text(UNUSUAL.replace("cust\tthing", "ann\tz"))  # a user like others
        assert len(read(path)) == 4
        path.write_text(UNUSUAL.replace("cust\tthing", "7\t8"))  # numbers are no names
        assert len(read(path)) == 4


def test_columns_are_found_where_the_user_says(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("who,what,when\nann,x,1\nbob,y,2\n")
    with pytest.raises(DataError, match="has the columns who, what, when and none that is known to hold the user"):
        read(path)
    assert rows_of(read(path, columns={"user": "who", "item": "What"})) == [("ann", "x"), ("bob", "y")]
    named = read(path, columns={"user": "who", "item": 1, "time": "when"}, split="time")
    assert rows_of(named) == [("ann", "x", 1), ("bob", "y", 2)]
    with pytest.raises(DataError, match="no column 'whom' for the user"):
        read(path, columns={"user": "whom"}, header=True)
    with pytest.raises(DataError, match="no column 3 for the item"):
        read(path, columns={"user": "who", "item": 3})
    with pytest.raises(DataError, match="the user and the item in one column, number 1"):
        read(path, columns={"user": "who", "item": 0})
    path.write_text("user,item,item\n1,2,3\n")
    with pytest.raises(DataError, match="2 columns 'item'; give the item by its position"):
        read(path)
    assert rows_of(read(path, columns={"item": 2})) == [("1", "3")]
    path.write_text("x,ann,1\ny,bob,2\n")
    assert rows_of(read(path, columns={"user": 1, "item": 0})) == [("ann", "x"), ("bob", "y")]
    assert rows_of(read(path, columns={"user": 1, "item": 0, "time": 2}, split="time"))[0] == ("ann", "x", 1)
    assert rows_of(read(path, columns={"user": 1, "item": 0}, header=True)) == [("bob", "y")]
    path.write_text("user,item\na,b\n")
    assert rows_of(read(path, header=False)) == [("user", "item"), ("a", "b")]
    path.write_text("1,2,3,4,5\n")
    with pytest.raises(DataError, match="5 columns and no header"):
        read(path)
    path.write_text("1\n2\n")
    with pytest.raises(DataError, match="has 1 column and none that is known to hold the item"):
        read(path)


def test_words_without_a_number_are_rows(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("ann,tea\nbob,milk\n")
    assert rows_of(read(path)) == [("ann", "tea"), ("bob", "milk")]
    path.write_text("guest,drink,cups\nann,tea,2\n")
    with pytest.raises(DataError, match="none that is known to hold the user"):
        read(path)


def test_a_first_row_with_a_usual_name_is_not_lost(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("ann,book\nbob,milk\nann,tea\n")
    with pytest.raises(DataError, match=r'none that is known to hold the user.*"header": False'):
        read(path)
    for columns in ({"user": 0, "item": 1}, {"user": 0}):
        with pytest.raises(
            DataError, match=r"first line of .*a\.csv has 'book', which may name a column or be an id; say"
        ):
            read(path, columns=columns)
        assert len(read(path, columns=columns, header=False)) == 3
    assert len(read(path, columns={"user": "ann"})) == 2  # the user says that it is a header
    path.write_text("7,book\n8,milk\n")
    assert rows_of(read(path, columns={"user": 0, "item": 1})) == [("7", "book"), ("8", "milk")]
    path.write_text("user,item\nbob,milk\n")
    assert rows_of(read(path, columns={"user": 0, "item": 1})) == [("bob", "milk")]
    path.write_text("guest,item\nbob,1\n")
    assert rows_of(read(path, columns={"user": 0})) == [("bob", "1")]


def test_rows_below_many_comments_are_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("# from a survey\n" * 100 + "user,item\nann,tea\nbob,milk\n")
    assert rows_of(read(path)) == [("ann", "tea"), ("bob", "milk")]


def test_times_may_be_dates(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item,date\na,x,2020-03-01\na,y,2020-02-29T23:59:59Z\na,z,2020-02-29 12:00\n")
    assert read(path, split="time").time.tolist() == [1583020800_000000, 1583020799_000000, 1582977600_000000]
    dataset = load_dataset(path, interactions={"split": "leave-one-out"})
    assert parts_of(dataset) == {"train": {("a", "z")}, "valid": {("a", "y")}, "test": {("a", "x")}}
    path.write_text("user,item,date\na,x,1.5\na,y,0.5\n")
    assert read(path, split="time").time.tolist() == [1.5, 0.5]


@given(st.lists(st.tuples(IDS, IDS, st.integers(0, 9)), min_size=1, max_size=25), st.randoms())
def test_ids_come_back_whatever_the_order_and_the_blocks(tmp_path_factory, rows, random):
    folder = tmp_path_factory.mktemp("rows")
    found = []
    for at in range(2):
        with open(folder / f"{at}.csv", "w", newline="") as stream:
            stream.write("user,item,rating\n")
            csv.writer(stream, quoting=csv.QUOTE_ALL).writerows(rows)
        dataset = load_dataset(folder / f"{at}.csv", interactions=TRAIN_ONLY)
        assert parts_of(dataset)["train"] == {(user, item) for user, item, _ in rows}
        found.append((dataset.node_ids, dataset.other_ids, dataset.fingerprint))
        random.shuffle(rows)
    assert found[0] == found[1]
    users = sorted({user for user, _, _ in rows})
    if all(user.isdecimal() and user != "007" for user in users):
        users.sort(key=int)
    assert found[0][0] == users


def test_a_larger_file_is_read_in_blocks(tmp_path):
    random = np.random.RandomState(0)
    size = 300_000
    user, item = random.randint(0, 5000, size) ** 2, random.randint(0, 900, size)
    rating, time = random.randint(1, 11, size) / 2, random.randint(10**9, 2 * 10**9, size)
    path = tmp_path / "large.csv"
    lines = (f"{u},{'i' * (i % 11)}{i},{r},{t}\n" for u, i, r, t in zip(user, item, rating, time, strict=True))
    path.write_text("user,item,rating,time\n" + "".join(lines))
    table = read(path, **ALL)
    assert table.rating.tolist() == rating.tolist()
    assert table.time.tolist() == time.tolist()
    users = np.array([int(name) for name in table.user_ids])
    assert (users[table.user] == user).all()
    assert (np.diff(users) > 0).all()
    assert [table.item_ids[at] for at in table.item[-50:]] == [f"{'i' * (i % 11)}{i}" for i in item[-50:].tolist()]
    assert table.shape == (len(set(user.tolist())), len(set(item.tolist())))
    graph = load_dataset(path, interactions={"min_rating": 3, "k_core": 3}).graph
    pairs = {(u, i) for u, i, r in zip(user.tolist(), item.tolist(), rating.tolist(), strict=True) if r >= 3}
    item, user = torch.cat([graph.adjacency.edge_index(), *(held.flip(0) for held in graph.held.values())], dim=1)
    assert min(int(user.bincount().min()), int(item.bincount().min())) >= 3
    assert len(pairs) * 0.99 < user.numel() <= len(pairs)


# -- lists and folders -----------------------------------------------------------------------------------------------


def test_lists_of_lightgcn(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "train.txt").write_text("0 10 2 2\n1 0\n2 \n\n3 10 4 5 6\n")
    (folder / "test.txt").write_text("0 0\n10 7 10\n2\n")
    dataset = load_dataset(folder)
    assert dataset.name == "shop"
    assert dataset.node_ids == ["0", "1", "2", "3", "10"]  # 2 took nothing, 10 is in test only
    assert dataset.other_ids == {"item": ["0", "2", "4", "5", "6", "7", "10"]}
    assert parts_of(dataset) == {
        "train": {("0", "10"), ("0", "2"), ("1", "0"), ("3", "10"), ("3", "4"), ("3", "5"), ("3", "6")},
        "test": {("0", "0"), ("10", "7"), ("10", "10")},
    }
    (folder / "valid.txt").write_text("")
    assert load_dataset(folder).held["valid"].shape == (2, 0)  # an empty part is a part
    (folder / "valid.txt").unlink()
    (folder / "test.txt").write_text("0\n1\n")
    assert load_dataset(folder).held["test"].shape == (2, 0)
    carved = load_dataset(folder, interactions={"validation": 0.5})
    assert parts_of(carved)["valid"] | parts_of(carved)["train"] == parts_of(load_dataset(folder))["train"]
    (folder / "test.txt").write_text("0 10\n")
    with pytest.raises(DataError, match=r"shop has 1 pairs in both train and test, the first user 0, item 10"):
        load_dataset(folder)
    (folder / "train.txt").write_text("0\n1\n")
    with pytest.raises(DataError, match="shop has no training interactions"):
        load_dataset(folder)


def test_lists_and_tables_are_told_apart(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("a 1 5 7 9\nb 2 5 8 1\n")
    assert len(read(path)) == 8  # each user has one line
    path.write_text("a 1 5\nb 2 5\n")
    assert rows_of(read(path, layout="table")) == [("a", "1"), ("b", "2")]
    path.write_text("a 1 5\nb 2 5\na 3 4\n")
    assert rows_of(read(path)) == [("a", "1"), ("b", "2"), ("a", "3")]
    assert len(read(path, layout="lists")) == 6
    path.write_text("a 1 5\nb 2\na 3 4\n")
    with pytest.raises(DataError, match=r"a\.txt line 2 has 2 cells, expected 3"):
        read(path)
    path.write_text("a\t1\t5\nb\t2\n")
    assert rows_of(read(path)) == [("a", "1"), ("a", "5"), ("b", "2")]
    monkeypatch.setattr(text_cells, "BLOCK_BYTES", 8)
    path.write_text("user item\n" + "".join(f"u{at} {at}\n" for at in range(50)) + "u0 7 8\n")
    with pytest.raises(DataError, match="line 52 has 3 cells, expected 2"):
        read(path)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "inter"])
def test_folders_of_ready_made_parts(tmp_path, suffix):
    mark = "," if suffix == "csv" else "\t"
    folder = tmp_path / "ml"
    folder.mkdir()
    stem = "ml." if suffix == "inter" else ""
    parts = {"train": [("a", "x"), ("b", "y"), ("b", "x")], "valid": [("a", "z")], "test": [("c", "w"), ("b", "z")]}
    for part, pairs in parts.items():
        rows = [("user_id", "item_id"), *pairs]
        (folder / f"{stem}{part}.{suffix}").write_text("".join(mark.join(row) + "\n" for row in rows))
    dataset = load_dataset(folder)
    assert parts_of(dataset) == {part: set(pairs) for part, pairs in parts.items()}
    assert list(dataset.held) == ["valid", "test"]
    assert (dataset.node_ids, dataset.other_ids["item"]) == (["a", "b", "c"], ["w", "x", "y", "z"])
    assert dataset.info["path"] == str(folder)
    split = load_dataset(folder, interactions={"split": "leave-one-out", "seed": 1})
    assert set.union(*parts_of(split).values()) == set().union(*parts.values())
    assert [held.shape[1] for held in split.held.values()] == [1, 2]
    core = load_dataset(folder, interactions={"k_core": [2, 1]})
    assert core.node_ids == ["a", "b"]
    assert parts_of(core)["test"] == {("b", "z")}


def test_a_folder_of_one_table(tmp_path):
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    (folder / "ml-100k.inter").write_text("user_id:token\titem_id:token\n1\t2\n1\t3\n")
    (folder / "ml-100k.item").write_text("item_id:token\n2\n")
    assert parts_of(load_dataset(folder, interactions=TRAIN_ONLY)) == {"train": {("1", "2"), ("1", "3")}}
    (folder / "interactions.csv").write_text("user,item\n1,2\n")
    with pytest.raises(DataError, match=r"both interactions\.csv and ml-100k\.inter"):
        load_dataset(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"no edges file"):
        load_dataset(empty)
    with pytest.raises(DataError, match=r"empty has no file train\.csv"):
        load_dataset(empty, kind="rec")
    (empty / "edges.csv").write_text("0,1\n")
    (empty / "train.csv").write_text("user,item\n1,2\n")
    assert load_dataset(empty).graph.target == "node"
    assert load_dataset(empty, kind="rec").graph.target == "user"


# -- parquet ---------------------------------------------------------------------------------------------------------


def test_parquet_tables(tmp_path):
    def write(**columns):
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    path = write(item_id=["x", "y", "x"], user_id=[30, 7, 7], rating=[1.0, 2.5, 3.0], time=[3, 2, 1])
    assert rows_of(read(path, **ALL)) == [("30", "x", 1.0, 3), ("7", "y", 2.5, 2), ("7", "x", 3.0, 1)]
    assert read(path).user_ids == ["7", "30"]
    assert rows_of(read(write(user=["007", "7"], item=[1, -2]))) == [("007", "1"), ("7", "-2")]
    words = pyarrow.array(["7", "30"]).dictionary_encode()
    assert read(write(user=words, item=np.array([2**63, 1], np.uint64))).item_ids == ["1", str(2**63)]
    assert read(write(user=words, item=[1, 2])).user_ids == ["7", "30"]  # the same order as of numbers
    dates = pyarrow.array([1, 0], pyarrow.timestamp("s"))
    assert read(write(user=words, item=[1, 2], date=dates), split="time").time.tolist() == [10**6, 0]
    timed = write(user=[7, 7, 7], item=["x", "y", "z"], rating=[5, 5, 1], time=[1, 2, 3])
    dataset = load_dataset(timed, interactions={"split": "time", "min_rating": 2, "fractions": [0.5, 0, 0.5]})
    assert parts_of(dataset) == {"train": {("7", "x")}, "test": {("7", "y")}}
    for columns, match in [
        ({"user": [1.0, 2.0], "item": [1, 2]}, "column user has ids of type double"),
        ({"user": [1, None], "item": [1, 2]}, "has no user in row 1, column user"),
        ({"user": ["a", ""], "item": [1, 2]}, "column user has an empty id"),
        ({"user": [1], "thing": [1]}, "the columns user, thing and none that is known to hold the item"),
        ({"user": [1, 1], "item": [1, 2], "rating": [1.0, float("nan")]}, "column rating has nan in row 1"),
        ({"user": [1], "item": [1], "rating": ["good"]}, "column rating has values of type string"),
        ({"user": pyarrow.array([], pyarrow.int64()), "item": pyarrow.array([], pyarrow.int64())}, "no interactions"),
    ]:
        with pytest.raises(DataError, match=match) as caught:
            read(write(**columns), min_rating=0)
        assert "a.parquet" in str(caught.value)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"a\.parquet is truncated or not a parquet file"):
        read(tmp_path / "a.parquet")


# -- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "holds no interactions"),
        ("# nothing\n", "holds no interactions"),
        ("user,item,rating,time\n", "holds no interactions"),
        ("user,item\n1,2\n1\n", r"a\.csv line 3 has 1 cells, expected 2"),
        ("user,item\n1,2\n\n1,2,3\n", r"a\.csv line 4 has 3 cells, expected 2"),
        ("user,item\n1,2\n,2\n", r"line 3 has no user in column 1"),
        ('user,item\n1,2\n1,""\n', r"line 3 has no item in column 2"),
        (
            "user,item,rating\n1,2,5\n1,3,good\n",
            r"line 3 has in column 3 a cell whose rating is not a finite number: 'good'",
        ),
        ("user,item,rating\n1,2,5\n1,3,NaN\n", r"line 3 .*'NaN'"),
        ("user,item,rating\n1,2,inf\n", r"line 2 .*'inf'"),
        ("user,item,rating\n1,2,\n", r"line 2 has no rating in column 3"),
        (
            "rating,user,item,time\n1,2,3,4\n1,2,3,2020-01-01\n",
            r"line 3 has in column 4 .*not a finite number: '2020-01-01'",
        ),
        ("user,item,rating,time\n1,2,3,2020-01-01\n1,2,3,4\n", r"line 3 has in column 4 .*not a date .*: '4'"),
        ("user,item,rating,time\n1,2,3,noon\n", r"line 2 .*not a date .*: 'noon'"),
        ("item,user\n1,2\n", "has no ratings, so min_rating cannot be kept"),
        ("item,user,rating\n1,2,3\n", "has no times, so it cannot be split by time"),
        ("item,rating\n1,2\n", "none that is known to hold the user"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, text, match):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=match) as caught:
        load_dataset(path, interactions=ALL)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_do_not_fit_together(tmp_path):
    (tmp_path / "train.csv").write_text("user,item,rating,time\na,x,5,1\na,w,2,3\n")
    (tmp_path / "test.csv").write_text("user,item\na,y\n")
    assert load_dataset(tmp_path).held["test"].tolist() == [[0], [2]]
    with pytest.raises(DataError, match="has the rating in some of its files only"):
        load_dataset(tmp_path, interactions={"min_rating": 3})
    (tmp_path / "test.csv").write_text("user,item,time\na,y,2020-01-01\n")
    with pytest.raises(DataError, match=r"test\.csv line 2 has in column 3 .*not a finite number"):
        load_dataset(tmp_path, interactions={"split": "time"})
    (tmp_path / "train.tsv").write_text("user\titem\na\tx\n")
    with pytest.raises(DataError, match=r"both train\.csv and train\.tsv"):
        load_dataset(tmp_path)


def test_other_sources_do_not_take_these_settings(tmp_path):
    with pytest.raises(ConfigError, match="dataset node/karate has no interactions"):
        load_dataset("karate", interactions={"k_core": 2})
    with pytest.raises(ConfigError, match="setting of interactions 'core'"):
        load_dataset("davis", interactions={"core": 2})
    (tmp_path / "a.csv").write_text("user,item\na,b\n")
    with pytest.raises(DataError, match=r"not an \.npz archive"):
        load_dataset(tmp_path / "a.csv", kind="node")
    (tmp_path / "a.csv").rename(tmp_path / "edges.csv")  # a part of a folder, not a set of its own
    with pytest.raises(DataError, match=r"a folder that holds edges\.csv"):
        load_dataset(tmp_path / "edges.csv")
    with pytest.raises(DataError, match=r"no file or folder nowhere\.csv"):
        load_dataset("nowhere.csv")


# -- objects ---------------------------------------------------------------------------------------------------------


def test_a_matrix_of_users_by_items():
    matrix = sp.coo_matrix(([5.0, 1.0, 2.0, 0.0, 4.0], ([0, 0, 2, 2, 0], [1, 3, 1, 2, 0])), shape=(4, 5))
    dataset = load_dataset(matrix, kind="rec", interactions=TRAIN_ONLY)
    np.testing.assert_array_equal(dataset.graph.adjacency.to_dense(), (matrix.toarray() != 0) * 1.0)
    assert (dataset.node_ids, dataset.other_ids, dataset.held) == (None, {}, {})
    liked = load_dataset(matrix, kind="rec", interactions={**TRAIN_ONLY, "min_rating": 2})
    assert (liked.node_ids, liked.other_ids) == (["0", "2"], {"item": ["0", "1"]})
    assert parts_of(liked) == {"train": {("0", "0"), ("0", "1"), ("2", "1")}}
    assert sorted(load_dataset(matrix, kind="rec").held) == ["test", "valid"]
    with pytest.raises(DataError, match="has no parts of its own"):
        load_dataset(matrix, kind="rec", interactions={"split": "stored"})
    with pytest.raises(DataError, match="an encoder needs features"):
        load_dataset(matrix)
    for bad, match in [
        (sp.coo_matrix((3, 4)), "no entries"),
        (sp.coo_matrix(([np.nan], ([0], [0])), shape=(2, 2)), "rating nan"),
        (sp.coo_matrix(([1j], ([0], [0])), shape=(2, 2)), "real numbers"),
        (sp.coo_matrix((0, 4)), "at least 1 by 1"),
    ]:
        with pytest.raises(DataError, match=match):
            load_dataset(bad, kind="rec")


def book(**changes):
    """PyG's AmazonBook in small."""
    data = HeteroData()
    data["user"].num_nodes, data["book"].num_nodes = 3, 4
    data["user", "rates", "book"].edge_index = torch.tensor([[0, 0, 1, 0], [3, 1, 0, 3]])
    data["user", "rates", "book"].edge_label_index = torch.tensor([[1, 2], [2, 3]])
    data["book", "rated_by", "user"].edge_index = torch.tensor([[3, 1, 0, 3], [0, 0, 1, 0]])
    for name, value in changes.items():
        data["user", "rates", "book"][name] = value
    return data


def test_hetero_data_of_pyg():
    dataset = load_dataset(book())
    assert dataset.graph.num_nodes_by_type == {"user": 3, "item": 4}
    assert dataset.graph.adjacency.to_dense().tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert {part: pairs.tolist() for part, pairs in dataset.held.items()} == {"test": [[1, 2], [2, 3]]}
    assert load_dataset(book(), interactions={"validation": 0.5}).held["valid"].shape == (2, 1)
    with pytest.raises(DataError, match="node type to embed is not clear"):  # as before, where it is said to be hetero
        load_dataset(book(), kind="hetero")
    negatives = load_dataset(book(edge_label=torch.tensor([0, 1])))
    assert negatives.held["test"].tolist() == [[2], [3]]
    rated = book(rating=torch.tensor([5, 1, 4, 5]), edge_label=torch.tensor([2, 4]), time=torch.arange(4))
    liked = load_dataset(rated, interactions={"min_rating": 4})
    assert parts_of(liked) == {"train": {("0", "3"), ("1", "0")}, "test": {("2", "3")}}
    with pytest.raises(DataError, match="no times"):
        load_dataset(rated, interactions={"split": "time"})
    alone = HeteroData()
    alone["a"].num_nodes, alone["b"].num_nodes = 1, 3
    alone["a", "to", "b"].edge_index = torch.tensor([[0, 0, 0], [0, 1, 2]])
    alone["a", "to", "b"].time = torch.tensor([3.0, 1.0, 2.0])
    split = load_dataset(alone, kind="rec", interactions={"split": "leave-one-out"})
    assert split.graph.adjacency.col.tolist() == [1]
    assert split.held["test"].tolist() == [[0], [0]]


def test_hetero_data_of_another_form_is_refused():
    data = book()
    data["book", "rated_by", "user"].edge_index = torch.tensor([[3], [0]])
    with pytest.raises(
        DataError, match="edge types user-rates-book, book-rated_by-user; interactions are one edge type"
    ):
        load_dataset(data, kind="rec")
    with pytest.raises(DataError, match="edge_label_index of edge type user-rates-book has the id 4, out of range"):
        load_dataset(book(edge_label_index=torch.tensor([[0], [4]])))
    data = book(edge_index=torch.tensor([[-1], [1]]))
    data["book", "rated_by", "user"].edge_index = torch.tensor([[1], [-1]])
    with pytest.raises(DataError, match=r"edge_index of edge type user-rates-book has the id -1"):
        load_dataset(data)
    with pytest.raises(DataError, match=r"must be whole numbers \[2, n\], got float32 \[2, 1\]"):
        load_dataset(book(edge_label_index=torch.tensor([[0.0], [1.0]])))
    with pytest.raises(DataError, match="1 pairs in both train and test, the first user 0, item 1"):
        load_dataset(book(edge_label_index=torch.tensor([[0], [1]])))


# -- sets that need no file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rec/blocks", "rec/davis"])
def test_sets_without_a_file_equal_their_card(name):
    dataset = load_dataset(name)
    statistics = dataset.card.statistics
    assert dataset.graph.num_nodes_by_type == {"user": statistics["users"], "item": statistics["items"]}
    assert dataset.graph.adjacency.num_arcs == statistics["train"]
    assert {part: held.shape[1] for part, held in dataset.held.items()} == {
        part: statistics[part] for part in ("valid", "test")
    }
    assert statistics["interactions"] == sum(statistics[part] for part in ("train", "valid", "test"))
    again = load_dataset(dataset, interactions={"split": "ratio", "fractions": [0.5, 0, 0.5]})
    assert (again.name, list(again.held)) == (name, ["test"])
    assert again.graph.adjacency.num_arcs + again.held["test"].shape[1] == statistics["interactions"]
    assert json.loads(json.dumps(again.info["interactions"]))["fractions"] == [0.5, 0, 0.5]
    same = load_dataset(name, interactions={})
    assert same.fingerprint == dataset.fingerprint
    assert same.node_ids == dataset.node_ids


def test_davis_has_names():
    import networkx

    dataset = load_dataset("davis")
    club = networkx.davis_southern_women_graph()
    assert set.union(*parts_of(dataset).values()) == {(w, e) for w in club.graph["top"] for e in club[w]}


def test_blocks_are_blocks():
    table = InteractionBlocks(num_users=60, num_items=50, num_blocks=2, num_draws=4000, inside=1).table()
    matrix = sp.coo_matrix((np.ones(len(table)), (table.user, table.item)), shape=table.shape)
    square = sp.bmat([[None, matrix], [matrix.T, None]])
    assert sp.csgraph.connected_components(square)[0] == 2
    mixed = InteractionBlocks(num_users=60, num_items=50, num_blocks=2, num_draws=4000).table()
    square = sp.coo_matrix((np.ones(len(mixed)), (mixed.user, mixed.item)), shape=mixed.shape)
    assert sp.csgraph.connected_components(sp.bmat([[None, square], [square.T, None]]))[0] == 1
    few = InteractionBlocks(num_users=5, num_items=3, num_blocks=50, num_draws=40).table()  # blocks without an item
    assert set(few.item.tolist()) <= {0, 1, 2}


def test_archives_take_the_settings(tmp_path):
    arrays = {
        "num_users": np.int32(3),
        "num_items": np.int32(4),
        "train_indptr": np.array([0, 2, 3, 3]),
        "train_indices": np.array([0, 3, 1]),
        "test_indptr": np.array([0, 1, 1, 1]),
        "test_indices": np.array([2]),
        "raw_user": np.array([0, 0, 0, 1]),
        "raw_item": np.array([2, 3, 0, 1]),
        "raw_rating": np.array([5, 4, 3, 2], np.uint8),
        "raw_timestamp": np.array([1, 2, 3, 4]),
    }
    np.savez(tmp_path / "shop.npz", **arrays)
    whole = load_dataset(tmp_path / "shop.npz", interactions={})
    assert whole.fingerprint == load_dataset(tmp_path / "shop.npz").fingerprint
    assert whole.graph.num_nodes_by_type == {"user": 3, "item": 4}
    latest = load_dataset(tmp_path / "shop.npz", interactions={"split": "leave-one-out"})
    assert latest.held["test"].tolist() == [[0], [0]]
    liked = load_dataset(tmp_path / "shop.npz", interactions={"min_rating": 4})
    assert parts_of(liked) == {"train": {("0", "3")}, "test": {("0", "2")}}


@pytest.mark.data
def test_an_archive_written_as_lists_is_read_as_it_was(tmp_path, data_root):
    graph = load_dataset("lastfm", data_root=data_root).graph
    item, user = graph.adjacency.edge_index()
    for part, (users, items) in {"train": (user, item), **graph.held}.items():
        rows = {at: [] for at in users.unique().tolist()}
        for u, i in zip(users.tolist(), items.tolist(), strict=True):
            rows[u].append(i)
        lines = (" ".join(map(str, [u, *taken])) + "\n" for u, taken in rows.items())
        (tmp_path / f"{part}.txt").write_text("".join(lines))
    dataset = load_dataset(tmp_path)
    kept = sorted({*item.tolist(), *graph.held["test"][1].tolist()})
    assert dataset.other_ids["item"] == list(map(str, kept))
    assert len(parts_of(dataset)["train"]) == graph.adjacency.num_arcs
    for part, (users, items) in {"train": (user, item), **graph.held}.items():
        assert parts_of(dataset)[part] == {
            (str(u), str(i)) for u, i in zip(users.tolist(), items.tolist(), strict=True)
        }


@pytest.mark.data
def test_real_ratings_are_split_by_time(data_root):
    dataset = load_dataset("ml100k", data_root=data_root, interactions={"split": "time", "min_rating": 4, "k_core": 5})
    total = dataset.graph.adjacency.num_arcs + sum(held.shape[1] for held in dataset.held.values())
    assert 50_000 < total < 56_000  # 55,375 ratings of 4 or 5
    assert abs(dataset.graph.adjacency.num_arcs / total - 0.8) < 0.01
    carved = load_dataset("gowalla", data_root=data_root, interactions={"validation": 0.1})
    assert abs(carved.held["valid"].shape[1] / 810_128 - 0.1) < 0.001
    assert carved.graph.num_nodes == 29_858


def test_the_training_part_says_what_all_parts_are(tmp_path):
    """Leave-one-out leaves one line a user in the test part, which alone would look like lists."""
    train = "\n".join(f"{user}\t{10 * user + item}\t5\t88{user}{item}" for user in range(1, 6) for item in range(4))
    test = "\n".join(f"{user}\t{10 * user + 9}\t3\t99{user}" for user in range(1, 6))
    (tmp_path / "train.tsv").write_text(train + "\n")
    (tmp_path / "test.tsv").write_text(test + "\n")
    graph = load_dataset(tmp_path, kind="rec").graph
    assert graph.held["test"].shape == (2, 5)
    assert graph.num_nodes_by_type == {"user": 5, "item": 25}


def test_one_line_a_user_of_three_or_four_cells_is_not_guessed(tmp_path):
    path = tmp_path / "taken.tsv"
    path.write_text("1\t10\t5\n2\t11\t3\n")
    with pytest.raises(DataError, match=r"interactions\.layout=table or lists"):
        load_dataset(path, kind="rec")
    assert (len(read(path, layout="table")), len(read(path, layout="lists"))) == (2, 4)
