"""Loading by name, path and object; embedded sets; transforms; fingerprints."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.data.cards import card_names, read_card
from gcl.data.dataset import Dataset
from gcl.data.fingerprint import graph_fingerprint
from gcl.data.from_arrays import from_arrays
from gcl.data.load import load_dataset
from gcl.data.splits import get_splits
from gcl.data.transforms import TRANSFORMS, apply_transform

GRAPHS = [
    name for name in card_names() if name.startswith(("node/", "cluster/")) and read_card(name).sha256 is not None
]


def archive(**changes):
    x = sp.csr_matrix(np.diag([1, 2, 3, 4]).astype(np.uint8))
    arrays = {
        "num_nodes": np.int32(4),
        "num_edges": np.int32(3),
        "edge_index": np.array([[0, 0, 1], [1, 2, 3]], np.int32),
        "x_data": x.data,
        "x_indices": x.indices,
        "x_indptr": x.indptr,
        "x_shape": np.array([4, 4], np.int32),
        "y": np.array([0, 1, -1, 1], np.int32),
        "splits": np.array([[0, 1, 2, 3], [1, 0, 2, 2]], np.uint8),
        "class_names": np.array(["zero", "one"]),
    }
    arrays.update(changes)
    return {key: value for key, value in arrays.items() if value is not None}


def save(path, **changes):
    np.savez(path, **archive(**changes))
    return path


# -- archives --------------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("name", GRAPHS)
def test_every_archive_equals_its_card(data_root, name):
    dataset = load_dataset(name, data_root=data_root)
    statistics, graph = dataset.card.statistics, dataset.graph
    loops = graph.adjacency.is_loop
    num_loops = 0 if loops is None else int(loops.sum())
    assert dataset.name == name
    assert dataset.info["verified"] is True
    assert graph.num_nodes == statistics["nodes"]
    assert graph.adjacency.num_arcs == 2 * statistics["edges"] + num_loops
    assert num_loops == statistics.get("self_loops", 0)
    assert graph.adjacency.symmetric
    assert graph.spec.in_channels == {"node": statistics["features"]}
    assert dataset.num_classes == statistics["classes"]
    assert int(dataset.y.unique().numel()) == statistics["classes"]
    assert (0 if dataset.splits is None else dataset.splits.shape[1]) == statistics.get("splits", 0)
    assert dataset.info["transform"] == list(dataset.card.transform)


@pytest.mark.data
@pytest.mark.parametrize("name", ["node/cora", "cluster/usps", "node/cora_ml"])
def test_features_and_edges_equal_a_plain_reading(data_root, name):
    z = np.load(data_root / f"{name}.npz")
    if "x" in z.files:
        x = z["x"]
    else:
        x = sp.csr_matrix((z["x_data"].astype(np.float32), z["x_indices"], z["x_indptr"]), shape=tuple(z["x_shape"]))
        x = x.toarray()
    graph = load_dataset(name, data_root=data_root, transform=None).graph
    np.testing.assert_array_equal(graph.x, x)
    both = np.concatenate([z["edge_index"], z["edge_index"][::-1]], axis=1)
    arcs = graph.adjacency.edge_index().numpy()
    assert set(map(tuple, arcs.T)) == set(map(tuple, both.T))
    np.testing.assert_array_equal(graph.attr("y"), z["y"])


@pytest.mark.data
def test_transforms_of_cards(data_root):
    cora = load_dataset("cora", data_root=data_root).graph.x
    torch.testing.assert_close(cora.sum(1), torch.ones(2708))
    coauthor = load_dataset("coauthor-cs", data_root=data_root).graph.features["node"]
    first = coauthor.values()[coauthor.row == 0]
    assert first.unique().numel() == 1  # binary, then divided by the row's sum
    usps = load_dataset("usps", data_root=data_root).graph.x
    assert (float(usps.min()), float(usps.max())) == (0.0, 2.0)
    assert load_dataset("cora", data_root=data_root, transform="none").graph.x.unique().tolist() == [0, 1]


def test_an_archive_of_ones_own(tmp_path):
    dataset = load_dataset(save(tmp_path / "mine.npz"))
    assert dataset.name == "mine"
    assert dataset.card is None
    assert dataset.class_names == ("zero", "one")
    assert dataset.graph.x.diagonal().tolist() == [1, 2, 3, 4]
    assert dataset.y.tolist() == [0, 1, -1, 1]
    assert dataset.splits.tolist() == [[0, 1], [1, 0], [2, 2], [3, 2]]
    assert dataset.graph.adjacency.num_arcs == 6
    assert "verified" not in dataset.info


def test_optional_keys_of_an_archive(tmp_path):
    path = save(
        tmp_path / "a.npz", directed=np.bool_(True), edge_weight=np.array([1, 2, 3.0]), self_loops=np.array([3])
    )
    matrix = load_dataset(path).graph.adjacency.to_dense()
    expected = np.zeros((4, 4))
    expected[1, 0], expected[2, 0], expected[3, 1], expected[3, 3] = 1, 2, 3, 1
    np.testing.assert_array_equal(matrix, expected)
    bare = save(tmp_path / "b.npz", **dict.fromkeys(["x_data", "x_indices", "x_indptr", "x_shape", "y", "splits"]))
    assert load_dataset(bare).graph.features == {}


def test_another_checksum_is_recorded_not_refused(tmp_path):
    (tmp_path / "node").mkdir()
    save(tmp_path / "node" / "cora.npz")
    dataset = load_dataset("Cora", data_root=tmp_path)
    assert dataset.name == "node/cora"
    assert dataset.info["verified"] is False
    torch.testing.assert_close(dataset.graph.x.sum(1), torch.ones(4))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"edge_index": None}, "no key edge_index"),
        ({"num_edges": np.int32(9)}, "num_edges 9 but holds 3"),
        ({"num_nodes": np.int32(7)}, "4 rows for 7 nodes"),
        ({"edge_index": np.array([[0, 0, 1], [1, 2, 4]], np.int32)}, "node id 4"),
        ({"x_indices": np.array([0, 1, 2, 9], np.int32)}, "contradict"),
        ({"x_indptr": np.array([0, 1, 2], np.int32)}, "contradict"),
        ({"x_shape": None}, "no key x_shape"),
        ({"y": np.array([0, 1], np.int32)}, "2 entries for 4 nodes"),
        ({"splits": np.zeros((4, 3), np.uint8)}, "splits must have shape"),
        ({"x": np.full((4, 2), np.nan)}, "8 values"),
        ({"train_indptr": np.zeros(3, np.int32)}, "num_users"),
        ({"node_types": np.array(["a", "b"])}, "several node types"),
    ],
)
def test_bad_archives_are_one_sentence(tmp_path, changes, match):
    with pytest.raises(DataError, match=match) as caught:
        load_dataset(save(tmp_path / "bad.npz", **changes))
    assert "\n" not in str(caught.value)


def test_truncated_and_foreign_files_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **archive())
    content = buffer.getvalue()
    path = tmp_path / "cut.npz"
    for length in (0, 1, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.npz is truncated or not"):
            load_dataset(path)
    damaged = bytearray(content)
    damaged[60:90] = b"\0" * 30
    path.write_bytes(bytes(damaged))
    with pytest.raises(DataError, match=r"cut\.npz"):
        load_dataset(path)
    path.write_bytes(b"hello, I am a text file")
    with pytest.raises(DataError, match="truncated or not"):
        load_dataset(path)
    with open(path, "wb") as stream:
        np.save(stream, np.ones(3))
    with pytest.raises(DataError, match="single array"):
        load_dataset(path)


def test_pickled_objects_are_never_loaded(tmp_path):
    path = tmp_path / "pickle.npz"
    np.savez(path, **{**archive(), "edge_index": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(DataError, match="pickled objects"):
        load_dataset(path)


# -- names and paths -------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("GCL_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"node/pubmed\.npz.*GCL_DATA"):
        load_dataset("pubmed")
    with pytest.raises(DataError, match="did you mean 'cora'"):
        load_dataset("coraa")
    with pytest.raises(DataError, match="no file or folder"):
        load_dataset("./nowhere")
    with pytest.raises(DataError, match="no file or folder"):
        load_dataset(tmp_path / "nothing.npz")
    with pytest.raises(DataError, match="no file or folder"):
        load_dataset("some/where")
    with pytest.raises(DataError, match="cluster/acm or hetero/acm"):
        load_dataset("acm")
    for name in ("rec/gowalla", "hetero/acm"):
        with pytest.raises(DataError, match=rf"{name}\.npz.*GCL_DATA"):
            load_dataset(name)
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(DataError, match=r"not an \.npz archive"):
        load_dataset(tmp_path / "a.md")
    with pytest.raises(DataError, match="collection 'nodes'"):
        load_dataset("cora", kind="nodes")
    with pytest.raises(DataError, match=r"cannot load a builtins\.int"):
        load_dataset(3)


# -- objects ---------------------------------------------------------------------------------------------------------


def test_objects_of_all_kinds_give_the_same_graph():
    from torch_geometric.data import Data

    x = torch.rand(5, 3)
    edges = torch.tensor([[0, 1, 1, 4], [1, 0, 4, 1]])
    expected = from_arrays(edges, x)
    matrix = sp.coo_matrix((np.ones(4), edges.numpy()), shape=(5, 5))
    network = nx.from_scipy_sparse_array(matrix)
    for u, v in network.edges:
        network.edges[u, v].clear()
    sources = [
        (Data(x=x, edge_index=edges), None),
        (SimpleNamespace(x=x, edge_index=edges), None),
        (matrix, x),
        (sp.csr_array(matrix), x),
        (network, x),
        (expected, None),
        (Dataset("mine", expected), None),
    ]
    for source, features in sources:
        dataset = load_dataset(source, features=features)
        assert isinstance(dataset, Dataset)
        assert dataset.fingerprint == graph_fingerprint(expected), type(source)


def test_a_pyg_dataset_of_one_graph_is_taken_and_of_several_refused():
    from torch_geometric.data import Data, InMemoryDataset

    class Few(InMemoryDataset):
        def __init__(self, count):
            super().__init__(None)
            graphs = [Data(x=torch.rand(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]])) for _ in range(count)]
            self.data, self.slices = self.collate(graphs)

    assert load_dataset(Few(1)).graph.num_nodes == 2
    with pytest.raises(DataError, match="2 graphs"):
        load_dataset(Few(2))


def test_a_matrix_alone_asks_for_features():
    with pytest.raises(DataError, match="features="):
        load_dataset(sp.eye(4))
    identity = load_dataset(sp.eye(4), features=sp.eye(4), sparse=False)
    assert torch.equal(identity.graph.x, torch.eye(4))
    with pytest.raises(DataError, match="3 rows for 4 nodes"):
        load_dataset(sp.eye(4), features=np.ones((3, 2)))


def test_networkx_keeps_its_names():
    dataset = load_dataset(nx.path_graph(["007", "b"]), features=np.eye(2))
    assert dataset.node_ids == ["007", "b"]


def test_a_dataset_passes_unchanged_and_can_be_transformed():
    dataset = load_dataset("karate")
    assert load_dataset(dataset) is dataset
    changed = load_dataset(dataset, transform="row_normalize", sparse=False)
    assert isinstance(changed.graph.features["node"], torch.Tensor)
    assert changed.info["transform"] == ["row_normalize"]
    assert changed.name == "node/karate"


# -- embedded sets ---------------------------------------------------------------------------------------------------


def test_karate_is_the_club():
    dataset = load_dataset("Karate")
    club = nx.karate_club_graph()
    np.testing.assert_array_equal(dataset.graph.adjacency.to_dense(), nx.to_numpy_array(club, weight=None))
    assert torch.equal(dataset.graph.x, torch.eye(34))
    assert [dataset.class_names[label] for label in dataset.y] == [club.nodes[node]["club"] for node in club]
    assert dataset.num_classes == 2
    assert dataset.splits is None


def test_digits_are_joined_to_their_nearest_neighbours():
    from sklearn.datasets import load_digits

    dataset = load_dataset("digits")
    bunch = load_digits()
    np.testing.assert_array_equal(dataset.graph.x, (bunch.data / 16).astype(np.float32))
    np.testing.assert_array_equal(dataset.y, bunch.target)
    pixels = bunch.data.astype(np.int64)  # exact distances
    distance = (pixels**2).sum(1)[:, None] + (pixels**2).sum(1) - 2 * pixels @ pixels.T
    np.fill_diagonal(distance, 2**40)
    neighbor = np.argsort(distance, axis=1, kind="stable")[:, :10]  # stable: ties by the smallest index
    expected = np.zeros((1797, 1797), bool)
    expected[np.arange(1797)[:, None], neighbor] = True
    expected |= expected.T
    np.testing.assert_array_equal(dataset.graph.adjacency.to_dense().numpy() > 0, expected)
    statistics = dataset.card.statistics
    assert dataset.graph.adjacency.num_arcs == 2 * statistics["edges"]
    assert (dataset.graph.num_nodes, dataset.num_classes) == (statistics["nodes"], statistics["classes"])
    assert get_splits(dataset.graph, 2).shape == (1797, 2)


# -- transforms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("sparse", [True, False])
def test_transforms_agree_with_plain_code(name, sparse):
    x = np.array([[0, 2, 6], [0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]])
    plain = {
        "row_normalize": x / np.maximum(x.sum(1, keepdims=True), 1e-38),
        "binarize": (x > 0).astype(float),
        "shift_min": x - x.min(),
    }
    graph = from_arrays([[0], [1]], x, sparse=sparse)
    before = graph.x.clone()
    changed = apply_transform(graph, name)
    np.testing.assert_allclose(changed.x, plain[name], rtol=1e-6)
    assert isinstance(changed.features["node"], Adjacency) == sparse
    assert torch.equal(graph.x, before)


def test_transforms_are_applied_in_order_and_checked():
    graph = from_arrays([[0], [1]], [[1.0, 3.0], [2.0, 0.0]])
    both = apply_transform(graph, ["binarize", "row_normalize"])
    assert both.x.tolist() == [[0.5, 0.5], [1, 0]]
    for nothing in (None, "none", (), ["none"]):
        assert apply_transform(graph, nothing) is graph
    with pytest.raises(ConfigError, match="row_normalize"):
        apply_transform(graph, "row_normalise")
    with pytest.raises(ConfigError, match="'scale'"):
        load_dataset("karate", transform="scale")
    negative = from_arrays([[0], [1]], [[1.0, -3.0], [2.0, 0.0]])
    with pytest.raises(DataError, match="-3"):
        apply_transform(negative, "row_normalize")
    assert apply_transform(negative, "shift_min").x.tolist() == [[4, 0], [5, 3]]
    featureless = from_arrays([[0], [1]])
    assert apply_transform(featureless, "binarize") is featureless


# -- fingerprints ----------------------------------------------------------------------------------------------------


def test_the_fingerprint_sees_structure_and_features_only():
    x = np.arange(8.0).reshape(4, 2)
    edges = np.array([[0, 1, 2], [1, 2, 3]])
    graph = from_arrays(edges, x)
    same = [
        from_arrays(edges[:, ::-1], x, [0, 1, 0, 1], splits=[0, 1, 2, 3]),
        dataclasses.replace(graph, node_id={"node": torch.arange(4)}),
        dataclasses.replace(
            graph, relations={"edge": dataclasses.replace(graph.adjacency, edge_id=torch.arange(6).flip(0))}
        ),
    ]
    for other in same:
        assert graph_fingerprint(other) == graph_fingerprint(graph)
    different = [
        from_arrays(edges, x + 1),
        from_arrays(edges, x.T.reshape(4, 2)),
        from_arrays(edges, np.hstack([x, x])),
        from_arrays(edges, x, sparse=True),
        from_arrays(edges, x, edge_weight=[1, 1, 2]),
        from_arrays(edges, x, directed=True),
        from_arrays(edges[:, :2], x),
        from_arrays(edges),
    ]
    prints = {graph_fingerprint(other) for other in [graph, *different]}
    assert len(prints) == 1 + len(different)


def test_the_fingerprint_is_equal_in_another_process():
    code = "from gcl.data.load import load_dataset; print(load_dataset('karate').fingerprint)"
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root, timeout=120
    )
    assert result.stdout.strip() == load_dataset("karate").fingerprint


def test_cards_of_embedded_sets_need_no_file(tmp_path):
    assert read_card("node/karate").embedded
    assert load_dataset("karate", data_root=tmp_path).graph.num_nodes == 34
