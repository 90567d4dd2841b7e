import os
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gcl
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.ops.communities import detect_communities, modularity, relabel_by_size, undirected_edges

METHODS = ("leiden", "louvain", "louvain-networkx")


def adjacency_of(edges, num_nodes, *, directed=False):
    index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()
    if not directed:
        index = torch.cat([index, index.flip(0)], dim=1)
    return Adjacency.from_edge_index(index, (num_nodes, num_nodes), duplicates="first")


def networkx_of(edges, num_nodes):
    graph = nx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edges)
    return graph


def groups(labels):
    return [set(torch.nonzero(labels == k).squeeze(1).tolist()) for k in range(int(labels.max()) + 1)]


def planted(seed=0):
    graph = nx.planted_partition_graph(6, 20, 0.4, 0.02, seed=seed)
    return adjacency_of(list(graph.edges()), 120)


def ring_of_cliques(count=8, size=5):
    return adjacency_of(list(nx.ring_of_cliques(count, size).edges()), count * size)


graphs = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=30),
        st.lists(st.integers(0, min(n, 4) - 1), min_size=n, max_size=n),
    )
)


@given(graphs, st.booleans(), st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=50, deadline=None)
def test_modularity_is_that_of_networkx(case, directed, resolution):
    num_nodes, edges, labels = case
    adjacency = adjacency_of(edges, num_nodes, directed=directed)
    value = modularity(adjacency, torch.tensor(labels), resolution=resolution)
    if not edges:
        assert value == 0
        return
    parts = [{v for v in range(num_nodes) if labels[v] == k} for k in set(labels)]
    assert value == pytest.approx(
        nx.community.modularity(networkx_of(edges, num_nodes), parts, resolution=resolution), abs=1e-12
    )


@given(graphs, st.booleans())
@settings(max_examples=50, deadline=None)
def test_undirected_edges_are_the_union_of_arcs_without_repeats(case, directed):
    num_nodes, edges, _ = case
    u, v = undirected_edges(adjacency_of(edges, num_nodes, directed=directed))
    assert sorted(zip(u.tolist(), v.tolist(), strict=True)) == sorted({(min(e), max(e)) for e in edges})


@given(graphs, st.sampled_from(METHODS))
@settings(max_examples=40, deadline=None)
def test_labels_are_sorted_by_size_then_smallest_member_and_isolated_nodes_stand_alone(case, method):
    num_nodes, edges, _ = case
    labels = detect_communities(adjacency_of(edges, num_nodes), method=method, seed=0)
    parts = groups(labels)
    assert labels.shape == (num_nodes,)
    assert labels.dtype == torch.int64
    assert all(parts)
    assert [(-len(part), min(part)) for part in parts] == sorted((-len(part), min(part)) for part in parts)
    touched = {v for edge in edges for v in edge if edge[0] != edge[1]}
    alone = {next(iter(part)) for part in parts if len(part) == 1}
    assert set(range(num_nodes)) - touched <= alone
    for part in parts:  # a community does not reach over connected components
        assert len(part) == 1 or nx.has_path(networkx_of(edges, num_nodes), min(part), max(part))


@pytest.mark.parametrize("method", METHODS)
def test_cliques_are_found(method):
    labels = detect_communities(ring_of_cliques(), method=method, seed=3)
    assert sorted(map(sorted, groups(labels))) == [list(range(5 * k, 5 * k + 5)) for k in range(8)]


@pytest.mark.parametrize("method", METHODS)
def test_arc_order_directions_and_masks_do_not_matter(method):
    adjacency = planted()
    u, v = undirected_edges(adjacency)
    one_way = Adjacency.from_edge_index(torch.stack([u, v]), adjacency.shape)
    extra = Adjacency.from_edge_index(torch.cat([adjacency.edge_index(), torch.tensor([[0], [119]])], 1), (120, 120))
    keep = ~((extra.col == 0) & (extra.row == 119))
    labels = detect_communities(adjacency, method=method, seed=1)
    assert torch.equal(labels, detect_communities(one_way, method=method, seed=1))
    assert torch.equal(labels, detect_communities(extra.masked(keep, compact=False), method=method, seed=1))


