"""Datasets from where they are published, and the archives that they become."""

from __future__ import annotations

import gzip
import io
import sys
import types
import urllib.error
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import adjacencies
from torch_geometric.data import Data

import gcl
from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError, OutputError
from gcl.core.graph import Graph
from gcl.data import prepare as module
from gcl.data.archive import graph_from_archive, read_npz
from gcl.data.cards import Card, card_names, read_card
from gcl.data.ogb import ogb_url, read_ogb
from gcl.data.prepare import prepare_dataset
from gcl.data.write_archive import write_archive

# -- archives ----------------------------------------------------------------------------------------------------------


def read_back(path):
    arrays, _ = read_npz(path)
    return graph_from_archive(arrays, path)


@given(st.data(), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_graph_comes_back_as_it_was(tmp_path, data, undirected, sparse, whole):
    adjacency = data.draw(adjacencies(undirected=undirected, masked=False))
    if not adjacency.num_arcs:
        return
    size = adjacency.shape[0]
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(size, 5, generator=generator) < 0.4).float() * (3.0 if whole else 0.3)
    features = Adjacency.from_edge_index(x.nonzero().t().flip(0), (size, 5), x[x > 0]) if sparse else x
    attrs = {"y": torch.arange(size) % 3 - 1, "splits": (torch.arange(2 * size) % 4).byte().reshape(size, 2)}
    graph = Graph.homogeneous(features, adjacency, attrs=attrs)
    path = write_archive(graph, tmp_path / "graph.npz", info={"source": "here"}, overwrite=True)
    again, info = read_back(path)
    assert torch.equal(again.adjacency.to_dense(), adjacency.to_dense())
    assert (again.adjacency.weight is None) == (adjacency.weight is None)
    assert torch.equal(again.x, graph.x)
    for name, value in attrs.items():
        assert torch.equal(again.attr(name), value)
    assert info["source"] == "here"


def test_the_file_is_plain_small_and_not_overwritten(tmp_path):
    graph = gcl.load_dataset("karate").graph
    path = write_archive(graph, tmp_path / "graph.npz")
    arrays, _ = read_npz(path)
    assert int(arrays["num_edges"]) == 78
    assert arrays["edge_index"].shape == (2, 78)
    assert bool((arrays["edge_index"][0] < arrays["edge_index"][1]).all())
    assert all(array.dtype != object for array in arrays.values())
    with pytest.raises(OutputError, match="exists"):
        write_archive(graph, path)
    with pytest.raises(DataError, match=r"\.npz"):
        write_archive(graph, tmp_path / "graph.csv")
    counts = Adjacency.from_edge_index(torch.tensor([[0, 1], [0, 1]]), (2, 3), torch.tensor([1.0, 300.0]))
    path = write_archive(
        Graph.homogeneous(counts, Adjacency.from_edge_index(torch.tensor([[0], [1]]), (2, 2))), tmp_path / "counts.npz"
    )
    assert read_npz(path)[0]["x_data"].dtype == np.uint16
    marked = graph.with_node_attrs(community=torch.zeros(34, dtype=torch.int64))
    with pytest.warns(UserWarning, match="no place for the attributes community"):
        write_archive(marked, tmp_path / "marked.npz")
    with pytest.raises(DataError, match="one node type"):
        write_archive(gcl.load_dataset("davis").graph, tmp_path / "two.npz")


