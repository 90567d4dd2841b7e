from __future__ import annotations

import inspect

import pytest
import torch

from gcl.core.adjacency import Adjacency
from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.resolve import describe, resolve
from gcl.data.embedded import digits
from gcl.evaluate.clustering import Clustering
from gcl.evaluate.floors import propagated_features, raw_features
from gcl.evaluate.linear_probe import linear_probe
from gcl.evaluate.node_classification import NodeClassification

PROTOCOLS = ("linear", "linear-adam", "grace", "heco")


def graph_of(y, splits=None) -> Graph:
    empty = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (len(y), len(y)))
    return Graph.homogeneous(None, empty, attrs={"y": y} if splits is None else {"y": y, "splits": splits})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_validation_and_choice_do_not_see_test_labels(make_task, protocol):
    z, y, _ = make_task(num_nodes=150)
    steps = {"steps": 60} if protocol in ("linear-adam", "heco") else {}
    evaluator = NodeClassification(protocol=protocol, num_splits=1, **steps)
    _, held = evaluator.split(graph_of(y), seed=0)
    test = (held.splits[:, 0] == 2).nonzero().squeeze(1)
    poisoned = y.clone()
    poisoned[test] = y[test].roll(1)
    _, dirty = evaluator.split(graph_of(poisoned), seed=0)
    outputs = Outputs({"embedding": z})
    assert evaluator.validate(outputs, held) == evaluator.validate(outputs, dirty)
    first, second = evaluator.evaluate(outputs, held, seed=0), evaluator.evaluate(outputs, dirty, seed=0)
    assert first.details == second.details
    assert first.values != second.values


def test_what_selection_gets_holds_no_test_label(make_task):
    _, y, _ = make_task()
    _, held = NodeClassification(num_splits=3).split(graph_of(y), seed=0)
    seen = held.for_selection()
    for index in range(3):
        split = held.splits[:, index]
        assert bool((seen.y[split >= 2, index] == -1).all())
        assert torch.equal(seen.y[split < 2, index], y[split < 2])


def test_labels_and_splits_are_absent_from_the_training_graph(make_task):
    _, y, splits = make_task()
    training, held = NodeClassification(splits="stored", num_splits=2).split(graph_of(y, splits), seed=3)
    assert training.attr("y") is None
    assert training.attr("splits") is None
    assert torch.equal(held.splits, splits[:, :2])


def test_auto_takes_stored_splits_and_random_ones_by_name(make_task):
    _, y, splits = make_task()
    graph = graph_of(y, splits)
    _, stored = NodeClassification().split(graph, seed=0)
    assert torch.equal(stored.splits, splits)
    _, drawn = NodeClassification(splits="random-10/10/80", num_splits=4).split(graph, seed=0)
    assert drawn.splits.shape == (120, 4)
    assert [(drawn.splits[:, 0] == part).sum().item() for part in (0, 1, 2)] == [12, 12, 96]


def test_evaluate_is_the_function_of_the_protocol(make_task):
    z, y, splits = make_task()
    evaluator = NodeClassification()
    _, held = evaluator.split(graph_of(y, splits), seed=0)
    assert evaluator.evaluate(Outputs({"embedding": z}), held, seed=0) == linear_probe(z, y, splits)


def test_seed_decides_adam_only(make_task):
    z, y, splits = make_task(noise=2.0)
    evaluator = NodeClassification(protocol="linear-adam", steps=40)
    _, held = evaluator.split(graph_of(y, splits), seed=0)
    outputs = Outputs({"embedding": z})
    reports = [evaluator.evaluate(outputs, held, seed=seed) for seed in (0, 0, 1)]
    assert reports[0] == reports[1] != reports[2]


def test_arguments_are_stored_unchanged_and_resolve_back():
    evaluator = resolve("evaluator", {"name": "classification", "protocol": "linear-adam", "steps": 800})
    for name, parameter in inspect.signature(NodeClassification).parameters.items():
        expected = {"protocol": "linear-adam", "steps": 800}.get(name, parameter.default)
        assert getattr(evaluator, name) == expected
    record = describe(evaluator)
    assert record["name"] == "classification"
    assert describe(resolve("evaluator", record)) == record


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"protocol": "linaer"}, "did you mean 'linear'"),
        ({"num_splits": 0}, "num_splits must be a whole number from 1"),
        ({"num_splits": True}, "num_splits"),
        ({"protocol": "heco", "steps": 0}, "steps"),
        ({"steps": 9}, "steps=9 is for protocol linear-adam and heco, not linear; leave it out, or set it to null"),
        (
            {"protocol": "grace", "learning_rate": 0.1},
            "learning_rate=0.1 is for protocol linear-adam and heco, not grace",
        ),
        ({"protocol": "linear-adam", "weight_decay": 0.1}, "weight_decay=0.1 is for protocol heco, not linear-adam"),
        ({"protocol": "linear-adam", "num_probes": 2}, "num_probes=2 is for protocol heco"),
        ({"protocol": "linear-adam", "learning_rate": 0}, "learning_rate must be a number above 0"),
        ({"splits": "random"}, "unknown splits"),
        ({"protocol": "grace", "splits": "stored"}, "makes its own"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        NodeClassification(**wrong)


@pytest.mark.parametrize("rows", [100, 140])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_missing_labels_and_rows_are_one_sentence(make_task, protocol, rows):
    z, y, splits = make_task()
    z = z.repeat(2, 1)[:rows]
    evaluator = NodeClassification(protocol=protocol)
    with pytest.raises(DataError, match="no labels"):
        evaluator.split(graph_of(y).for_training(), seed=0)
    _, held = evaluator.split(graph_of(y, splits), seed=0)
    with pytest.raises(DataError, match=f"{rows} rows for labels of 120 nodes"):
        evaluator.evaluate(Outputs({"embedding": z}), held, seed=0)
    with pytest.raises(DataError, match=f"{rows} rows for labels of 120 nodes"):
        evaluator.validate(Outputs({"embedding": z}), held)


def test_digits_end_to_end():
    graph, _ = digits()
    scores = {}
    for name, make in (("raw", raw_features), ("propagated", propagated_features)):
        outputs = Outputs({"embedding": make(graph.for_training())})
        classification, clustering = NodeClassification(num_splits=3), Clustering(num_seeds=2, n_init=2)
        _, held = classification.split(graph, seed=0)
        report = classification.evaluate(outputs, held, seed=0)
        assert abs(classification.validate(outputs, held)["accuracy"] - report.mean("accuracy")) < 0.05
        _, classes = clustering.split(graph, seed=0)
        scores[name] = (report.mean("accuracy"), clustering.evaluate(outputs, classes, seed=0).mean("nmi"))
    assert scores["raw"][0] > 0.9
    assert scores["propagated"][0] > 0.95
    assert scores["propagated"][1] > scores["raw"][1] > 0.6
