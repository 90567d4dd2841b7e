"""Graphs of meta-path neighbours against the enumeration of every instance, and their operators against formulas."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.data.load import load_dataset
from gcl.ops import metapath as metapath_module
from gcl.ops import metapath_graph as module
from gcl.ops import metapath_walks as walks_module
from gcl.ops.metapath import MetaPath
from gcl.ops.metapath_graph import mean_operator, metapath_graph, metapath_operator, thinned_operator, without_loops
from gcl.ops.metapath_walks import back_to_itself
from gcl.ops.propagation import Propagation

RELATIONS = {"a_b": ("a", "b"), "c_b": ("c", "b"), "a_a": ("a", "a")}
BACK_AND_FORTH = ["a-b-a", "a-b-c-b-a"]
OTHERS = ["a-a", "a-a-b-a", "a-b-a-a", "a-a-a-a", "a-b-c-b-a-a"]  # one way, and odd numbers of steps
ORIENTATIONS = ["reference", "row", "symmetric"]
TIES = ["index", "random", "numpy"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def graph_of(counts, **present):
    """A graph from dense arrays of receivers by sources."""
    relations = {}
    for name, matrix in present.items():
        receiver, source = np.nonzero(matrix)
        relations[name] = Adjacency.from_edge_index(torch.from_numpy(np.stack([source, receiver])), matrix.shape)
    types = {name: RELATIONS[name] for name in present}
    return Graph(relations=relations, relation_types=types, num_nodes_by_type=counts, target="a")


@st.composite
def typed_graphs(draw):
    counts = {"a": draw(st.integers(1, 4)), "b": draw(st.integers(1, 3)), "c": draw(st.integers(1, 3))}
    relations = {}
    for name, (source, receiver) in RELATIONS.items():
        shape = (counts[receiver], counts[source])
        cells = draw(
            st.lists(st.sampled_from([0, 0, 1, 2]), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
        )
        matrix = torch.tensor(cells).reshape(shape)
        arcs = matrix.nonzero().t().flip(0)
        adjacency = Adjacency.from_edge_index(arcs, shape, matrix[matrix > 0].float())
        bits = draw(st.integers(0, 2**12 - 1).map(lambda bits: bits | 0b101101101101))  # most arcs stay
        keep = torch.tensor([bool(bits >> arc % 12 & 1) for arc in range(adjacency.num_arcs)], dtype=torch.bool)
        relations[name] = adjacency.masked(keep, compact=draw(st.booleans()))
    return Graph(relations=relations, relation_types=RELATIONS, num_nodes_by_type=counts, target="a")


def enumerated(graph, path):
    """The number of instances between two target nodes, one by one."""
    there = {name: (adjacency.to_dense() != 0).tolist() for name, adjacency in graph.relations.items()}
    count = [[0] * graph.num_nodes for _ in range(graph.num_nodes)]
    for nodes in product(*(range(graph.num_nodes_by_type[kind]) for kind in path.types)):
        for place, name in enumerate(path.relations):
            here, after = nodes[place], nodes[place + 1]
            as_stored = graph.relation_types[name][1] == path.types[place]  # rows receive
            if not (there[name][here][after] if as_stored else there[name][after][here]):
                break
        else:
            count[nodes[0]][nodes[-1]] += 1
    return count


def pathsim(count):
    size = range(len(count))
    return [[Fraction(2 * count[i][j], max(count[i][i] + count[j][j], 1)) for j in size] for i in size]


def nearest(count, top, *, keep_self=False):
    """The entries of the largest PathSim of each row, of equal ones those of the smallest index."""
    score, kept = pathsim(count), [[0] * len(count) for _ in count]
    for i, row in enumerate(count):
        order = sorted((j for j, c in enumerate(row) if c), key=lambda j: (not (keep_self and i == j), -score[i][j], j))
        for j in order[:top]:
            kept[i][j] = row[j]
    return kept


def found_list(adjacency):
    return adjacency.to_dense().long().tolist()


def random_graph(num_a=12, num_b=9, num_c=5, *, density=0.35, seed=0):
    draw = np.random.RandomState(seed)
    counts = {"a": num_a, "b": num_b, "c": num_c}
    shapes = {name: (counts[receiver], counts[source]) for name, (source, receiver) in RELATIONS.items()}
    return graph_of(counts, **{name: draw.random_sample(shape) < density for name, shape in shapes.items()})


# -- counts ------------------------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(typed_graphs(), st.sampled_from(BACK_AND_FORTH + OTHERS), st.booleans())
def test_counts_are_the_instances_one_by_one(graph, text, counts):
    path = MetaPath.parse(text, graph.spec)
    found = metapath_graph(graph, path, counts=counts)
    expected = np.array(enumerated(graph, path))
    assert found_list(found) == (expected if counts else np.minimum(expected, 1)).tolist()
    assert found.num_arcs == np.count_nonzero(expected)
    assert (found.weight is None) is not counts


@settings(max_examples=120, deadline=None)
@given(typed_graphs(), st.sampled_from(BACK_AND_FORTH), st.integers(1, 3), st.booleans(), st.booleans())
def test_the_nearest_carry_their_counts_and_ties_go_to_the_smallest_index(graph, text, top, counts, keep_self):
    path = MetaPath.parse(text, graph.spec)
    count = enumerated(graph, path)
    if not counts:
        count = [[min(c, 1) for c in row] for row in count]
    found = metapath_graph(graph, path, top=top, counts=counts, keep_self=keep_self)
    assert found_list(found) == nearest(count, top, keep_self=keep_self)
    assert found.num_arcs == sum(min(top, sum(c > 0 for c in row)) for row in count)


@settings(max_examples=60, deadline=None)
@given(typed_graphs(), st.sampled_from(BACK_AND_FORTH), st.integers(1, 3), st.booleans(), st.integers(0, 9))
def test_random_ties_keep_a_nearest_set_that_the_generator_decides(graph, text, top, keep_self, seed):
    path = MetaPath.parse(text, graph.spec)
    options = {"top": top, "ties": "random", "keep_self": keep_self}
    found = found_list(metapath_graph(graph, path, **options, generator=seeded(seed)))
    assert found == found_list(metapath_graph(graph, path, **options, generator=seeded(seed)))
    count = enumerated(graph, path)
    score, expected = pathsim(count), nearest(count, top, keep_self=keep_self)
    for i, (kept, wanted) in enumerate(zip(found, expected, strict=True)):
        assert all(c in (0, count[i][j]) for j, c in enumerate(kept))
        assert sorted(score[i][j] for j, c in enumerate(kept) if c) == sorted(
            score[i][j] for j, c in enumerate(wanted) if c
        )
        assert not keep_self or bool(kept[i]) == bool(count[i][i])


def test_random_ties_give_every_node_its_share():
    graph = graph_of({"a": 6, "b": 1}, a_b=np.ones((1, 6)))
    path = MetaPath.parse("a-b-a", graph.spec)
    assert metapath_graph(graph, path, top=2).to_dense().sum(dim=0).tolist() == [6, 6, 0, 0, 0, 0]
    draw = seeded()
    total = sum(metapath_graph(graph, path, top=2, ties="random", generator=draw).to_dense() for _ in range(300))
    assert float((total - 100).abs().max()) < 5 * (300 * 2 / 9) ** 0.5


@pytest.mark.parametrize("keep_self", [False, True])
@pytest.mark.parametrize("top", [1, 4, 9])
def test_ties_of_numpy_are_those_of_its_sort_reversed(top, keep_self):
    graph = random_graph(40, 5)
    path = MetaPath.parse("a-b-a", graph.spec)
    found = found_list(metapath_graph(graph, path, top=top, ties="numpy", keep_self=keep_self))
    count = metapath_graph(graph, path).to_dense().numpy()
    for i, row in enumerate(count):
        score = 2 * row / np.maximum(count[i, i] + np.diag(count), 1)
        if keep_self:
            score[i] = np.inf
        kept = [j for j in np.argsort(score)[::-1] if row[j]][:top]
        assert np.flatnonzero(found[i]).tolist() == sorted(kept)


@pytest.mark.parametrize(
    "options",
    [{}, {"drop_self": True}, {"counts": False, "drop_self": True}]
    + [{"top": 3, "ties": ties, loop: True} for ties in TIES for loop in ("keep_self", "drop_self")],
)
@pytest.mark.parametrize("entries", [1, 100])
@pytest.mark.parametrize("text", ["a-b-a", "a-a-b-a"])
def test_the_size_of_blocks_does_not_matter(text, entries, options, monkeypatch):
    graph = random_graph()
    path = MetaPath.parse(text, graph.spec)
    whole = metapath_graph(graph, path, **options, generator=seeded())
    assert not options.get("drop_self") or not whole.to_dense().diagonal().any()
    monkeypatch.setattr(module, "BLOCK_ENTRIES", entries)
    assert torch.equal(metapath_graph(graph, path, **options, generator=seeded()).to_dense(), whole.to_dense())


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("top", [1, 3])
def test_without_the_node_itself_the_next_ones_move_up(top, counts, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 30)  # a few rows each
    graph = random_graph()
    path = MetaPath.parse("a-b-a", graph.spec)
    count = enumerated(graph, path)
    if not counts:
        count = [[min(c, 1) for c in row] for row in count]
    score = pathsim(count)
    for i, row in enumerate(found_list(metapath_graph(graph, path, top=top, counts=counts, drop_self=True))):
        others = sorted((j for j, c in enumerate(count[i]) if c and j != i), key=lambda j: (-score[i][j], j))[:top]
        assert row == [count[i][j] if j in others else 0 for j in range(len(row))]


def test_paths_of_one_way_are_cut_too():
    graph = graph_of({"a": 3, "b": 2}, a_a=np.array([[0, 1, 1], [0, 0, 0], [1, 1, 1]]), a_b=np.ones((2, 3)))
    path = MetaPath.parse("a-a", graph.spec)  # no way from a node back to itself, but for the last
    with np.errstate(all="raise"):
        found = metapath_graph(graph, path, top=1)
    assert found_list(found) == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    graph = graph_of({"a": 3, "b": 2}, a_a=np.array([[0, 1, 1], [0, 1, 0], [0, 0, 0]]), a_b=np.ones((2, 3)))
    path = MetaPath.parse("a-a", graph.spec)  # 0 and 2 have no way back: they are no nearer than 0 and 1
    assert found_list(metapath_graph(graph, path, top=1))[0] == [0, 1, 0]


@pytest.mark.parametrize("sizes", [(0, 0), (0, 3), (3, 0), (1, 1), (3, 3)])
@pytest.mark.parametrize("options", [{}, {"top": 2}, {"num_walks": 2}, {"counts": False}])
def test_graphs_without_edges_have_no_neighbors(sizes, options):
    graph = graph_of({"a": sizes[0], "b": sizes[1]}, a_b=np.zeros(sizes[::-1]))
    found = metapath_graph(graph, MetaPath.parse("a-b-a", graph.spec), **options)
    assert (found.shape, found.num_arcs) == ((sizes[0], sizes[0]), 0)
    for orientation in ORIENTATIONS:
        assert not metapath_operator(found, orientation=orientation).dense().any()


@pytest.mark.parametrize("text", BACK_AND_FORTH)
def test_nodes_in_another_order_have_the_same_neighbors(text):
    top = 4
    for seed in range(100):
        graph = random_graph(12, 40, 9, seed=seed)
        path = MetaPath.parse(text, graph.spec)
        score = [sorted(row, reverse=True) for row in pathsim(found_list(metapath_graph(graph, path)))]
        if all(row[top - 1] > row[top] for row in score):
            break
    else:
        raise AssertionError("no graph without ties")
    order = {kind: torch.randperm(size, generator=seeded()) for kind, size in graph.num_nodes_by_type.items()}
    moved = graph.subgraph(order)
    for options in ({"top": top}, {}):
        one, other = (metapath_graph(which, path, **options) for which in (graph, moved))
        at = order["a"]
        assert torch.equal(other.to_dense(), one.to_dense()[at][:, at])
        for orientation in ORIENTATIONS:
            torch.testing.assert_close(
                metapath_operator(other, orientation=orientation).dense(),
                metapath_operator(one, orientation=orientation).dense()[at][:, at],
            )


# -- random walks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a-b-a", "a-b-c-b-a", "a-a-b-a"])
def test_walks_estimate_the_counts_without_bias(text):
    graph = random_graph(7, 5, 4)
    path = MetaPath.parse(text, graph.spec)
    exact = metapath_graph(graph, path).to_dense()
    draw = seeded()
    found = torch.stack(
        [metapath_graph(graph, path, num_walks=10, generator=draw).to_dense() for _ in range(400)]
    )  # [400, N, N]
    error = (found.mean(dim=0) - exact).abs()
    assert bool((error <= 5 * found.std(dim=0) / 20 + 1e-6).all())
    assert bool(((found > 0).any(dim=0) == (exact > 0)).all())
    assert bool((found.diagonal(dim1=1, dim2=2) == exact.diagonal()).all())
    assert float((found - exact).abs().max()) > 1


def test_walks_are_exact_where_every_node_has_one_neighbor():
    one = np.eye(5)[[3, 1, 4, 0, 2]]
    graph = graph_of({"a": 5, "b": 5, "c": 5}, a_b=one, c_b=np.eye(5)[[1, 2, 3, 4, 0]], a_a=one)
    for text in (*BACK_AND_FORTH, *OTHERS):
        path = MetaPath.parse(text, graph.spec)
        for options in ({}, {"counts": False}):
            walked = metapath_graph(graph, path, num_walks=3, **options)
            assert torch.equal(walked.to_dense(), metapath_graph(graph, path, **options).to_dense())


def test_walks_repeat_with_the_generator_and_are_few():
    graph = random_graph(30, 20)
    path = MetaPath.parse("a-b-a", graph.spec)
    found = metapath_graph(graph, path, num_walks=3, generator=seeded(4))
    again = metapath_graph(graph, path, num_walks=3, generator=seeded(4))
    other = metapath_graph(graph, path, num_walks=3, generator=seeded(5))
    assert torch.equal(found.to_dense(), again.to_dense())
    assert not torch.equal(found.to_dense(), other.to_dense())
    assert int(found.row_ptr.diff().max()) <= 3 + 1  # and the node itself
    with pytest.raises(ConfigError, match="keep_self=True decides which neighbours top keeps, and all are kept"):
        metapath_graph(graph, path, num_walks=3, keep_self=True)
    cut = metapath_graph(graph, path, num_walks=3, top=2, keep_self=True, generator=seeded(4)).to_dense()
    assert int((cut > 0).sum(dim=1).max()) <= 2
    assert torch.equal(cut.diagonal(), metapath_graph(graph, path).to_dense().diagonal())
    assert bool((cut[cut > 0] == found.to_dense()[cut > 0]).all())


@pytest.mark.parametrize("walks", [1, 7, 100])
@pytest.mark.parametrize("options", [{}, {"top": 3}, {"top": 3, "keep_self": True}, {"drop_self": True}])
def test_the_size_of_blocks_of_walks_does_not_matter(walks, options, monkeypatch):
    graph = random_graph()
    path = MetaPath.parse("a-b-c-b-a", graph.spec)
    whole = metapath_graph(graph, path, num_walks=5, **options, generator=seeded())
    monkeypatch.setattr(walks_module, "BLOCK_WALKS", walks)
    monkeypatch.setattr(walks_module, "BLOCK_PRODUCTS", walks)
    again = metapath_graph(graph, path, num_walks=5, **options, generator=seeded())
    assert torch.equal(again.to_dense(), whole.to_dense())


@settings(max_examples=60, deadline=None)
@given(typed_graphs(), st.sampled_from(BACK_AND_FORTH + OTHERS), st.sampled_from([1, 2, 2**22]))
def test_the_instances_from_a_node_back_to_itself_are_exact(graph, text, products):
    path = MetaPath.parse(text, graph.spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walks_module, "BLOCK_PRODUCTS", products)
        found = back_to_itself(path.steps(graph))
    assert found.tolist() == [row[i] for i, row in enumerate(enumerated(graph, path))]


@pytest.mark.parametrize("text", ["a-b-c-b-a", "a-b-a-a"])
def test_walks_rank_by_the_exact_diagonal_also_where_no_product_fits(text, monkeypatch):
    """Nodes without a walk back to themselves are no nearer than others."""
    graph = random_graph(40, 30, 6, density=0.15)
    path = MetaPath.parse(text, graph.spec)
    options = {"num_walks": 4, "top": 5}
    exact = metapath_graph(graph, path).to_dense()
    whole = metapath_graph(graph, path, **options, generator=seeded())
    everything = metapath_graph(graph, path, num_walks=4, generator=seeded()).to_dense()
    monkeypatch.setattr(metapath_module, "MOST_PRODUCTS", 1)
    with pytest.raises(DataError, match="multiplications on its way"):
        metapath_graph(graph, path)
    found = metapath_graph(graph, path, **options, generator=seeded())
    assert torch.equal(found.to_dense(), whole.to_dense())
    diagonal = exact.diagonal()
    assert torch.equal(everything.diagonal(), diagonal)
    score = 2 * everything / (diagonal.unsqueeze(1) + diagonal).clamp_min(1)
    for i, row in enumerate(found.to_dense() > 0):
        left_out = (everything[i] > 0) & ~row
        if left_out.any():
            assert float(score[i][row].min()) >= float(score[i][left_out].max()) - 1e-6
    kept = metapath_graph(graph, path, **options, keep_self=True, generator=seeded()).to_dense()
    assert torch.equal(kept.diagonal(), diagonal)


MEASURED = """
import ctypes, sys, torch
from gcl.core.adjacency import Adjacency
from gcl.core.graph import Graph
from gcl.ops.metapath import MetaPath
from gcl.ops.metapath_graph import metapath_graph

