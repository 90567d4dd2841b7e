from __future__ import annotations

import dataclasses
import inspect
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcl.core.adjacency import Adjacency
from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.core.resolve import describe, resolve
from gcl.data.interactions import INTERACTION, ITEM, USER
from gcl.data.load import load_dataset
from gcl.evaluate.ranking import Ranking
from gcl.ops.top_items import top_items


def graph_of(train, m: int, n: int, **held) -> Graph:
    """``train`` and held parts as pairs of user and item."""
    pairs = torch.tensor(sorted(train), dtype=torch.int64).reshape(-1, 2).t()
    return Graph(
        relations={INTERACTION: Adjacency.from_edge_index(pairs.flip(0), (m, n))},
        relation_types={INTERACTION: (ITEM, USER)},
        num_nodes_by_type={USER: m, ITEM: n},
        target=USER,
        held={part: torch.tensor(sorted(p), dtype=torch.int64).reshape(-1, 2).t() for part, p in held.items()},
    )


def random_graph(m: int = 20, n: int = 30, *, valid: bool = False, seed: int = 0) -> Graph:
    rng = np.random.default_rng(seed)
    part = np.where(rng.random((m, n)) < 0.5, rng.integers(0, 4, (m, n)), -1)  # 0, 1 train; 2 test; 3 valid
    chosen = {
        name: list(zip(*np.isin(part, codes).nonzero(), strict=True))
        for name, codes in (("train", [0, 1]), ("test", [2]), ("valid", [3]))
    }
    return graph_of(chosen["train"], m, n, test=chosen["test"], **({"valid": chosen["valid"]} if valid else {}))


