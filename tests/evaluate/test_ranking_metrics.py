from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from gcl.core.errors import ConfigError, DataError
from gcl.evaluate.ranking_metrics import METRICS, check_k, ranking_metrics, recommended, user_metrics


def by_loop(items, users, held, k):
    """Per user and metric, in plain Python."""
    truth: dict[int, set[int]] = {}
    for user, item in held:
        truth.setdefault(user, set()).add(item)
    rows = []
    for user, listed in zip(users, items, strict=True):
        wanted = truth.get(user, set())
        row = {}
        for at in k:
            hits = [rank for rank, item in enumerate(listed[:at], 1) if item in wanted]
            dcg = sum(1 / math.log2(rank + 1) for rank in hits)
            ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(at, len(wanted)) + 1))
            row[f"recall@{at}"] = len(hits) / len(wanted) if wanted else 0
            row[f"ndcg@{at}"] = dcg / ideal if wanted else 0
            row[f"precision@{at}"] = len(hits) / at
            row[f"mrr@{at}"] = 1 / hits[0] if hits else 0
            row[f"hit_rate@{at}"] = float(bool(hits))
        rows.append((user, len(wanted), row))
    return rows


@st.composite
def tasks(draw):
    """Lists of some users, padded by -1 at random, and held pairs of some users."""
    m, n = draw(st.integers(1, 7)), draw(st.integers(1, 8))
    users = draw(st.lists(st.integers(0, m - 1), unique=True, min_size=1))
    length = draw(st.integers(1, 6))
    items = []
    for _ in users:
        listed = draw(st.lists(st.integers(0, n - 1), unique=True, max_size=length))
        items.append(listed + [-1] * (length - len(listed)))
    held = draw(st.lists(st.tuples(st.integers(0, m - 1), st.integers(0, n - 1)), max_size=20))
    k = sorted(draw(st.lists(st.integers(1, length), unique=True, min_size=1)))
    return items, users, held, n, k


def tensors(items, users, held):
    return torch.tensor(items), torch.tensor(users), torch.tensor(held, dtype=torch.int64).reshape(-1, 2).t()