def status(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) * 1024

def graph_of(papers, venues):
    arcs = torch.stack([torch.randint(venues, (papers,)), torch.arange(papers)])
    return Graph(relations={"r": Adjacency.from_edge_index(arcs, (papers, venues))}, relation_types={"r": ("v", "p")},
                 num_nodes_by_type={"p": papers, "v": venues}, target="p")

papers, venues, walks = map(int, sys.argv[1:])
options = {"num_walks": walks} if walks else {}
for size in ((60, 3), (papers, venues)):  # what is loaded once is loaded by the small one
    graph = graph_of(*size)
    ctypes.CDLL(None).malloc_trim(0)
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    made = metapath_graph(graph, MetaPath.parse("p-v-p", graph.spec), **options)
print(status("VmHWM") - before, made.num_arcs)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peak memory is reset on Linux alone")
@pytest.mark.parametrize("size", [(6000, 3, 0), (150_000, 1500, 80)])
def test_a_graph_takes_no_more_memory_than_its_limit_counts(size):
    done = subprocess.run([sys.executable, "-c", MEASURED, *map(str, size)], capture_output=True, text=True, check=True)
    peak, entries = map(int, done.stdout.split())
    assert entries > 8_000_000
    assert peak < module.ENTRY_BYTES * entries + 64 * 2**20  # and a block


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_what_would_not_fit_is_refused_before_it_is_made():
    graph = random_graph(60, 20)
    path = MetaPath.parse("a-b-a", graph.spec)
    with pytest.raises(
        DataError,
        match=r"^meta-path a-b-a joins about 3,\d\d\d pairs of nodes, which take [\d.e-]+ GiB, more than the [\d.e-]+ "
        r"GiB that they may; keep the nearest of each node \(top=100\), or estimate them by random walks \(num_walks=100\)$",
    ):
        metapath_graph(graph, path, max_bytes=120 * module.ENTRY_BYTES)
    few = {"max_bytes": 180 * module.ENTRY_BYTES}
    assert metapath_graph(graph, path, **few, top=3).num_arcs == 180
    assert metapath_graph(graph, path, **few, num_walks=2).num_arcs <= 180
    assert metapath_graph(graph, path, **few, num_walks=50, top=3).num_arcs == 180
    for options in ({"top": 4}, {"num_walks": 50}, {"num_walks": 50, "top": 4}):
        with pytest.raises(DataError, match="more than the"):
            metapath_graph(graph, path, **few, **options)
    sparse = graph_of({"a": 60, "b": 60}, a_b=np.eye(60))  # far fewer pairs than walks
    assert metapath_graph(sparse, path, **few, num_walks=50).num_arcs == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ties": "indx"}, "unknown ties 'indx'; did you mean 'index'"),
        ({"top": 0}, "top must be a whole number from 1, got 0"),
        ({"top": True}, "top must be a whole number from 1, got True"),
        ({"top": 2.0}, "top must be a whole number from 1, got 2.0"),
        ({"num_walks": 0}, "num_walks must be a whole number from 1, got 0"),
        ({"top": 2, "keep_self": True, "drop_self": True}, "keep_self and drop_self contradict each other"),
        ({"ties": "random"}, "ties=random decides which neighbours top keeps, and all are kept; give top"),
        ({"keep_self": True}, "keep_self=True decides which neighbours top keeps, and all are kept; give top"),
    ],
)
def test_bad_settings_are_refused(options, message):
    graph = random_graph()
    with pytest.raises(ConfigError, match=message):
        metapath_graph(graph, MetaPath.parse("a-b-a", graph.spec), **options)


