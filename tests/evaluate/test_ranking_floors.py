from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies
from test_ranking import by_loop, of_relation, pairs_of, random_graph

from gcl.core.context import Outputs
from gcl.data.interactions import ITEM, USER
from gcl.data.load import load_dataset
from gcl.evaluate.ranking import Ranking
from gcl.evaluate.ranking_floors import RANKING_FLOORS, graph_filter, item_neighbors, popularity


@settings(max_examples=40, deadline=None)
@given(adjacencies(bipartite=True, weighted=False, masked=False), st.integers(1, 4))
def test_floors_equal_dense_algebra(train, neighbors):
    R = train.to_dense()
    users = torch.arange(R.shape[0]).flip(0)
    d_u, d_i = R.sum(1), R.sum(0)
    N = R / d_u.clamp(min=1).sqrt().unsqueeze(1) / d_i.clamp(min=1).sqrt()
    assert torch.equal(popularity(train)(users), d_i.float().expand(len(users), -1))
    torch.testing.assert_close(graph_filter(train)(users).double(), (R @ N.t() @ N)[users], atol=1e-5, rtol=1e-5)
    cosine = (R.t() @ R) / (d_i.clamp(min=1).outer(d_i.clamp(min=1))).sqrt()
    cosine.fill_diagonal_(0)
    kept = torch.zeros_like(cosine)
    for j, row in enumerate(cosine.numpy()):
        near = sorted(range(len(row)), key=lambda i: (-round(row[i], 12), i))[:neighbors]
        kept[j, near] = cosine[j, near]
    expected = (R @ kept.t())[users]
    torch.testing.assert_close(item_neighbors(train, neighbors=neighbors)(users).double(), expected)


def test_floors_learn_from_the_training_graph_alone():
    evaluator = Ranking(k=[5], validation=0.3)
    graph = random_graph()
    training, held = evaluator.split(graph, seed=0)
    reports = evaluator.floor_reports(training, held, seed=4)
    assert list(reports) == list(RANKING_FLOORS)
    degree = training.adjacency.to_dense().sum(0)
    popular = Outputs({USER: torch.ones(20, 1), ITEM: degree.unsqueeze(1)})
    expected = by_loop(popular, of_relation(training) | pairs_of(held.valid), pairs_of(held.test), [5])
    assert reports["popularity"].mean("recall@5") == pytest.approx(expected["recall@5"])
    for report in reports.values():
        assert (report.seeds, report.n) == ([4], evaluator.evaluate(popular, held, seed=0).n)
        assert report.protocol == evaluator.evaluate(popular, held, seed=0).protocol


@pytest.mark.data
def test_popularity_on_movielens_equals_a_brute_force(data_root):
    graph = load_dataset("rec/ml100k", data_root=data_root).graph
    evaluator = Ranking(validation=0.0)
    training, held = evaluator.split(graph, seed=0)
    reports = evaluator.floor_reports(training, held, seed=0)
    with np.load(data_root / "rec" / "ml100k.npz") as z:
        m, n = int(z["num_users"]), int(z["num_items"])
        parts = {part: (z[f"{part}_indptr"], z[f"{part}_indices"]) for part in ("train", "test")}
    degree = np.bincount(parts["train"][1], minlength=n)
    ranked = sorted(range(n), key=lambda item: (-degree[item], item))
    recall, ndcg, hit = [], [], []
    for user in range(m):
        seen, wanted = ({*items[start[user] : start[user + 1]].tolist()} for start, items in parts.values())
        top = [item for item in ranked if item not in seen][:20]
        gain = [1 / np.log2(rank + 2) for rank, item in enumerate(top) if item in wanted]
        recall.append(len(gain) / len(wanted))
        ndcg.append(sum(gain) / sum(1 / np.log2(rank + 2) for rank in range(min(20, len(wanted)))))
        hit.append(bool(gain))
    popular = reports["popularity"]
    assert popular.n == 943
    assert popular.mean("recall@20") == pytest.approx(np.mean(recall))
    assert popular.mean("ndcg@20") == pytest.approx(np.mean(ndcg))
    assert popular.mean("hit_rate@20") == pytest.approx(np.mean(hit))
    for name in ("item-kNN", "RNᵀN"):
        assert reports[name].mean("ndcg@20") > 1.5 * popular.mean("ndcg@20")
        assert reports[name].mean("popularity@20") < popular.mean("popularity@20")
