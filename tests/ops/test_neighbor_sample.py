"""A fixed number of neighbours of every node."""

from __future__ import annotations

from collections import Counter
from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
from gcl.ops.neighbor_sample import sample_neighbors


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def same_neighbors(num_rows, columns):
    """Every row has these columns, of one more than the largest."""
    row = torch.arange(num_rows).repeat_interleave(len(columns))
    return Adjacency.from_edge_index(
        torch.stack([torch.tensor(columns).repeat(num_rows), row]), (num_rows, max(columns) + 2)
    )


@settings(max_examples=100, deadline=None)
@given(adjacencies(bipartite=True), st.integers(1, 6), st.integers(0, 5))
def test_only_kept_neighbors_are_drawn_and_each_once_where_there_are_enough(adjacency, size, seed):
    found = sample_neighbors(adjacency, size, generator=seeded(seed))
    assert found.shape == (adjacency.shape[0], size)
    assert found.dtype == torch.int64
    assert torch.equal(found, sample_neighbors(adjacency, size, generator=seeded(seed)))
    source, target = adjacency.edge_index()
    for row, drawn in enumerate(found.tolist()):
        there = set(source[target == row].tolist())
        if not there:
            assert drawn == [-1] * size
        else:
            assert set(drawn) <= there
        if len(there) >= size:
            assert len(set(drawn)) == size


def test_draws_without_replacement_are_uniform():
    columns, draws = [1, 2, 4, 5, 8], 4000
    found = sample_neighbors(same_neighbors(draws, columns), 2, generator=seeded())
    counts = Counter(map(tuple, found.tolist()))
    expected = draws / 20
    assert counts.keys() == set(permutations(columns, 2))
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 19 + 4 * 38**0.5  # chi-square


def test_draws_with_replacement_are_uniform():
    columns, draws = [0, 3], 4000
    found = sample_neighbors(same_neighbors(draws, columns), 3, generator=seeded(1))
    counts = Counter(map(tuple, found.tolist()))
    expected = draws / 8
    assert counts.keys() == set(product(columns, repeat=3))
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 7 + 4 * 14**0.5


def test_as_many_as_there_are_is_all_of_them_in_random_order():
    found = sample_neighbors(same_neighbors(600, [0, 2, 3]), 3, generator=seeded(2))
    assert {tuple(row) for row in found.tolist()} == set(permutations([0, 2, 3]))


def test_another_state_draws_others_and_the_global_one_moves_on():
    adjacency = same_neighbors(50, list(range(20)))
    assert not torch.equal(
        sample_neighbors(adjacency, 3, generator=seeded(0)), sample_neighbors(adjacency, 3, generator=seeded(1))
    )
    torch.manual_seed(0)
    assert not torch.equal(sample_neighbors(adjacency, 3), sample_neighbors(adjacency, 3))


@pytest.mark.parametrize("compact", [True, False])
def test_masked_arcs_are_never_drawn(compact):
    adjacency = same_neighbors(200, [0, 1, 2, 3])
    adjacency = adjacency.masked(adjacency.col % 2 == 1, compact=compact)
    assert set(sample_neighbors(adjacency, 2, generator=seeded()).unique().tolist()) == {1, 3}
    nothing = adjacency.masked(torch.zeros(adjacency.num_arcs, dtype=torch.bool), compact=compact)
    assert sample_neighbors(nothing, 2).tolist() == [[-1, -1]] * 200


def test_weights_are_not_read():
    adjacency = same_neighbors(30, [0, 1, 2])
    weighted = adjacency.with_weight(torch.arange(90.0))
    assert torch.equal(
        sample_neighbors(adjacency, 2, generator=seeded()), sample_neighbors(weighted, 2, generator=seeded())
    )


def test_graphs_without_rows_or_arcs():
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    assert sample_neighbors(Adjacency.from_edge_index(nothing, (0, 3)), 2).shape == (0, 2)
    assert sample_neighbors(Adjacency.from_edge_index(nothing, (2, 0)), 1).tolist() == [[-1], [-1]]


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None])
def test_bad_sizes_are_refused(size):
    with pytest.raises(ConfigError, match="sampled neighbours must be a whole number from 1, got"):
        sample_neighbors(same_neighbors(2, [0]), size)