def test_an_unknown_orientation_is_refused():
    neighbors = Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2))
    with pytest.raises(ConfigError, match="unknown orientation 'rows'; did you mean 'row'"):
        metapath_operator(neighbors, orientation="rows")
    with pytest.raises(ConfigError, match="unknown orientation"):
        thinned_operator(neighbors, torch.ones(1, dtype=torch.bool), orientation="rows")


# -- operators ---------------------------------------------------------------------------------------------------------


def formula(kept, orientation):
    """The operator from a dense K, entry by entry."""
    kept = kept.tolist()
    size = range(len(kept))
    if orientation == "symmetric":
        kept = [[max(kept[i][j], kept[j][i]) for j in size] for i in size]
    degree = [sum(row) for row in kept]
    factor = [d**-0.5 if d > 0 else 0.0 for d in degree]
    if orientation == "reference":
        kept = [list(column) for column in zip(*kept, strict=True)]
    return torch.tensor([[factor[i] * kept[i][j] * factor[j] for j in size] for i in size], dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(adjacencies(max_nodes=6), st.sampled_from(ORIENTATIONS), st.booleans())
def test_operators_equal_their_formulas(neighbors, orientation, given_values):
    kept, values = neighbors.to_dense(), None
    if given_values:
        values = torch.arange(1.0, neighbors.num_arcs + 1)
        kept = neighbors.with_weight(values).to_dense()
    found = metapath_operator(neighbors, orientation=orientation, values=values)
    torch.testing.assert_close(found.dense(), formula(kept, orientation), rtol=1e-6, atol=1e-7)
    x = torch.randn(neighbors.shape[0], 2, generator=seeded())
    torch.testing.assert_close(found.matmul(x), (formula(kept, orientation) @ x.double()).float())


def test_nodes_that_none_kept_receive_nothing():
    kept = torch.tensor([[2.0, 1, 0], [1, 3, 0], [0, 2, 0]])
    neighbors = Adjacency.from_edge_index(kept.nonzero().t().flip(0), (3, 3), kept[kept > 0])
    reference, row, both = (metapath_operator(neighbors, orientation=o).dense() for o in ORIENTATIONS)
    assert reference[2].tolist() == [0, 0, 0]
    assert reference[1, 2] > 0
    assert torch.equal(row, reference.t())
    assert torch.equal(both, both.t())
    assert both[2, 1] > 0


@pytest.mark.parametrize("seed", range(4))
def test_operators_of_whole_graphs_do_not_lengthen(seed):
    graph = random_graph(density=0.2, seed=seed)
    for text, orientation in product(BACK_AND_FORTH, ORIENTATIONS):
        kept = metapath_graph(graph, MetaPath.parse(text, graph.spec))
        operator = metapath_operator(kept, orientation=orientation).dense()
        values = torch.linalg.eigvalsh(operator)
        assert float(values.abs().max()) <= 1 + 1e-6
        root = kept.to_dense().sum(dim=1).sqrt()
        torch.testing.assert_close(operator @ root, root, rtol=1e-6, atol=1e-6)
    for text in BACK_AND_FORTH:
        kept = metapath_graph(graph, MetaPath.parse(text, graph.spec), top=3)
        values = torch.linalg.eigvalsh(metapath_operator(kept, orientation="symmetric").dense())
        assert float(values.abs().max()) <= 1 + 1e-6


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_nothing_thinned_is_the_clean_operator_where_all_counts_are_one(orientation):
    graph = graph_of({"a": 12, "b": 12}, a_b=np.eye(12) + (np.random.RandomState(0).random_sample((12, 12)) < 0.1))
    kept = metapath_graph(graph, MetaPath.parse("a-b-a", graph.spec), counts=False, top=4, keep_self=True)
    everything = torch.ones(kept.num_arcs, dtype=torch.bool)
    for keep in (everything, kept.row != kept.col):
        found = thinned_operator(kept, keep, orientation=orientation).dense()
        torch.testing.assert_close(found, metapath_operator(kept, orientation=orientation).dense(), rtol=1e-6, atol=0)


@settings(max_examples=60, deadline=None)
@given(adjacencies(max_nodes=6, masked=False), st.integers(0, 2**24), st.sampled_from(ORIENTATIONS))
def test_thinned_operators_count_what_is_left_once_and_have_a_loop_everywhere(neighbors, bits, orientation):
    keep = torch.tensor([bool(bits >> arc & 1) for arc in range(neighbors.num_arcs)], dtype=torch.bool)
    kept = torch.eye(neighbors.shape[0], dtype=torch.float64)
    for receiver, source in zip(neighbors.row[keep].tolist(), neighbors.col[keep].tolist(), strict=True):
        kept[receiver, source] = 1
    found = thinned_operator(neighbors, keep, orientation=orientation)
    torch.testing.assert_close(found.dense(), formula(kept, orientation), rtol=1e-6, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 5), st.sampled_from(ORIENTATIONS))
