"""The score of a method's own clusters."""

import pytest
import torch

from gcl.core.adjacency import Adjacency
from gcl.core.context import Outputs
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.core.resolve import describe, resolve
from gcl.evaluate.assignment import Assignment
from gcl.evaluate.clustering import Clustering, cluster_scores

Y = torch.tensor([0, 0, 0, 1, 1, 1])
Z = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def held():
    adjacency = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (6, 6))
    return Assignment().split(Graph.homogeneous(Z, adjacency, attrs={"y": Y}), seed=0)[1]


def test_the_assignment_is_scored_and_not_the_embeddings(held):
    labels = torch.tensor([1, 1, 0, 0, 0, 0])
    for assignment in (labels, torch.nn.functional.one_hot(labels, 3).float()):
        report = Assignment().evaluate(Outputs({"embedding": Z}, assignment=assignment), held, seed=4)
        assert {name: values[0] for name, values in report.values.items()} == cluster_scores(labels, Y)
        assert (report.protocol, report.seeds, report.details) == ("assignment", [4], {"clusters": 2})


def test_what_has_none_is_clustered_by_k_means(held):
    outputs = Outputs({"embedding": Z})
    assert Assignment().evaluate(outputs, held, seed=0).values == Clustering().evaluate(outputs, held, seed=0).values


def test_it_looks_at_no_embedding_by_name():
    with pytest.raises(ConfigError, match="embedding"):
        resolve("evaluator", {"name": "assignment", "embedding": "nope"})
    assert describe(resolve("evaluator", {"name": "assignment", "k": 3}))["k"] == 3


def test_other_epochs_stand_in_the_details_and_only_the_oracle_sees_labels(held):
    history = torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1]], dtype=torch.int16)
    free = torch.tensor([[0.1, 0.9], [0.2, float("nan")], [0.8, 0.9]])
    outputs = Outputs(
        {"embedding": Z}, assignment=history[2].long(), extras={"epoch_assignments": history, "label_free": free}
    )
    report = Assignment().evaluate(outputs, held, seed=0)
    assert report.mean("accuracy") == pytest.approx(4 / 6)  # the last, whatever was better before
    assert report.details["by_silhouette"] == {**cluster_scores(history[2].long(), Y), "epoch": 3}
    assert report.details["by_modularity"] == {**cluster_scores(history[0].long(), Y), "epoch": 1}
    assert report.details["start"] == cluster_scores(history[0].long(), Y)
    assert report.details["oracle"]["accuracy"] == 1.0


def test_the_table_says_what_other_epochs_would_have_given():
    from gcl.report.table import other_epochs

    def details(value):
        choices = ("start", "by_silhouette", "by_modularity", "oracle")
        return {name: {"accuracy": value + at / 100} for at, name in enumerate(choices)}

    one = Report("clustering", "assignment", 6, {"accuracy": [0.5]}, [0], details(0.4))
    assert "before the first update 40.00; epoch by silhouette 41.00" in other_epochs(one)
    assert other_epochs(one).endswith("oracle, by the labels: no result 43.00")
    two = Report(
        "clustering", "assignment", 6, {"accuracy": [0.5, 0.5]}, [0, 1], {"by_seed": [details(0.4), details(0.6)]}
    )
    assert "before the first update 50.00" in other_epochs(two)
    assert other_epochs(Report("clustering", "kmeans", 6, {"accuracy": [0.5]}, [0], {})) == ""
