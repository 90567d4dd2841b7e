"""Draws from what a user does not have: never an interaction, and uniform over the rest."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.ops.negative_sampling import NONE, sample_negatives


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(adjacencies(bipartite=True, masked=False), st.integers(0, 5))
def test_every_missing_column_is_drawn_and_no_other(adjacency, seed):
    m, n = adjacency.shape
    rows = torch.arange(m).repeat(60 * n)
    drawn = sample_negatives(adjacency, rows, generator=seeded(seed))
    has = adjacency.with_weight(None).to_dense() > 0
    for row in range(m):
        missing = set((~has[row]).nonzero().squeeze(1).tolist())
        assert set(drawn[rows == row].tolist()) == (missing or {NONE})


def test_is_uniform_over_what_is_missing():
    taken = torch.tensor([0, 3, 4, 9])
    adjacency = Adjacency.from_edge_index(torch.stack([taken, torch.zeros_like(taken)]), (2, 12))
    drawn = sample_negatives(adjacency, torch.zeros(40_000, dtype=torch.int64), generator=seeded(1))
    counts = torch.bincount(drawn, minlength=12)
    assert counts[taken].sum() == 0
    rest = torch.ones(12, dtype=torch.bool).scatter_(0, taken, False)
    assert chisquare(counts[rest].numpy()).pvalue > 1e-4


def test_depends_on_the_generator_alone():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 5], [1, 0]]), (3, 9))
    rows = torch.tensor([2, 2, 0, 1])
    one, two = (sample_negatives(adjacency, rows, generator=seeded(4)) for _ in range(2))
    assert torch.equal(one, two)


def test_a_row_with_everything_and_rows_out_of_range():
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 1], [0, 0, 1]]), (2, 2))
    assert sample_negatives(adjacency, torch.tensor([0, 1, 0])).tolist() == [NONE, 0, NONE]
    assert sample_negatives(adjacency, torch.empty(0, dtype=torch.int64)).tolist() == []
    with pytest.raises(DataError, match="from 0 to 1"):
        sample_negatives(adjacency, torch.tensor([2]))