def test_the_mean_of_operators_is_theirs_entry_by_entry(data, number, size, orientation):
    shape = {"min_nodes": size, "max_nodes": size}
    parts = [metapath_operator(data.draw(adjacencies(**shape)), orientation=orientation) for _ in range(number)]
    expected = sum(part.dense() for part in parts) / number
    torch.testing.assert_close(mean_operator(parts).dense(), expected, rtol=1e-6, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(adjacencies())
def test_arcs_between_different_nodes_are_found(neighbors):
    ends = zip(neighbors.row.tolist(), neighbors.col.tolist(), strict=True)
    found = without_loops(neighbors)
    assert found.dtype == torch.int64
    assert found.tolist() == [arc for arc, (receiver, source) in enumerate(ends) if receiver != source]


@pytest.mark.parametrize("normalize", ["gcn", "symmetric", "row", "none"])
def test_operators_move_to_a_device_with_all_they_have(normalize):
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 1, 0]]), (3, 3), torch.tensor([1.0, 2, 3]))
    operator = Propagation(adjacency, normalize=normalize, values=torch.tensor([3.0, 1, 2]), scale=0.5)
    for here in (operator, operator.t()):
        assert here.to("cpu") is here
        here.matmul(torch.ones(3, 1))  # what it keeps from a product stays behind
        there = here.to("meta")
        assert (there.shape, there.normalize, there.scale) == (here.shape, here.normalize, here.scale)
        assert there.adjacency.device.type == "meta"
        assert (there.values is None) is (here.values is None)
        assert there.values is None or there.values.device.type == "meta"
    kept, moved = here.weights(), there.weights()
    assert [part is None for part in moved] == [part is None for part in kept]
    assert {part.device.type for part in moved if part is not None} == {"meta"}


