"""Folders of tables and arrays."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.sparse as sp

from gcl.core.errors import DataError, MissingDependencyError
from gcl.data.load import load_dataset


def write(folder, **files):
    for name, content in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(content, encoding="utf-8")
    return folder


def dense(dataset):
    return dataset.graph.adjacency.to_dense().numpy()


def test_numeric_ids_without_an_id_column_are_positions(tmp_path):
    write(
        tmp_path, edges_csv="source,target\n0,1\n1,3\n", features_csv="1,0\n0,1\n2,2\n3,3\n", labels_csv="0\n1\n1\n0\n"
    )
    dataset = load_dataset(tmp_path)
    assert dataset.node_ids is None
    assert dataset.name == tmp_path.name
    assert dataset.graph.x.tolist() == [[1, 0], [0, 1], [2, 2], [3, 3]]
    assert dataset.y.tolist() == [0, 1, 1, 0]
    assert dense(dataset)[3, 1] == dense(dataset)[1, 3] == 1
    assert dense(dataset).sum() == 4


def test_string_ids_stay_strings(tmp_path):
    write(
        tmp_path,
        edges_csv="from,to,weight\n007,bond,2\nbond,x7,3\n",
        features_csv="id,age,height\nx7,1,2\n007,3,4\nbond,5,6\n",
        labels_csv="id,label\nbond,1\n007,0\n",
        splits_csv="id,split\n007,train\nbond,valid\nx7,test\n",
    )
    dataset = load_dataset(str(tmp_path))
    assert dataset.node_ids == ["x7", "007", "bond"]
    assert dataset.graph.x.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert dataset.y.tolist() == [-1, 0, 1]
    assert dataset.splits.tolist() == [[2], [0], [1]]
    np.testing.assert_array_equal(dense(dataset), [[0, 0, 3], [0, 0, 2], [3, 2, 0]])


def test_string_ids_without_features_are_numbered_as_they_appear(tmp_path):
    dataset = load_dataset(write(tmp_path, edges_csv="b,a\n007,b\n"))
    assert sorted(dataset.node_ids) == ["007", "a", "b"]
    position = {name: at for at, name in enumerate(dataset.node_ids)}
    assert dense(dataset)[position["b"], position["007"]] == 1
    assert dense(dataset)[position["a"], position["007"]] == 0
    assert dataset.graph.features == {}


@pytest.mark.parametrize(
    ("content", "num_edges", "ids"),
    [
        ("a,b\nc,d\n", 2, True),
        ("x,y\n0,1\n1,2\n", 2, False),
        ("x,y,w\na,b,2\n", 1, True),
        ("a,b,2\nb,c,1\n", 2, True),
        ("source,target\na,b\n", 1, True),
        ("a,b\n1,2\nc,1\n", 3, True),
    ],
)
def test_a_header_is_told_from_an_edge(tmp_path, content, num_edges, ids):
    dataset = load_dataset(write(tmp_path, edges_csv=content))
    assert dataset.graph.adjacency.num_arcs == 2 * num_edges
    assert (dataset.node_ids is not None) == ids


def test_numeric_ids_with_an_id_column_are_names(tmp_path):
    write(tmp_path, edges_csv="10,20\n20,30\n", features_csv="id,a\n30,3\n10,1\n20,2\n")
    dataset = load_dataset(tmp_path)
    assert dataset.node_ids == ["30", "10", "20"]
    np.testing.assert_array_equal(dense(dataset), [[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    (tmp_path / "edges.csv").unlink()
    np.save(tmp_path / "edges.npy", np.array([[10, 20], [20, 30]]))
    np.testing.assert_array_equal(dense(load_dataset(tmp_path)), dense(dataset))


def test_labels_can_name_the_nodes(tmp_path):
    dataset = load_dataset(write(tmp_path, edges_tsv="a\tb\nb\tc\n", labels_tsv="id\tclass\nc\tred\na\tblue\n"))
    assert dataset.node_ids == ["c", "a", "b"]
    assert dataset.class_names == ("blue", "red")
    assert dataset.y.tolist() == [1, 0, -1]
    headerless = load_dataset(write(tmp_path, labels_tsv="c\t1\na\t0\n"))
    assert headerless.node_ids == ["c", "a", "b"]
    assert headerless.y.tolist() == [1, 0, -1]


def test_text_files_with_blanks_and_comments(tmp_path):
    dataset = load_dataset(write(tmp_path, edges_txt="# a SNAP file\n0 1\n1 2\n\n2 0\n1 0\n", labels_txt="0\n1\n-1\n"))
    assert dataset.graph.adjacency.num_arcs == 6
    assert dataset.y.tolist() == [0, 1, -1]


def test_a_byte_order_mark_quotes_and_semicolons(tmp_path):
    (tmp_path / "edges.csv").write_text('\ufeffsource,target\n"a, b",c\n', encoding="utf-8")
    assert load_dataset(tmp_path).node_ids == ["a, b", "c"]
    (tmp_path / "edges.csv").write_text("source;target\na;c\n", encoding="utf-8")
    assert load_dataset(tmp_path).node_ids == ["a", "c"]


def test_arrays_and_matrices(tmp_path):
    edges = np.array([[0, 1, 2], [1, 2, 2]])
    x = np.eye(30, 40)
    np.save(tmp_path / "edges.npy", edges.T[[0, 1, 2]])
    sp.save_npz(tmp_path / "features.npz", sp.csr_matrix(x))
    np.save(tmp_path / "labels.npy", np.arange(30, dtype=np.int16))
    np.save(tmp_path / "splits.npy", np.tile([0, 1, 2], 10)[None].repeat(2, 0))
    dataset = load_dataset(tmp_path)
    assert dataset.graph.num_nodes == 30
    assert dataset.splits.shape == (30, 2)
    np.testing.assert_array_equal(dataset.graph.x, x)
    assert dense(dataset)[2, 2] == 1
    (tmp_path / "edges.npy").unlink()
    sp.save_npz(tmp_path / "edges.npz", sp.csr_matrix(dense(dataset)))
    same = load_dataset(tmp_path)
    np.testing.assert_array_equal(dense(same), dense(dataset))
    assert same.fingerprint == dataset.fingerprint


def test_parquet_features(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path, edges_csv="0,1\n")
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "b": [3.0, 4.0]}), tmp_path / "features.parquet")
    assert load_dataset(tmp_path).graph.x.tolist() == [[1, 3], [2, 4]]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingDependencyError, match="pyarrow"):
        load_dataset(tmp_path)


def test_arcs_are_directed_and_edges_are_not(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "e").mkdir()
    listed = "source,target,weight\na,b,2\nb,c,1\nc,b,5\nc,c,3\n"
    arcs = dense(load_dataset(write(tmp_path / "a", arcs_csv=listed)))
    assert arcs.tolist() == [[0, 0, 0], [2, 0, 5], [0, 1, 3]]  # row i receives from column j
    edges = dense(load_dataset(write(tmp_path / "e", edges_csv=listed.replace("c,b,5\n", ""))))
    assert edges.tolist() == [[0, 2, 0], [2, 0, 1], [0, 1, 3]]


def test_a_weight_of_0_is_no_edge(tmp_path):
    write(tmp_path, edges_csv="source,target,weight\na,b,2\nb,c,0\nc,a,0\nc,d,1\n")
    assert load_dataset(tmp_path).graph.adjacency.num_arcs == 4
    (tmp_path / "edges.csv").unlink()
    sp.save_npz(tmp_path / "edges.npz", sp.csr_matrix([[0.0, 2.0], [2.0, 0.0]]))
    assert load_dataset(tmp_path).graph.adjacency.num_arcs == 2


def test_what_is_unlabelled_among_words(tmp_path):
    write(tmp_path, edges_csv="a,b\nb,c\nc,d\n", features_csv="id,u\na,1\nb,2\nc,3\nd,4\n")
    dataset = load_dataset(write(tmp_path, labels_csv="id,label\na,x\nb,-1\nc,\n"))
    assert dataset.y.tolist() == [0, -1, -1, -1]
    assert dataset.class_names == ("x",)


def test_a_whole_numbered_feature_is_one_by_its_name(tmp_path):
    """Or where the nodes have other numbers."""
    rows = "".join(f"{at},0.{at}\n" for at in (3, 1, 7, 0, 2, 6, 4, 5))
    write(tmp_path, edges_csv=EIGHT_EDGES, features_csv="feature,u\n" + rows)
    assert load_dataset(tmp_path).graph.x[:, 0].tolist() == [3, 1, 7, 0, 2, 6, 4, 5]
    write(tmp_path, features_csv="year,u\n" + rows.replace("7,", "9,", 1))
    assert load_dataset(tmp_path).graph.num_nodes == 8
    write(tmp_path, features_csv="rank,u\n" + "".join(f"{at},0.{at}\n" for at in range(8)))  # no row can go wrong
    assert load_dataset(tmp_path).graph.num_nodes == 8
    (tmp_path / "features.csv").unlink()
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {"nr": [3, 1, 7, 0, 2, 6, 4, 5], "u": [0.5] * 8}
    parquet.write_table(pytest.importorskip("pyarrow").table(table), tmp_path / "features.parquet")
    with pytest.raises(DataError, match="every node of the edges is in the column 'nr'"):
        load_dataset(tmp_path)


EIGHT_EDGES = "source,target\n" + "".join(f"{at},{(at + 1) % 8}\n" for at in range(8))
BAD = {
    "no edges file": ({"features_csv": "1\n"}, "no edges file"),
    "two edges files": ({"edges_csv": "0,1\n", "edges_tsv": "0\t1\n"}, "edges.csv and edges.tsv"),
    "edges and arcs": ({"edges_csv": "0,1\n", "arcs_csv": "0,1\n"}, "arcs.csv and edges.csv"),
    "contradicting arcs": (
        {"arcs_csv": "0,1,2\n0,1,3\n"},
        "arcs.csv line 2 gives 0 - 1 the weight 3, .*keep one of them$",
    ),
    "empty file": ({"edges_csv": "\n"}, "no rows"),
    "only a header": ({"edges_csv": "source,target\n"}, "no rows"),
    "one column": ({"edges_csv": "0\n1\n"}, "1 columns"),
    "four columns": ({"edges_csv": "0,1,1,1\n"}, "4 columns"),
    "ragged": ({"edges_csv": "0,1\n1\n"}, "line 2 has 1 cells, expected 2"),
    "negative": ({"edges_csv": "0,1\n-4,1\n"}, "negative node id -4"),
    "out of range": ({"edges_csv": "0,1\n1,7\n", "features_csv": "1\n2\n"}, "node id 7"),
    "huge id": ({"edges_csv": "0,1\n1,99999999999999999999999\n"}, "99999999999999999999999"),
    "foreign keys": ({"edges_csv": "5000000000,5000000001\n"}, "5000000001"),
    "bad weight": ({"edges_csv": "0,1,x\n0,2,1\n"}, "'x' in column 3"),
    "nan weight": ({"edges_csv": "0,1,nan\n0,2,1\n"}, r"edges.csv line 1 has 'nan' in column 3, which is not finite"),
    "ids without column": ({"edges_csv": "a,b\n", "features_csv": "1\n2\n"}, "'a' .*first column named id"),
    "unknown id": ({"edges_csv": "a,b\nb,zz\n", "features_csv": "id,x\na,1\nb,2\n"}, "line 2 names node 'zz'"),
    "unknown label id": (
        {"edges_csv": "a,b\n", "features_csv": "id,x\na,1\nb,2\n", "labels_csv": "id,y\na,0\nq,1\n"},
        "line 3 names node 'q'",
    ),
    "repeated id": ({"edges_csv": "a,b\n", "features_csv": "id,x\na,1\na,2\n"}, "'a' in line 2 and in line 3"),
    "text feature": ({"edges_csv": "0,1\n", "features_csv": "1,2\n3,red\n"}, "line 2 has 'red' in column 2"),
    "empty feature": ({"edges_csv": "0,1\n", "features_csv": "1,2\n3,\n"}, "line 2 has '' in column 2"),
    "nan feature": (
        {"edges_csv": "0,1\n", "features_csv": "1,2\n3,nan\n"},
        "features.csv line 2 has 'nan' in column 2, which is not finite",
    ),
    "nan feature by name": (
        {"edges_csv": "a,b\n", "features_csv": "id,u,v\na,1,2\nb,3,inf\n"},
        r"line 3 has 'inf' in column 3 \('v'\), which is not finite",
    ),
    "word feature": (
        {"edges_csv": "a,b\n", "features_csv": "id,u,land\na,1,2\nb,3,DE\n"},
        r"line 3 has 'DE' in column 3 \('land'\), which is not a number; write a number, or leave the column out",
    ),
    "lost weight": (
        {"edges_csv": "0,1,1\n0,2,1e-60\n"},
        r"edges.csv line 2 has the weight 1e-60, which in float32 is 0, no edge; drop the edge, or multiply all",
    ),
    "negative weight": ({"edges_csv": "0,1,1\n0,2,-3\n"}, "edges.csv line 2 has the weight -3"),
    "lost zeros": (
        {"edges_csv": "a,7\na,b\n", "features_csv": "id,u\na,1\nb,2\n007,3\n"},
        "line 1 names node '7', .*did you mean '007'\\? Zeros in front are part of an id",
    ),
    "a header of its own words": (
        {"edges_csv": "left,right\na,b\n", "features_csv": "id,u\na,1\nb,2\n"},
        "line 1 names the nodes 'left' and 'right', .*call them source and target",
    ),
    "ids under another name": (
        {
            "edges_csv": EIGHT_EDGES,
            "features_csv": "nr,u\n" + "".join(f"{at},0.{at}\n" for at in (3, 1, 7, 0, 2, 6, 4, 5)),
        },
        "every node of the edges is in the column 'nr'; call it 'id', or 'feature' if it is one",
    ),
    "no label": (
        {"edges_csv": "a,b\n", "labels_csv": "id,y\na,x\nb,NA\n"},
        "line 3 has the label 'NA'; leave the cell empty",
    ),
    "huge label": ({"edges_csv": "0,1\n", "labels_csv": "0\n1e30\n"}, "line 2 has the label '1e30'; classes are whole"),
    "ids without a header": (
        {"edges_csv": EIGHT_EDGES, "features_csv": "".join(f"{at},0.{at}\n" for at in (3, 1, 7, 0, 2, 6, 4, 5))},
        "has no header, and every node of the edges is in its first column",
    ),
    "id column only": ({"edges_csv": "a,b\n", "features_csv": "id\na\nb\n"}, "no features"),
    "half label": ({"edges_csv": "0,1\n", "labels_csv": "0\n1.5\n"}, "line 2 has the label '1.5'"),
    "mixed labels": (
        {"edges_csv": "0,1\n", "labels_csv": "1\nred\nblue\n"},
        "labels.csv line 2 has the label 'red' beside numbers such as '1'",
    ),
    "short labels": (
        {"edges_csv": "0,1\n1,2\n", "features_csv": "1\n2\n3\n", "labels_csv": "0\n1\n"},
        "2 entries for 3",
    ),
    "bad split": ({"edges_csv": "0,1\n", "features_csv": "1\n2\n", "splits_csv": "train\nexam\n"}, "'exam'"),
    "contradicting weights": (
        {"edges_csv": "source,target,weight\na,b,1\nb,c,1\nb,a,2\n"},
        "edges.csv line 4 gives b - a the weight 2, and line 2 the weight 1; keep one of them, or name the file arcs.csv",
    ),
    "contradicting repeats": ({"edges_csv": "0,1,2\n0,1,3\n"}, "keep one of them$"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_one_sentence(tmp_path, case):
    files, match = BAD[case]
    with pytest.raises(DataError, match=match) as caught:
        load_dataset(write(tmp_path, **files))
    assert "\n" not in str(caught.value)


def test_whole_floats_are_labels_in_text_only(tmp_path):
    dataset = load_dataset(write(tmp_path, edges_csv="0,1\n1,2\n", labels_csv="label\n1.0\n0.0\n2.0\n"))
    assert dataset.y.tolist() == [1, 0, 2]
    (tmp_path / "labels.csv").unlink()
    np.save(tmp_path / "labels.npy", np.array([1.0, 0.0, 2.0]))
    with pytest.raises(DataError, match="float64"):
        load_dataset(tmp_path)


def test_damaged_arrays_are_refused(tmp_path):
    np.save(tmp_path / "edges.npy", np.array([[0, 1], [1, 2]]))
    content = (tmp_path / "edges.npy").read_bytes()
    (tmp_path / "edges.npy").write_bytes(content[:-5])
    with pytest.raises(DataError, match=r"edges\.npy"):
        load_dataset(tmp_path)
    np.save(tmp_path / "edges.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"edges\.npy"):
        load_dataset(tmp_path)
    (tmp_path / "edges.npy").unlink()
    (tmp_path / "edges.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        load_dataset(tmp_path)