# -- PyG ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A card whose set a small module in PyG's place makes; what the class was called with."""
    ring = torch.stack([torch.arange(12), (torch.arange(12) + 1) % 12])
    made = Data(
        x=torch.eye(12)[:, :5].repeat(1, 1), edge_index=torch.cat([ring, ring.flip(0)], 1), y=torch.arange(12) % 3
    )
    made.train_mask, made.val_mask = torch.arange(12) < 3, (torch.arange(12) >= 3) & (torch.arange(12) < 6)
    made.test_mask = torch.arange(12) >= 6
    calls = []

    class Ring:
        def __init__(self, root, name, size=3):
            calls.append((root, name, size))
            (module.Path(root) / "raw").mkdir(parents=True, exist_ok=True)
            (module.Path(root) / "raw" / "big.bin").write_bytes(b"0" * 1000)

        def __getitem__(self, index):
            assert index == 0
            return made

    fake = types.ModuleType("torch_geometric.rings")
    fake.Ring = Ring
    monkeypatch.setitem(sys.modules, "torch_geometric.rings", fake)
    statistics = {"nodes": 12, "edges": 12, "features": 5, "classes": 3}
    card = Card(
        "node/ring",
        "Ring",
        "node",
        "nowhere",
        "MIT",
        statistics,
        'torch_geometric.rings.Ring(root, name="Small", size=12)',
    )
    place(monkeypatch, card)
    return card, calls


def place(monkeypatch, card):
    monkeypatch.setattr(module, "read_card", lambda name: card)
    monkeypatch.setattr(module, "resolve_name", lambda name: name)


def test_what_pyg_makes_is_stored_in_our_layout(published, tmp_path):
    card, calls = published
    said = []
    path = prepare_dataset("node/ring", data_root=tmp_path, say=said.append)
    assert path == tmp_path / "node" / "ring.npz"
    ((root, name, size),) = calls
    assert (name, size) == ("Small", 12)
    assert not module.Path(root).exists()  # what was fetched is removed again
    assert [each.name for each in path.parent.iterdir()] == ["ring.npz"]
    graph, info = read_back(path)
    assert (graph.num_nodes, graph.adjacency.num_arcs) == (12, 24)
    assert torch.equal(graph.attr("splits")[:, 0], torch.tensor([0] * 3 + [1] * 3 + [2] * 6, dtype=torch.uint8))
    assert info["source"] == card.obtain
    assert prepare_dataset("node/ring", data_root=tmp_path) == path  # it is there
    assert len(calls) == 1
    assert "Ring(" in said[0]


def test_a_prepared_archive_is_told_from_a_changed_one(published, tmp_path, monkeypatch):
    from gcl.data import catalog

    card, _ = published
    path = prepare_dataset("node/ring", data_root=tmp_path)
    monkeypatch.setattr(catalog, "read_card", lambda name: Card(**{**vars(card), "sha256": "0" * 64}))
    monkeypatch.setattr(catalog, "resolve_name", lambda name, kind=None: name)
    record = catalog.dataset_info("node/ring", tmp_path, verify=True)
    assert (record["verified"], record["prepared_from"]) == (None, card.obtain)
    np.savez(path, edge_index=np.zeros((2, 1), int))
    assert catalog.dataset_info("node/ring", tmp_path, verify=True)["verified"] is False


def test_a_folder_that_was_fetched_before_is_used_and_kept(published, tmp_path):
    _, calls = published
    with pytest.raises(DataError, match="does not exist"):
        prepare_dataset("node/ring", data_root=tmp_path / "root", raw=tmp_path / "typo")
    assert not (tmp_path / "typo").exists()
    (tmp_path / "mine").mkdir()
    prepare_dataset("node/ring", data_root=tmp_path / "root", raw=tmp_path / "mine")
    assert calls[0][0] == str(tmp_path / "mine")
    assert (tmp_path / "mine" / "raw" / "big.bin").is_file()


@pytest.mark.parametrize(
    ("key", "count"), [("nodes", 13), ("edges", 11), ("features", 6), ("classes", 4), ("self_loops", 1)]
)
def test_another_graph_than_the_cards_is_not_stored(published, tmp_path, monkeypatch, key, count):
    card, _ = published
    place(monkeypatch, Card(**{**vars(card), "statistics": {**card.statistics, key: count}}))
    with pytest.raises(DataError, match=f"{key.replace('_', ' ')} and not {count}"):
        prepare_dataset("node/ring", data_root=tmp_path)
    assert list((tmp_path / "node").iterdir()) == []


