from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, f1_score, normalized_mutual_info_score

from gcl.core.adjacency import Adjacency
from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.resolve import describe, resolve
from gcl.evaluate import clustering
from gcl.evaluate.clustering import Clustering, cluster_scores, kmeans_assign, kmeans_report


def best_accuracy(assignment, y):
    """Every injection of clusters into classes (or the other way), by brute force."""
    clusters, classes = sorted(set(assignment)), sorted(set(y))
    padded = classes + [None] * max(len(clusters) - len(classes), 0)
    return max(
        np.mean([dict(zip(clusters, choice, strict=True))[a] == t for a, t in zip(assignment, y, strict=True)])
        for choice in set(itertools.permutations(padded, len(clusters)))
    )


CASES = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 4), min_size=n, max_size=n), st.lists(st.integers(0, 3), min_size=n, max_size=n)
    )
)


@settings(max_examples=50, deadline=None)
@given(CASES)
def test_matching_is_the_best_of_all(case):
    assignment, y = case
    scores = cluster_scores(torch.tensor(assignment), torch.tensor(y))
    assert scores["accuracy"] == pytest.approx(best_accuracy(assignment, y))
    assert scores["nmi"] == pytest.approx(normalized_mutual_info_score(y, assignment))
    assert scores["ari"] == pytest.approx(adjusted_rand_score(y, assignment))
    assert 0.0 <= scores["macro_f1"] <= 1.0


@settings(max_examples=25, deadline=None)
@given(CASES, st.permutations(range(5)))
def test_names_of_clusters_do_not_matter(case, names):
    assignment, y = case
    renamed = [names[cluster] for cluster in assignment]
    first = cluster_scores(torch.tensor(assignment), torch.tensor(y))
    second = cluster_scores(torch.tensor(renamed), torch.tensor(y))
    for metric in ("accuracy", "nmi", "ari"):
        assert first[metric] == pytest.approx(second[metric])


def test_perfect_clusters_and_too_many_or_few():
    y = torch.tensor([0, 0, 1, 1, 2, 2])
    assert cluster_scores(torch.tensor([7, 7, 3, 3, 5, 5]), y) == dict.fromkeys(
        ("accuracy", "nmi", "ari", "macro_f1"), 1.0
    )
    every = cluster_scores(torch.arange(6), y)  # three clusters are left without a class
    assert every["accuracy"] == 0.5
    assert every["macro_f1"] == pytest.approx(2 / 3)
    one = cluster_scores(torch.zeros(6, dtype=torch.int64), y)
    assert one["accuracy"] == pytest.approx(1 / 3)
    assert one["macro_f1"] == pytest.approx(0.5 / 3)


def test_macro_f1_after_the_matching_by_hand():
    assignment, y = torch.tensor([1, 1, 1, 0, 0, 2]), torch.tensor([0, 0, 1, 1, 1, 1])
    predicted = [0, 0, 0, 1, 1, 9]
    expected = f1_score(y.numpy(), predicted, labels=[0, 1], average="macro")
    assert cluster_scores(assignment, y)["macro_f1"] == pytest.approx(expected)


def test_unlabelled_nodes_are_left_out():
    assignment, y = torch.tensor([0, 0, 1, 1, 4]), torch.tensor([1, 1, 0, 0, -1])
    assert cluster_scores(assignment, y)["accuracy"] == 1.0


def test_kmeans_is_scikit_learns_on_unit_rows(make_task):
    z, _, _ = make_task()
    rows = z / z.norm(dim=1, keepdim=True)
    model = KMeans(3, n_init=10, random_state=7).fit(rows.numpy())
    fit = kmeans_assign(z, 3, seed=7)
    assert adjusted_rand_score(fit.labels.numpy(), model.labels_) == 1.0
    assert fit.inertia == pytest.approx(model.inertia_, rel=1e-5)
    centers = torch.stack([rows[fit.labels == cluster].mean(dim=0) for cluster in range(3)])
    assert fit.inertia == pytest.approx(float((rows - centers[fit.labels]).square().sum()), rel=1e-4)


def test_report(make_task):
    z, y, _ = make_task(noise=0.2)
    y[:3] = -1
    report = kmeans_report(z, y, seeds=[3, 5], n_init=2)
    assert (report.task, report.protocol, report.n, list(report.seeds)) == ("clustering", "kmeans-l2", 117, [3, 5])
    assert report.values["accuracy"] == [1.0, 1.0]
    assert report == kmeans_report(z, y, seeds=[3, 5], n_init=2)
    assert kmeans_report(z, y, normalize=False, seeds=[0]).protocol == "kmeans"
    assert kmeans_report(z, y, k=7, seeds=[0]).details["k"] == 7


