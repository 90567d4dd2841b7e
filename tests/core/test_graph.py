from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import graphs

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec


@pytest.fixture
def movies() -> Graph:
    """Three movies, two actors, one director; movies have sparse features."""
    plays = torch.tensor([[0, 1, 1], [0, 0, 2]])  # actor -> movie
    directs = torch.tensor([[0, 0], [1, 2]])  # director -> movie
    words = Adjacency.from_edge_index(torch.tensor([[0, 3, 1], [0, 1, 2]]), (3, 4), torch.tensor([1.0, 2.0, 3.0]))
    return Graph(
        features={"movie": words, "actor": torch.eye(2)},
        relations={
            "plays": Adjacency.from_edge_index(plays, (3, 2)),
            "directs": Adjacency.from_edge_index(directs, (3, 1)),
        },
        relation_types={"plays": ("actor", "movie"), "directs": ("director", "movie")},
        node_attrs={"movie": {"y": torch.tensor([0, 1, 1])}, "actor": {"y": torch.tensor([5, 6])}},
        edge_attrs={"plays": {"role": torch.tensor([10, 11, 12])}},
        target="movie",
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_subgraph_keeps_rows_and_ids(data):
    graph = data.draw(graphs())
    role = torch.arange(graph.adjacency.num_arcs) * 10
    graph = Graph(graph.features, graph.relations, node_attrs=graph.node_attrs, edge_attrs={"edge": {"role": role}})
    nodes = torch.tensor(data.draw(st.lists(st.integers(0, graph.num_nodes - 1), unique=True)), dtype=torch.int64)
    part = graph.subgraph(nodes)
    assert part.num_nodes == nodes.numel()
    assert torch.equal(part.x, graph.x[nodes])
    assert torch.equal(part.attr("y"), graph.attr("y")[nodes])
    assert torch.equal(part.node_id["node"], nodes)
    assert torch.equal(part.adjacency.to_dense(), graph.adjacency.to_dense()[nodes][:, nodes])
    arcs = part.adjacency.arc_ids()
    assert torch.equal(part.edge_attrs["edge"]["role"], role[arcs])
    assert torch.equal(nodes[part.adjacency.edge_index()], graph.adjacency.edge_index()[:, arcs])
    # and once more: ids still point into the first graph
    inner = torch.arange(nodes.numel()).flip(0)[:2]
    again = part.subgraph(inner)
    assert torch.equal(again.node_id["node"], nodes[inner])
    assert torch.equal(again.edge_attrs["edge"]["role"], role[again.adjacency.arc_ids()])


def test_training_graph_has_no_labels(movies):
    graph = movies.with_node_attrs(splits=torch.zeros(3), year=torch.tensor([1994, 1999, 2003]))
    training = graph.for_training()
    assert set(training.node_attrs["movie"]) == {"year"}
    assert not training.node_attrs["actor"]
    assert training.attr("y") is None
    assert graph.attr("y") is not None  # the original is as it was
    assert training.relations["plays"] is graph.relations["plays"]


def test_heterogeneous_reading(movies):
    assert movies.num_nodes == 3
    assert movies.num_nodes_by_type == {"movie": 3, "actor": 2, "director": 1}
    assert movies.x.tolist() == [[1, 0, 0, 0], [0, 0, 0, 2], [0, 3, 0, 0]]
    assert movies.attr("y", "actor").tolist() == [5, 6]
    assert movies.attr("nothing", "director") is None
    with pytest.raises(DataError, match=r"2 relations \(\['directs', 'plays'\]\); name one"):
        movies.adjacency  # noqa: B018


def test_heterogeneous_subgraph(movies):
    part = movies.subgraph(torch.tensor([2, 0]))
    assert part.num_nodes_by_type == {"movie": 2, "actor": 2, "director": 1}
    assert part.x.tolist() == [[0, 3, 0, 0], [1, 0, 0, 0]]
    assert part.relations["plays"].to_dense().tolist() == [[0, 1], [1, 1]]
    assert part.relations["directs"].to_dense().tolist() == [[1], [0]]
    assert part.edge_attrs["plays"]["role"].tolist() == [12, 10, 11]
    assert torch.equal(part.features["actor"], torch.eye(2))
    assert part.spec.target == "movie"
    both = movies.subgraph({"movie": torch.tensor([0]), "actor": torch.tensor([1])})
    assert both.relations["plays"].to_dense().tolist() == [[1]]
    assert both.edge_attrs["plays"]["role"].tolist() == [11]
    assert both.node_id["actor"].tolist() == [1]


def test_bipartite():
    clicks = torch.tensor([[0, 1, 2], [0, 0, 1]])
    graph = Graph(
        relations={"clicks": Adjacency.from_edge_index(clicks, (2, 3))},
        relation_types={"clicks": ("item", "user")},
        target="user",
    )
    assert graph.spec.num_nodes == {"user": 2, "item": 3}
    part = graph.subgraph({"item": torch.tensor([2, 0])})
    assert part.num_nodes == 2
    assert part.adjacency.to_dense().tolist() == [[0, 1], [1, 0]]
    with pytest.raises(DataError, match="'user' have no features"):
        graph.x  # noqa: B018


def test_graph_without_edges_or_features():
    empty = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (1, 1))
    graph = Graph.homogeneous(None, empty)
    assert graph.num_nodes == 1
    assert graph.spec.in_channels == {}
    assert graph.subgraph(torch.zeros(0, dtype=torch.int64)).num_nodes == 0


def test_spec_survives_json(movies):
    spec = movies.spec
    assert spec.in_channels == {"movie": 4, "actor": 2}
    assert GraphSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


TRIANGLE = Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 0]]), (3, 3))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"features": {"node": torch.ones(4, 2)}}, "'node' have 4 rows, expected 3"),
        ({"node_attrs": {"node": {"y": torch.ones(2)}}}, "'y' has 2 rows for 3 'node' nodes"),
        ({"node_attrs": {"item": {"y": torch.ones(2)}}}, "'y' has 2 rows for None 'item' nodes"),
        ({"edge_attrs": {"edge": {"role": torch.ones(4)}}}, "'role' of 'edge' has 4 rows"),
        ({"edge_attrs": {"egde": {"role": torch.ones(3)}}}, "unknown relation 'egde'; did you mean 'edge'"),
        ({"num_nodes_by_type": {"node": 5}}, "'edge' has 3 nodes of type 'node', expected 5"),
        ({"target": "movie", "relation_types": {"edge": ("node", "node")}}, "target type 'movie' has no nodes"),
        ({"node_id": {"node": torch.arange(2)}}, "node_id has 2 entries for 3 'node' nodes"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(DataError, match=words):
        Graph(**{"relations": {"edge": TRIANGLE}, **arguments})


def test_subgraph_refuses_masks_and_unknown_types(movies):
    with pytest.raises(DataError, match="boolean mask"):
        movies.subgraph(torch.tensor([True, False, True]))
    with pytest.raises(DataError, match="unknown node type 'actors'; did you mean 'actor'"):
        movies.subgraph({"actors": torch.tensor([0])})
    with pytest.raises(DataError, match="listed twice"):
        movies.subgraph(torch.tensor([0, 0]))
