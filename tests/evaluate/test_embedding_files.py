from __future__ import annotations

import json
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gcl.core.errors import DataError, MissingDependencyError
from gcl.evaluate.embedding_files import read_embeddings

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
IDS = ["a", "b,c", "d", "7"]


def save(path, values=VALUES, ids=None):
    """Writes embeddings in the form that the suffix says."""
    suffix = path.suffix
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".npz":
        np.savez(path, **{"z": values, **({} if ids is None else {"ids": np.array(ids)})})
    elif suffix == ".pt":
        torch.save({"z": torch.from_numpy(values), **({} if ids is None else {"ids": ids})}, path)
    elif suffix == ".safetensors":
        save_file({"main": torch.from_numpy(values)}, path, None if ids is None else {"ids": json.dumps(ids)})
    elif suffix == ".csv":
        head = "" if ids is None else "a,id,b,c\n"
        rows = [[repr(float(v)) for v in row] for row in values]
        if ids is not None:
            rows = [[row[0], f'"{name}"', *row[1:]] for row, name in zip(rows, ids, strict=True)]
        path.write_text(head + "".join(",".join(row) + "\n" for row in rows))
    elif suffix == ".parquet":
        pytest.importorskip("pyarrow")
        import pyarrow.parquet

        columns = {f"d{i}": values[:, i] for i in range(values.shape[1])}
        pyarrow.parquet.write_table(pyarrow.table(columns if ids is None else {"id": ids, **columns}), path)
    return path


