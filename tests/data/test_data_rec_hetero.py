"""Interactions, graphs of several node types, and sources that are said to be a named dataset."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data, HeteroData

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.data.cards import card_names, read_card
from gcl.data.convert import from_pyg
from gcl.data.from_arrays import from_arrays
from gcl.data.load import load_dataset
from gcl.data.splits import get_splits

REC = [name for name in card_names() if name.startswith("rec/") and not read_card(name).embedded]
HETERO = [name for name in card_names() if name.startswith("hetero/")]


def interactions(**changes):
    # user 1 has no training item, user 3 nothing at all; item 4 is in no part
    arrays = {
        "num_users": np.int32(4),
        "num_items": np.int32(5),
        "train_indptr": np.array([0, 2, 2, 3, 3], np.int32),
        "train_indices": np.array([0, 3, 1], np.int32),
        "test_indptr": np.array([0, 1, 2, 2, 2], np.int32),
        "test_indices": np.array([2, 0], np.int32),
        "raw_rating": np.array([5, 3, 1], np.uint8),
        "split_kind": np.array("made here"),
    }
    arrays.update(changes)
    return {key: value for key, value in arrays.items() if value is not None}


def several_types(**changes):
    words = sp.csr_matrix(np.array([[1, 3, 0], [0, 0, 2], [0, 0, 0], [4, 0, 0]], np.float32))
    arrays = {
        "node_types": np.array(["paper", "author", "subject_area"]),
        "num_nodes": np.array([4, 3, 2]),
        "target_type": np.array("paper"),
        "relations": np.array(["paper_author", "paper_subject_area"]),
        "edge_paper_author": np.array([[0, 0, 3], [1, 2, 2]], np.int32),
        "edge_paper_subject_area": np.array([[0, 1, 2, 3], [0, 1, 1, 0]], np.int32),
        "labels": np.array([0, 1, 1, 0], np.int8),
        "feat_paper_data": words.data,
        "feat_paper_indices": words.indices,
        "feat_paper_indptr": words.indptr,
        "feat_paper_shape": np.array(words.shape),
        "feat_author_dense": np.array([[1, -1], [2, 0], [3, 3]], np.float32),
    }
    for name, (train, val, test) in {"20": ([0], [1], [2, 3]), "5": ([2, 2], [0], [1])}.items():
        arrays |= {f"train_{name}": np.array(train), f"val_{name}": np.array(val), f"test_{name}": np.array(test)}
    arrays.update(changes)
    return {key: value for key, value in arrays.items() if value is not None}


def save(path, arrays):
    np.savez(path, **arrays)
    return path


def csr(z, part):
    indices = z[f"{part}_indices"]
    shape = (int(z["num_users"]), int(z["num_items"]))
    return sp.csr_matrix((np.ones(len(indices), np.int8), indices, z[f"{part}_indptr"]), shape=shape)


# -- interactions ----------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("name", REC)
def test_every_set_of_interactions_equals_its_card(data_root, name):
    dataset = load_dataset(name, data_root=data_root)
    graph, statistics = dataset.graph, dataset.card.statistics
    assert dataset.info["verified"] is True
    assert dataset.info["transform"] == []
    assert graph.target == "user"
    assert graph.num_nodes_by_type == {"user": statistics["users"], "item": statistics["items"]}
    assert graph.relation_types == {"interaction": ("item", "user")}
    assert graph.adjacency.num_arcs == statistics["train"]
    assert {part: pairs.shape for part, pairs in dataset.held.items()} == {
        part: (2, statistics[part]) for part in ("valid", "test") if part in statistics
    }
    with np.load(data_root / f"{name}.npz") as z:
        train = csr(z, "train")
        ours = sp.csr_matrix(
            (np.ones(graph.adjacency.num_arcs, np.int8), graph.adjacency.col, graph.adjacency.row_ptr), train.shape
        )
        assert (ours != train).nnz == 0
        for part, (user, item) in dataset.held.items():
            held = sp.csr_matrix((np.ones(len(user), np.int8), (user, item)), train.shape)
            assert (csr(z, part) != held).nnz == 0
            assert train.multiply(held).nnz == 0


def test_interactions_of_ones_own(tmp_path):
    arrays = interactions()
    dataset = load_dataset(save(tmp_path / "shop.npz", arrays))
    graph = dataset.graph
    assert (dataset.name, dataset.card, dataset.y, dataset.splits) == ("shop", None, None, None)
    assert (graph.num_nodes, graph.num_nodes_by_type["item"], graph.features) == (4, 5, {})
    np.testing.assert_array_equal(graph.adjacency.to_dense(), csr(arrays, "train").toarray())
    np.testing.assert_array_equal(graph.adjacency.t().to_dense(), csr(arrays, "train").toarray().T)
    assert {part: pairs.tolist() for part, pairs in dataset.held.items()} == {"test": [[0, 1], [2, 0]]}
    assert dataset.held["test"].dtype == torch.int64
    assert dataset.info["raw_rating"].tolist() == [5, 3, 1]
    assert dataset.info["split_kind"] == "made here"
    assert dataset.info["transform"] == []
    assert load_dataset(dataset).held == dataset.held
    plain = load_dataset(save(tmp_path / "train_only.npz", interactions(test_indptr=None, test_indices=None)))
    assert plain.held == {}
    assert plain.fingerprint == dataset.fingerprint  # what is held out is not trained on


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_users": None}, "num_users"),
        ({"num_items": np.int32(0)}, "num_items"),
        ({"num_items": np.int32(3)}, "train interactions that contradict"),
        ({"num_users": np.int32(3)}, "train interactions that contradict"),
        ({"train_indices": None}, "no key train_indices"),
        ({"test_indptr": None}, "no key test_indptr"),
        ({"test_indices": np.array([2.0, 0.5])}, "test interactions whose indices"),
        ({"test_indices": np.array([-1, 0])}, "test interactions that contradict"),
        ({"test_indices": np.array([3, 0])}, "1 pairs in both train and test, the first user 0, item 3"),
        ({"train_indptr": np.zeros(5, int), "train_indices": np.zeros(0, int)}, "no training interactions"),
    ],
)
def test_bad_interactions_are_one_sentence(tmp_path, changes, match):
    with pytest.raises(DataError, match=match) as caught:
        load_dataset(save(tmp_path / "bad.npz", interactions(**changes)))
    assert "\n" not in str(caught.value)


# -- several node types ----------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("name", HETERO)
def test_every_heterogeneous_set_equals_its_card(data_root, name):
    dataset = load_dataset(name, data_root=data_root)
    graph, statistics = dataset.graph, dataset.card.statistics
    assert dataset.info["verified"] is True
    assert dataset.info["transform"] == list(dataset.card.transform)
    assert graph.target == statistics["target"]
    assert graph.num_nodes_by_type == statistics["nodes_by_type"]
    assert graph.spec.in_channels == statistics["features_by_type"]
    edges = {key: value.num_arcs for key, value in graph.relations.items() if key != "positive"}
    assert edges == statistics["edges_by_relation"]
    assert dataset.num_classes == statistics["classes"]
    assert dataset.info["split_names"] == ["20", "40", "60"]
    assert dataset.info.get("split_repeats") == ({"40": 1, "60": 5} if name == "hetero/imdb" else None)
    with np.load(data_root / f"{name}.npz") as z:
        np.testing.assert_array_equal(dataset.y, z["labels"])
        for column, split in enumerate(dataset.info["split_names"]):
            for code, part in enumerate(("train", "val", "test")):
                nodes = (get_splits(graph)[:, column] == code).nonzero().squeeze(1)
                np.testing.assert_array_equal(nodes, np.unique(z[f"{part}_{split}"]))
        if "pos_indices" in z:
            ours = graph.relations["positive"]
            np.testing.assert_array_equal(ours.row_ptr, z["pos_indptr"])
            np.testing.assert_array_equal(ours.col, z["pos_indices"].astype(np.int64))
        assert ("positive" in graph.relations) == ("pos_indices" in z)
        for relation, (source, receiver) in graph.relation_types.items():
            if relation == "positive":
                continue
            row, col = z[f"edge_{relation}"]
            shape = (graph.num_nodes_by_type[source], graph.num_nodes_by_type[receiver])
            stored = sp.csr_matrix((np.ones(row.size), (row, col)), shape)
            ours = graph.relations[relation]
            received = sp.csr_matrix((np.ones(ours.num_arcs), ours.col, ours.row_ptr), ours.shape)
            assert (received != stored.T).nnz == 0


def test_several_node_types_of_ones_own(tmp_path):
    dataset = load_dataset(save(tmp_path / "mine.npz", several_types()), transform="row_normalize")
    graph = dataset.graph
    assert graph.target == "paper"
    assert graph.relation_types == {
        "paper_author": ("paper", "author"),
        "paper_subject_area": ("paper", "subject_area"),
    }
    expected = np.zeros((3, 4))
    expected[1, 0] = expected[2, 0] = expected[2, 3] = 1  # authors receive from papers
    np.testing.assert_array_equal(graph.relations["paper_author"].to_dense(), expected)
    np.testing.assert_array_equal(graph.relations["paper_author"].t().to_dense(), expected.T)
    assert graph.spec.in_channels == {"paper": 3, "author": 2}
    assert graph.x.tolist() == [[0.25, 0.75, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert graph.features["author"].tolist() == [[1, -1], [2, 0], [3, 3]]  # a transform is of the target type
    assert dataset.info["transform"] == ["row_normalize"]
    assert dataset.info["split_names"] == ["5", "20"]
    assert dataset.info["split_repeats"] == {"5": 1}
    assert dataset.splits.tolist() == [[1, 0], [2, 1], [0, 2], [3, 2]]
    assert dataset.y.tolist() == [0, 1, 1, 0]


def test_optional_parts_of_several_node_types(tmp_path):
    gone = [key for key in several_types() if key.startswith(("feat_", "train_", "val_", "test_", "labels"))]
    dataset = load_dataset(save(tmp_path / "bare.npz", several_types(**dict.fromkeys(gone))), transform="binarize")
    assert dataset.graph.features == {}
    assert dataset.graph.node_attrs == {"paper": {}}
    assert "split_names" not in dataset.info
    assert dataset.info["transform"] == []  # there was nothing to transform
    wide = sp.random(4, 500, 0.01, "csr", random_state=0)
    parts = {"data": wide.data, "indices": wide.indices, "indptr": wide.indptr, "shape": np.array(wide.shape)}
    path = save(tmp_path / "wide.npz", several_types(**{f"feat_paper_{key}": part for key, part in parts.items()}))
    assert isinstance(load_dataset(path).graph.features["paper"], Adjacency)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_nodes": None}, "no key num_nodes"),
        ({"num_nodes": np.array([4, 3])}, "num_nodes for each"),
        ({"target_type": np.array("venue")}, "target type 'venue'"),
        ({"relations": np.array(["paper_venue"])}, "relation 'paper_venue'"),
        ({"relations": np.array([], dtype="U1")}, "no relations"),
        ({"edge_paper_author": None}, "key edge_paper_author"),
        ({"edge_paper_author": np.array([[0], [3]])}, "relation 'paper_author'.* edge 0 names node 3 of type"),
        ({"labels": np.array([0, 1])}, "2 entries for 4 nodes"),
        ({"val_20": np.array([0])}, "node 0 in val_20 and in the train part"),
        ({"val_20": np.array([9])}, "nodes from 0 to 3 in val_20"),
        ({"feat_author_dense": np.ones((2, 2))}, "2 rows of features for 3 nodes of 'author'"),
        ({"feat_paper_indptr": None}, "no key feat_paper_indptr"),
        ({"feat_paper_indices": np.array([0, 1, 2, 7])}, "features of paper that contradict"),
    ],
)
def test_bad_archives_of_several_types_are_one_sentence(tmp_path, changes, match):
    with pytest.raises(DataError, match=match) as caught:
        load_dataset(save(tmp_path / "bad.npz", several_types(**changes)))
    assert "\n" not in str(caught.value)


def test_hetero_data_keeps_weights_and_every_relation():
    data = HeteroData()
    data["paper"].x, data["paper"].y = torch.rand(3, 2), torch.tensor([0, 1, 0])
    data["author"].num_nodes = 2
    data["author", "to", "paper"].edge_index = torch.tensor([[0, 1], [2, 0]])
    data["author", "to", "paper"].edge_weight = torch.tensor([0.5, 2.0])
    data["paper", "to", "author"].edge_index = torch.tensor([[2, 0], [1, 0]])
    data["paper", "to", "author"].edge_attr = torch.tensor([[3.0], [4.0]])
    data["paper", "cites", "paper"].edge_index = torch.tensor([[0, 0], [1, 1]])
    data["paper", "cites", "paper"].edge_attr = torch.rand(2, 3)  # not one number an edge, so no weight
    graph = from_pyg(data)
    assert graph.relation_types == {
        "author__to__paper": ("author", "paper"),
        "paper__to__author": ("paper", "author"),
        "cites": ("paper", "paper"),
    }
    assert graph.relations["author__to__paper"].to_dense().tolist() == [[0, 2], [0, 0], [0.5, 0]]
    assert graph.relations["paper__to__author"].to_dense().tolist() == [[4, 0, 0], [0, 0, 3]]
    assert graph.relations["cites"].weight is None
    assert graph.relations["cites"].num_arcs == 1
    data["author", "to", "paper"].edge_weight = torch.tensor([0.5, -2.0])
    with pytest.raises(DataError, match="negative"):
        from_pyg(data)


# -- sources that are a named dataset --------------------------------------------------------------------------------


def computers():
    return Data(x=torch.tensor([[1.0, 3.0], [2.0, 2.0]]), edge_index=torch.tensor([[0, 1], [1, 0]]))


def test_an_object_that_is_a_named_dataset_gets_its_card():
    dataset = load_dataset(computers(), name="amazon-computers")
    assert (dataset.name, dataset.card) == ("node/amazon_computers", read_card("node/amazon_computers"))
    assert dataset.info["transform"] == ["row_normalize"]
    assert dataset.graph.x.tolist() == [[0.25, 0.75], [0.5, 0.5]]
    raw = load_dataset(computers(), name="node/amazon_computers", transform=None)
    assert (raw.name, raw.info["transform"]) == ("node/amazon_computers", [])
    assert raw.graph.x.tolist() == [[1, 3], [2, 2]]
    assert load_dataset(computers(), name="node/wikics").info["transform"] == []
    assert load_dataset(computers()).card is None
    assert load_dataset(computers()).info["transform"] == []
    given = load_dataset(computers(), name="node/amazon_computers", features=np.array([[1.0, 1.0], [4.0, 0.0]]))
    assert given.info["transform"] == []  # other features than those of the card
    named_later = load_dataset(load_dataset(computers()), name="node/amazon_computers")
    assert named_later.graph.x.tolist() == dataset.graph.x.tolist()
    again = load_dataset(dataset, name="node/amazon_computers")
    assert again.graph.x.tolist() == dataset.graph.x.tolist()
    assert again.info["transform"] == ["row_normalize"]


def test_a_path_that_is_a_named_dataset_gets_its_card(tmp_path):
    path = save(tmp_path / "download.npz", several_types())
    dataset = load_dataset(path, name="acm", kind="hetero")
    assert (dataset.name, dataset.info["transform"]) == ("hetero/acm", ["row_normalize"])
    assert load_dataset(str(path), name="hetero/aminer").info["transform"] == []
    shop = load_dataset(save(tmp_path / "shop.npz", interactions()), name="gowalla")
    assert (shop.name, sorted(shop.held)) == ("rec/gowalla", ["test"])


def test_a_wrong_name_is_refused(tmp_path):
    with pytest.raises(DataError, match="did you mean 'node/wikics'"):
        load_dataset(computers(), name="node/wikicss")
    with pytest.raises(DataError, match="is dataset node/karate, not node/cora"):
        load_dataset("karate", name="cora")
    with pytest.raises(DataError, match="form of the rec sets, so it is not node/cora"):
        load_dataset(save(tmp_path / "shop.npz", interactions()), name="cora")
    with pytest.raises(DataError, match="form of the node or cluster sets, so it is not hetero/imdb"):
        load_dataset(from_arrays([[0], [1]]), name="imdb")
    assert load_dataset("karate", name="node/karate").name == "node/karate"


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("node/wikics", "datasets.WikiCS"),
        ("node/amazon_computers", 'name="Computers"'),
        ("node/blogcatalog", 'name="BlogCatalog"'),
    ],
)
def test_sets_without_an_archive_say_how_to_get_them(tmp_path, name, call):
    with pytest.raises(DataError, match=rf"{name}\.npz") as caught:
        load_dataset(name, data_root=tmp_path)
    assert call in str(caught.value)
    assert f'name="{name}"' in str(caught.value)
    (tmp_path / "node").mkdir()
    arrays = {"num_nodes": np.int32(2), "edge_index": np.array([[0], [1]]), "x": np.array([[1.0, 3.0], [2.0, 2.0]])}
    save(tmp_path / f"{name}.npz", arrays)
    dataset = load_dataset(name, data_root=tmp_path)
    assert "verified" not in dataset.info  # there is no checksum to compare with
    assert dataset.info["transform"] == list(read_card(name).transform)
