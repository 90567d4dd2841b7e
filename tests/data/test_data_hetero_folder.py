"""Folders of several node types, with one file a relation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.data.hetero_names import hetero_files
from gcl.data.load import load_dataset
from gcl.data.source_info import is_own_source, source_info


def write(folder, files):
    for name, content in files.items():
        if isinstance(content, str):
            (folder / name).write_text(content, encoding="utf-8")
        elif isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif sp.issparse(content):
            sp.save_npz(folder / name, content)
        else:
            np.save(folder / name, content)
    return folder


def load(folder, files, **options):
    return load_dataset(write(folder, files), **options)


def dense(dataset, name):
    return dataset.graph.relations[name].to_dense().tolist()


NAMED = {
    "edges_author_paper.csv": "author,paper\n007,p1\nbond,p1\nbond,p2\n",
    "edges_paper_venue.csv": "p1,X\np2,Y\n",
    "features_paper.csv": "id,a,b\np2,1,2\np1,3,4\np3,5,6\n",
    "labels_paper.csv": "id,label\np1,ml\np2,db\n",
    "splits_paper.csv": "id,first,second\np1,train,test\np3,valid,train\n",
    "nodes_author.txt": "7\nbond\n007\n",
}


def test_names_of_every_type(tmp_path):
    dataset = load(tmp_path, NAMED)
    graph = dataset.graph
    assert (dataset.name, dataset.info["path"], graph.target) == (tmp_path.name, str(tmp_path), "paper")
    assert graph.num_nodes_by_type == {"author": 3, "paper": 3, "venue": 2}
    assert graph.relation_types == {"author_paper": ("author", "paper"), "paper_venue": ("paper", "venue")}
    assert dataset.node_ids == ["p2", "p1", "p3"]
    assert dataset.other_ids == {"author": ["7", "bond", "007"], "venue": ["X", "Y"]}
    assert dense(dataset, "author_paper") == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]  # papers receive from authors
    assert dense(dataset, "paper_venue") == [[0, 1, 0], [1, 0, 0]]
    assert graph.features.keys() == {"paper"}
    assert graph.x.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert dataset.y.tolist() == [0, 1, -1]
    assert dataset.class_names == ("db", "ml")
    assert dataset.splits.tolist() == [[3, 3], [0, 2], [1, 0]]


def test_it_equals_the_same_hetero_data(tmp_path):
    generator = np.random.default_rng(0)
    x = {"user": generator.normal(size=(6, 3)).astype(np.float32), "item": np.eye(5, 60, dtype=np.float32)}
    y, codes = np.array([2, 0, 1, -1, 0, 1]), np.array([0, 1, 2, 0, 3, 2])
    edges = {
        ("user", "buys", "item"): np.array([[0, 5, 3, 3, 1], [4, 0, 0, 2, 1]]),
        ("user", "sees", "item"): np.array([[2, 2], [3, 1]]),
        ("item", "item_shop", "shop"): np.array([[4, 0, 1, 2, 3], [0, 0, 2, 1, 0]]),
        ("user", "knows", "user"): np.array([[0, 1, 0], [1, 0, 0]]),
    }
    strength = np.array([0.5, 2, 1, 3, 1], dtype=np.float32)
    data = HeteroData()
    for kind, matrix in x.items():
        data[kind].x = torch.from_numpy(matrix)
    data["shop"].num_nodes = 3
    data["user"].y = torch.from_numpy(y)
    for code, name in enumerate(("train_mask", "val_mask", "test_mask")):
        data["user"][name] = torch.from_numpy(codes == code)
    for kind, arcs in edges.items():
        data[kind].edge_index = torch.from_numpy(arcs)
    data["user", "buys", "item"].edge_weight = torch.from_numpy(strength)
    buys = edges["user", "buys", "item"]
    lines = "".join(f"{a}\t{b}\t{w}\n" for a, b, w in zip(*buys.tolist(), strength.tolist(), strict=True))
    knows = edges["user", "knows", "user"]
    files = {
        "edges_user_item_buys.tsv": "source\ttarget\tweight\n" + lines,
        "edges_user_item_sees.npy": edges["user", "sees", "item"],
        "edges_item_shop.npy": edges["item", "item_shop", "shop"].T,
        "edges_user_user_knows.npz": sp.csr_matrix((np.ones(3), (knows[0], knows[1])), (6, 6)),
        "features_user.csv": "\n".join(",".join(map(repr, row)) for row in x["user"].astype(float).tolist()),
        "features_item.npz": sp.csr_matrix(x["item"]),
        "labels_user.txt": "\n".join(map(str, y)),
        "splits_user.csv": "\n".join(("train", "valid", "test", "unused")[code] for code in codes),
    }
    ours, theirs = load(tmp_path, files), load_dataset(data)
    assert ours.fingerprint == theirs.fingerprint
    assert ours.graph.relation_types == theirs.graph.relation_types
    assert ours.graph.num_nodes_by_type == theirs.graph.num_nodes_by_type
    assert isinstance(ours.graph.features["item"], Adjacency)
    torch.testing.assert_close(ours.y, theirs.y)
    torch.testing.assert_close(ours.splits, theirs.splits)
    assert ours.node_ids is None
    assert ours.other_ids == {}


def test_relations_of_one_name_are_told_apart_by_their_types(tmp_path):
    files = {
        "edges_a_b_to.csv": "0,0\n",
        "edges_b_a_to.csv": "1,0\n0,0\n",
        "edges_a_b.csv": "0,1\n",
        "labels_a.csv": "1\n",
    }
    assert load(tmp_path, files).graph.relation_types == {
        "a_b": ("a", "b"),
        "a__to__b": ("a", "b"),
        "b__to__a": ("b", "a"),
    }


def test_ids_that_are_only_in_edges(tmp_path):
    dataset = load(
        tmp_path, {"edges_u_i.csv": "007,x\n7,x\n7,y\n", "edges_i_u.npy": np.array([["y"], ["8"]]), "target.txt": "u\n"}
    )
    assert sorted(dataset.node_ids) == ["007", "7", "8"]
    u, i = ({name: at for at, name in enumerate(ids)} for ids in (dataset.node_ids, dataset.other_ids["i"]))
    arcs = set(zip(*dataset.graph.relations["u_i"].edge_index().tolist(), strict=True))
    assert arcs == {(u["007"], i["x"]), (u["7"], i["x"]), (u["7"], i["y"])}
    assert dataset.graph.relations["i_u"].edge_index().tolist() == [[i["y"]], [u["8"]]]


def test_labels_can_name_the_nodes(tmp_path):
    dataset = load(tmp_path, {"edges_a_b.csv": "x,0\nz,3\n", "labels_a.csv": "z,1\ny,0\n"})
    assert dataset.node_ids == ["z", "y", "x"]
    assert dataset.y.tolist() == [1, 0, -1]
    assert dataset.other_ids == {}
    assert dense(dataset, "a_b") == [[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_columns_are_found_by_their_names(tmp_path):
    files = {
        "edges_author_paper.csv": ",paper_id,author_id,weight\n0,p1,007,2\n1,p1,bond,3\n2,p2,bond,4\n",
        "edges_paper_paper_cites.csv": "target,source\np1,p2\n",
        "nodes_author.csv": ",id\n0,007\n1,bond\n",
        "features_paper.csv": ",name,a,b\n0,p1,1,2\n1,p2,3,4\n",
        "labels_paper.csv": "id,label,year\np2,ml,1999\np1,db,2004\n",
        "splits_paper.csv": ",id,split\n0,p2,train\n1,p1,test\n",
    }
    dataset = load(tmp_path, files)
    assert (dataset.node_ids, dataset.other_ids) == (["p1", "p2"], {"author": ["007", "bond"]})
    assert dense(dataset, "author_paper") == [[2, 3], [0, 4]]  # papers receive from authors
    assert dense(dataset, "cites") == [[0, 1], [0, 0]]  # p1 receives from p2
    assert dataset.graph.x.tolist() == [[1, 2], [3, 4]]
    assert (dataset.class_names, dataset.y.tolist()) == (("db", "ml"), [0, 1])
    assert dataset.splits.tolist() == [[2], [0]]
    words = {"edges_author_paper.csv": "paper,author\np1,007\np2,bond\n"}  # the types say what is what, over words too
    assert dense(load(tmp_path, words), "author_paper") == [[1, 0], [0, 1]]


def test_an_index_that_counts_the_rows_is_no_id(tmp_path):
    files = {
        "edges_a_b.csv": ",source,target\n0,1,0\n1,0,1\n",
        "features_a.csv": ",x\n0,7\n1,5\n",
        "labels_a.csv": ",label,year\n0,1,1999\n1,0,2000\n",
        "splits_a.csv": ",split\n0,train\n1,test\n",
    }
    dataset = load(tmp_path, files)
    assert (dataset.node_ids, dataset.other_ids) == (None, {})
    assert dense(dataset, "a_b") == [[0, 1], [1, 0]]
    assert dataset.graph.x.tolist() == [[7], [5]]
    assert (dataset.y.tolist(), dataset.splits.tolist()) == ([1, 0], [[0], [2]])


def test_whole_numbers_are_names_where_a_file_lists_them(tmp_path):
    files = {
        "edges_a_b.npy": np.array([[30, 10, 20], [0, 0, 1]]),
        "nodes_a.npy": np.array([10, 20, 30]),
        "nodes_b.csv": "id\n1\n0\n",
        "features_a.npy": np.array([[1.0], [2.0], [3.0]]),
        "labels_a.csv": "0\n1\n0\n",
    }
    dataset = load(tmp_path, files)
    assert dataset.node_ids == ["10", "20", "30"]  # with features in the order of the list
    assert dense(dataset, "a_b") == [[0, 1, 0], [1, 0, 1]]
    assert dataset.graph.x.tolist() == [[1], [2], [3]]
    assert dataset.y.tolist() == [0, 1, 0]


def test_a_matrix_says_how_many_nodes_there_are(tmp_path):
    matrix = sp.csr_matrix(np.array([[0, 2, 0, 0], [1, 0, 0, 0]]))
    dataset = load(tmp_path, {"edges_a_b.npz": matrix, "edges_b_a.csv": "0,1\n", "target.txt": "b"})
    assert dataset.graph.num_nodes_by_type == {"a": 2, "b": 4}
    assert dense(dataset, "a_b") == matrix.T.toarray().tolist()
    listed = load(tmp_path, {"nodes_a.csv": "x\ny\n", "edges_b_a.csv": "0,y\n"})
    assert dense(listed, "a_b") == dense(dataset, "a_b")
    assert dense(listed, "b_a") == dense(dataset, "b_a")


def test_an_edge_that_is_listed_twice_counts_once(tmp_path):
    dataset = load(tmp_path, {"edges_a_a.csv": "0,1,2\n1,0,3\n0,1,2\n", "labels_a.csv": "0\n1\n"})
    assert dense(dataset, "a_a") == [[0, 3], [2, 0]]  # and a direction has a weight of its own


@pytest.mark.parametrize(
    ("content", "edges"),
    [
        ("p,q\nr,q\n", 2),
        ("A,b\np,q\nr,q\n", 2),
        ("a_id,b_id\np,q\nr,q\n", 2),
        ("source,target\np,q\nr,q\n", 2),
        ("x,y\np,q\nr,q\n", 3),
        ("a,b,weight\np,q,1\nr,q,1\n", 2),
    ],
)
def test_the_two_types_are_a_heading_above_words(tmp_path, content, edges):
    dataset = load(tmp_path, {"edges_a_b.csv": content, "target.txt": "a"})
    assert dataset.graph.relations["a_b"].num_arcs == edges


def test_types_with_an_underscore(tmp_path):
    files = {
        "edges_paper_subject_area.csv": "0,0\n",
        "edges_subject_area_paper_covers.csv": "1,0\n",
        "labels_paper.csv": "0\n",
    }
    with pytest.raises(DataError, match=r"read as paper -> subject \(area\) or .*nodes_TYPE"):
        load(tmp_path, files)
    assert load(tmp_path, {"nodes_subject_area.csv": "0\n1\n"}).graph.relation_types == {
        "paper_subject_area": ("paper", "subject_area"),
        "covers": ("subject_area", "paper"),
    }
    with pytest.raises(DataError, match=r"paper -> subject \(area\) or paper -> subject_area; rename"):
        load(tmp_path, {"nodes_subject.csv": "0\n"})


def test_a_name_of_two_words_makes_its_types_known(tmp_path):
    dataset = load(tmp_path, {"edges_a_b.csv": "0,0\n", "edges_b_a_likes_much.csv": "1,0\n", "target.txt": "a"})
    assert dataset.graph.relation_types == {"a_b": ("a", "b"), "likes_much": ("b", "a")}


def test_a_relation_that_is_another_one_turned_round_counts_once(tmp_path):
    files = {"edges_a_b.csv": "0,0\n1,0\n", "edges_b_a_back.csv": "0,1\n0,0\n", "target.txt": "a"}
    assert load(tmp_path, files).graph.relation_types == {"a_b": ("a", "b")}


def test_the_target(tmp_path):
    edges = {"edges_a_b.csv": "0,0\n1,1\n"}
    with pytest.raises(DataError, match=r"no node type has labels in .*write one of a, b into .*target\.txt"):
        load(tmp_path, edges)
    assert load(tmp_path, {"splits_b.csv": "train\ntest\n"}).graph.target == "b"
    labelled = load(tmp_path, {"labels_b.csv": "0\n1\n"})
    assert labelled.graph.target == "b"
    with pytest.raises(DataError, match=r"more than one node type has labels in .*write one of a, b into"):
        load(tmp_path, {"labels_a.csv": "u,0\nv,1\n", "edges_a_b.csv": "u,0\nv,1\n"})
    chosen = load(tmp_path, {"target.txt": "\ufeffb\n\n"})
    assert chosen.graph.node_attrs.keys() == {"b"}
    assert chosen.other_ids == {"a": ["u", "v"]}  # labels of another type still name its nodes
    (tmp_path / "splits_b.csv").unlink()
    assert load(tmp_path, {"target.txt": "a"}).y.tolist() == [0, 1]
    only = tmp_path / "only"
    only.mkdir()
    assert load(only, {"edges_a_a.csv": "0,1\n"}).graph.target == "a"


def test_a_folder_of_interactions_or_of_one_type_stays_what_it_is(tmp_path):
    one = load(tmp_path, {"edges.csv": "0,1\n", "edges_old.csv": "0,1\n1,2\n"})
    assert one.graph.relations.keys() == {"edge"}
    shop = tmp_path / "shop"
    shop.mkdir()
    load(shop, {"edges_a_b.csv": "0,0\n", "target.txt": "a", "train.csv": "user,item\nu,i\nv,i\n"})
    assert load_dataset(shop).graph.target == "a"
    assert load_dataset(shop, kind="rec").graph.target == "user"


AB = {"edges_a_b.csv": "0,0\n1,1\n", "labels_a.csv": "0\n1\n"}
FEATURES = {"features_b.csv": "id,x\np,1\nq,2\n", "edges_a_b.csv": "0,p\n1,q\n"}
BAD = {
    "both kinds of edges": (
        {"edges.csv": "0,1\n"},
        r"both edges\.csv \(one node type\) and edges_a_b\.csv \(several\); keep",
    ),
    "two edges files": ({"edges_a_b.tsv": "0\t1\n"}, r"both edges_a_b\.csv and edges_a_b\.tsv; keep one"),
    "an ending": ({"edges_b_a.parquet": b""}, r"edges_b_a\.parquet has an ending that is not read; save it as \.csv"),
    "one type": ({"edges_b.csv": "0,1\n"}, r"edges_b\.csv names one node type, 'b'; call"),
    "one type with an underscore": (
        {"nodes_x_y.csv": "0\n", "edges_x_y.csv": "0,0\n"},
        r"edges_x_y\.csv names one node type",
    ),
    "nothing between": ({"edges_a__b.csv": "0,1\n"}, r"edges_a__b\.csv names one node type"),
    "no relation of the target": (
        {"edges_a_b.csv": None, "edges_c_b.csv": "0,0\n"},
        r"no relation in .* touches 'a', the type to embed \(there are c -> b\); add a file edges_SRC_a",
    ),
    "a target that is not there": ({"target.txt": "c"}, r"target\.txt names an unknown node type 'c'.*known: a, b"),
    "two targets": ({"target.txt": "a\nb"}, r"target\.txt has 2 lines; write one, the node type to embed \(a, b\)"),
    "an unreadable target": ({"target.txt": b"\xff\xfe\x00"}, r"cannot read .*target\.txt as UTF-8"),
    "a stray type": (
        {"features_bb.csv": "1\n"},
        r"features_bb\.csv is of 'bb', a type that no relation touches; rename it to features_b$",
    ),
    "another stray type": ({"nodes_other.csv": "1\n"}, r"nodes_other\.csv is of 'other', .*add edges or remove it"),
    "splits of another type": (
        {"splits_b.csv": "train\ntest\n"},
        r"splits_b\.csv splits 'b', but the type to embed is 'a'; remove",
    ),
    "out of range of features": (
        {"features_b.csv": "1\n2\n", "edges_a_b.csv": "# from a\n0,1\n1,2\n"},
        r"edges_a_b\.csv \(a -> b\) line 3 names b 2, out of range for the 2 of features_b\.csv \(0 to 1\); add",
    ),
    "out of range of labels": (
        {"edges_a_b.csv": "0,0\n2,0\n"},
        r"\(a -> b\) line 2 names a 2, out of range for the 2 of labels_a\.csv",
    ),
    "out of range in an array": (
        {"edges_b_a.npy": np.array([[0, 1, 1], [0, 1, 5]])},
        r"edges_b_a\.npy \(b -> a\) edge 2 names a 5, out of range for the 2 of labels_a",
    ),
    "an unknown id": (
        FEATURES | {"edges_a_b.csv": "0,p\n1,z\n"},
        r"edges_a_b\.csv \(a -> b\) line 2 names b 'z', which has no row in features_b\.csv; add the row or drop",
    ),
    "an unknown number in an array": (
        {"nodes_b.csv": "0\n7\n", "edges_a_b.csv": None, "edges_a_b.npy": np.array([[0, 1, 0], [7, 7, 8]])},
        r"edges_a_b\.npy \(a -> b\) edge 2 names b '8', which has no row in nodes_b\.csv",
    ),
    "not in the list of nodes": ({"nodes_b.csv": "0\n"}, r"line 2 names b '1', which has no row in nodes_b\.csv"),
    "words for rows": (
        {"features_b.csv": "1\n2\n", "edges_a_b.csv": "0,0\n1,x\n"},
        r"line 2 names b 'x', but where no file lists ids they are positions from 0; add a first column named id to features_b\.csv",
    ),
    "007 for a row": ({"features_b.csv": "1\n2\n", "edges_a_b.csv": "0,0\n1,01\n"}, r"line 2 names b '01', but"),
    "negative": ({"edges_a_b.csv": "0,0\n1,-4\n"}, r"\(a -> b\) line 2 names b -4, out of range"),
    "negative in an array": (
        {"edges_b_a.npy": np.array([[0], [-1]])},
        r"edges_b_a\.npy \(b -> a\): .*negative node id -1",
    ),
    "foreign keys": ({"edges_a_b.csv": "0,5000000001\n"}, r"nodes of type 'b': .*5000000001 but only 1 edges"),
    "huge id": (
        {"edges_a_b.csv": "0,99999999999999999999999\n"},
        r"line 1 names b '99999999999999999999999', but .*to a file nodes_b",
    ),
    "one column": ({"edges_a_b.csv": "0\n1\n"}, r"edges_a_b\.csv has 1 columns"),
    "no edges": ({"edges_a_b.csv": "\n"}, r"edges_a_b\.csv holds no rows"),
    "only a header": ({"edges_a_b.csv": "a,b\n"}, r"edges_a_b\.csv \(a -> b\) holds a header but no rows"),
    "an empty array": ({"edges_b_a.npy": np.zeros((2, 0), int)}, r"edges_b_a\.npy \(b -> a\): the graph has no edges"),
    "floats": ({"edges_b_a.npy": np.zeros((2, 1))}, r"edges_b_a\.npy \(b -> a\): .*integers, got float64"),
    "a matrix of another shape": (
        {"edges_b_a.npz": sp.csr_matrix(np.eye(2, 3))},
        r"edges_b_a\.npz \(b -> a\) is a matrix \[2, 3\] of 'b' by 'a', but labels_a\.csv has 2 of 'a'",
    ),
    "a matrix of nodes in no order": (
        {"edges_b_a.npz": sp.csr_matrix(np.eye(2)), "edges_a_b.csv": "0,p\n1,q\n"},
        r"edges_b_a\.npz \(b -> a\) is a matrix, but no file lists the ids of 'b'; add nodes_b",
    ),
    "an empty file of features": ({"features_b.csv": ""}, r"features_b\.csv holds no rows"),
    "an unreadable file": ({"features_b.csv": b"\xff\xfe\x00"}, r"cannot read .*features_b\.csv as UTF-8"),
    "a truncated file": ({"features_b.npy": b"\x93NUMPY"}, r"features_b\.npy is truncated"),
    "nan": (
        {"features_b.csv": "x,y\n1,2\n3,nan\n"},
        r"features_b\.csv line 3 has 'nan' in column 2 \('y'\), which is not finite",
    ),
    "nan in an array": (
        {"features_b.npy": np.array([[1.0], [np.nan]])},
        r"features_b\.npy: features hold 1 .*nan in row 1, column 0",
    ),
    "words as features": ({"features_b.csv": "1,2\n3,red\n"}, r"features_b\.csv line 2 has 'red' in column 2"),
    "features of another length": (
        {"features_b.csv": "1\n", "nodes_b.csv": "0\n1\n"},
        r"features_b\.csv has 1 rows, but nodes_b\.csv has 2; give one row a node",
    ),
    "two lists": (
        FEATURES | {"nodes_b.csv": "q\np\n"},
        r"nodes_b\.csv and .*features_b\.csv list other ids of 'b'.*keep one",
    ),
    "an id twice in features": (
        FEATURES | {"features_b.csv": "id,x\np,1\n\np,2\n"},
        r"features_b\.csv lists b 'p' in line 2 and in line 4; keep one row a node",
    ),
    "an id twice in nodes": ({"nodes_b.npy": np.array([1, 0, 1])}, r"nodes_b\.npy lists b '1' in row 0 and in row 2"),
    "an id twice in labels": (
        {"labels_a.csv": "id,y\n0,1\n1,1\n0,1\n"},
        r"labels_a\.csv lists a '0' in line 2 and in line 4",
    ),
    "an id twice in splits": (
        {"splits_a.csv": "id,s\n0,train\n1,test\n0,test\n"},
        r"splits_a\.csv lists a '0' in line 2 and in line 4",
    ),
    "two columns of nodes": ({"nodes_b.csv": "id,age\n0,3\n1,4\n"}, r"nodes_b\.csv has 2 columns; write one id a line"),
    "a heading or an id": (
        {"nodes_b.csv": "b\n0\n1\n"},
        r"nodes_b\.csv starts with 'b', an id or a heading; write the heading id",
    ),
    "nodes of floats": ({"nodes_b.npy": np.array([0.0, 1.0])}, r"nodes_b\.npy must hold a list of ids"),
    "labels of another length": (
        {"features_a.csv": "1\n2\n3\n"},
        r"labels_a\.csv: labels have 2 entries for 3 nodes; give one a node",
    ),
    "labels without ids": (
        {"edges_a_b.csv": "x,0\ny,1\n"},
        r"labels_a\.csv has no ids, but no file lists those of 'a' in order; add a first column named id, or a file nodes_a",
    ),
    "splits without ids": (
        {"edges_a_b.csv": "x,0\ny,1\n", "labels_a.csv": "x,0\n", "splits_a.csv": "train\ntest\n"},
        r"splits_a\.csv has no ids, but no file lists those of 'a'",
    ),
    "an unknown label": (
        {"labels_a.csv": "id,y\np,0\nz,1\n", "nodes_a.csv": "p\nq\n", "edges_a_b.csv": "p,0\n"},
        r"labels_a\.csv line 3 names a 'z', which has no row in nodes_a\.csv",
    ),
    "two columns of labels": (
        {"labels_a.csv": "id,year,month\n0,1,2\n1,1,2\n"},
        r"labels_a\.csv has the columns 'id', 'year', 'month', of which none is called label",
    ),
    "labels of three columns": ({"labels_a.csv": "0,5,1\n1,6,0\n"}, r"labels_a\.csv has 3 columns and no header"),
    "labels of other ids": (
        {"labels_a.csv": "id,label\nx,1\ny,0\n"},
        r"labels_a\.csv has the ids 'x' and so on, none of which the edges name \(they have '0'",
    ),
    "an index of labels among names": (
        {"nodes_a.csv": "p\nq\n", "edges_a_b.csv": "p,0\nq,1\n", "labels_a.csv": ",label\n0,1\n1,0\n"},
        r"labels_a\.csv counts its rows in the column '', but the ids of 'a' are others, such as 'p'; write them in",
    ),
    "another column of edges": (
        {"edges_a_b.csv": "a,b,year\n0,0,1999\n1,1,2000\n"},
        r"edges_a_b\.csv has 'year' beside the ends of an edge, 'a' and 'b'; call a weight 'weight'",
    ),
    "half a label": ({"labels_a.csv": "0\n1.5\n"}, r"labels_a\.csv line 2 has the label '1\.5'"),
    "an unknown part": ({"splits_a.csv": "train\nexam\n"}, r"splits_a\.csv line 2 has 'exam'"),
    "splits of another length": ({"splits_a.csv": "train\n"}, r"splits_a\.csv: splits must have shape \[2\]"),
    "a weight": ({"edges_a_b.csv": "0,0,x\n1,1,2\n"}, r"edges_a_b\.csv line 1 has 'x' in column 3"),
    "a negative weight": (
        {"edges_a_b.csv": "0,0,1\n1,1,-2\n"},
        r"edges_a_b\.csv line 2 has the weight -2",
    ),
    "two weights": (
        {"edges_a_b.csv": "0,0,1\n1,1,2\n0,0,1\n1,1,3\n"},
        r"edges_a_b\.csv \(a -> b\) lists one edge with the weight 2 in line 2 and 3 in line 4; keep one of them",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_one_sentence(tmp_path, case):
    changes, match = BAD[case]
    files = {name: content for name, content in (AB | changes).items() if content is not None}
    with pytest.raises(DataError, match=match) as caught:
        load(tmp_path, files)
    assert "\n" not in str(caught.value)


EDGES = st.lists(
    st.tuples(st.sampled_from("pqr"), st.sampled_from(("1", "01", "x"))), min_size=1, max_size=9, unique=True
)


@settings(deadline=None, max_examples=30)
@given(edges=EDGES.flatmap(lambda edges: st.tuples(st.just(edges), st.permutations(edges))), listed=st.booleans())
def test_the_order_of_edges_does_not_matter(tmp_path_factory, edges, listed):
    folder = tmp_path_factory.mktemp("rows")
    if listed:
        write(folder, {"nodes_a.csv": "p\nq\nr\n", "nodes_b.csv": "1\n01\nx\n"})

    def arcs(rows):
        found = load(folder, {"edges_a_b.csv": "".join(f"{a},{b}\n" for a, b in rows), "target.txt": "a"})
        a, b = found.node_ids or ["p", "q", "r"], found.other_ids.get("b") or ["0", "1"]
        named = {(a[i], b[j]) for i, j in found.graph.relations["a_b"].edge_index().t().tolist()}
        return found.fingerprint, named

    first, second = arcs(edges[0]), arcs(edges[1])
    assert first[1] == second[1] == set(edges[0])
    if listed:
        assert first[0] == second[0]


def test_what_data_info_says(tmp_path):
    write(tmp_path, NAMED)
    assert is_own_source(str(tmp_path))
    assert not is_own_source("hetero/acm")
    info = source_info(tmp_path)
    assert info["nodes"] == {"author": 3, "paper": 3, "venue": 2}
    assert info["arcs"] == {"author_paper (author -> paper)": 3, "paper_venue (paper -> venue)": 2}
    assert (info["target"], info["features"], info["classes"]) == ("paper", {"paper": 2}, 2)
    assert (info["splits"], info["with_ids"]) == (2, ["paper", "author", "venue"])
    assert info["fingerprint"] == load_dataset(tmp_path).fingerprint


def test_the_command_shows_a_folder(tmp_path):
    from typer.testing import CliRunner

    from gcl.cli.data import app

    write(tmp_path, NAMED)
    shown = CliRunner().invoke(app, ["info", str(tmp_path)])
    assert shown.exit_code == 0
    assert "author: 3, paper: 3, venue: 2" in shown.output
    assert "author_paper (author -> paper): 3" in shown.output
    refused = CliRunner().invoke(app, ["info", str(tmp_path), "--verify"])
    assert isinstance(refused.exception, DataError)


@pytest.mark.data
def test_acm_written_as_a_folder_is_acm(tmp_path, data_root):
    with np.load(data_root / "hetero" / "acm.npz") as z:
        arrays = dict(z)
    counts = dict(zip(arrays["node_types"].tolist(), arrays["num_nodes"].tolist(), strict=True))
    splits = np.full((counts["paper"], 3), 3)
    for column, name in enumerate(("20", "40", "60")):
        for code, part in enumerate(("train", "val", "test")):
            splits[arrays[f"{part}_{name}"], column] = code
    write(
        tmp_path,
        {
            f"edges_{name}.csv": "\n".join(f"{a},{b}" for a, b in arrays[f"edge_{name}"].T)
            for name in arrays["relations"]
        },
    )
    for kind in ("paper", "author"):
        keys = [f"feat_{kind}_{part}" for part in ("data", "indices", "indptr")]
        shape = arrays[f"feat_{kind}_shape"].tolist()
        write(tmp_path, {f"features_{kind}.npz": sp.csr_matrix(tuple(arrays[key] for key in keys), shape)})
    listed = "\n".join(map(str, range(counts["subject"])))
    write(tmp_path, {"labels_paper.npy": arrays["labels"], "splits_paper.npy": splits, "nodes_subject.txt": listed})
    archive = load_dataset("hetero/acm", data_root=data_root, transform=None)
    if "positive" in archive.graph.relations:
        pairs = arrays["pos_indices"], arrays["pos_indptr"]
        received = sp.csr_matrix((np.ones(pairs[0].size), *pairs), (counts["paper"],) * 2)
        write(tmp_path, {"edges_paper_paper_positive.npz": received.T.tocsr()})
    ours = load_dataset(tmp_path)
    assert ours.fingerprint == archive.fingerprint
    torch.testing.assert_close(ours.y, archive.y)
    torch.testing.assert_close(ours.splits, archive.splits)
    assert hetero_files(tmp_path).target == "paper"