SUFFIXES = (".npy", ".npz", ".pt", ".safetensors", ".csv", ".parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path, suffix):
    table = read_embeddings(save(tmp_path / f"z{suffix}"))
    assert torch.equal(table.values, torch.from_numpy(VALUES))
    assert table.ids is None
    assert table.source.startswith(str(tmp_path / f"z{suffix}"))


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != ".npy"])
def test_ids_are_kept_as_text(tmp_path, suffix):
    table = read_embeddings(save(tmp_path / f"z{suffix}", ids=IDS))
    assert table.ids == IDS
    assert torch.equal(table.values, torch.from_numpy(VALUES))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_non_finite_values_are_refused_with_row_and_count(tmp_path, suffix):
    values = VALUES.copy()
    values[1, 2], values[3, 0] = np.nan, np.inf
    with pytest.raises(DataError, match=r"2 of 4 rows, first in row 1"):
        read_embeddings(save(tmp_path / f"z{suffix}", values))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_and_empty_files_are_one_sentence(tmp_path, suffix):
    big = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    path = save(tmp_path / f"z{suffix}", big)
    content = path.read_bytes()
    for part in (b"", content[:40], content[: len(content) // 2], content[:-7]):
        if suffix == ".csv" and part:
            part = part.rsplit(b"\n", 1)[0] + b"\n1.0,2"  # a whole line cut short is no damage that can be seen
        path.write_bytes(part)
        with pytest.raises(DataError) as caught:
            read_embeddings(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_garbage_is_one_sentence(tmp_path, suffix):
    path = tmp_path / f"z{suffix}"
    path.write_bytes(b"\x93NUMPY garbage \x00\xff\xfe" * 5)
    with pytest.raises(DataError) as caught:
        read_embeddings(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors"])
def test_wrong_dimensions_are_refused(tmp_path, suffix):
    for values in (np.zeros(3, np.float32), np.zeros((2, 2, 2), np.float32), np.zeros((0, 3), np.float32)):
        with pytest.raises(DataError, match="matrix"):
            read_embeddings(save(tmp_path / f"z{suffix}", values))


def test_missing_files_folders_and_unknown_suffixes(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_embeddings(tmp_path / "z.npy")
    (tmp_path / "f.npy").mkdir()
    with pytest.raises(DataError, match="does not exist"):
        read_embeddings(tmp_path / "f.npy")
    with pytest.raises(DataError, match=r"\.safetensors"):
        read_embeddings(tmp_path / "z.xlsx")


def test_dtypes(tmp_path):
    for given, expected in (
        (np.float64, torch.float64),
        (np.float16, torch.float32),
        (np.int64, torch.float32),
        (np.uint16, torch.float32),
        (">f4", torch.float32),
    ):
        path = tmp_path / "z.npy"
        np.save(path, np.arange(6).reshape(3, 2).astype(given))
        values = read_embeddings(path).values
        assert values.dtype == expected
        assert values.tolist() == [[0, 1], [2, 3], [4, 5]]
    for wrong in (np.zeros((2, 2), bool), np.zeros((2, 2), complex), np.array([["a", "b"]])):
        np.save(path, wrong)
        with pytest.raises(DataError, match=r"numbers|truth values"):
            read_embeddings(path)


def test_key_order_and_first_matrix(tmp_path):
    np.savez(tmp_path / "a.npz", first=VALUES + 1, y=np.zeros(4), embeddings=VALUES)
    assert read_embeddings(tmp_path / "a.npz").source.endswith("[embeddings]")
    np.savez(tmp_path / "b.npz", y=np.zeros((4, 1)), other=VALUES)
    assert torch.equal(read_embeddings(tmp_path / "b.npz").values, torch.from_numpy(VALUES))
    np.savez(tmp_path / "d.npz", a=VALUES, b=VALUES)
    with pytest.raises(DataError, match=r"several matrices \(a, b\), and none is called 'embeddings'; name one so"):
        read_embeddings(tmp_path / "d.npz")
    np.savez(tmp_path / "c.npz", y=np.zeros(4))
    with pytest.raises(DataError, match=r"no matrix of embeddings \(it has y\)"):
        read_embeddings(tmp_path / "c.npz")


def test_pickles_are_never_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"z": Bomb()}, tmp_path / "z.pt")
    np.save(tmp_path / "z.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    for name in ("z.pt", "z.npy"):
        with pytest.raises(DataError):
            read_embeddings(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_pt_holds_a_tensor_or_something_else(tmp_path):
    torch.save(torch.from_numpy(VALUES).requires_grad_(), tmp_path / "z.pt")
    table = read_embeddings(tmp_path / "z.pt")
    assert not table.values.requires_grad
    torch.save([1, 2], tmp_path / "z.pt")
    with pytest.raises(DataError, match="holds a list"):
        read_embeddings(tmp_path / "z.pt")


def test_safetensors_ids_as_a_tensor(tmp_path):
    save_file({"main": torch.from_numpy(VALUES), "ids": torch.tensor([5, 6, 7, 9])}, tmp_path / "z.safetensors")
    assert read_embeddings(tmp_path / "z.safetensors").ids == ["5", "6", "7", "9"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("0.5,1\n2,3\n", None),
        ("a,b\n0.5,1\n2,3\n", None),
        ("id,0,1\nu,0.5,1\nv,2,3\n", ["u", "v"]),
        (",0,1\n8,0.5,1\n9,2,3\n", ["8", "9"]),
        ("u,0.5,1\nv,2,3\n", ["u", "v"]),
        ("d0,ID,d1\n0.5,u,1\n2,v,3\n", ["u", "v"]),
        ("paper,0,1\n8,0.5,1\n9,2,3\n", ["8", "9"]),
        (",id,0,1\n0,u,0.5,1\n1,v,2,3\n", ["u", "v"]),
        ("name,index,a,b\nu,0,0.5,1\nv,1,2,3\n", ["u", "v"]),
        ("d0;d1\n0.5;1\n2;3\n", None),
        ("\ufeffid,a,b\r\n#1,0.5,1\r\n#2,2,3\r\n\r\n", ["#1", "#2"]),
        ('id,a,b\n"a, b",0.5,1\nv,2,3', ["a, b", "v"]),
    ],
)
def test_csv_forms(tmp_path, text, ids):
    path = tmp_path / "z.csv"
    path.write_text(text, encoding="utf-8", newline="")
    table = read_embeddings(path)
    assert table.values.tolist() == [[0.5, 1.0], [2.0, 3.0]]
    assert table.ids == ids


@pytest.mark.parametrize("text", ["a,b\n", "1,2\n3\n", "1,2\n3,x\n", "id,x\nu,1\nu,2\n", "x\n"])
def test_csv_that_is_no_table_is_refused(tmp_path, text):
    path = tmp_path / "z.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_embeddings(path)
    assert "\n" not in str(caught.value)


def test_a_single_column_with_a_header(tmp_path):
    (tmp_path / "z.csv").write_text("x\n1\n2\n")
    assert read_embeddings(tmp_path / "z.csv").values.tolist() == [[1.0], [2.0]]


def test_ids_must_fit(tmp_path):
    with pytest.raises(DataError, match="3 ids for 4 rows"):
        read_embeddings(save(tmp_path / "z.npz", ids=["a", "b", "c"]))
    with pytest.raises(DataError, match="'a' more than once"):
        read_embeddings(save(tmp_path / "z.npz", ids=["a", "b", "c", "a"]))


def test_many_ids_that_repeat_at_the_end_take_no_time(tmp_path):
    ids = [*(f"n{at}" for at in range(60_000)), "n59999"]  # compared in pairs, a minute and more
    np.savez(tmp_path / "z.npz", z=np.zeros((len(ids), 1), np.float32), ids=np.array(ids))
    start = time.process_time()
    with pytest.raises(DataError, match="'n59999' more than once"):
        read_embeddings(tmp_path / "z.npz")
    assert time.process_time() - start < 10


def test_parquet_lists_and_what_is_no_number(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path = tmp_path / "z.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2], "embedding": [[1.0, 2.0], [3.0, 4.0]]}), path)
    table = read_embeddings(path)
    assert table.values.tolist() == [[1, 2], [3, 4]]
    assert table.ids == ["1", "2"]
    for columns in (
        {"e": [[1.0, 2.0], [3.0]]},
        {"d": [1.0, None]},
        {"d": [1.0, 2.0], "title": ["a", "b"]},
        {"id": [1]},
    ):
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        with pytest.raises(DataError):
            read_embeddings(path)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    path = tmp_path / "z.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        read_embeddings(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,a,b\nu,1,2\n\nv,3,x\n", r"line 4 has 'x' in column 3 \('b'\), .*call the id column 'id'"),
        ("title,a\nu,1\nv,2\n", r"line 2 has 'u' in column 1 \('title'\), .*call the id column 'id'"),
        ("1,2\n3,\n", r"line 2 has '' in column 2, which is not a number"),
        ("1,x\n3,4\n", r"line 1 has 'x' in column 2"),
        (",0.5\n3,4\n", r"line 1 has '' in column 1"),
        ("a,b\n1,2\n3\n", r"line 3 has 1 cells, expected 2"),
    ],
)
def test_csv_errors_name_line_and_column(tmp_path, text, message):
    (tmp_path / "z.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_embeddings(tmp_path / "z.csv")


@pytest.mark.parametrize("name", ["label", "Y", "class", "target", "split", "fold"])
def test_labels_and_splits_among_the_columns_are_refused(tmp_path, name):
    (tmp_path / "z.csv").write_text(f"id,a,{name}\nu,0.5,1\nv,2,0\n")
    with pytest.raises(DataError, match=f"column '{name}' among the embeddings"):
        read_embeddings(tmp_path / "z.csv")
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"a": [0.5, 2.0], name: [1, 0]}), tmp_path / "z.parquet")
    with pytest.raises(DataError, match=f"column '{name}' among the embeddings"):
        read_embeddings(tmp_path / "z.parquet")


