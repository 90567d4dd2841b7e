"""Graphs of nearest neighbours, against brute force and real files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcl.core.errors import ConfigError, DataError
from gcl.data.load import load_dataset
from gcl.ops.knn_graph import knn_graph


def similar(x, similarity):
    x = x.double()
    if similarity == "heat":
        return -torch.cdist(x, x)
    if similarity == "cosine":
        unit = x / x.norm(dim=1, keepdim=True).clamp(min=1e-300)
        return unit @ unit.t()
    words = (x > 0).double()
    if similarity == "normalised_words":
        words = words / words.sum(dim=1, keepdim=True).clamp(min=1)
    return words @ words.t()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 9), st.integers(1, 4), st.integers(0, 999),
    st.sampled_from(["heat", "cosine", "shared_words", "normalised_words"]), st.sampled_from([None, 1, 2]),
)  # fmt: skip
def test_is_the_union_of_the_k_most_similar(size, k, seed, similarity, block):
    k = min(k, size - 1)
    x = torch.randint(-2, 4, (size, 5), generator=torch.Generator().manual_seed(seed)).float()
    graph = knn_graph(x, k, similarity=similarity, block=block)
    score = similar(x, similarity).round(decimals=9).fill_diagonal_(-torch.inf)
    expected = torch.zeros(size, size)
    for i in range(size):
        order = sorted(range(size), key=lambda j: (-float(score[i, j]), j))
        expected[i, order[:k]] = 1
    expected = torch.maximum(expected, expected.t())
    assert torch.equal(graph.to_dense(torch.float32), expected)
    assert graph.symmetric
    assert graph.weight is None


def test_far_rows_make_no_ties():
    x = torch.tensor([[0.0], [100.0], [300.0], [350.0]])  # exp(-d²) is 0 in float64 for all pairs
    assert sorted(map(tuple, knn_graph(x, 1).edge_index().t().tolist())) == [(0, 1), (1, 0), (2, 3), (3, 2)]


def test_usps_is_the_published_graph(data_root):
    data = load_dataset("cluster/usps", data_root=data_root)
    found, stored = knn_graph(data.graph.features["node"], 3), data.graph.adjacency
    ours = {tuple(arc) for arc in found.edge_index().t().tolist()}
    theirs = {tuple(arc) for arc in stored.edge_index().t().tolist()}
    assert len(ours & theirs) / len(theirs) > 0.999  # their ties fall otherwise
    assert abs(len(ours) - len(theirs)) < 0.002 * len(theirs)


def test_bad_input_is_refused():
    with pytest.raises(ConfigError, match="similarity"):
        knn_graph(torch.ones(3, 2), 1, similarity="cos")
    with pytest.raises(ConfigError, match="k must"):
        knn_graph(torch.ones(3, 2), 3)
    for similarity in ("heat", "shared_words"):
        with pytest.raises(DataError, match="finite"):
            knn_graph(torch.tensor([[1.0], [np.nan]]), 1, similarity=similarity)
