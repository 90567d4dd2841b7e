"""PyG, networkx and SciPy, there and back."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data, HeteroData

from gcl.core.errors import DataError
from gcl.core.view import View
from gcl.data.convert import from_networkx, from_pyg, from_scipy, networkx_ids, to_pyg
from gcl.data.from_arrays import from_arrays


def sample_data(num_nodes=8, num_splits=1, weighted=True):
    generator = torch.Generator().manual_seed(3)
    adjacency = torch.rand(num_nodes, num_nodes, generator=generator) < 0.3
    edge_index = adjacency.nonzero().T
    data = Data(x=torch.rand(num_nodes, 3, generator=generator), edge_index=edge_index)
    data.y = torch.randint(0, 3, (num_nodes,), generator=generator)
    if weighted:
        data.edge_weight = torch.rand(edge_index.shape[1], generator=generator)
    code = torch.arange(num_nodes) % 4
    masks = [torch.stack([code.roll(s) == part for s in range(num_splits)], dim=1) for part in range(3)]
    data.train_mask, data.val_mask, data.test_mask = (m[:, 0] if num_splits == 1 else m for m in masks)
    return data


def dense_of(edge_index, weight, num_nodes):
    matrix = torch.zeros(num_nodes, num_nodes)
    matrix[edge_index[1], edge_index[0]] = 1.0 if weight is None else weight
    return matrix


@pytest.mark.parametrize("num_splits", [1, 3])
@pytest.mark.parametrize("weighted", [True, False])
def test_pyg_round_trip(num_splits, weighted):
    data = sample_data(num_splits=num_splits, weighted=weighted)
    back = to_pyg(from_pyg(data))
    assert torch.equal(back.x, data.x)
    assert torch.equal(back.y, data.y)
    for name in ("train_mask", "val_mask", "test_mask"):
        assert torch.equal(back[name], data[name])
    assert back.edge_weight is None if not weighted else back.edge_weight is not None
    expected = dense_of(data.edge_index, data.edge_weight, 8)
    assert torch.equal(dense_of(back.edge_index, back.edge_weight, 8), expected)
    assert back.num_nodes == 8
    back.validate()


def test_to_pyg_of_a_view_has_its_masks():
    graph = from_pyg(sample_data())
    keep = torch.arange(graph.adjacency.num_arcs) % 2 == 0
    columns = torch.tensor([True, False, True])
    view = View.of(graph).with_adjacency("edge", graph.adjacency.masked(keep, compact=False)).mask_columns(columns)
    data = to_pyg(view)
    assert data.edge_index.shape[1] == int(keep.sum())
    assert torch.equal(data.edge_index, graph.adjacency.edge_index()[:, keep])
    assert torch.equal(data.x, graph.x * columns)


def test_isolated_nodes_at_the_end_are_kept():
    edges = torch.tensor([[0], [1]])
    assert from_pyg(Data(edge_index=edges, num_nodes=5)).num_nodes == 5
    assert from_pyg(Data(edge_index=edges, y=torch.zeros(4, dtype=torch.long))).num_nodes == 4
    assert from_pyg(Data(edge_index=edges)).num_nodes == 2


def test_repeated_arcs_count_once():
    graph = from_pyg(Data(edge_index=torch.tensor([[0, 0, 1], [1, 1, 0]]), num_nodes=2))
    assert graph.adjacency.num_arcs == 2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"edge_index": None}, "no edge_index"),
        ({"val_mask": torch.ones(8, dtype=torch.bool)}, "val_mask shares node 0 with the train mask"),
        ({"train_mask": torch.ones(8)}, "train_mask must be boolean"),
        ({"test_mask": torch.ones(5, dtype=torch.bool)}, r"test_mask must be boolean \[8\]"),
        ({"y": torch.rand(8)}, "whole numbers"),
        ({"x": torch.full((8, 3), torch.nan)}, "24 values"),
        ({"edge_index": torch.tensor([[0], [8]]), "edge_weight": None}, "node id 8"),
    ],
)
def test_bad_pyg_data_is_refused(change, match):
    data = sample_data()
    for name, value in change.items():
        data[name] = value
    with pytest.raises(DataError, match=match):
        from_pyg(data)


def test_adj_t_is_explained():
    data = Data(x=torch.ones(2, 1))
    data.adj_t = torch.eye(2).to_sparse_csr()
    with pytest.raises(DataError, match="adj_t"):
        from_pyg(data)


def hetero():
    data = HeteroData()
    data["paper"].x = torch.rand(4, 5)
    data["paper"].y = torch.tensor([0, 1, 0, 1])
    data["paper"].train_mask = torch.tensor([True, False, False, False])
    data["author"].num_nodes = 3
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 1, 2, 2], [0, 1, 2, 3]])
    data["paper", "cites", "paper"].edge_index = torch.tensor([[0, 1], [1, 2]])
    return data


def test_hetero_data_becomes_a_graph():
    graph = from_pyg(hetero())
    assert graph.target == "paper"
    assert graph.relation_types == {"writes": ("author", "paper"), "cites": ("paper", "paper")}
    assert graph.relations["writes"].shape == (4, 3)
    assert graph.relations["writes"].to_dense()[3, 2] == 1
    assert graph.attr("splits").squeeze(1).tolist() == [0, 3, 3, 3]
    assert from_pyg(hetero(), target="author").num_nodes == 3
    with pytest.raises(DataError, match="target= one of paper, author"):
        from_pyg(hetero(), target="venue")
    with pytest.raises(DataError, match="one node type"):
        to_pyg(graph)


def test_hetero_data_with_a_bad_edge_is_refused():
    data = hetero()
    data["author", "writes", "paper"].edge_index = torch.tensor([[3], [0]])
    with pytest.raises(
        DataError, match=r"\(author, writes, paper\): edge 0 names node 3 of type 'author', which has 3"
    ):
        from_pyg(data)


def test_networkx_round_trip():
    for graph in (
        nx.karate_club_graph(),
        nx.gnp_random_graph(12, 0.3, seed=1, directed=True),
        nx.path_graph(["b", "a"]),
    ):
        ours = from_networkx(graph)
        # networkx has the source in the row, an Adjacency the target
        expected = nx.to_numpy_array(graph).T
        np.testing.assert_array_equal(ours.adjacency.to_dense(), expected)
        assert networkx_ids(graph) == [str(node) for node in graph]
        back = nx.from_scipy_sparse_array(
            sp.coo_array((ours.adjacency.values(), ours.adjacency.edge_index().numpy())), create_using=type(graph)
        )
        np.testing.assert_array_equal(nx.to_numpy_array(back).T, expected)


def test_networkx_attributes_are_read():
    graph = nx.path_graph(3)
    for node in graph:
        graph.nodes[node]["x"] = [node, 1.0]
    graph.nodes[1]["y"] = 2
    ours = from_networkx(graph)
    assert ours.x.tolist() == [[0, 1], [1, 1], [2, 1]]
    assert ours.attr("y").tolist() == [-1, 2, -1]
    assert ours.adjacency.weight is None
    del graph.nodes[2]["x"]
    with pytest.raises(DataError, match="node 2 has no attribute 'x'"):
        from_networkx(graph)


def test_networkx_multigraph_adds_weights():
    graph = nx.MultiGraph([(0, 1, {"weight": 2}), (1, 0, {"weight": 3}), (1, 2)])
    np.testing.assert_array_equal(from_networkx(graph).adjacency.to_dense(), nx.to_numpy_array(graph))


def test_an_empty_networkx_graph_is_refused():
    with pytest.raises(DataError, match="no edges"):
        from_networkx(nx.Graph())
    with pytest.raises(DataError, match="no edges"):
        from_networkx(nx.empty_graph(3))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(0, 2**31 - 1), st.sampled_from(["csr", "csc", "coo", "lil"]), st.booleans())
def test_scipy_round_trip(num_nodes, seed, layout, unit):
    rng = np.random.default_rng(seed)
    dense = (rng.random((num_nodes, num_nodes)) < 0.5) * (1 if unit else rng.integers(1, 9, (num_nodes, num_nodes)))
    dense[0, 0] = 1
    graph = from_scipy(sp.coo_matrix(dense).asformat(layout))
    np.testing.assert_array_equal(graph.adjacency.to_dense().T, dense)


def test_scipy_must_be_square_and_have_entries():
    with pytest.raises(DataError, match=r"\[2, 3\]"):
        from_scipy(sp.eye(2, 3))
    with pytest.raises(DataError, match="no edges"):
        from_scipy(sp.csr_matrix((3, 3)))


def test_to_pyg_without_features_or_labels():
    data = to_pyg(from_arrays([[0], [1]], num_nodes=3))
    assert data.num_nodes == 3
    assert data.x is None
    assert data.y is None
