"""HeCo's positives, made and shipped."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import masks

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.data.load import load_dataset
from gcl.ops import common_metapaths as module
from gcl.ops.common_metapaths import metapath_positives
from gcl.ops.metapath import MetaPath
from gcl.ops.row_top import row_top

RELATIONS = {"a_b": ("a", "b"), "c_a": ("c", "a"), "a_a": ("a", "a")}
PATHS = ["a-b-a", "a-c-a", "a-a", "a-b-a-c-a"]


def graph_of(counts, present):
    """A graph from boolean ``[receivers, sources]``."""
    relations = {
        name: Adjacency.from_edge_index(matrix.nonzero().t().flip(0), tuple(matrix.shape))
        for name, matrix in present.items()
    }
    return Graph(relations=relations, relation_types=RELATIONS, num_nodes_by_type=counts, target="a")


@st.composite
def typed_graphs(draw):
    counts = {"a": draw(st.integers(1, 5)), "b": draw(st.integers(1, 3)), "c": draw(st.integers(1, 3))}
    shapes = {name: (counts[receiver], counts[source]) for name, (source, receiver) in RELATIONS.items()}
    return graph_of(counts, {name: draw(masks(m * n)).reshape(m, n) for name, (m, n) in shapes.items()})


def kinds_that_join(graph, paths):
    """For each pair of target nodes, how many of the paths have an instance between them."""
    score = [[0] * graph.num_nodes for _ in range(graph.num_nodes)]
    for path in paths:
        for start in range(graph.num_nodes):
            ends = {start}
            for here, after, name in zip(path.types[:-1], path.types[1:], path.relations, strict=True):
                matrix = graph.relations[name].to_dense() > 0
                if graph.relation_types[name][1] != here:
                    matrix = matrix.t()
                size = graph.num_nodes_by_type[after]
                ends = {j for i, j in product(ends, range(size)) if bool(matrix[i, j])}
            for end in ends:
                score[start][end] += 1
    return score


@pytest.mark.parametrize("entries", [1, 2**22])
@settings(max_examples=60, deadline=None)
@given(typed_graphs(), st.lists(st.sampled_from(PATHS), min_size=1, max_size=4), st.integers(1, 4))
def test_those_that_most_kinds_of_paths_join_are_positives(entries, graph, texts, top):
    paths = [MetaPath.parse(text, graph.spec) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ENTRIES", entries)
        found = metapath_positives(graph, paths, top)
    assert found.weight is None
    for row, score in zip(found.to_dense().tolist(), kinds_that_join(graph, paths), strict=True):
        order = sorted((j for j, s in enumerate(score) if s), key=lambda j: (-score[j], j))
        assert [j for j, there in enumerate(row) if there] == sorted(order[:top])


def test_nodes_of_their_own_have_no_place_of_their_own():
    joined = {
        "a_b": torch.ones(1, 4, dtype=torch.bool),
        "c_a": torch.zeros(4, 1, dtype=torch.bool),
        "a_a": torch.zeros(4, 4, dtype=torch.bool),
    }
    graph = graph_of({"a": 4, "b": 1, "c": 1}, joined)
    found = metapath_positives(graph, [MetaPath.parse("a-b-a", graph.spec)], 2)
    assert found.to_dense().tolist() == [[1, 1, 0, 0]] * 4


@pytest.mark.parametrize("size", [0, 3])
def test_graphs_without_edges_have_no_positives(size):
    nothing = {
        "a_b": torch.zeros(2, size, dtype=torch.bool),
        "c_a": torch.zeros(size, 1, dtype=torch.bool),
        "a_a": torch.zeros(size, size, dtype=torch.bool),
    }
    graph = graph_of({"a": size, "b": 2, "c": 1}, nothing)
    found = metapath_positives(graph, [MetaPath.parse(text, graph.spec) for text in PATHS], 2)
    assert (found.shape, found.num_arcs) == ((size, size), 0)


@pytest.mark.parametrize("top", [0, -1, 1.0, True, None])
def test_bad_numbers_are_refused(top):
    graph = graph_of({"a": 1, "b": 1, "c": 1}, {name: torch.ones(1, 1, dtype=torch.bool) for name in RELATIONS})
    with pytest.raises(ConfigError, match="the number of positives must be a whole number from 1, got"):
        metapath_positives(graph, [MetaPath.parse("a-b-a", graph.spec)], top)


# -- the entries that rank first ---------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 5), st.integers(1, 6), st.integers(1, 4), st.booleans(), st.data())
def test_the_first_of_each_row_and_of_equal_ones_the_leftmost(rows, cols, top, scored, data):
    values = st.lists(st.integers(0, 3), min_size=rows * cols, max_size=rows * cols)
    dense = np.array(data.draw(values), dtype=float).reshape(rows, cols)
    rank = np.array(data.draw(values), dtype=float).reshape(rows, cols) if scored else dense
    matrix = sp.csr_matrix(dense)
    expected = np.zeros_like(dense)
    for i in range(rows):
        order = sorted(np.flatnonzero(dense[i]), key=lambda j: (-rank[i, j], j))
        expected[i, order[:top]] = dense[i, order[:top]]
    found = row_top(matrix, top, score=rank[dense != 0] if scored else None)
    np.testing.assert_array_equal(found.toarray(), expected)
    np.testing.assert_array_equal(matrix.toarray(), dense)


# -- positives of the data ---------------------------------------------------------------------------------------------


def archive(**changes):
    positives = sp.csr_matrix(np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1]]))
    arrays = {
        "node_types": np.array(["paper", "author"]),
        "num_nodes": np.array([3, 2]),
        "target_type": np.array("paper"),
        "relations": np.array(["paper_author"]),
        "edge_paper_author": np.array([[0, 1, 2], [0, 1, 1]], np.int32),
        "pos_indptr": positives.indptr,
        "pos_indices": positives.indices.astype(np.uint16),
        "pos_shape": np.array([3, 3]),
    }
    arrays.update(changes)
    return {key: value for key, value in arrays.items() if value is not None}


def test_stored_positives_are_a_relation_of_the_target_type(tmp_path):
    np.savez(tmp_path / "papers.npz", **archive())
    graph = load_dataset(tmp_path / "papers.npz").graph
    assert graph.relation_types["positive"] == ("paper", "paper")
    assert graph.relations["positive"].to_dense().tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert graph.relations["positive"].weight is None
    np.savez(tmp_path / "none.npz", **archive(pos_indptr=None, pos_indices=None, pos_shape=None))
    assert graph.relations.keys() - load_dataset(tmp_path / "none.npz").graph.relations.keys() == {"positive"}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"pos_indices": None}, "pos_indices"),
        ({"pos_indptr": None}, "pos_indptr"),
        ({"pos_indices": np.array([0, 1, 0, 3])}, "positives"),
        ({"pos_indptr": np.array([0, 2, 4])}, "positives"),
    ],
)
def test_bad_positives_are_one_sentence(tmp_path, changes, match):
    np.savez(tmp_path / "bad.npz", **archive(**changes))
    with pytest.raises(DataError, match=match) as caught:
        load_dataset(tmp_path / "bad.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "others", "top", "entries"),
    [
        ("acm", ("author", "subject"), 5, 20_053),
        ("aminer", ("author", "reference"), 15, 67_730),
        ("freebase", ("director", "actor", "writer"), 80, 163_294),
    ],
)
def test_positives_are_those_of_the_authors_but_for_ties(data_root, name, others, top, entries):
    graph = load_dataset(f"hetero/{name}", data_root=data_root).graph
    paths = [MetaPath.parse([graph.target, other, graph.target], graph.spec) for other in others]
    found, shipped = metapath_positives(graph, paths, top), graph.relations["positive"]
    assert found.num_arcs == shipped.num_arcs == entries
    score = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.int8)
    for other in others:
        incidence = graph.relations[f"{graph.target}_{other}"]
        joined = sp.csr_matrix((np.ones(incidence.num_arcs), incidence.col, incidence.row_ptr), incidence.shape)
        score[(joined.T @ joined).nonzero()] += 1
    joined = (score > 0).sum(dim=1)
    assert torch.equal(found.row_ptr.diff(), joined.clamp_max(top))
    assert torch.equal(shipped.row_ptr.diff(), joined.clamp_max(top))
    ranked = score.topk(top + 1, dim=1).values
    ours, theirs = (one.to_dense(torch.int8) * score for one in (found, shipped))
    assert torch.equal(ours.topk(top, dim=1).values, ranked[:, :top])
    assert torch.equal(theirs.topk(top, dim=1).values, ranked[:, :top])
    decided = (ranked[:, top] < ranked[:, top - 1]) | (ranked[:, top] == 0)
    assert torch.equal(ours[decided], theirs[decided])
    assert int(decided.sum()) > 100
