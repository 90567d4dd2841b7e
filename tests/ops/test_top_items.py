from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies, matrices
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.ops.largest import largest
from gcl.ops.top_items import inner_products, top_items, top_items_by_embeddings


def by_loop(scores: Tensor, users: list[int], k: int, seen: list[Adjacency]) -> tuple[list, list]:
    items, values = [], []
    for user in users:
        row = scores[user].tolist()
        gone = {j for mask in seen for j in mask.to_dense()[user].nonzero().flatten().tolist()}
        order = sorted((-row[j], j) for j in range(len(row)) if j not in gone and row[j] > -math.inf)[:k]
        short = k - len(order)
        items.append([j for _, j in order] + [-1] * short)
        values.append([-value for value, _ in order] + [-math.inf] * short)
    return items, values


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_equals_a_loop_with_ties_masks_and_short_lists(data):
    mask = data.draw(adjacencies(bipartite=True, weighted=False))
    m, n = mask.shape
    scores = data.draw(matrices(m, n, torch.float32)).round()  # many ties
    forbidden = data.draw(st.lists(st.integers(0, n - 1), max_size=2))
    scores[:, forbidden] = -torch.inf
    users = data.draw(st.lists(st.integers(0, m - 1), max_size=6))
    k = data.draw(st.integers(1, n + 2))
    seen = data.draw(st.sampled_from([[], [mask], [mask, mask]]))
    chunk = data.draw(st.sampled_from([None, 1, 2]))
    items, values = top_items(
        lambda ids: scores[ids], torch.tensor(users, dtype=torch.int64), k, num_items=n, seen=seen, chunk=chunk
    )
    expected = by_loop(scores, users, k, seen)
    assert items.tolist() == expected[0]
    assert values.tolist() == expected[1]


@pytest.mark.parametrize("k", [1, 3, 500, 1000])
def test_ties_go_to_the_smallest_column_in_wide_rows(k):
    generator = torch.Generator().manual_seed(k)
    score = torch.randint(0, 7, (40, 1000), generator=generator).float()
    col, value = largest(score, k)
    order = torch.sort(-score, dim=1, stable=True).indices[:, :k]
    assert torch.equal(col, order)
    assert torch.equal(value, score.gather(1, order))


def test_nan_is_largest_and_does_not_take_the_place_of_ties():
    col, value = largest(torch.tensor([[1.0, 1.0, math.nan, 1.0, 0.0]]), 2)
    assert sorted(col[0].tolist()) == [0, 2]
    assert int(value.isnan().sum()) == 1


def test_neither_chunk_nor_order_of_users_changes_a_list():
    generator = torch.Generator().manual_seed(0)
    u = torch.randint(-3, 4, (30, 5), generator=generator).float()  # whole numbers: products without rounding
    v = torch.randint(-3, 4, (50, 5), generator=generator).float()
    pairs = torch.stack([torch.randint(0, 50, (200,), generator=generator), torch.arange(200) % 30])
    seen = Adjacency.from_edge_index(pairs, (30, 50), duplicates="first")
    every, _ = top_items_by_embeddings(u, v, 10, seen=seen)
    for memory in (1, 16 * 50 * 7, 2**20):
        assert torch.equal(top_items_by_embeddings(u, v, 10, seen=seen, memory=memory)[0], every)
    some = torch.tensor([29, 3, 3, 0])
    assert torch.equal(top_items_by_embeddings(u, v, 10, ids=some, seen=seen)[0], every[some])
    row = torch.arange(30).repeat_interleave(10)
    assert not bool((seen.to_dense()[row, every.flatten()] > 0).any())


def test_a_user_who_took_everything_has_an_empty_list():
    seen = Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 1], [0, 0, 0, 1]]), (2, 3))
    items, values = top_items_by_embeddings(torch.ones(2, 1), torch.tensor([[1.0], [2.0], [2.0]]), 2, seen=seen)
    assert items.tolist() == [[-1, -1], [2, 0]]
    assert values.tolist() == [[-math.inf] * 2, [2.0, 1.0]]


def test_half_precision_is_multiplied_in_float32_and_float64_stays():
    generator = torch.Generator().manual_seed(1)
    u, v = torch.randn(4, 64, generator=generator).half(), torch.randn(9, 64, generator=generator).half()
    every = torch.arange(4)
    expected = u.double() @ v.double().t()
    assert inner_products(u, v)(every).dtype == torch.float32
    torch.testing.assert_close(inner_products(u, v)(every).double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(inner_products(u.double(), v.double())(every), expected)


def test_memory_does_not_grow_with_users_times_items():
    sizes = []

    def score(ids: Tensor) -> Tensor:
        sizes.append(ids.numel())
        return torch.zeros(ids.numel(), 100)

    items, _ = top_items(score, torch.arange(1000), 3, num_items=100, memory=16 * 100 * 50)
    assert sizes == [50] * 20
    assert items.tolist() == [[0, 1, 2]] * 1000


def test_what_cannot_be_used_is_refused():
    seen = Adjacency.from_edge_index(torch.tensor([[0], [0]]), (2, 3))
    u, v = torch.ones(2, 2), torch.ones(3, 2)
    score = inner_products(u, v)
    users = torch.arange(2)
    for k in (0, True, 1.5):
        with pytest.raises(ConfigError, match="k must be a whole number from 1"):
            top_items(score, users, k, num_items=3)
    with pytest.raises(ConfigError, match="chunk"):
        top_items(score, users, 1, num_items=3, chunk=0)
    with pytest.raises(DataError, match="outside of 0 to 1"):
        top_items(score, torch.tensor([2]), 1, num_items=3, seen=seen)
    with pytest.raises(DataError, match="ids, int64"):
        top_items(score, users.float(), 1, num_items=3)
    with pytest.raises(DataError, match="3 columns for 4 items"):
        top_items(score, users, 1, num_items=4, seen=seen)
    with pytest.raises(DataError, match=r"scores \[2, 4\] for 2 users"):
        top_items(score, users, 1, num_items=4)
    with pytest.raises(DataError, match="same width"):
        inner_products(u, torch.ones(3, 4))
    for bad in (math.nan, math.inf):
        u[1, 0] = bad
        with pytest.raises(DataError, match="scores of user 1"):
            top_items(inner_products(u, v), users, 1, num_items=3)
