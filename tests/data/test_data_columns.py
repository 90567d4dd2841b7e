"""Which column of a file is what: headers, ids, an index that pandas writes, labels, ends and weights of edges."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from gcl.core.errors import DataError
from gcl.data.load import load_dataset
from gcl.evaluate.label_files import read_labels

PATH = "0,1\n1,2\n"  # three nodes
NAMED = "id,x\nalice,1\nbob,2\ncarol,3\n"
NAMES = "alice,bob\nbob,carol\n"


def load(folder, **files):
    for stem, content in files.items():
        for old in folder.glob(f"{stem}.*"):
            old.unlink()
        (folder / f"{stem}.csv").write_text(content, encoding="utf-8")
    return load_dataset(folder)


def weights(dataset):
    return dataset.graph.adjacency.to_dense().tolist()


def refused(match, folder, **files):
    with pytest.raises(DataError, match=match) as caught:
        load(folder, **files)
    assert "\n" not in str(caught.value)


# -- labels ----------------------------------------------------------------------------------------------------------

LABELS = {
    "named, not last": "id,label,year\n0,5,1999\n1,6,2000\n2,5,1998\n",
    "before a split": "id,label,split\n0,5,train\n1,6,test\n2,5,train\n",
    "first": "label,id\n5,0\n6,1\n5,2\n",
    "the only one beside the ids": "subject,id\n5,0\n6,1\n5,2\n",
    "class": "year,node,class\n1,0,5\n1,1,6\n1,2,5\n",
    "in another order": "id,y,year\n2,5,1\n0,5,2\n1,6,3\n",
    "an index": ",label,year\n0,5,1999\n1,6,2000\n2,5,1998\n",
    "an index called so": "index,label\n0,5\n1,6\n2,5\n",
    "a shuffled index": ",subject\n2,5\n1,6\n0,5\n",
    "an index that was read and written": ",Unnamed: 0,label\n0,2,5\n1,1,6\n2,0,5\n",
    "a series": ",0\n0,5\n1,6\n2,5\n",
    "a series with an index": "id,0\n1,6\n0,5\n2,5\n",
    "no header": "5\n6\n5\n",
}


@pytest.mark.parametrize("case", LABELS)
@pytest.mark.parametrize("features", [None, "1\n2\n3\n", "id,x\n0,1\n1,2\n2,3\n"])
def test_the_label_column_is_found_in_a_folder_and_alone(tmp_path, case, features):
    dataset = load(tmp_path, edges=PATH, labels=LABELS[case], **({} if features is None else {"features": features}))
    order = list(map(int, dataset.node_ids or range(3)))  # where labels name the nodes they say their order
    assert [dict(zip(order, dataset.y.tolist(), strict=True))[node] for node in range(3)] == [5, 6, 5]
    assert read_labels(tmp_path / "labels.csv").tolist() == [5, 6, 5]
    assert dataset.class_names == ()


def test_words_over_words(tmp_path):
    dataset = load(tmp_path, edges=NAMES, features=NAMED, labels="id,label,split\nbob,db,train\nalice,ml,test\n")
    assert dataset.class_names == ("db", "ml")
    assert dataset.y.tolist() == [1, 0, -1]
    dataset = load(tmp_path, labels="person,class\nbob,db\ncarol,ml\n")  # words beside the labels are ids
    assert dataset.y.tolist() == [-1, 0, 1]


UNCLEAR = {
    "no header": ("0,5,1\n1,6,0\n2,5,1\n", "3 columns and no header; write one, and call the ids 'id'"),
    "no name": ("id,year,month\n0,5,1\n1,6,0\n2,5,1\n", "'id', 'year', 'month', of which none is called label"),
    "two names": ("id,label,class\n0,5,1\n1,6,0\n2,5,1\n", "several are called label"),
    "numbers that may be ids": ("paper,label\n0,5\n1,6\n2,5\n", "'paper' beside the labels, which may or may not be"),
    "two more": ("label,year,month\n5,1,2\n6,1,2\n5,1,2\n", "'year', 'month' beside the labels"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_label_columns_that_are_not_known_are_refused(tmp_path, case):
    content, match = UNCLEAR[case]
    refused(match, tmp_path, edges=PATH, labels=content)
    with pytest.raises(DataError, match=match):
        read_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("content", "names", "y"),
    [
        ("y\nn\ny\n", ("n", "y"), [1, 0, 1]),  # a class, not a name: it is there again
        ("class\na\nb\nb\n", ("a", "b"), [0, 1, 1]),
    ],
)
def test_a_class_called_as_labels_are(tmp_path, content, names, y):
    dataset = load(tmp_path, edges=PATH, labels=content)
    assert (dataset.class_names, dataset.y.tolist()) == (names, y)
    assert read_labels(tmp_path / "labels.csv").tolist() == y


def test_a_node_called_as_columns_are_keeps_its_label(tmp_path):
    dataset = load(tmp_path, edges="head,neck\nneck,arm\n", labels="head,1\nneck,0\n")
    assert dict(zip(dataset.node_ids, dataset.y.tolist(), strict=True)) == {"head": 1, "neck": 0, "arm": -1}


def test_labels_of_other_nodes_than_those_of_the_edges_are_refused(tmp_path):
    refused(
        r"labels\.csv has the ids 'x' and so on, none of which the edges name \(they have '0'",
        tmp_path,
        edges=PATH,
        labels="title,label\nx,5\ny,6\nz,5\n",
    )


# -- an index --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index"])
def test_an_index_that_counts_the_rows_is_no_feature(tmp_path, name):
    dataset = load(
        tmp_path,
        edges=PATH,
        features=f"{name},a,b\n0,7,8\n1,5,6\n2,3,4\n",
        labels=f"{name},label\n0,1\n1,0\n2,1\n",
        splits=f"{name},first,second\n0,train,test\n1,valid,valid\n2,test,train\n",
    )
    assert dataset.node_ids is None
    assert dataset.graph.x.tolist() == [[7, 8], [5, 6], [3, 4]]
    assert dataset.y.tolist() == [1, 0, 1]
    assert dataset.splits.tolist() == [[0, 2], [1, 1], [2, 0]]


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index"])
def test_an_index_of_other_numbers_or_words_holds_ids(tmp_path, name):
    features = f"{name},a\n30,7\n10,5\n20,3\n"
    splits = f"{name},split\n10,test\n20,train\n30,valid\n"
    dataset = load(tmp_path, edges="10,20\n20,30\n", features=features, splits=splits)
    assert dataset.node_ids == ["30", "10", "20"]
    assert dataset.splits.tolist() == [[1], [2], [0]]
    assert weights(dataset) == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    (tmp_path / "splits.csv").unlink()
    dataset = load(tmp_path, edges=NAMES, features=f"{name},a\nbob,7\nalice,5\ncarol,3\n")
    assert dataset.node_ids == ["bob", "alice", "carol"]


@pytest.mark.parametrize(
    "features",
    [
        ",id,a\n0,x,7\n1,y,5\n",
        ",a,id\n0,7,x\n1,5,y\n",
        "a,id\n7,x\n5,y\n",
        ",Unnamed: 0,a\n0,x,7\n1,y,5\n",
        "index,name,a\n5,x,7\n4,y,5\n",
        ",0\nx,7\ny,5\n",
    ],
)
def test_ids_beside_an_index(tmp_path, features):
    dataset = load(tmp_path, edges="x,y\n", features=features)
    assert (dataset.node_ids, dataset.graph.x.tolist()) == (["x", "y"], [[7], [5]])


def test_features_without_names_have_an_index_all_the_same(tmp_path):
    dataset = load(tmp_path, edges=PATH, features=",0,1\n0,7,8\n1,5,6\n2,3,4\n")
    assert dataset.graph.x.tolist() == [[7, 8], [5, 6], [3, 4]]
    refused("line 1 has '' in column 1", tmp_path, features=",2,3\n0,7,8\n1,5,6\n")  # a value that is missing
    refused(
        "columns 'id' and 'node', each of which may hold the ids; leave out", tmp_path, features="id,node,a\n0,1,2\n"
    )


def test_an_index_among_nodes_with_other_names(tmp_path):
    counted = ",label\n0,5\n1,6\n2,7\n"
    match = r"labels\.csv counts its rows in the column '', but the ids of the nodes are others, such as 'alice'"
    refused(match, tmp_path, edges=NAMES, features=NAMED, labels=counted)
    match = match.replace("alice", "2")  # 0 may be the first row or the second
    refused(match, tmp_path, edges=PATH, features="id,x\n2,1\n0,2\n1,3\n", labels=counted)
    assert load(tmp_path, features="id,x\n0,1\n1,2\n2,3\n").y.tolist() == [5, 6, 7]
    refused(
        "counts its rows", tmp_path, edges=NAMES, features=NAMED, labels="5\n6\n7\n", splits=",s\n0,train\n1,test\n"
    )
    assert load(tmp_path, splits="train\ntest\nvalid\n").splits.tolist() == [[0], [2], [1]]
    refused("edges.csv names node 'alice' but .* has no id column", tmp_path, features=",x\n0,1\n1,2\n2,3\n")


@pytest.mark.parametrize("labels", [",label\n0,5\n1,6\n2,7\n", "5\n6\n7\n"])
def test_rows_without_ids_need_an_order_of_the_nodes(tmp_path, labels):
    refused(
        r"labels\.csv has no ids, but no file lists those of the nodes in order; add a first column named id$",
        tmp_path,
        edges=NAMES,
        labels=labels,
    )
    (tmp_path / "labels.csv").unlink()
    np.save(tmp_path / "splits.npy", np.array([0, 1, 2]))
    refused(r"splits\.npy has no ids", tmp_path, edges=NAMES)
    assert load(tmp_path, labels="id,label\nbob,1\ncarol,0\nalice,1\n").splits.tolist() == [[0], [1], [2]]


def test_an_index_in_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "edges.csv").write_text(PATH)

    def x(**columns):
        parquet.write_table(pyarrow.table(columns), tmp_path / "features.parquet")
        dataset = load_dataset(tmp_path)
        return dataset.node_ids, dataset.graph.x.tolist()

    a, b = [7.0, 5.0, 3.0], [8.0, 6.0, 4.0]
    pairs = [[7, 8], [5, 6], [3, 4]]
    assert x(a=a, b=b, __index_level_0__=[2, 0, 1]) == (["2", "0", "1"], pairs)
    assert x(a=a, b=b) == (None, pairs)
    assert x(id=[2, 0, 1], a=a, b=b) == (["2", "0", "1"], pairs)
    assert x(index=[0, 1, 2], a=a, b=b) == (None, pairs)
    with pytest.raises(DataError, match=r"row 1 has the id None in column 'id'; write text or whole numbers"):
        x(id=[2, None, 1], a=a, b=b)
    with pytest.raises(DataError, match="an id column but no features"):
        x(id=[2, 0, 1])


# -- splits ----------------------------------------------------------------------------------------------------------


def test_a_node_is_in_splits_once(tmp_path):
    twice = "id,split\nalice,train\nbob,test\nalice,test\n"
    match = r"splits\.csv lists node 'alice' in line 2 and in line 4; keep one row a node"
    refused(match, tmp_path, edges=NAMES, features=NAMED, splits=twice)
    refused(
        r"labels\.csv lists node 'bob' in line 1 and in line 3",
        tmp_path,
        labels="bob,1\nalice,1\nbob,1\n",
        splits=twice,
    )


def test_headers_of_splits(tmp_path):
    assert load(tmp_path, edges=PATH, splits=",0\n0,train\n1,test\n2,valid\n").splits.tolist() == [[0], [2], [1]]
    assert load(tmp_path, splits="valid\n2\n0\n").splits.tolist() == [[1], [2], [0]]
    assert load(tmp_path, splits=",train\ntest,valid\n2,0\n").splits.tolist() == [[3, 0], [2, 1], [2, 0]]
    refused("the column 'label' among the splits", tmp_path, splits="id,label,split\n0,1,train\n1,1,test\n2,0,test\n")


# -- edges -----------------------------------------------------------------------------------------------------------

TWO = [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]  # 0-2 and 1-3
HEAVY = [[0, 0, 5, 0], [0, 0, 0, 6], [5, 0, 0, 0], [0, 6, 0, 0]]
EDGES = {
    "an index": (",source,target\n0,2,0\n1,3,1\n", TWO),
    "an index of names": ("Unnamed: 0,source,target\n0,2,0\n1,3,1\n", TWO),
    "an index called so": ("index,src,dst\n7,0,2\n8,1,3\n", TWO),
    "an index over columns without names": (",0,1\n0,2,0\n1,3,1\n", TWO),
    "an index over other names": (",x,y\n0,2,0\n1,3,1\n", TWO),
    "two": (",Unnamed: 0,from,to\n0,7,2,0\n1,8,3,1\n", TWO),
    "an index and a weight": (",source,target,weight\n0,2,0,5\n1,3,1,6\n", HEAVY),
    "a weight first": ("weight,source,target\n5,0,2\n6,1,3\n", HEAVY),
    "a weight between": ("head,w,tail\n0,5,2\n1,6,3\n", HEAVY),
    "ids by name": ("Source_ID,Target_ID\n0,2\n1,3\n", TWO),
    "one end by name": ("value,source,paper\n5,0,2\n6,1,3\n", HEAVY),
    "no end by name": ("x,strength,y\n0,5,2\n1,6,3\n", HEAVY),
    "no header": ("0,2,5\n1,3,6\n", HEAVY),
}


@pytest.mark.parametrize("case", EDGES)
def test_the_columns_of_edges_are_found(tmp_path, case):
    content, expected = EDGES[case]
    dataset = load(tmp_path, edges=content)
    assert weights(dataset) == expected
    assert dataset.node_ids is None


STRANGE = {
    "another column": ("source,target,year\n0,2,1999\n1,3,2000\n", "'year' beside the ends of an edge, 'source' and"),
    "several": ("id,source,target,type,weight\n0,1,2,3,4\n", "'id', 'type' beside the ends"),
    "an unnamed one at the end": ("source,target,\n0,2,1\n", "'' beside the ends"),
    "two weights": ("source,target,weight,value\n0,2,1,1\n", "'weight', 'value' beside the ends"),
    "two sources": ("from,source,target\n0,2,1\n", "the columns 'from', 'source', 'target'; call one 'source'"),
    "unknown names": ("author,paper,year\n0,2,1999\n1,3,2000\n", "'year' beside the ends of an edge, 'author' and"),
    "an index and one column": (",source\n0,2\n1,3\n", r"no id in column 1|2 columns"),
    "an empty end": ("a,b\nb,\n", r"edges\.csv line 2 has no id in column 2; fill it in or drop"),
    "an empty source": (",b,2\nb,a,3\n", r"line 1 has no id in column 1"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_other_columns_of_edges_are_refused(tmp_path, case):
    content, match = STRANGE[case]
    refused(match, tmp_path, edges=content)


@pytest.mark.parametrize("word", ["head", "y", "name", "node", "from", "class", "source", "id", "index", "label"])
def test_a_first_edge_of_a_node_called_as_columns_are_is_an_edge(tmp_path, word):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = load(tmp_path, edges=f"{word},neck\nneck,arm\narm,hand\n")
        assert sorted(dataset.node_ids) == sorted([word, "neck", "arm", "hand"])
        assert load(tmp_path, edges=f"{word},neck,2\nneck,arm,3\n").node_ids == [word, "neck", "arm"]
        assert load(tmp_path, edges=f"neck,{word}\narm,{word}\n").node_ids == ["neck", "arm", word]


def test_a_first_edge_that_may_be_a_header_is_pointed_out(tmp_path):
    with pytest.warns(UserWarning, match=r"edges\.csv was read as an edge between 'node' and 'neighbour', .* nowhere"):
        load(tmp_path, edges="node,neighbour\na,b\nb,c\n")
    assert load(tmp_path, edges="from,to\na,b\n").node_ids == ["a", "b"]
    assert load(tmp_path, edges="node,neighbour\n0,1\n").node_ids is None


# -- the rest --------------------------------------------------------------------------------------------------------


def test_a_matrix_of_one_type_is_directed(tmp_path):
    sp.save_npz(tmp_path / "edges.npz", sp.csr_matrix(np.array([[0, 1], [0, 0]])))
    graph = load_dataset(tmp_path).graph
    assert graph.adjacency.edge_index().tolist() == [[0], [1]]


def test_many_ids_that_repeat_at_the_end_take_no_time(tmp_path):
    ids = [f"n{at}" for at in range(40_000)]
    rows = "".join(f"{name},1\n" for name in [*ids, ids[-1]])  # compared in pairs, a minute and more
    start = time.process_time()
    refused("'n39999' in line 40001 and in line 40002", tmp_path, edges="n0,n1\n", features="id,x\n" + rows)
    assert time.process_time() - start < 10


def test_a_class_that_is_called_as_columns_are_is_no_header(tmp_path):
    """Where it occurs again below, the first line is a node's."""
    for first, second in (("y", "n"), ("target", "control")):
        labels = f"alice,{first}\nbob,{second}\ncarol,{first}\n"
        dataset = load(tmp_path, edges=NAMES, labels=labels)
        assert dataset.node_ids == ["alice", "bob", "carol"]
        assert [dataset.class_names[label] for label in dataset.y.tolist()] == [first, second, first]
    dataset = load(tmp_path, edges=NAMES, labels="id,y\nalice,y\nbob,n\ncarol,y\n")
    assert [dataset.class_names[label] for label in dataset.y.tolist()] == ["y", "n", "y"]


def test_a_first_feature_that_may_be_ids_is_refused(tmp_path):
    refused(
        "'paper_id', which may hold ids; call it 'id'", tmp_path, edges=PATH, features="paper_id,f\n2,1\n0,2\n1,3\n"
    )