@pytest.mark.parametrize("name", ["z.npy", "z.npz"])
def test_no_advice_to_load_pickles(tmp_path, name):
    (tmp_path / name).write_bytes(b"no numpy at all")
    with pytest.raises(DataError, match="not a plain np") as caught:
        read_embeddings(tmp_path / name)
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize("name", ["user_id", "Paper_ID", "item", "uid"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ids_under_other_names_are_no_feature(tmp_path, name, suffix):
    path = tmp_path / f"z{suffix}"
    if suffix == ".csv":
        path.write_text(f"{name},a,b\n7,0.5,1\n9,2,3\n")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet")
        pyarrow.parquet.write_table(pyarrow.table({name: [7, 9], "a": [0.5, 2.0], "b": [1.0, 3.0]}), path)
    table = read_embeddings(path)
    assert table.ids == ["7", "9"]
    assert table.values.tolist() == [[0.5, 1], [2, 3]]


@pytest.mark.parametrize("name", ["cluster", "community", "Cluster_ID"])
def test_clusters_among_embeddings_are_refused(tmp_path, name):
    (tmp_path / "z.csv").write_text(f"id,a,{name}\n7,0.5,1\n9,2,3\n")
    with pytest.raises(DataError, match=f"has the column '{name}' among the embeddings, which would leak"):
        read_embeddings(tmp_path / "z.csv")


def test_a_feature_that_reads_as_ids_is_said(tmp_path):
    (tmp_path / "z.csv").write_text("key,a\n0,0.5\n1,2\n0,3\n")
    with pytest.raises(DataError, match="the value '0' more than once in its first column 'key', which reads as ids"):
        read_embeddings(tmp_path / "z.csv")


def test_a_recommender_s_file_says_how_to_choose(tmp_path):
    np.savez(tmp_path / "z.npz", user=VALUES, item=VALUES)
    with pytest.raises(DataError, match=r"several matrices \(item, user\), and .*gcl embed RUN --name user"):
        read_embeddings(tmp_path / "z.npz")
