from __future__ import annotations

import numpy as np
import pytest

from gcl.core.errors import DataError
from gcl.evaluate.embedding_files import read_labels, read_splits


def write(path, content):
    if isinstance(content, str):
        path.write_text(content)
    elif path.suffix == ".npy":
        np.save(path, content)
    else:
        np.savez(path, **content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("y.npy", np.array([0, 2, -1]), [0, 2, -1]),
        ("y.npy", np.array([[0.0], [2.0], [1.0]]), [0, 2, 1]),
        ("y.npz", {"y": np.array([1, 0], np.uint8), "x": np.zeros((2, 2))}, [1, 0]),
        ("y.txt", "1\n0\n-1\n", [1, 0, -1]),
        ("y.csv", "1\n0\n", [1, 0]),
        ("y.csv", "label\n1\n0\n", [1, 0]),
        ("y.csv", "cat\ndog\nant\ncat\n", [1, 2, 0, 1]),
        ("y.csv", "label\ncat\ndog\n", [0, 1]),
        ("y.csv", "id,y\n2,30\n0,10\n1,20\n", [10, 20, 30]),  # the ids are the rows
        ("y.csv", ",y\n1,20\n0,10\n", [10, 20]),  # as pandas writes it
        ("y.csv", ",subject\n1,cat\n0,ant\n", [0, 1]),
        ("y.csv", "y,node_id,year\n20,1,7\n10,0,7\n", [10, 20]),
        ("y.tsv", "id\ty\n0\t4\n", [4]),
    ],
)
def test_forms(tmp_path, name, content, expected):
    y = read_labels(write(tmp_path / name, content))
    assert y.tolist() == expected
    assert str(y.dtype) == "torch.int64"


def test_joined_on_ids(tmp_path):
    path = write(tmp_path / "y.csv", "id,year,label\nc,2000,sun\na,2001,moon\nb,2002,sun\nz,2003,star\n")
    assert read_labels(path, ids=["a", "b", "c"]).tolist() == [0, 2, 2]
    path = write(tmp_path / "y.csv", "id,year,label\na,2001,sun\n")
    with pytest.warns(UserWarning, match="no row for 2 of the 3 ids of the embeddings, first 'x'; they count as unl"):
        assert read_labels(path, ids=["x", "a", "y"]).tolist() == [-1, 0, -1]
    for wrong, said in (
        (["b", "c", "d"], "'d', but 1 for other ids, first 'a'; check that both number the nodes alike"),
        (["00", "b", "c"], "'00', but 1 for"),
    ):
        shifted = write(tmp_path / "s.csv", "id,y\na,1\nb,0\nc,1\n")
        with pytest.raises(DataError, match=said):
            read_labels(shifted, ids=wrong)
    zeros = write(tmp_path / "s.csv", "id,y\n7,1\n8,0\n10,1\n")
    with pytest.raises(DataError, match="did you mean '007'"):
        read_labels(zeros, ids=["007", "8", "10"])
    zeros = write(tmp_path / "s.csv", "id,y\nzz,1\n7,1\n8,0\n10,1\n")
    with pytest.raises(DataError, match="first 'zz'; did you mean '007'"):
        read_labels(zeros, ids=["007", "8", "10"])
    with pytest.raises(DataError, match=r"none of the 2 ids of the embeddings, such as 'x' \(it has 'a' and so on\)"):
        read_labels(path, ids=["x", "y"])
    twice = write(tmp_path / "y.csv", "id,y\na,1\na,2\n")
    with pytest.raises(DataError, match="'a' more than once"):
        read_labels(twice, ids=["a"])


@pytest.mark.parametrize(
    "text",
    [
        "id,label\nv,1\nu,0\n",
        "label,id\n1,v\n0,u\n",
        ",label\nv,1\nu,0\n",
        "paper,label\nv,1\nu,0\n",
        "id,subject\nv,dog\nu,cat\n",
        "paper,class\nv,dog\nu,cat\n",
        "name,year,y\nv,7,1\nu,8,0\n",
        ",id,label\n0,v,1\n1,u,0\n",
        "v,1\nu,0\n",
    ],
)
def test_id_and_label_columns_are_found(tmp_path, text):
    assert read_labels(write(tmp_path / "y.csv", text), ids=["u", "v"]).tolist() == [0, 1]


@pytest.mark.parametrize("text", ["id,y\nu,1\nv,\nw,0\n", "id,y\nu,b\nv,\nw,a\n", "id,y\nu,b\nv,-1\nw,a\n"])
def test_an_empty_cell_and_minus_one_are_unlabelled(tmp_path, text):
    assert read_labels(write(tmp_path / "y.csv", text), ids=["u", "v", "w"]).tolist() == [1, -1, 0]


