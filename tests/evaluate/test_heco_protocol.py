from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, roc_auc_score

from gcl.core.adjacency import Adjacency
from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError, NonFiniteError
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.data.load import load_dataset
from gcl.evaluate import heco_protocol as module
from gcl.evaluate.heco_protocol import fit_heco_probes, heco_protocol, heco_validation
from gcl.evaluate.node_classification import NodeClassification
from gcl.evaluate.scores import confusion_counts, macro_f1, one_vs_rest_auc

QUICK = {"num_probes": 3, "steps": 30}
METRICS = {"accuracy", "macro_f1", "micro_f1", "auc"}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def graph_of(y, splits=None) -> Graph:
    empty = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (len(y), len(y)))
    return Graph.homogeneous(None, empty, attrs={"y": y} if splits is None else {"y": y, "splits": splits})


def visible(y, splits):
    return torch.where(splits < 2, y.unsqueeze(1), -1)


def one_probe_with_modules(z, y, split, layer, *, steps, learning_rate, weight_decay):
    """The authors' loop for one probe: every step reads both parts, and the best validation steps are looked up after."""
    train, valid, test = ((split == part) & (y >= 0) for part in (0, 1, 2))
    layer = copy.deepcopy(layer)
    optimizer = torch.optim.Adam(layer.parameters(), lr=learning_rate, weight_decay=weight_decay)
    readings = {key: [] for key in ("valid_micro", "valid_macro", "micro", "macro", "probability")}
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(layer(z[train]), y[train]).backward()
        optimizer.step()
        with torch.no_grad():
            for prefix, part in (("valid_", valid), ("", test)):
                predicted = layer(z[part]).argmax(dim=1)
                readings[prefix + "micro"].append(f1_score(y[part], predicted, average="micro"))
                readings[prefix + "macro"].append(f1_score(y[part], predicted, average="macro", zero_division=0))
            readings["probability"].append(layer(z[test]).softmax(dim=1))
    by_macro, by_micro = int(np.argmax(readings["valid_macro"])), int(np.argmax(readings["valid_micro"]))
    auc = roc_auc_score(y[test], readings["probability"][by_micro], multi_class="ovr", average="macro")
    return {
        "macro_f1_step": by_macro + 1,
        "micro_f1_step": by_micro + 1,
        "valid_macro_f1": readings["valid_macro"][by_macro],
        "valid_accuracy": readings["valid_micro"][by_micro],
        "macro_f1": readings["macro"][by_macro],
        "micro_f1": readings["micro"][by_micro],
        "accuracy": readings["micro"][by_micro],
        "auc": auc,
    }


