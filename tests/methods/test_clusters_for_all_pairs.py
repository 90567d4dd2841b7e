"""Methods with clusters in place of all pairs."""

from __future__ import annotations

import pytest
import torch

import gcl
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph

QUICK = {"evaluate": False, "floors": False, "trainer": {"epochs": 2}}
BY_COMMUNITIES = ("grace", "csgcl", "gca", "progcl", "two_view")
SLOTS = dict.fromkeys((*BY_COMMUNITIES, "costa"), ("karate", "loss"))
SLOTS |= dict.fromkeys(("lightgcl", "sgl", "simgcl", "xsimgcl"), ("davis", "contrast"))
SLOTS |= dict.fromkeys(("heco", "meow", "adameow"), ("hetero", "loss"))


def hetero():
    generator = torch.Generator().manual_seed(0)
    index = (torch.rand(60, 20, generator=generator) < 0.2).nonzero().t()
    return Graph(
        features={"paper": torch.rand(60, 5, generator=generator)},
        relations={"writes": Adjacency.from_edge_index(index.flip(0), (60, 20))},
        relation_types={"writes": ("author", "paper")},
        num_nodes_by_type={"paper": 60, "author": 20},
        target="paper",
    )


@pytest.mark.parametrize("proxy", ["blocks", "meta_nodes"])
@pytest.mark.parametrize("name", SLOTS)
@pytest.mark.filterwarnings("ignore:metapaths were not given")
def test_every_method_takes_clusters_by_k_means_in_every_step(name, proxy):
    data, slot = SLOTS[name]
    data = hetero() if data == "hetero" else data
    found = []
    for clusters in (2, 5):
        loss = {"name": "block_infonce", "num_clusters": clusters, "proxy": proxy}
        found.append(gcl.pipeline(name, data, **{slot: loss}, **QUICK).outputs.main)
    assert all(bool(z.isfinite().all()) for z in found)
    assert not torch.equal(*found)  # the clusters take part


@pytest.mark.parametrize("name", SLOTS)
@pytest.mark.filterwarnings("ignore:metapaths were not given")
def test_communities_where_the_method_has_them(name):
    data, slot = SLOTS[name]
    data = hetero() if data == "hetero" else data
    settings = {slot: {"name": "block_infonce"}, **QUICK}
    if name in BY_COMMUNITIES:
        assert bool(gcl.pipeline(name, data, **settings).outputs.main.isfinite().all())
        return
    with pytest.raises(ConfigError, match=r"BlockInfoNCE needs clusters, which .* does not provide"):
        gcl.pipeline(name, data, **settings)
