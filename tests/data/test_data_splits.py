"""Random and stored splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcl.core.errors import ConfigError, DataError
from gcl.data.from_arrays import from_arrays
from gcl.data.load import load_dataset
from gcl.data.splits import get_splits, random_split


def recipe(num_nodes, seed):
    permutation = np.random.RandomState(seed).permutation(num_nodes)
    train = int(0.1 * num_nodes)
    split = np.full(num_nodes, 2, np.uint8)
    split[permutation[:train]] = 0
    split[permutation[train : 2 * train]] = 1
    return split


def path_graph(num_nodes, **arguments):
    return from_arrays(np.stack([np.arange(num_nodes - 1), np.arange(1, num_nodes)]), num_nodes=num_nodes, **arguments)


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 300), st.integers(0, 2**32 - 1))
def test_the_recipe(num_nodes, seed):
    np.testing.assert_array_equal(random_split(num_nodes, seed), recipe(num_nodes, seed))


def test_random_splits_of_a_graph_are_seeds_from_zero():
    splits = get_splits(path_graph(57))
    assert splits.shape == (57, 20)
    assert splits.dtype == torch.uint8
    for seed in range(20):
        np.testing.assert_array_equal(splits[:, seed], recipe(57, seed))
    assert torch.equal(get_splits(path_graph(57), 3), splits[:, :3])


def test_stored_splits_come_first_and_random_by_name():
    stored = torch.tensor([[0, 1, 2] * 4, [2, 1, 0] * 4], dtype=torch.uint8).T
    graph = path_graph(12, splits=stored)
    assert torch.equal(get_splits(graph), stored)
    assert torch.equal(get_splits(graph, 1), stored[:, :1])
    np.testing.assert_array_equal(get_splits(graph, 1, "random-10/10/80")[:, 0], recipe(12, 0))
    shares = torch.bincount(get_splits(path_graph(100), 1, "random-60/20/20")[:, 0].long())
    assert shares.tolist() == [60, 20, 20]
    assert torch.bincount(get_splits(path_graph(100), 1, "random-10/0/90")[:, 0].long()).tolist() == [10, 0, 90]


def test_unlabelled_nodes_are_unused():
    y = np.where(np.arange(60) % 3 == 0, -1, 1)
    splits = get_splits(path_graph(60, y=y))
    assert bool((splits[y < 0] == 3).all())
    assert bool((splits[y >= 0] < 3).all())


@pytest.mark.parametrize(
    ("action", "match"),
    [
        (lambda: random_split(9, 0), "train part of split 0 is empty"),
        (lambda: get_splits(path_graph(9)), "train part"),
        (lambda: get_splits(path_graph(3, splits=[0, 0, 2])), "valid part of split 0"),
        (lambda: get_splits(path_graph(3, splits=[[0, 0], [1, 1], [2, 3]])), "test part of split 1"),
        (lambda: get_splits(path_graph(20, y=[-1] * 20)), "train part"),
        (lambda: get_splits(path_graph(20), kind="stored"), "no stored splits"),
    ],
)
def test_an_empty_part_is_named(action, match):
    with pytest.raises(DataError, match=match):
        action()


@pytest.mark.parametrize("kind", ["random-10/10/90", "random", "public", "random-0/10/90", "random-50/50/0", ""])
def test_an_unknown_kind_is_refused(kind):
    with pytest.raises(ConfigError, match="random-TRAIN/VALID/TEST"):
        get_splits(path_graph(100), kind=kind)


@pytest.mark.parametrize("count", [0, -1, True, 2.0])
def test_a_bad_count_is_refused(count):
    with pytest.raises(ConfigError, match="count"):
        get_splits(path_graph(100), count)


@pytest.mark.data
@pytest.mark.parametrize(
    "stem",
    ["amazon_photo", "coauthor_cs", "coauthor_physics", "flickr", "dblp_citation", "cora_ml", "uai2010"],
)
def test_stored_rows_equal_the_recipe(data_root, stem):
    dataset = load_dataset(f"node/{stem}", data_root=data_root)
    assert dataset.info["split_kind"] == "random-10/10/80-x20"
    assert torch.equal(get_splits(dataset.graph, kind="stored"), get_splits(dataset.graph, kind="random-10/10/80"))


@pytest.mark.data
def test_the_public_splits_have_their_sizes(data_root):
    for stem, train in (("cora", 140), ("citeseer", 120), ("pubmed", 60)):
        splits = load_dataset(stem, data_root=data_root).splits
        assert torch.bincount(splits[:, 0].long())[:3].tolist() == [train, 500, 1000]