@pytest.mark.parametrize(("learning_rate", "weight_decay"), [(0.01, 0.0), (0.3, 0.05)])
def test_batched_probes_equal_the_authors_loop(make_task, learning_rate, weight_decay):
    z, y, splits = make_task(num_splits=2, noise=1.5)
    z = z.double()
    splits[:10, 1] = 3  # parts of unequal size
    y[5] = -1
    numbers = {"steps": 60, "learning_rate": learning_rate, "weight_decay": weight_decay}
    report = heco_protocol(z, y, splits, num_probes=2, generator=generator(4), **numbers)
    draw, layers = generator(4), []
    for _ in range(4):
        layer = torch.nn.Linear(z.shape[1], 3, dtype=torch.float64)
        torch.nn.init.xavier_uniform_(layer.weight, generator=draw)
        torch.nn.init.zeros_(layer.bias)
        layers.append(layer)
    for run, layer in enumerate(layers):
        for name, expected in one_probe_with_modules(z, y, splits[:, run // 2], layer, **numbers).items():
            found = (report.values if name in METRICS else report.details)[name][run]
            assert found == pytest.approx(expected, abs=1e-12), (run, name)
    steps = {*report.details["macro_f1_step"], *report.details["micro_f1_step"]}
    assert len(steps) > 3  # the probes do differ


def test_report_has_one_run_a_split_and_probe(make_task):
    report = heco_protocol(*make_task(num_splits=2), **QUICK, generator=generator())
    assert (report.task, report.protocol, report.n, report.seeds) == ("classification", "heco", 120, [0, 1, 2, 3, 4, 5])
    assert set(report.values) == METRICS
    assert {len(values) for values in report.values.values()} == {6}
    assert report.details["num_probes"] == 3
    assert report.values["accuracy"] == report.values["micro_f1"]


def test_groups_of_probes_are_the_whole(make_task, monkeypatch):
    z, y, splits = make_task(num_splits=2)
    whole = heco_protocol(z.double(), y, splits, **QUICK, generator=generator())
    for memory in (1, 2000):  # one probe at a time, and a few
        monkeypatch.setattr(module, "MEMORY", memory)
        part = heco_protocol(z.double(), y, splits, **QUICK, generator=generator())
        assert part.details["micro_f1_step"] == whole.details["micro_f1_step"]
        for metric in METRICS:
            assert part.values[metric] == pytest.approx(whole.values[metric])


def test_test_labels_change_no_choice(make_task):
    z, y, splits = make_task(num_splits=1, noise=1.5)
    poisoned = y.clone()
    test = (splits[:, 0] == 2).nonzero().squeeze(1)
    poisoned[test] = y[test].roll(1)
    clean, dirty = (heco_protocol(z, labels, splits, **QUICK, generator=generator()) for labels in (y, poisoned))
    assert clean.details == dirty.details
    assert clean.values != dirty.values


def test_validation_gets_no_test_label(make_task):
    z, y, splits = make_task(num_splits=2, noise=1.5)
    scores = heco_validation(z, visible(y, splits), splits, num_classes=3, **QUICK, generator=generator())
    report = heco_protocol(z, y, splits, **QUICK, generator=generator())
    assert scores == {
        "accuracy": pytest.approx(np.mean(report.details["valid_accuracy"])),
        "macro_f1": pytest.approx(np.mean(report.details["valid_macro_f1"])),
    }


def test_generator_decides(make_task):
    task = make_task(noise=1.5)
    reports = [heco_protocol(*task, **QUICK, generator=generator(seed)) for seed in (0, 0, 1)]
    assert reports[0] == reports[1] != reports[2]
    with torch.no_grad():
        assert heco_protocol(*task, **QUICK, generator=generator()) == reports[0]


def test_the_first_of_equal_readings_is_kept(make_task):
    z, y, splits = make_task(noise=0.01)
    report = heco_protocol(10 * z, y, splits, num_probes=4, learning_rate=0.1, generator=generator())
    assert report.mean("auc") == report.mean("macro_f1") == 1.0
    assert report.details["valid_accuracy"] == [1.0] * 12
    assert max(report.details["micro_f1_step"]) < 200
    last = max(report.details["micro_f1_step"])
    short = heco_protocol(10 * z, y, splits, num_probes=4, learning_rate=0.1, steps=last, generator=generator())
    assert short.details["micro_f1_step"] == report.details["micro_f1_step"]


def test_initial_weights_are_xavier(make_task):
    z, y, splits = make_task(width=50, num_splits=1)
    heads = fit_heco_probes(
        z, visible(y, splits), splits, num_classes=3, num_probes=20, steps=1, learning_rate=1e-12, generator=generator()
    )
    weight, bound = heads.micro_f1.weight, math.sqrt(6 / 53)
    assert weight.shape == (20, 3, 50)
    assert weight.abs().max() <= bound + 1e-6
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert heads.micro_f1.bias.abs().max() < 1e-9


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_scores_are_those_of_scikit_learn(num_classes):
    draw = generator(num_classes)
    y = torch.cat([torch.arange(num_classes), torch.randint(num_classes, (60,), generator=draw)])
    logits = torch.randn(5, num_classes, len(y), generator=draw, dtype=torch.float64)
    logits[0] = 0.0  # every score tied, one class predicted
    logits[1] = logits[1].round()  # some ties
    logits[2, 0] = -9.0  # a class that is never predicted
    probability, predicted = logits.softmax(dim=1), logits.argmax(dim=1)
    confusion = confusion_counts(predicted, y, num_classes)
    areas, macro = one_vs_rest_auc(probability, y), macro_f1(confusion)
    assert areas[0] == 0.5
    for probe in range(5):
        expected = f1_score(y, predicted[probe], average="macro", zero_division=0)
        assert macro[probe].item() == pytest.approx(expected, abs=1e-14)
        score = probability[probe].t() if num_classes > 2 else probability[probe, 1]
        auc = roc_auc_score(y, score, multi_class="ovr", average="macro")
        assert areas[probe].item() == pytest.approx(auc, abs=1e-12)
    assert confusion[3].tolist() == [
        [int(((y == true) & (predicted[3] == guess)).sum()) for guess in range(num_classes)]
        for true in range(num_classes)
    ]


def test_macro_f1_leaves_out_a_class_that_nowhere_occurs():
    predicted, y = torch.tensor([[0, 2, 2, 0]]), torch.tensor([0, 2, 0, 0])
    assert macro_f1(confusion_counts(predicted, y, 4)).item() == pytest.approx(
        f1_score(y, predicted[0], average="macro")
    )


@pytest.mark.parametrize(("part", "name"), [(0, "train"), (1, "valid"), (2, "test")])
def test_a_missing_class_is_one_sentence(make_task, part, name):
    z, y, splits = make_task(num_splits=3)
    splits[(splits[:, 2] == part) & (y == 1), 2] = 3
    message = f"the {name} part of split 2 has no node of class 1 "
    with pytest.raises(DataError, match=message):
        heco_protocol(z, y, splits, **QUICK)
    graph = graph_of(y, splits)
    with pytest.raises(DataError, match=message):
        NodeClassification(protocol="heco").split(graph, seed=0)
    with pytest.raises(DataError, match=message):
        NodeClassification(protocol="heco", split_index=2).split(graph, seed=0)
    NodeClassification(protocol="heco", split_index=1).split(graph, seed=0)
    NodeClassification(protocol="linear", split_index=2).split(graph, seed=0)


def test_one_class_is_refused(make_task):
    z, y, splits = make_task()
    with pytest.raises(DataError, match="two classes"):
        heco_protocol(z, torch.zeros_like(y), splits, **QUICK)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_probes": 0},
        {"steps": 0},
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"weight_decay": -0.1},
        {"weight_decay": math.inf},
    ],
)
def test_numbers_out_of_range_are_refused(make_task, wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} of heco must be"):
        heco_protocol(*make_task(), **wrong)
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be"):
        NodeClassification(protocol="heco", **wrong)