def random_outputs(m: int = 20, n: int = 30, seed: int = 0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    return Outputs({USER: torch.randn(m, 6, generator=generator), ITEM: torch.randn(n, 6, generator=generator)})


def by_loop(outputs: Outputs, masked: set, held: set, k: list[int]) -> dict[str, float]:
    """Recall and NDCG by a loop over users."""
    u, v = (outputs.embeddings[kind].double().numpy() for kind in (USER, ITEM))
    rows: dict[str, list[float]] = {}
    for user in range(len(u)):
        wanted = {item for owner, item in held if owner == user}
        if not wanted:
            continue
        score = {item: u[user] @ v[item] for item in range(len(v)) if (user, item) not in masked}
        ranked = sorted(score, key=lambda item: (-score[item], item))
        for at in k:
            gain = [1 / np.log2(rank + 2) * (item in wanted) for rank, item in enumerate(ranked[:at])]
            ideal = sum(1 / np.log2(rank + 2) for rank in range(min(at, len(wanted))))
            rows.setdefault(f"ndcg@{at}", []).append(sum(gain) / ideal)
            rows.setdefault(f"recall@{at}", []).append(len(wanted & set(ranked[:at])) / len(wanted))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def pairs_of(pairs) -> set[tuple[int, int]]:
    return {tuple(pair) for pair in pairs.t().tolist()}


def of_relation(graph: Graph) -> set[tuple[int, int]]:
    return pairs_of(torch.stack([graph.adjacency.row, graph.adjacency.col]))


@pytest.mark.parametrize("kind", ["stored", "carved", "none"])
def test_equals_a_loop_over_users_and_masks_what_it_says(kind):
    graph = random_graph(valid=kind == "stored")
    evaluator = Ranking(k=[3, 7, 40], validation=0.0 if kind == "none" else 0.3, select="recall@5")
    training, held = evaluator.split(graph, seed=0)
    outputs = random_outputs()
    train, test = of_relation(training), pairs_of(graph.held["test"])
    valid = set() if held.valid is None else pairs_of(held.valid)
    assert held.validation == kind
    assert train | valid == of_relation(graph) | (pairs_of(graph.held["valid"]) if kind == "stored" else set())
    report = evaluator.evaluate(outputs, held, seed=3)
    for name, expected in by_loop(outputs, train | valid, test, [3, 7, 40]).items():
        assert report.values[name] == pytest.approx([expected])
    assert (report.task, report.seeds, report.n) == ("ranking", [3], len({user for user, _ in test}))
    assert "coverage@3" in report.values
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
    if kind == "none":
        with pytest.raises(ConfigError, match="no validation part"):
            evaluator.validate(outputs, held)
        return
    scores = evaluator.validate(outputs, held)
    assert next(iter(scores)) == "recall@5"  # also at a K that is not reported
    for name, expected in by_loop(outputs, train, valid, [3, 5, 7, 40]).items():
        assert scores[name] == pytest.approx(expected)


def test_validation_never_opens_the_test_part():
    outputs = random_outputs()
    for evaluator in (Ranking(validation=0.3), Ranking()):
        graph = random_graph(valid=evaluator.validation == 0.1)
        _, held = evaluator.split(graph, seed=0)
        scores = evaluator.validate(outputs, held)
        for poison in (held.test[:, :0], torch.full_like(held.test, -(10**12)), held.test.float() / 0, None):
            assert evaluator.validate(outputs, dataclasses.replace(held, test=poison)) == scores
        moved = dataclasses.replace(graph, held={**graph.held, "test": graph.held["test"][:, :5]})
        _, other = evaluator.split(moved, seed=0)  # and the carve does not depend on it
        assert evaluator.validate(outputs, other) == scores


def test_the_split_is_the_same_for_every_training_seed_and_held_pairs_are_absent():
    graph = random_graph()
    splits = [Ranking().split(graph, seed=seed) for seed in (0, 7)]
    for training, held in splits:
        assert training.held == {}
        assert torch.equal(held.valid, splits[0][1].valid)
        assert of_relation(training) == of_relation(splits[0][0])
        assert not of_relation(training) & (pairs_of(held.valid) | pairs_of(held.test))
    stored = random_graph(valid=True)
    training, held = Ranking().split(stored, seed=0)
    assert training.relations[INTERACTION] is stored.relations[INTERACTION]  # the pipeline sees that nothing changed
    assert training.held == {}


def test_new_users_and_new_items_are_ranked_like_all_others():
    # user 1 and item 2 have no training interaction; user 1 wants item 2
    graph = graph_of([(0, 0), (0, 1)], 2, 3, test=[(1, 2), (0, 2)])
    evaluator = Ranking(k=[1], validation=0.0, select="ndcg@1")
    _, held = evaluator.split(graph, seed=0)
    outputs = Outputs({USER: torch.ones(2, 1), ITEM: torch.tensor([[1.0], [2.0], [3.0]])})
    report = evaluator.evaluate(outputs, held, seed=0)
    assert report.mean("recall@1") == 1
    assert (report.details["test_pairs_of_new_items"], report.details["test_pairs_of_new_users"]) == (2, 1)
    last = Outputs({USER: torch.ones(2, 1), ITEM: torch.tensor([[1.0], [2.0], [0.0]])})
    assert evaluator.evaluate(last, held, seed=0).mean("recall@1") == 0.5  # user 0 has nothing else left


def test_users_without_a_test_item_and_users_who_took_everything_do_not_count():
    graph = graph_of([(0, 0), (0, 1), (0, 2), (1, 0)], 3, 3, test=[(1, 1)])
    evaluator = Ranking(k=[1, 5], validation=0.0, select="ndcg@1")
    training, held = evaluator.split(graph, seed=0)
    report = evaluator.evaluate(Outputs({USER: torch.ones(3, 2), ITEM: torch.ones(3, 2)}), held, seed=0)
    assert report.n == 1
    assert report.details["users_without_test"] == 2
    assert report.mean("recall@1") == 1  # items 1 and 2 tie, the smaller id comes first
    assert report.mean("precision@5") == pytest.approx(1 / 5)  # a list of two
    floors = evaluator.floor_reports(training, held, seed=0)
    assert floors["popularity"].mean("recall@1") == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_renaming_users_and_items_changes_nothing(seed, data):
    graph, outputs = random_graph(8, 10, valid=True, seed=seed), random_outputs(8, 10, seed)
    if not (graph.held["test"].numel() and graph.held["valid"].numel()):
        return
    to = {kind: torch.tensor(data.draw(st.permutations(range(n)))) for kind, n in ((USER, 8), (ITEM, 10))}

    def renamed(pairs) -> list[tuple[int, int]]:
        return [(int(to[USER][user]), int(to[ITEM][item])) for user, item in pairs]

    parts = {part: renamed(pairs_of(pairs)) for part, pairs in graph.held.items()}
    other = graph_of(renamed(of_relation(graph)), 8, 10, **parts)
    moved = {kind: torch.empty_like(z).index_copy_(0, to[kind], z) for kind, z in outputs.embeddings.items()}
    evaluator = Ranking(k=[1, 3, 9])
    first, second = (evaluator.split(g, seed=0)[1] for g in (graph, other))
    assert evaluator.validate(outputs, first) == pytest.approx(evaluator.validate(Outputs(moved), second))
    before, after = evaluator.evaluate(outputs, first, seed=0), evaluator.evaluate(Outputs(moved), second, seed=0)
    for name in before.values:
        assert before.values[name] == pytest.approx(after.values[name])


def test_the_protocol_says_what_was_done():
    graph, stored = random_graph(), random_graph(valid=True)
    said = []
    for options, data in (({}, graph), ({}, stored), ({"validation": 0.0, "batch_mean": 8, "k": [5]}, graph)):
        evaluator = Ranking(**options)
        said.append(evaluator.evaluate(random_outputs(), evaluator.split(data, seed=0)[1], seed=0).protocol)
    assert said == [
        "all items ranked @10,20,40, train and validation masked, validation carved, 0.1 of each user's items, "
        "mean over users",
        "all items ranked @10,20,40, train and validation masked, validation stored, mean over users",
        "all items ranked @5, train masked, no validation, mean of batch means, 8 user ids each",
    ]


def test_a_sample_of_users_is_the_same_for_every_seed_and_scores_only_them():
    graph, outputs = random_graph(m=40), random_outputs(m=40)
    whole, some = Ranking(k=[5], validation=0.0), Ranking(k=[5], validation=0.0, max_users=7)
    reports = []
    for seed in (0, 1):
        _, held = some.split(graph, seed=seed)
        reports.append(some.evaluate(outputs, held, seed=seed))
    assert reports[0].values == reports[1].values
    assert reports[0].n == 7
    assert "at most 7 users, sampled" in reports[0].protocol
    assert (
        reports[0].details["users_without_test"] == whole.evaluate(outputs, held, seed=0).details["users_without_test"]
    )
    # the mean over many samples of other users would be the mean over all: here, all of them
    every = Ranking(k=[5], validation=0.0, max_users=40).evaluate(outputs, held, seed=0)
    assert every.values == whole.evaluate(outputs, held, seed=0).values
    with pytest.raises(ConfigError, match="max_users"):
        Ranking(max_users=0)
    with pytest.raises(ConfigError, match="batch_mean"):
        Ranking(max_users=5, batch_mean=256)


def test_the_selected_metric_comes_first():
    evaluator = Ranking(select="recall@40")
    _, held = evaluator.split(random_graph(), seed=0)
    assert next(iter(evaluator.validate(random_outputs(), held))) == "recall@40"
    assert next(iter(evaluator.evaluate(random_outputs(), held, seed=0).values)) == "recall@40"


def test_constructor_stores_its_arguments():
    evaluator = resolve("evaluator", {"name": "ranking", "k": [5, 20], "batch_mean": 256})
    assert evaluator.k == [5, 20]
    record = describe(evaluator)
    assert record == {
        "name": "ranking", "k": [5, 20], "validation": 0.1, "batch_mean": 256, "max_users": None, "select": "ndcg@20",
    }  # fmt: skip
    assert set(record) - {"name"} == set(inspect.signature(Ranking).parameters)
    assert describe(resolve("evaluator", record)) == record


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"k": []}, "k must list"),
        ({"validation": 1.0}, "validation must be a share"),
        ({"validation": -0.1}, "validation must be a share"),
        ({"batch_mean": 0}, "batch_mean"),
        ({"select": "ndgc@20"}, "did you mean 'ndcg'"),
        ({"select": "ndcg"}, "a metric at a K"),
        ({"select": "ndcg@0"}, "a metric at a K"),
    ],
)
def test_bad_arguments_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        Ranking(**options)