@settings(max_examples=100, deadline=None)
@given(tasks(), st.sampled_from([None, 1, 2, 3]))
def test_equals_a_loop(task, batch_mean):
    items, users, held, n, k = task
    rows = by_loop(items, users, held, k)
    values, counts = user_metrics(*tensors(items, users, held), num_items=n, k=k)
    assert counts.tolist() == [count for _, count, _ in rows]
    for name, value in values.items():
        assert value.tolist() == pytest.approx([row[name] for _, _, row in rows])
    scored = [(user, row) for user, count, row in rows if count]
    if not scored:
        with pytest.raises(DataError, match="none of the users"):
            ranking_metrics(*tensors(items, users, held), num_items=n, k=k)
        return
    means = ranking_metrics(*tensors(items, users, held), num_items=n, k=k, batch_mean=batch_mean)
    assert list(means) == [f"{metric}@{at}" for at in k for metric in METRICS]
    for name, mean in means.items():
        if batch_mean is None:
            expected = np.mean([row[name] for _, row in scored])
        else:
            blocks: dict[int, list[float]] = {}
            for user, row in scored:
                blocks.setdefault(user // batch_mean, []).append(row[name])
            expected = np.mean([np.mean(block) for block in blocks.values()])
        assert mean == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(tasks(), st.randoms())
def test_ids_do_not_matter_and_recall_grows_with_k(task, random):
    items, users, held, n, _ = task
    assume(any(user in users for user, _ in held))
    k = range(1, len(items[0]) + 1)
    means = ranking_metrics(*tensors(items, users, held), num_items=n, k=list(k))
    for metric in ("recall", "mrr", "hit_rate"):
        grown = [means[f"{metric}@{at}"] for at in k]
        assert grown == sorted(grown)
    to_user, to_item = list(range(10)), list(range(n))
    random.shuffle(to_user)
    random.shuffle(to_item)
    renamed = (
        [[to_item[item] if item >= 0 else -1 for item in listed] for listed in items],
        [to_user[user] for user in users],
        [(to_user[user], to_item[item]) for user, item in held],
    )
    order = list(range(len(users)))
    random.shuffle(order)
    lists, owners, pairs = renamed
    other = ranking_metrics(
        *tensors([lists[at] for at in order], [owners[at] for at in order], pairs), num_items=n, k=list(k)
    )
    assert other == pytest.approx(means)


@pytest.mark.parametrize("held_per_user", [1, 3, 8])
def test_a_perfect_list(held_per_user):
    items = torch.arange(8).repeat(4, 1)
    held = torch.stack([torch.arange(4).repeat_interleave(held_per_user), torch.arange(held_per_user).repeat(4)])
    means = ranking_metrics(items, torch.arange(4), held, num_items=8, k=[1, 2, 5, 8])
    for at in (1, 2, 5, 8):
        assert means[f"ndcg@{at}"] == pytest.approx(1)
        assert means[f"recall@{at}"] == pytest.approx(min(at, held_per_user) / held_per_user)
        assert means[f"mrr@{at}"] == means[f"hit_rate@{at}"] == 1


def test_ndcg_as_scikit_learn_has_it():
    rng = np.random.default_rng(0)
    score = rng.permuted(np.tile(np.arange(30.0), (12, 1)), axis=1)  # no ties
    truth = rng.random((12, 30)) < 0.2
    truth[:, 0] = True
    items = torch.from_numpy(np.argsort(-score, axis=1)[:, :10].copy())
    held = torch.from_numpy(np.stack(truth.nonzero()))
    values, _ = user_metrics(items, torch.arange(12), held, num_items=30, k=[3, 10])
    for at in (3, 10):
        for user in range(12):
            expected = ndcg_score(truth[user : user + 1], score[user : user + 1], k=at)
            assert float(values[f"ndcg@{at}"][user]) == pytest.approx(expected)


def test_batch_means_by_hand():
    # users 0 and 1 in one block, 4 in another; the block of 2 and 3 has none with a held item
    items = torch.tensor([[0], [0], [0], [0]])
    held = torch.tensor([[0, 1, 4], [0, 1, 0]])
    arguments = {"items": items, "users": torch.tensor([0, 1, 3, 4]), "held": held, "num_items": 2, "k": [1]}
    assert ranking_metrics(**arguments)["recall@1"] == pytest.approx(2 / 3)
    assert ranking_metrics(**arguments, batch_mean=2)["recall@1"] == pytest.approx((0.5 + 1) / 2)
    assert ranking_metrics(**arguments, batch_mean=256) == ranking_metrics(**arguments)


def test_what_is_recommended_by_hand():
    items = torch.tensor([[0, 1], [0, 2], [0, -1]])
    measures = recommended(items, torch.tensor([5, 1, 1, 0]), [1, 2])
    assert measures["coverage"] == {"1": 0.25, "2": 0.75}
    assert measures["degree"] == pytest.approx({"1": 5.0, "2": (15 + 2) / 5})
    # percentiles: 3.5/4 for item 0, (1 + 3)/8 for items 1 and 2
    assert measures["popularity"] == pytest.approx({"1": 0.875, "2": (3 * 0.875 + 2 * 0.5) / 5})
    assert measures["gini"]["1"] == pytest.approx(3 / 4)  # only one of four items
    times = [3, 1, 1, 0]
    pairs = sum(abs(a - b) for a in times for b in times)
    assert measures["gini"]["2"] == pytest.approx(pairs / (2 * 4 * sum(times)))
    even = recommended(torch.arange(4).unsqueeze(1), torch.tensor([5, 1, 1, 0]), [1])
    assert even["popularity"]["1"] == pytest.approx(0.5)
    assert even["gini"]["1"] == pytest.approx(0)


@pytest.mark.parametrize("k", [[], [0], [True], [2, 2], [1.5], 20, None, [10**30]])
def test_a_bad_list_of_k_is_refused(k):
    with pytest.raises(ConfigError, match="k must list different whole numbers"):
        check_k(k)


def test_bad_input_is_refused():
    items, users, held = torch.tensor([[0, 1]]), torch.tensor([0]), torch.tensor([[0], [0]])
    with pytest.raises(ConfigError, match="k=3 is more than the 2 places"):
        ranking_metrics(items, users, held, num_items=2, k=[1, 3])
    with pytest.raises(ConfigError, match="batch_mean"):
        ranking_metrics(items, users, held, num_items=2, k=[1], batch_mean=0)
    with pytest.raises(DataError, match="ranked lists must be"):
        ranking_metrics(items, users, held.t(), num_items=2, k=[1])
    with pytest.raises(DataError, match="none of the users"):
        ranking_metrics(items, users, held[:, :0], num_items=2, k=[1])
