"""Means over the nodes on the way of meta-paths, against their dense definition."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import masks

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.operator import LinearMap, Operator
from gcl.data.load import load_dataset
from gcl.ops import metapath_context as module
from gcl.ops.metapath import MetaPath
from gcl.ops.metapath_context import FactoredMean, MaskMean, context_operators, context_slots
from gcl.ops.propagation import Propagation

RELATIONS = {"a_b": ("a", "b"), "c_b": ("c", "b"), "c_a": ("c", "a"), "a_a": ("a", "a")}
PATHS = ["a-b-a", "a-a", "a-c-a", "a-b-c-a", "a-b-c-b-a", "a-a-b-a"]
DENSE = {"never": 2.0, "by share": module.DENSE, "always": -1.0}  # whether masks are bytes


def graph_of(counts, **present):
    """A graph from dense arrays of receivers by sources."""
    relations = {}
    for name, matrix in present.items():
        receiver, source = np.nonzero(matrix)
        relations[name] = Adjacency.from_edge_index(torch.from_numpy(np.stack([source, receiver])), matrix.shape)
    types = {name: RELATIONS[name] for name in present}
    return Graph(relations=relations, relation_types=types, num_nodes_by_type=counts, target="a")


def random_graph(num_a=6, num_b=8, num_c=5, *, density=0.3, seed=0, **given_relations):
    draw = np.random.RandomState(seed)
    counts = {"a": num_a, "b": num_b, "c": num_c}
    shapes = {name: (counts[receiver], counts[source]) for name, (source, receiver) in RELATIONS.items()}
    present = {name: draw.random_sample(shape) < density for name, shape in shapes.items()}
    return graph_of(counts, **{**present, **given_relations})


@st.composite
def typed_graphs(draw):
    counts = {kind: draw(st.integers(1, 5)) for kind in "abc"}
    present = {}
    for name, (source, receiver) in RELATIONS.items():
        shape = (counts[receiver], counts[source])
        present[name] = draw(masks(shape[0] * shape[1])).reshape(shape).numpy()
    if draw(st.booleans()):  # every b has one c at most
        first = present["c_b"].cumsum(axis=1) <= 1
        present["c_b"] = present["c_b"] & first
    return graph_of(counts, **present)


def dense_mean(graph, path, place):
    """Row-normalised 1[B_1 ... B_r > 0], by walking from every node."""
    mean = torch.zeros(graph.num_nodes, graph.num_nodes_by_type[path.types[place]], dtype=torch.float64)
    for start in range(graph.num_nodes):
        reached = {start}
        for here, relation in zip(path.types[:place], path.relations, strict=False):
            receiver, source = graph.relations[relation].to_dense().nonzero().t().tolist()
            pairs = list(zip(receiver, source, strict=True))
            if graph.relation_types[relation][1] != here:
                pairs = [(j, i) for i, j in pairs]
            reached = {j for i, j in pairs if i in reached}
        for node in reached:
            mean[start, node] = 1 / len(reached)
    return mean


def dense(operator):
    return operator.matmul(torch.eye(operator.shape[1], dtype=torch.float64))


@pytest.fixture(params=DENSE)
def share(request, monkeypatch):
    monkeypatch.setattr(module, "DENSE", DENSE[request.param])


# -- the definition ----------------------------------------------------------------------------------------------------


def test_slots_are_the_places_between_the_ends():
    path = MetaPath.parse("a-b-c-b-a", random_graph().spec)
    way = (("a_b", True), ("c_b", False), ("c_b", True))
    assert context_slots(path) == [("b", way[:1]), ("c", way[:2]), ("b", way)]
    assert context_slots(MetaPath.parse("a-a", random_graph().spec)) == []


@pytest.mark.parametrize("dense_share", DENSE.values(), ids=DENSE)
@settings(max_examples=50, deadline=None)
@given(typed_graphs(), st.lists(st.sampled_from(PATHS), min_size=1, max_size=4))
def test_every_operator_is_its_dense_definition(dense_share, graph, texts):
    paths = [MetaPath.parse(text, graph.spec) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DENSE", dense_share)
        operators = context_operators(graph, paths)
    slots = {slot.steps: (path, place) for path in paths for place, slot in enumerate(context_slots(path), start=1)}
    assert operators.keys() == slots.keys()
    for steps, (path, place) in slots.items():
        expected = dense_mean(graph, path, place)
        assert operators[steps].shape == expected.shape
        torch.testing.assert_close(dense(operators[steps]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", list(permutations(["a-b-c-a", "a-b-c-b-a", "a-b-a"])))
def test_the_last_place_of_one_path_may_be_on_the_way_of_another(order, share):
    for graph in (random_graph(), random_graph(c_b=np.eye(8, 5))):
        paths = [MetaPath.parse(text, graph.spec) for text in order]
        operators = context_operators(graph, paths)
        for path in paths:
            for place, slot in enumerate(context_slots(path), start=1):
                torch.testing.assert_close(
                    dense(operators[slot.steps]), dense_mean(graph, path, place), rtol=0, atol=1e-12
                )


def test_paths_that_begin_alike_share_operators():
    graph = random_graph()
    paths = [MetaPath.parse(text, graph.spec) for text in ("a-b-a", "a-b-c-b-a", "a-b-c-a", "a-c-a")]
    operators = context_operators(graph, paths)
    slots = [context_slots(path) for path in paths]
    assert slots[0][0] == slots[1][0] == slots[2][0]
    assert slots[1][1] == slots[2][1] != slots[3][0]  # c through b, and c at once
    assert len(operators) == 4


def test_nodes_that_reach_none_get_zeros(share):
    lonely = np.ones((8, 6))
    lonely[:, 2] = 0
    for c_b in (np.ones((8, 5)), np.eye(8, 5), np.zeros((8, 5))):
        graph = random_graph(a_b=lonely, c_b=c_b)
        path = MetaPath.parse("a-b-c-b-a", graph.spec)
        for operator in context_operators(graph, [path]).values():
            found = dense(operator)
            assert not found[2].any()
            assert bool(found.isfinite().all())


def test_neighbors_in_another_order_have_the_same_means(share):
    graph = random_graph(c_b=np.eye(5)[[0, 2, 2, 1, 4, 3, 0, 2]])
    order = {kind: torch.randperm(size) for kind, size in graph.num_nodes_by_type.items()}
    moved = graph.subgraph(order)
    path = MetaPath.parse("a-b-c-b-a", graph.spec)
    one, other = context_operators(graph, [path]), context_operators(moved, [path])
    for slot in context_slots(path):
        torch.testing.assert_close(
            dense(other[slot.steps]), dense(one[slot.steps])[order["a"]][:, order[slot.kind]], rtol=0, atol=1e-12
        )


# -- two products ------------------------------------------------------------------------------------------------------


def last_operator(graph, text="a-b-c-b-a"):
    path = MetaPath.parse(text, graph.spec)
    return context_operators(graph, [path])[context_slots(path)[-1].steps]


def test_two_products_are_taken_only_where_each_node_has_one_way_back(share):
    one = np.eye(5)[[0, 2, 2, 1, 4, 3, 0, 2]]
    one[5] = 0  # none is no second way
    two = one.copy()
    two[5, [0, 3]] = 1
    assert isinstance(last_operator(random_graph(c_b=one)), FactoredMean)
    assert not isinstance(last_operator(random_graph(c_b=two)), FactoredMean)
    assert isinstance(last_operator(random_graph(c_b=one), "a-b-a"), Propagation)  # a first step is one product


def test_two_products_equal_the_dense_mean_and_its_gradient():
    graph = random_graph(c_b=np.eye(5)[[0, 2, 2, 1, 4, 3, 0, 2]])
    operator = last_operator(graph)
    expected = dense_mean(graph, MetaPath.parse("a-b-c-b-a", graph.spec), 3)
    x = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(operator.matmul(x), expected @ x, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(operator.matmul, (x,))
    torch.testing.assert_close(operator.matmul(x.float()), (expected @ x).float())


# -- bytes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [1, 20, 2**22])
def test_bytes_equal_the_dense_mean_and_its_gradient_in_any_block(pairs, monkeypatch):
    monkeypatch.setattr(module, "DENSE", -1.0)
    monkeypatch.setattr(module, "BLOCK_PAIRS", pairs)
    graph = random_graph(c_b=np.random.RandomState(1).random_sample((8, 5)) < 0.4)
    operator = last_operator(graph)
    assert isinstance(operator, MaskMean)
    expected = dense_mean(graph, MetaPath.parse("a-b-c-b-a", graph.spec), 3)
    assert operator.mask.dtype == torch.uint8
    assert torch.equal(operator.mask > 0, expected > 0)
    x = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(6, 3, dtype=torch.float64)
    torch.testing.assert_close(operator.matmul(x), expected @ x, rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(operator.matmul(x), x, cotangent)
    torch.testing.assert_close(gradient, expected.t() @ cotangent, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(operator.matmul, (x,))
    torch.testing.assert_close(operator.matmul(x.float()), (expected @ x).float())


def test_bytes_are_taken_where_little_is_sparse():
    full, thin = np.ones((200, 30)), np.eye(200, 30)
    thin[:60] = np.eye(60, 30) + np.eye(60, 30, k=1)
    graph = random_graph(30, 200, 30, a_b=np.ones((200, 30)), c_b=full)
    assert isinstance(last_operator(graph), MaskMean)
    graph = random_graph(30, 200, 30, a_b=np.eye(200, 30), c_b=thin)
    assert isinstance(last_operator(graph), Propagation)


@pytest.mark.parametrize(("kind", "dense_share"), [(FactoredMean, 2.0), (MaskMean, -1.0)])
def test_they_are_linear_maps_on_any_device(kind, dense_share, monkeypatch):
    monkeypatch.setattr(module, "DENSE", dense_share)
    graph = random_graph(c_b=np.eye(8, 5) + (kind is MaskMean))
    operator = last_operator(graph)
    assert isinstance(operator, kind)
    assert isinstance(operator, LinearMap)
    assert not isinstance(operator, Operator)  # it has no transpose
    torch.testing.assert_close(dense(operator.to("cpu")), dense(operator))
    moved = operator.to("meta")
    assert (moved.shape, moved.inverse.device.type) == (operator.shape, "meta")


# -- sizes -------------------------------------------------------------------------------------------------------------


def test_a_mean_over_too_many_nodes_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 32)
    graph = random_graph(c_b=np.ones((8, 5)))
    with pytest.raises(
        DataError,
        match=r"^the way of meta-path a-b-c-b-a to its nodes of type c joins about \d+ pairs .*; take a shorter one$",
    ):
        last_operator(graph)


@pytest.mark.data
def test_shipped_graphs_reach_as_many_nodes_as_the_authors(data_root):
    graph = load_dataset("hetero/dblp", data_root=data_root).graph
    paths = [MetaPath.parse(f"author-paper-{kind}-paper-author", graph.spec) for kind in ("conference", "term")]
    operators = context_operators(graph, paths)
    assert len(operators) == 5
    conference, term = ([operators[slot.steps] for slot in context_slots(path)] for path in paths)
    assert conference[0] is term[0]
    assert [part.adjacency.num_arcs for part in conference[:2]] == [19_645, 9205]
    assert term[1].adjacency.num_arcs == 90_685
    assert isinstance(conference[2], FactoredMean)
    assert int((1 / conference[2].inverse).round().sum()) == 10_165_000
    assert isinstance(term[2], MaskMean)
    assert int(term[2].mask.sum(dtype=torch.int64)) == 13_414_703
