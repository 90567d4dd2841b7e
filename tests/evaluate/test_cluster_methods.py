"""Clustering by several methods, and its measures without labels."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.metrics import davies_bouldin_score, silhouette_score

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.evaluate import cluster_methods
from gcl.evaluate.cluster_methods import find_clusters
from gcl.evaluate.cluster_quality import cluster_quality, conductance
from gcl.run.cluster import cluster, compare_clusterings

Y = torch.arange(3).repeat_interleave(30)


def blobs(spread=0.1, d=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.eye(3, d)[Y] + spread * torch.randn(90, d, generator=draw)


def of_networkx(graph):
    arcs = torch.tensor([*graph.edges, *((j, i) for i, j in graph.edges)], dtype=torch.int64).reshape(-1, 2).t()
    return Adjacency.from_edge_index(arcs, (graph.number_of_nodes(), graph.number_of_nodes()))


def blocks():
    return of_networkx(nx.planted_partition_graph(3, 30, 0.5, 0.02, seed=0))


def same_partition(a, b):
    return len(torch.stack([a, b]).unique(dim=1).t()) == len(a.unique()) == len(b.unique())


@pytest.mark.parametrize("method", ["kmeans", "gmm", "agglomerative"])
@pytest.mark.parametrize("d", [4, 40])  # full and diagonal covariances
@pytest.mark.parametrize("normalize", [True, False])
def test_what_is_apart_is_found(method, d, normalize):
    found = find_clusters(blobs(d=d), 3, method=method, normalize=normalize)
    assert same_partition(found.labels, Y)
    assert found.protocol == method + ("-l2" if normalize else "")
    again = find_clusters(blobs(d=d), 3, method=method, normalize=normalize)
    assert torch.equal(found.labels, again.labels)
    assert found.score == again.score


def test_the_unit_of_the_columns_does_not_matter_to_a_mixture():
    for unit in (1e-6, 1.0, 1e6):
        found = find_clusters(unit * blobs(), 3, method="gmm", normalize=False)
        assert same_partition(found.labels, Y)


def test_leiden_clusters_the_graph_and_finds_the_number():
    found = find_clusters(torch.zeros(90, 1), None, method="leiden", adjacency=blocks())
    assert same_partition(found.labels, Y)
    expected = nx.community.modularity(
        nx.Graph([tuple(arc) for arc in blocks().edge_index().t().tolist()]),
        [set(range(s, s + 30)) for s in (0, 30, 60)],
    )
    assert found.score == pytest.approx(expected)
    assert (
        len(
            find_clusters(torch.zeros(90, 1), None, method="leiden", adjacency=blocks(), resolution=9.0).labels.unique()
        )
        > 3
    )


def test_measures_are_those_of_scikit_learn_and_networkx():
    z, labels, graph = blobs(1.5), Y.roll(5), blocks()
    found = cluster_quality(z, labels, adjacency=graph, normalize=False)
    assert found["silhouette"] == pytest.approx(silhouette_score(z.numpy(), labels.numpy()), abs=1e-5)
    assert found["davies_bouldin"] == pytest.approx(davies_bouldin_score(z.numpy(), labels.numpy()), rel=1e-5)
    whole = nx.Graph([tuple(arc) for arc in graph.edge_index().t().tolist()])
    parts = [set((labels == c).nonzero().flatten().tolist()) for c in range(3)]
    assert found["modularity"] == pytest.approx(nx.community.modularity(whole, parts))
    assert found["conductance"] == pytest.approx(np.mean([nx.conductance(whole, part) for part in parts]))
    unit = torch.nn.functional.normalize(z, dim=1)
    assert cluster_quality(z, labels)["silhouette"] == pytest.approx(
        cluster_quality(unit, labels, normalize=False)["silhouette"]
    )
    assert "modularity" not in cluster_quality(z, labels)


def test_measures_that_do_not_exist_are_left_out(monkeypatch):
    z = blobs()
    assert cluster_quality(z, torch.zeros(90, dtype=torch.int64)) == {}
    assert cluster_quality(z, torch.arange(90)) == {}
    lonely = of_networkx(nx.empty_graph(4))
    assert conductance(lonely, torch.tensor([0, 0, 1, 1])) is None
    assert cluster_quality(z[:4], torch.tensor([0, 0, 1, 1]), adjacency=lonely)["modularity"] == 0
    one_edge = of_networkx(nx.Graph([(0, 1), (2, 3)]))
    assert conductance(one_edge, torch.tensor([0, 0, 1, 1])) == 0
    assert conductance(one_edge, torch.tensor([0, 1, 0, 1])) == 1
    monkeypatch.setattr("gcl.evaluate.cluster_quality.SAMPLE", 40)
    assert cluster_quality(z, Y)["silhouette"] == cluster_quality(z, Y)["silhouette"] > 0.8


def test_bad_input_is_refused(monkeypatch):
    z = blobs()
    for options, message in (
        ({"k": 3, "method": "dbscan"}, "clustering method"),
        ({"k": None}, "kmeans needs k"),
        ({"k": 0, "method": "gmm"}, "k=0"),
        ({"k": 91, "method": "agglomerative"}, "k=91 clusters cannot be made of 90 rows"),
        ({"k": None, "method": "leiden"}, "give one"),
        ({"k": 3, "method": "gmm", "seed": -1}, "seed"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_clusters(z, **options)
    monkeypatch.setattr(cluster_methods, "MOST_PAIRS", 50)
    with pytest.raises(DataError, match=r"up to 50 rows, got 90; use kmeans or gmm"):
        find_clusters(z, 3, method="agglomerative")
    with pytest.raises(DataError, match="one a row"):
        cluster_quality(z, Y[:5])
    with pytest.raises(DataError, match="90 rows"):
        cluster_quality(z, Y, adjacency=of_networkx(nx.path_graph(3)))


# -- the one call ----------------------------------------------------------------------------------------------------


def test_the_number_of_clusters_comes_from_what_is_there_and_is_said():
    assert cluster(blobs(), k=2, seeds=1).k_from == "given"
    by_classes = cluster(blobs(), y=Y, seeds=2)
    assert (by_classes.k_from, len(by_classes.sizes)) == ("the number of classes", 3)
    assert by_classes.report.mean("accuracy") == 1.0
    by_graph = cluster(blobs(), adjacency=blocks(), seeds=1)
    assert (by_graph.k_from, len(by_graph.sizes)) == ("the eigengap of the graph", 3)
    assert {"modularity", "conductance"} <= set(by_graph.quality)
    alone = cluster(blobs(), seeds=1)
    assert len(alone.sizes) == 3
    assert "joins each row to its 10 nearest (cosine)" in alone.notes[0]
    assert "modularity" not in alone.quality  # of a graph that was made of the rows it would flatter them
    leiden = cluster(blobs(), method="leiden", normalize=False, seeds=1)
    assert "leiden" in leiden.k_from
    assert "euclidean" in leiden.notes[0]


def test_the_seed_is_chosen_by_the_method_s_own_measure(monkeypatch):
    scores = iter([0.1, 0.7, 0.7])
    good = torch.zeros(90, dtype=torch.int64)

    def fake(z, k, **options):
        return cluster_methods.Clusters(good + (torch.arange(90) < options["seed"]), next(scores), "fake")

    monkeypatch.setattr("gcl.run.cluster.find_clusters", fake)
    assert cluster(blobs(), k=2, seeds=3).chosen == 1


def test_pamc_takes_rows_as_features():
    settings = {
        "hidden_channels": (16,), "pretrain_epochs": 40, "pretrain_batch_size": 16,
        "trainer": {"epochs": 10, "learning_rate": 1e-3},
    }  # fmt: skip
    result = cluster(blobs(), k=3, method="pamc", adjacency=blocks(), y=Y, seeds=1, settings=settings)
    assert result.report.mean("accuracy") > 0.9
    assert result.runs[0].protocol == "pamc"


def test_equal_rows_are_pointed_out_and_one_row_is_refused_where_neighbours_are_needed():
    assert any("all rows are equal" in note for note in cluster(torch.ones(6, 2), k=2, seeds=1).notes)
    with pytest.raises(DataError, match="one row alone"):
        cluster(torch.ones(1, 2))
    with pytest.raises(ConfigError, match="seeds"):
        cluster(blobs(), k=2, seeds=0)
    with pytest.raises(ConfigError, match="leave k out"):
        cluster(blobs(), k=2, method="leiden")
    with pytest.raises(ConfigError, match="clustering method"):
        cluster(blobs(), k=2, method="dbscan")
    with pytest.raises(ConfigError, match="settings belong to method pamc"):
        cluster(blobs(), k=2, settings={"order": 1})
    for options, message in (
        ({"resolution": 2.0}, "resolution belongs to method leiden"),
        ({"method": "gmm", "algorithm": "lloyd"}, "algorithm belongs to method kmeans"),
        ({"method": "pamc", "settings": {"seeds": [3], "out": "x"}}, "not out, seeds"),
        ({"assignment": Y}, "assignment belongs to method own"),
    ):
        with pytest.raises(ConfigError, match=message):
            cluster(blobs(), k=2, **options)
    with pytest.raises(ConfigError, match="needs an assignment"):
        cluster(blobs(), method="own")
    with pytest.raises(DataError, match="3 nodes for 90 rows"):
        cluster(blobs(), method="leiden", adjacency=of_networkx(nx.path_graph(3)))
    with pytest.raises(DataError, match="leaves every row out"):
        compare_clusterings(Y, torch.full_like(Y, -1))


@pytest.mark.parametrize("method", ["kmeans", "gmm", "agglomerative"])
@pytest.mark.parametrize("unit", [1e20, 1e-25])
@pytest.mark.parametrize("normalize", [True, False])
def test_rows_of_any_size_are_clustered(method, unit, normalize):
    found = cluster(unit * blobs(), k=3, method=method, normalize=normalize, seeds=1)
    assert same_partition(found.labels, Y)


@pytest.mark.parametrize("method", ["kmeans", "gmm", "agglomerative"])
def test_as_many_clusters_as_rows(method):
    for rows in (torch.ones(1, 2), blobs()[::20]):
        assert len(cluster(rows, k=len(rows), method=method, seeds=1).sizes) == len(rows)


def test_empty_clusters_are_counted_and_leave_no_gap():
    rows = torch.eye(3).repeat(4, 1).numpy()
    found = cluster(rows, k=5, seeds=1)
    assert (found.k, found.sizes) == (5, [4, 4, 4])
    assert "3 of 5 clusters have a row; the others are empty" in found.notes


def test_an_assignment_that_is_there_is_taken_as_it_is():
    soft = torch.nn.functional.one_hot(Y, 5).float()
    for assignment in (Y, soft):
        found = cluster(blobs(), method="own", assignment=assignment, y=Y)
        assert torch.equal(found.labels, Y)
        assert (found.report.mean("accuracy"), found.runs[0].protocol) == (1.0, "assignment")


def test_seeds_are_refused_where_they_would_change_nothing():
    for options in ({"method": "agglomerative", "k": 3}, {"method": "own", "assignment": Y}):
        for seeds in (None, 1):
            assert len(cluster(blobs(), seeds=seeds, **options).runs) == 1
        with pytest.raises(ConfigError, match=f"method {options['method']} gives the same clusters with every seed"):
            cluster(blobs(), seeds=2, **options)
    assert len(cluster(blobs(), k=3).runs) == 5


def test_pamc_is_trained_once_where_nothing_is_said():
    settings = {"hidden_channels": (8,), "pretrain_epochs": 1, "trainer": {"epochs": 1}}
    assert len(cluster(blobs(), k=3, method="pamc", adjacency=blocks(), settings=settings).runs) == 1


def test_labels_that_say_nothing_are_pointed_out():
    assert any("nothing is scored" in note for note in cluster(blobs(), k=3, y=torch.full((90,), -1), seeds=1).notes)


def test_large_sets_need_a_number(monkeypatch):
    monkeypatch.setattr("gcl.run.cluster.MOST_ROWS", 50)
    with pytest.raises(DataError, match="up to 50 rows, got 90; give a graph, or k"):
        cluster(blobs())


def test_two_clusterings_compared():
    other = Y.clone()
    other[:3] = 2
    found = compare_clusterings(Y, other)
    assert found["matched"] == pytest.approx(87 / 90)
    assert 0 < found["ari"] < 1
    assert compare_clusterings(Y, (Y + 1) % 3) == {"nmi": pytest.approx(1), "ari": 1.0, "matched": 1.0}
    assert not math.isnan(compare_clusterings(Y, torch.zeros_like(Y))["nmi"])
    with pytest.raises(DataError, match="same rows"):
        compare_clusterings(Y, other[:4])


def test_arrays_and_labels_as_people_have_them():
    z = blobs(spread=0.01).numpy()
    words = [f"class {label}" for label in Y.tolist()]
    whole = cluster(z, k=3, y=Y, seeds=1)
    for rows, labels in (
        (z[:, ::-1], words),
        (z.astype(">f8"), np.array(words)),
        (scipy.sparse.csr_matrix(z), np.array(words, dtype=object)),
        (z.tolist(), Y.numpy()),
        (torch.from_numpy(z).to_sparse(), Y.tolist()),
    ):
        found = cluster(rows, k=Y.numpy().max() + 1, y=labels, seeds=np.int64(1))
        assert found.report.mean("accuracy") == whole.report.mean("accuracy") == 1.0
    own = cluster(z, method="own", assignment=Y.numpy(), y=words)
    assert own.report.mean("accuracy") == 1.0
    with_gradient = [torch.ones(2, requires_grad=True), torch.ones(2)]
    for wrong in ([[1.0], [2.0, 3.0]], [["a"], ["b"]], with_gradient):
        with pytest.raises(DataError, match=r"must be (a matrix of )?real numbers"):
            cluster(wrong, k=1)
    for labels in (5, np.array(5), [[1], [2, 3]]):
        with pytest.raises(DataError, match="labels must be one class a node"):
            cluster(z, k=3, y=labels)
    assert cluster(z.astype(np.longdouble), k=3, y=Y, seeds=1).report.mean("accuracy") == 1.0
    some = ["", "-1", *words[2:]]
    assert cluster(z, k=3, y=some, seeds=1).report.n == 88


def test_a_graph_alone_is_clustered_by_leiden():
    graph = blocks()
    found = cluster(None, method="leiden", adjacency=graph, y=Y, seeds=2)
    assert torch.equal(found.labels, cluster(blobs(), method="leiden", adjacency=graph, seeds=2).labels)
    assert set(found.quality) == {"modularity", "conductance"}
    for method, adjacency in (("kmeans", graph), ("leiden", None)):
        with pytest.raises(ConfigError, match="without embeddings there is only a graph to cluster"):
            cluster(None, k=None, method=method, adjacency=adjacency)


@pytest.mark.parametrize("method", ["gmm", "agglomerative", "kmeans"])
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1e12), (1e6, 2e-3), (-3e4, 1e-6)])
def test_place_and_unit_of_rows_do_not_matter(method, shift, scale):
    z = blobs().double()
    moved = shift + scale * z
    found = [find_clusters(rows, 3, method=method, normalize=False).labels for rows in (z, moved)]
    assert same_partition(*found)
    assert same_partition(found[0], Y)
