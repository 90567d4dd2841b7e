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
        ("y.csv", "7.5,1\n8.5,0\n", [1, 0]),
        ("y.csv", "name,extra,y\na,3,1.0\nb,4,0.0\n", [1, 0]),
        ("y.csv", "cat\ndog\nant\ncat\n", [1, 2, 0, 1]),
        ("y.csv", "label\ncat\ndog\n", [0, 1]),
        ("y.csv", "weight,label\nheavy,cat\nlight,ant\n", [1, 0]),
        ("y.csv", "id,y\n2,30\n0,10\n1,20\n", [10, 20, 30]),  # the ids are the rows
        ("y.csv", "id,y\nu,3\nt,1\n", [3, 1]),
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
    with pytest.raises(DataError, match="no label for 2 of the 3 ids of the embeddings, first 'x'"):
        read_labels(path, ids=["a", "x", "y"])
    twice = write(tmp_path / "y.csv", "id,y\na,1\na,2\n")
    with pytest.raises(DataError, match="'a' more than once"):
        read_labels(twice, ids=["a"])


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
        ("y.csv", "id,y\n0,1\n1,\n", "line 3 has no label"),
        ("y.csv", "id,y\n0,1\n1,nan\n", "line 3 has no label"),
        ("y.csv", "id,y\n0,1\n1,x\n", "'x' among numbers"),
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
    assert read_splits(turned, 2).tolist() == splits.tolist()
    assert read_splits(write(tmp_path / "t.npy", splits[0])).shape == (4, 1)
    with pytest.raises(DataError, match="for 5 nodes"):
        read_splits(archive, 5)
    with pytest.raises(DataError, match="splits must be"):
        read_splits(write(tmp_path / "s.npy", splits + 2))
    with pytest.raises(DataError, match="no splits file"):
        read_splits(tmp_path / "s.csv")