# -- the shipped graphs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped(data_root):
    made = {}

    def load(name):
        if name not in made:
            made[name] = load_dataset(f"hetero/{name}", data_root=data_root).graph
        return made[name]

    return load


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "text", "counts", "top", "entries", "unpicked"),
    [
        ("acm", "paper-author-paper", True, 110, 57_797, 0),
        ("acm", "paper-subject-paper", True, 700, 2_147_611, 1252),
        ("dblp", "author-paper-author", True, 25, 11_022, 0),
        ("dblp", "author-paper-conference-paper-author", True, 200, 811_045, 240),
        ("aminer", "paper-author-paper", False, 5, 17_182, 165),
        ("aminer", "paper-reference-paper", False, 21, 75_869, 45),
        ("imdb", "movie-actor-movie", True, 70, 80_861, 1),
        ("imdb", "movie-director-movie", True, 10, 15_314, 169),
        ("imdb", "movie-keyword-movie", True, 70, 203_882, 100),
    ],
)
def test_shipped_graphs_keep_as_many_neighbors_as_the_authors(shipped, name, text, counts, top, entries, unpicked):
    graph = shipped(name)
    kept = metapath_graph(graph, MetaPath.parse(text, graph.spec), top=top, counts=counts)
    assert kept.num_arcs == entries
    assert int((kept.t_row_ptr.diff() == 0).sum()) == unpicked
    if name == "acm":  # where ties take a node's own place, none has picked it
        loops = graph.num_nodes - int((kept.row == kept.col).sum())
        assert loops == unpicked
        received = metapath_operator(kept).matmul(torch.ones(graph.num_nodes, 1))
        assert int((received == 0).sum()) == unpicked


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("acm", {"paper-author-paper": 57_853, "paper-subject-paper": 4_338_213}),
        ("dblp", {"author-paper-author": 11_113}),
        ("aminer", {"paper-author-paper": 21_976, "paper-reference-paper": 129_824}),
        ("freebase", {"movie-director-movie": 8404, "movie-actor-movie": 254_702, "movie-writer-movie": 10_706}),
        ("imdb", {"movie-actor-movie": 81_360, "movie-director-movie": 16_498, "movie-keyword-movie": 319_435}),
    ],
)
def test_shipped_graphs_join_as_many_pairs_as_the_authors(shipped, name, entries):
    graph = shipped(name)
    for text, expected in entries.items():
        assert metapath_graph(graph, MetaPath.parse(text, graph.spec), counts=False).num_arcs == expected