def test_bad_embeddings_and_probes_that_diverge_are_refused(make_task):
    z, y, splits = make_task()
    with pytest.raises(DataError, match="NaN"):
        heco_protocol(torch.full_like(z, math.inf), y, splits)
    with pytest.raises(NonFiniteError, match="lower learning_rate"):
        heco_protocol(1e3 * z, y, splits, learning_rate=1e37, **QUICK)


def test_evaluator_is_the_function(make_task):
    z, y, splits = make_task(noise=1.5)
    numbers = {"num_probes": 3, "learning_rate": 0.05, "weight_decay": 0.01}
    evaluator = NodeClassification(protocol="heco", split_index=1, **numbers)
    _, held = evaluator.split(graph_of(y, splits), seed=0)
    outputs = Outputs({"embedding": z})
    report = evaluator.evaluate(outputs, held, seed=0)
    alone = heco_protocol(z, y, splits[:, 1], generator=Streams(0).generator("evaluate"), **numbers)
    assert report == alone
    assert report.details["steps"] == 200
    assert evaluator.validate(outputs, held)["accuracy"] == pytest.approx(np.mean(alone.details["valid_accuracy"]))
    assert next(iter(evaluator.validate(outputs, held))) == "accuracy"  # the first is what selects weights


def test_default_steps_are_the_protocols():
    steps = {name: NodeClassification(protocol=name)._settings["steps"] for name in ("linear-adam", "heco")}
    assert steps == {"linear-adam": 3000, "heco": 200}
    assert NodeClassification(protocol="heco", steps=7)._settings["steps"] == 7


@pytest.mark.parametrize("protocol", ["linear", "linear-adam", "heco"])
def test_split_index_takes_one_stored_split(make_task, protocol):
    _, y, splits = make_task()
    for kind in ("auto", "stored"):
        evaluator = NodeClassification(protocol=protocol, split_index=2, splits=kind, num_splits=1)
        _, held = evaluator.split(graph_of(y, splits), seed=0)
        assert torch.equal(held.splits, splits[:, 2:])


def test_split_index_is_refused_where_there_is_no_such_split(make_task):
    _, y, splits = make_task()
    with pytest.raises(ConfigError, match="protocol grace makes its own"):
        NodeClassification(protocol="grace", split_index=0)
    with pytest.raises(
        ConfigError, match="split_index=1 chooses a stored split and splits='random-10/10/80' draws them"
    ):
        NodeClassification(splits="random-10/10/80", split_index=1)
    for wrong in (-1, True, 1.0):
        with pytest.raises(ConfigError, match="split_index must be a whole number from 0"):
            NodeClassification(split_index=wrong)
    with pytest.raises(ConfigError, match="split_index=3 is out of range: the graph has 3 stored splits, 0 to 2"):
        NodeClassification(split_index=3).split(graph_of(y, splits), seed=0)
    with pytest.raises(ConfigError, match="the graph has no stored splits"):
        NodeClassification(split_index=0).split(graph_of(y), seed=0)


@pytest.mark.data
def test_features_of_acm_papers(data_root):
    graph = load_dataset("hetero/acm", data_root=data_root).graph
    evaluator = NodeClassification(protocol="heco", split_index=1, num_probes=2, steps=60, learning_rate=0.05)
    training, held = evaluator.split(graph, seed=0)
    assert [int((held.splits == part).sum()) for part in (0, 1, 2)] == [120, 1000, 1000]
    report = evaluator.evaluate(Outputs({"embedding": training.x}), held, seed=0)
    assert report.n == 4019
    assert 0.6 < report.mean("macro_f1") < 0.85
    assert report.mean("auc") > 0.8
