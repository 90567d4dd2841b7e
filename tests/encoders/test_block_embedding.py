"""Embedding in blocks against one pass over the whole graph."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, OutputError
from gcl.core.graph import Graph
from gcl.encoders.block_embedding import embed_by_blocks, takes_blocks
from gcl.encoders.gcn import GCN
from gcl.encoders.mlp import MLP
from gcl.encoders.pyg_encoder import PyGEncoder


def built(encoder, graph, seed=0):
    torch.manual_seed(seed)
    encoder.build(graph.spec)
    for bias in encoder.layers_.biases:
        bias.data.normal_()
    return encoder


@given(adjacencies(bipartite=False), st.sampled_from(["gcn", "mlp"]), st.integers(1, 3), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_blocks_of_any_size_give_the_whole(tmp_path_factory, adjacency, kind, num_layers, memory):
    if adjacency.weight is not None and bool((adjacency.weight <= 0).any()):
        adjacency = adjacency.with_weight(adjacency.weight.abs() + 0.1)
    x = torch.randn(adjacency.shape[0], 5, generator=torch.Generator().manual_seed(0))
    graph = Graph.homogeneous(x, adjacency)
    encoder = built({"gcn": GCN, "mlp": MLP}[kind](out_channels=3, num_layers=num_layers, activation="prelu"), graph)
    path = tmp_path_factory.mktemp("blocks") / "z.npy"
    assert embed_by_blocks(encoder, graph, path, memory=memory) == path
    found = np.load(path)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, encoder.embed(graph).numpy(), rtol=2e-4, atol=2e-5)
    assert [child.name for child in path.parent.iterdir()] == ["z.npy"]


def test_sparse_features_and_a_mask(tmp_path):
    index = torch.tensor([[0, 1, 2, 2, 3, 0], [1, 0, 0, 2, 2, 3]])
    adjacency = Adjacency.from_edge_index(index, (5, 5)).masked(torch.tensor([True, True, False, True, True, True]))
    x = Adjacency.from_edge_index(torch.tensor([[0, 3, 1], [0, 1, 4]]), (5, 4), torch.rand(3))
    graph = Graph.homogeneous(x, adjacency)
    encoder = built(GCN(out_channels=2), graph)
    embed_by_blocks(encoder, graph, tmp_path / "z.npy", memory=64)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), encoder.embed(graph).numpy(), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_done_is_said_and_nothing_is_left(tmp_path):
    graph = Graph.homogeneous(torch.rand(4, 3), Adjacency.from_edge_index(torch.tensor([[0], [1]]), (4, 4)))
    encoder = built(GCN(out_channels=2), graph)
    other = PyGEncoder(module="torch_geometric.nn:GraphSAGE", out_channels=2)
    assert takes_blocks(encoder)
    assert not takes_blocks(other)
    with pytest.raises(ConfigError, match="PyGEncoder does not embed in blocks"):
        embed_by_blocks(other, graph, tmp_path / "z.npy")
    wide = Graph.homogeneous(torch.rand(4, 7), graph.adjacency)
    with pytest.raises(DataError, match="built for 3 feature columns and got 7"):
        embed_by_blocks(encoder, wide, tmp_path / "z.npy")
    with pytest.raises(OutputError, match=r"must end in \.npy"):
        embed_by_blocks(encoder, graph, tmp_path / "z.csv")
    (tmp_path / "z.npy").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        embed_by_blocks(encoder, graph, tmp_path / "z.npy")
    assert (tmp_path / "z.npy").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


MEMORY = """
import resource, sys
import numpy as np, torch
from gcl.core.adjacency import Adjacency
from gcl.core.graph import Graph
from gcl.encoders.block_embedding import embed_by_blocks
from gcl.encoders.gcn import GCN

n, width, folder = 300_000, 64, sys.argv[1]
x = np.lib.format.open_memmap(folder + "/x.npy", mode="w+", dtype=np.float32, shape=(n, width))
for start in range(0, n, 10_000):
    x[start : start + 10_000] = 1
ring = torch.arange(n)
adjacency = Adjacency.from_edge_index(torch.stack([ring, (ring + 1) % n]), (n, n))
mapped = torch.from_numpy(np.load(folder + "/x.npy", mmap_mode="c"))
graph = Graph.homogeneous(mapped, adjacency)
encoder = GCN(out_channels=64, hidden_channels=256).build(graph.spec)


def own():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))


import threading
peak, over, before = 0, threading.Event(), own()
def watch():
    global peak
    while not over.wait(0.01):
        peak = max(peak, own())
watcher = threading.Thread(target=watch); watcher.start()
embed_by_blocks(encoder, graph, folder + "/z.npy", memory=2**24)
over.set(); watcher.join()
print((peak - before) / 1024)
"""


def test_memory_is_a_block_and_not_the_graph(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, env=os.environ, check=True
    )
    assert float(done.stdout) < 160  # MiB; the hidden layer alone has 293
    assert np.load(tmp_path / "z.npy", mmap_mode="r").shape == (300_000, 64)


def test_gcl_embed_of_a_stored_graph_goes_by_blocks(tmp_path, monkeypatch):
    import gcl
    from gcl.data.store_graph import store_graph
    from gcl.encoders import block_embedding
    from gcl.run import open_run

    random = np.random.default_rng(0)
    np.savetxt(tmp_path / "edges.csv", random.integers(0, 60, (150, 2)), fmt="%d", delimiter=",")
    np.save(tmp_path / "x.npy", random.normal(size=(60, 8)))
    store_graph(tmp_path / "edges.csv", tmp_path / "big", features=tmp_path / "x.npy")
    result = gcl.pipeline("grace", tmp_path / "big", trainer={"epochs": 2}, evaluate=False, floors=False)
    result.save(tmp_path / "run")
    called = []
    monkeypatch.setattr(
        open_run, "embed_by_blocks", lambda *words: called.append(block_embedding.embed_by_blocks(*words, memory=4096))
    )
    from gcl.cli.embed import embed

    embed(tmp_path / "run", str(tmp_path / "big"), tmp_path / "z.npy")
    assert len(called) == 1
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), result.outputs.main.numpy(), rtol=1e-4, atol=1e-5)
    embed(tmp_path / "run", str(tmp_path / "big"), tmp_path / "z.npz")
    assert len(called) == 1