def test_quality_is_near_that_of_networkx_louvain():
    adjacency = planted()
    second = nx.community.louvain_communities(networkx_of(adjacency.edge_index().t().tolist(), 120), seed=0)
    labels = torch.empty(120, dtype=torch.int64)
    for k, part in enumerate(second):
        labels[list(part)] = k
    assert modularity(adjacency, detect_communities(adjacency, seed=0)) > modularity(adjacency, labels) - 0.02


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_one_partition_and_leaves_other_random_streams_alone(method):
    adjacency = planted()
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    runs = [detect_communities(adjacency, method=method, seed=5) for _ in range(3)]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


PROGRAM = """
import hashlib, networkx as nx, torch
from gcl.core.adjacency import Adjacency
from gcl.ops.communities import detect_communities
edges = torch.tensor(list(nx.gnm_random_graph(300, 900, seed=1).edges())).t()
labels = detect_communities(Adjacency.from_edge_index(edges, (300, 300)), seed=11)
print(hashlib.sha256(labels.numpy().tobytes()).hexdigest())
"""


def test_two_processes_agree_whatever_their_thread_count():
    def run(threads):
        env = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "PYTHONHASHSEED": threads,
            "PYTHONPATH": str(Path(gcl.__file__).parent.parent),
        }
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert run("1") == run("2")


@pytest.mark.parametrize("method", ["leiden", "louvain"])
def test_thread_count_is_restored(method):
    networkit = pytest.importorskip("networkit")
    before = networkit.getMaxNumberOfThreads()
    try:
        for threads in (2, 3):
            networkit.setNumberOfThreads(threads)
            detect_communities(planted(), method=method, seed=0)
            assert networkit.getMaxNumberOfThreads() == threads
    finally:
        networkit.setNumberOfThreads(before)


def test_more_runs_are_never_worse():
    edges = torch.tensor(list(nx.gnm_random_graph(200, 500, seed=2).edges())).t()
    adjacency = Adjacency.from_edge_index(edges, (200, 200))
    quality = [modularity(adjacency, detect_communities(adjacency, seed=4, runs=runs)) for runs in (1, 2, 4, 8)]
    assert quality == sorted(quality)
    assert quality[-1] > quality[0]


@pytest.mark.parametrize("method", METHODS)
def test_larger_resolution_gives_more_communities(method):
    counts = [
        int(detect_communities(planted(), method=method, resolution=r, seed=0).max()) + 1 for r in (0.0, 1.0, 20.0)
    ]
    assert counts[0] < counts[1] < counts[2]


def test_networkx_stands_in_for_a_missing_networkit_with_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkit", None)
    with pytest.warns(UserWarning, match="NetworKit is not installed"):
        labels = detect_communities(planted(), seed=0)
    assert torch.equal(labels, detect_communities(planted(), seed=0, method="louvain-networkx"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("num_nodes", "edges"), [(1, []), (4, []), (3, [(0, 0), (2, 2)])])
def test_without_edges_every_node_stands_alone(method, num_nodes, edges):
    assert detect_communities(adjacency_of(edges, num_nodes), method=method).tolist() == list(range(num_nodes))


def test_relabel_by_size():
    assert relabel_by_size(torch.tensor([7, 3, 3, 9, 9, -1])).tolist() == [2, 0, 0, 1, 1, 3]
    assert relabel_by_size(torch.tensor([], dtype=torch.int64)).tolist() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "metis"},
        {"resolution": -1.0},
        {"resolution": float("nan")},
        {"resolution": True},
        {"seed": -1},
        {"seed": 0.5},
        {"runs": 0},
        {"runs": True},
    ],
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        detect_communities(planted(), **wrong)


def test_a_rectangle_and_wrong_labels_are_refused():
    with pytest.raises(DataError, match="square"):
        detect_communities(Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 3)))
    path = adjacency_of([(0, 1), (1, 2)], 3)
    for labels in ([0, 1], [0, -1, 1], [0, 1, 3], [0.0, 1.0, 1.0]):
        with pytest.raises(DataError, match="labels"):
            modularity(path, torch.tensor(labels))


@pytest.mark.data
def test_modularity_of_amazon_photo(data_root):
    arrays = np.load(data_root / "node" / "amazon_photo.npz", allow_pickle=False)
    edges, num_nodes = torch.from_numpy(arrays["edge_index"]).long(), int(arrays["num_nodes"])
    adjacency = Adjacency.from_edge_index(torch.cat([edges, edges.flip(0)], 1), (num_nodes, num_nodes))
    assert modularity(adjacency, detect_communities(adjacency, seed=0)) == pytest.approx(0.7377, abs=0.005)