def test_a_failing_download_is_one_sentence_and_leaves_nothing(published, tmp_path, monkeypatch):
    def fail(root, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(sys.modules["torch_geometric.rings"], "Ring", fail)
    with pytest.raises(DataError, match=r"no route to host\); look at the network, or give --raw"):
        prepare_dataset("node/ring", data_root=tmp_path)
    assert list((tmp_path / "node").iterdir()) == []


def test_sets_without_a_public_source_say_so(tmp_path):
    with pytest.raises(DataError, match="no public source"):
        prepare_dataset("rec/yelp2018", data_root=tmp_path)
    with pytest.raises(DataError, match="built in"):
        prepare_dataset("karate", data_root=tmp_path)


def test_every_card_with_a_source_can_be_asked_for():
    """The calls on the cards are of classes that PyG has, with arguments that they take."""
    import importlib
    import inspect

    for name in card_names():
        card = read_card(name)
        if card.obtain.startswith("torch_geometric"):
            path, _, rest = card.obtain.partition("(")
            home, _, cls = path.rpartition(".")
            signature = inspect.signature(getattr(importlib.import_module(home), cls))
            assert callable(module._pyg_call(card.obtain))
            given = [part.partition("=")[0].strip() for part in rest.rstrip(")").split(",")[1:]]
            signature.bind_partial(None, **dict.fromkeys(given))
        elif card.obtain.startswith("ogb "):
            assert ogb_url(card.obtain[4:]).endswith(f"/{card.stem.removeprefix('ogbn_')}.zip")


# -- OGB ---------------------------------------------------------------------------------------------------------------


TABLES = {
    "raw/num-node-list.csv.gz": "5\n",
    "raw/num-edge-list.csv.gz": "5\n",
    "raw/edge.csv.gz": "0,1\n1,2\n2,0\n0,2\n3,4\n",
    "raw/node-feat.csv.gz": "0.5,-1\n0,1\n1,0\n2,2\n-0.25,3\n",
    "raw/node-label.csv.gz": "0\n1\nnan\n1\n2\n",
    "raw/node_year.csv.gz": "2001\n2002\n2003\n2004\n2005\n",
    "split/time/train.csv.gz": "0\n1\n",
    "split/time/valid.csv.gz": "3\n",
    "split/time/test.csv.gz": "4\n",
}


def write_folder(folder, **changes):
    for name, text in {**TABLES, **changes}.items():
        if text is None:
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else gzip.compress(text.encode()))
    return folder


def write_zip(path, top="arxiv/"):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in TABLES.items():
            archive.writestr(top + name, gzip.compress(text.encode()))
    return path


def test_raw_files_of_a_folder_and_of_a_zip(tmp_path):
    for source in (write_folder(tmp_path / "ogbn_arxiv"), write_zip(tmp_path / "arxiv.zip")):
        graph, listed = read_ogb(source)
        assert listed == 5
        arcs = set(map(tuple, graph.adjacency.edge_index().t().tolist()))
        expected = {(0, 1), (1, 2), (2, 0), (3, 4)}
        assert arcs == expected | {(v, u) for u, v in expected}
        assert torch.equal(graph.x, torch.tensor([[0.5, -1], [0, 1], [1, 0], [2, 2], [-0.25, 3]]))
        assert graph.attr("y").tolist() == [0, 1, -1, 1, 2]
        assert graph.attr("splits")[:, 0].tolist() == [0, 0, 3, 1, 2]
        directed, _ = read_ogb(source, directed=True)
        assert set(map(tuple, directed.adjacency.edge_index().t().tolist())) == {(0, 1), (1, 2), (2, 0), (0, 2), (3, 4)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"raw/edge.csv.gz": None}, r"has no raw/edge\.csv\.gz"),
        ({"raw/edge.csv.gz": gzip.compress(b"0,1\n1,2\n" * 500)[:40]}, r"raw/edge\.csv\.gz is damaged"),
        ({"raw/edge.csv.gz": "0,1\n1,9\n"}, "9"),
        ({"raw/edge.csv.gz": "0,1\n1,x\n"}, "damaged"),
        ({"raw/edge.csv.gz": "0,1,2\n"}, "expected two columns"),
        ({"raw/node-label.csv.gz": "0\n1\n"}, "2 labels for 5 nodes"),
        ({"raw/node-feat.csv.gz": "1\n2\n"}, "2 rows for 5 nodes"),
        ({"raw/num-node-list.csv.gz": "5\n3\n"}, "2 graphs"),
        ({"split/time/valid.csv.gz": "1\n"}, "in two parts"),
        ({"split/time/valid.csv.gz": "7\n"}, "outside of 0 to 4"),
        ({"split/random/train.csv.gz": "0\n"}, "2 splits"),
    ],
)
def test_damaged_raw_files_are_one_sentence(tmp_path, changes, said):
    with pytest.raises(DataError, match=said):
        read_ogb(write_folder(tmp_path / "set", **changes))