def test_numbers_are_ids_where_they_are_those_of_the_embeddings(tmp_path):
    path = write(tmp_path / "y.csv", "paper,label\n31,1\n8,0\n")
    assert read_labels(path, ids=["8", "31"]).tolist() == [0, 1]
    for ids in (None, ["8", "9"]):
        with pytest.raises(DataError, match=r"'paper' beside the labels.*call the id column 'id'"):
            read_labels(path, ids=ids)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7.5,1\n8.5,0\n", "2 columns and no header"),
        ("paper,subject\nu,cat\nv,dog\n", "2 columns and no header"),
        ("year,month,label\n7,1,0\n8,2,1\n", "'year', 'month' beside the labels"),
        ("paper,field\nu,0\nv,1\n", "columns 'paper', 'field', of which none is called label"),
        ("id,label,class\nu,0,1\nv,1,1\n", "of which several are called label"),
    ],
)
def test_columns_that_are_not_known_are_refused(tmp_path, text, message):
    for ids in (None, ["u", "v"]):
        with pytest.raises(DataError, match=message) as caught:
            read_labels(write(tmp_path / "y.csv", text), ids=ids)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["id,y\nu,3\nt,1\n", "id,y\n1,3\n2,1\n", "title,y\nu,3\nt,1\n"])
def test_ids_against_embeddings_without_ids_are_refused(tmp_path, text):
    with pytest.raises(DataError, match="has ids but the embeddings have none; save the embeddings with ids or drop"):
        read_labels(write(tmp_path / "y.csv", text))


def test_ids_without_an_id_column_are_rows(tmp_path):
    assert read_labels(write(tmp_path / "y.csv", "2\n1\n"), ids=["a", "b"]).tolist() == [2, 1]


def test_another_length_names_both(tmp_path):
    for name, content in (("y.npy", np.arange(3)), ("y.csv", "0\n1\n2\n")):
        path = write(tmp_path / name, content)
        with pytest.raises(DataError, match="3 labels for 2 nodes"):
            read_labels(path, ids=["a", "b"])
        with pytest.raises(DataError, match="3 labels for 5 nodes"):
            read_labels(path, num_nodes=5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("y.npy", np.array([0.0, np.nan, 1.0]), "1 NaN or infinite labels, the first for node 1"),
        ("y.npy", np.array([0.0, 1.5]), "label 1.5 for node 1"),
        ("y.npy", np.array([0, -3]), "-3"),
        ("y.npy", np.zeros((3, 2), int), "one class a node"),
        ("y.npy", np.array(["a", "b"]), "as csv"),
        ("y.npz", {"x": np.zeros(2), "z": np.zeros(2)}, "expected one of y"),
        ("y.txt", "cat\ndog\n", "number the classes"),
        ("y.csv", "0\n1.5\n", "1.5"),
        ("y.csv", "id,y\n0,1\n1,nan\n", "line 3 has the label 'nan'; leave the cell empty, or write -1"),
        ("y.csv", "id,y\n0,1\n1,x\n", "line 3 has the label 'x' beside numbers such as '1'"),
        ("y.csv", "", "no rows"),
        ("y.json", "[]", "no label file"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_labels(write(tmp_path / name, content))
    assert "\n" not in str(caught.value)


def test_missing_and_truncated_files(tmp_path):
    for reader in (read_labels, read_splits):
        with pytest.raises(DataError, match="does not exist"):
            reader(tmp_path / "none.npy")
        for name, content in (("a.npy", np.zeros(400, np.uint8)), ("a.npz", {"y": np.zeros(9), "splits": np.zeros(9)})):
            path = write(tmp_path / name, content)
            path.write_bytes(path.read_bytes()[:100])
            with pytest.raises(DataError, match="truncated"):
                reader(path)


def test_splits_are_turned_so_that_rows_are_nodes(tmp_path):
    splits = np.array([[0, 1, 2, 3], [2, 1, 0, 0]], dtype=np.uint8)
    archive = write(tmp_path / "s.npz", {"splits": splits})
    assert read_splits(archive).tolist() == splits.T.tolist()
    turned = write(tmp_path / "s.npy", splits.T)
    assert read_splits(turned).tolist() == splits.T.tolist()
    assert read_splits(write(tmp_path / "t.npy", splits[0])).shape == (4, 1)
    with pytest.raises(DataError, match="for 5 nodes"):
        read_splits(archive, 5)
    with pytest.raises(DataError, match=r"s\.npy is no splits file: splits must be"):
        read_splits(write(tmp_path / "s.npy", splits + 2))
    with pytest.raises(DataError, match="no splits file"):
        read_splits(tmp_path / "s.csv")


def test_labels_given_as_splits_are_refused(tmp_path):
    for labels in (np.array([0, 1, 1, 0]), np.array([2, 1, 1, 2])):
        with pytest.raises(DataError, match=r"no (training|test) node .* in split 0; .* not of labels"):
            read_splits(write(tmp_path / "y.npy", labels))
    with pytest.raises(DataError, match="got 6"):
        read_splits(write(tmp_path / "y.npy", np.array([0, 2, 6])))
    with pytest.raises(DataError, match="no key splits"):
        read_splits(write(tmp_path / "y.npz", {"y": np.array([0, 1, 2])}))
    with pytest.raises(DataError, match=r"no test node .* in split 1"):
        read_splits(write(tmp_path / "s.npy", np.array([[0, 2, 1], [0, 1, 3]])), 3)