def test_mini_batches(make_task, monkeypatch):
    z, y, _ = make_task(noise=0.2)
    fit = kmeans_assign(z, 3, seed=1, algorithm="minibatch")
    assert fit.algorithm == "minibatch"
    assert adjusted_rand_score(fit.labels.numpy(), y.numpy()) == 1.0
    assert fit.inertia == pytest.approx(kmeans_assign(z, 3, seed=1).inertia, rel=0.05)
    assert torch.equal(fit.labels, kmeans_assign(z, 3, seed=1, algorithm="minibatch").labels)
    assert kmeans_report(z, y, seeds=[0], algorithm="minibatch").protocol == "kmeans-l2-minibatch"
    monkeypatch.setattr(clustering, "MINI_BATCH_FROM", 120)
    assert kmeans_assign(z, 3).algorithm == "minibatch"  # 120 rows
    assert kmeans_assign(z[1:], 3).algorithm == "lloyd"
    assert kmeans_assign(z, 3, algorithm="lloyd").algorithm == "lloyd"


def test_unknown_algorithm_is_refused(make_task):
    z, _, _ = make_task()
    with pytest.raises(ConfigError, match=r"elkan.*lloyd"):
        kmeans_assign(z, 3, algorithm="elkan")
    with pytest.raises(ConfigError, match=r"elkan.*lloyd"):
        Clustering(algorithm="elkan")


def test_one_node_and_one_cluster():
    assert kmeans_report(torch.ones(1, 2), torch.zeros(1, dtype=torch.int64)).mean("accuracy") == 1.0
    assert kmeans_assign(torch.randn(5, 2), 1).labels.tolist() == [0] * 5


@pytest.mark.parametrize("k", [0, -1, 121, 2.5, True])
def test_impossible_k_is_refused(make_task, k):
    z, y, _ = make_task()
    with pytest.raises(ConfigError, match="k"):
        kmeans_report(z, y, k=k)
    with pytest.raises(ConfigError, match="k"):
        kmeans_assign(z, k)


def test_bad_input_is_refused(make_task):
    z, y, _ = make_task()
    with pytest.raises(DataError, match="119 entries for 120"):
        kmeans_report(z, y[1:])
    with pytest.raises(DataError, match="119 entries for 120"):
        cluster_scores(torch.zeros(120, dtype=torch.int64), y[1:])
    with pytest.raises(DataError, match="NaN or infinite"):
        kmeans_report(z.log(), y)
    with pytest.raises(DataError, match="has a label"):
        kmeans_report(z, torch.full_like(y, -1))
    with pytest.raises(DataError, match="start at 0"):
        cluster_scores(torch.tensor([-1, 0]), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="whole number a node"):
        cluster_scores(torch.rand(2), torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match="at least one seed"):
        kmeans_report(z, y, seeds=[])
    with pytest.raises(ConfigError, match="n_init"):
        kmeans_assign(z, 2, n_init=0)
    with pytest.raises(ConfigError, match="seed"):
        kmeans_assign(z, 2, seed=-1)


def graph_of(y) -> Graph:
    empty = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (len(y), len(y)))
    return Graph.homogeneous(None, empty, attrs={"y": y})


def test_evaluator(make_task):
    z, y, _ = make_task(noise=0.2)
    evaluator = Clustering(num_seeds=2)
    training, held = evaluator.split(graph_of(y), seed=0)
    assert training.attr("y") is None
    outputs = Outputs({"embedding": z})
    assert evaluator.evaluate(outputs, held, seed=0) == kmeans_report(z, y, seeds=range(2))
    own = Outputs({"embedding": z}, assignment=torch.nn.functional.one_hot(y, 4).float())
    assert evaluator.evaluate(own, held, seed=0).details["assignment"]["accuracy"] == 1.0
    with pytest.raises(DataError, match="no labels"):
        evaluator.split(training, seed=0)


def test_validation_looks_at_no_label_and_prefers_tight_clusters(make_task):
    z, y, _ = make_task(noise=0.2)
    evaluator = Clustering()
    _, held = evaluator.split(graph_of(y), seed=0)
    _, other = evaluator.split(graph_of(y.roll(1)), seed=0)
    tight = evaluator.validate(Outputs({"embedding": z}), held)
    assert tight == evaluator.validate(Outputs({"embedding": z}), other)
    loose = evaluator.validate(Outputs({"embedding": z + torch.randn_like(z)}), held)
    assert 1 >= tight["explained"] > loose["explained"] > 0
    assert evaluator.validate(Outputs({"embedding": torch.ones_like(z)}), held) == {"explained": 0.0}


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": -2}, {"num_seeds": 0}, {"n_init": 0}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ConfigError, match="must be a whole number from 1"):
        Clustering(**wrong)


def test_more_clusters_than_nodes_is_said_before_training():
    with pytest.raises(ConfigError, match="k=5 clusters cannot be made of 3 nodes"):
        Clustering(k=5).split(graph_of(torch.tensor([0, 1, 1])), seed=0)


def test_describe_and_resolve_are_inverse():
    record = describe(Clustering(k=3, normalize=False))
    assert record == {
        "name": "clustering",
        "k": 3,
        "normalize": False,
        "num_seeds": 5,
        "n_init": 10,
        "algorithm": "auto",
        "embedding": None,
    }
    assert describe(resolve("evaluator", record)) == record