@pytest.mark.parametrize(
    ("held", "match"),
    [
        ({}, "no held-out test interactions"),
        ({"test": []}, "no held-out test interactions"),
        ({"test": [(0, 0)]}, "1 pairs are in both train and test, the first user 0, item 0"),
        ({"test": [(0, 2)], "valid": [(0, 2)]}, "in both test and valid"),
        ({"test": [(0, 3)]}, "item outside of 0 to 2"),
        ({"test": [(2, 0)]}, "user outside of 0 to 1"),
    ],
)
def test_bad_graphs_are_refused(held, match):
    graph = graph_of([(0, 0), (0, 1), (1, 1)], 2, 3, **held)
    with pytest.raises(DataError, match=match) as caught:
        Ranking().split(graph, seed=0)
    assert "\n" not in str(caught.value)


def test_a_graph_of_another_kind_is_refused():
    with pytest.raises(DataError, match="needs a graph of users and items"):
        Ranking().split(load_dataset("karate").graph, seed=0)


def test_bad_embeddings_are_refused():
    evaluator = Ranking()
    _, held = evaluator.split(random_graph(), seed=0)
    good = random_outputs().embeddings
    for embeddings, match in (
        ({"embedding": good[USER]}, "under 'user' and 'item', got 'embedding'"),
        ({USER: good[USER][:3], ITEM: good[ITEM]}, r"user embeddings must be \[20, d\]"),
        ({USER: good[USER], ITEM: good[ITEM][:, :2]}, "same width"),
        ({USER: good[USER].clone().fill_(torch.nan), ITEM: good[ITEM]}, "user embeddings have NaN"),
    ):
        for work in (evaluator.validate, lambda *a: evaluator.evaluate(*a, seed=0)):
            with pytest.raises(DataError, match=match):
                work(Outputs(embeddings), held)


def test_perfect_scores():
    graph = random_graph()
    evaluator = Ranking(k=[1, 4, 20], validation=0.0)
    _, held = evaluator.split(graph, seed=0)
    truth = torch.zeros(20, 30)
    truth[held.test[0], held.test[1]] = 1
    report = evaluator.evaluate(Outputs({USER: truth, ITEM: torch.eye(30)}), held, seed=0)
    size = truth.sum(1)
    for at in (1, 4, 20):
        assert report.mean(f"ndcg@{at}") == pytest.approx(1)
        assert report.mean(f"recall@{at}") == pytest.approx(float((size.clamp(max=at) / size)[size > 0].mean()))


def test_masked_items_are_never_in_a_list():
    graph = random_graph(valid=True)
    _, held = Ranking().split(graph, seed=0)
    u, v = random_outputs().embeddings.values()
    items, _ = top_items(lambda ids: u[ids] @ v.t(), torch.arange(20), 30, num_items=30, seen=held.seen())
    listed = {(user, item) for user, row in enumerate(items.tolist()) for item in row if item >= 0}
    assert not listed & (of_relation(graph) | pairs_of(graph.held["valid"]))
    assert len(listed) == 20 * 30 - len(of_relation(graph)) - graph.held["valid"].shape[1]