def test_something_else_than_a_zip(tmp_path):
    (tmp_path / "arxiv.zip").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="whole zip"):
        read_ogb(tmp_path / "arxiv.zip")


def answer(content, size=None):
    """What a server says."""
    stream = io.BytesIO(content)
    stream.headers = {"Content-Length": str(len(content) if size is None else size)}
    return stream


@pytest.mark.parametrize("size", ["", "many"])
def test_an_answer_that_is_no_archive_says_so(ogb_card, tmp_path, monkeypatch, size):
    monkeypatch.setattr(module.urllib.request, "urlopen", lambda url, timeout: answer(b"<html>", size=size))
    with pytest.raises(DataError, match=r"http\S*\.zip answered with no zip file; .*--raw"):
        prepare_dataset("node/ogbn_tiny", data_root=tmp_path)
    assert list((tmp_path / "node").iterdir()) == []


def test_a_download_that_was_cut_off_says_so(ogb_card, tmp_path, monkeypatch):
    monkeypatch.setattr(module.urllib.request, "urlopen", lambda url, timeout: answer(b"PK" * 10, size=1000))
    with pytest.raises(DataError, match="cut off after 20 of 1,000 bytes; run it again"):
        prepare_dataset("node/ogbn_tiny", data_root=tmp_path)
    assert list((tmp_path / "node").iterdir()) == []


@pytest.fixture
def ogb_card(monkeypatch):
    statistics = {"nodes": 5, "edges": 4, "listed_edges": 5, "features": 2, "classes": 3, "splits": 1}
    place(monkeypatch, Card("node/ogbn_tiny", "Tiny", "node", "OGB", "ODC-BY", statistics, "ogb ogbn-tiny"))


def test_ogb_is_fetched_read_and_stored(ogb_card, tmp_path, monkeypatch):
    content, asked = write_zip(tmp_path / "tiny.zip", top="tiny/").read_bytes(), []

    monkeypatch.setattr(module.urllib.request, "urlopen", lambda url, timeout: asked.append(url) or answer(content))
    path = prepare_dataset("node/ogbn_tiny", data_root=tmp_path / "root")
    assert asked == ["https://snap.stanford.edu/ogb/data/nodeproppred/tiny.zip"]
    graph, _ = read_back(path)
    assert graph.attr("y").tolist() == [0, 1, -1, 1, 2]
    assert [each.name for each in path.parent.iterdir()] == ["ogbn_tiny.npz"]
    assert "ogb" not in sys.modules


def test_ogb_from_a_folder_and_without_a_network(ogb_card, tmp_path, monkeypatch):
    def urlopen(url, timeout):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
    with pytest.raises(DataError, match="give it with --raw"):
        prepare_dataset("node/ogbn_tiny", data_root=tmp_path / "root")
    raw = write_folder(tmp_path / "ogbn_tiny")
    assert prepare_dataset("node/ogbn_tiny", data_root=tmp_path / "root", raw=raw).is_file()
    assert (raw / "raw" / "edge.csv.gz").is_file()
