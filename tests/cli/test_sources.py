from __future__ import annotations

import numpy as np
import pytest
import torch

from gcl.cli.sources import Source, labels_of, read_source
from gcl.core.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """A dataset of the nodes ``n0`` .. ``n5`` in a ring, with labels."""
    place = tmp_path / "ring"
    place.mkdir()
    (place / "edges.csv").write_text("source,target\n" + "".join(f"n{i},n{(i + 1) % 6}\n" for i in range(6)))
    (place / "features.csv").write_text("id,a,b\n" + "".join(f"n{i},{i},{i % 2}\n" for i in range(6)))
    (place / "labels.csv").write_text("id,label\n" + "".join(f"n{i},{i}\n" for i in range(6)))
    return place


def rows(ids, count=6) -> Source:
    return Source(torch.zeros(count, 2), ids, None)


def test_labels_of_a_dataset_are_joined_by_id(folder):
    y, _ = labels_of(rows([f"n{i}" for i in (3, 1, 5, 0, 2, 4)]), None, str(folder), None)
    assert y.tolist() == [3, 1, 5, 0, 2, 4]


def test_without_ids_only_the_length_counts(folder):
    assert labels_of(rows(None), None, str(folder), None)[0].tolist() == list(range(6))
    with pytest.raises(DataError, match="6 nodes, the embeddings 5 rows"):
        labels_of(rows(None, 5), None, str(folder), None)


def test_other_ids_are_refused(folder):
    with pytest.raises(DataError, match="1 of the 6 ids of the embeddings are not there, first 'm'"):
        labels_of(rows(["n0", "n1", "m", "n3", "n4", "n5"]), None, str(folder), None)
    with pytest.raises(DataError, match="more than once"):
        labels_of(rows(["n0", "n1", "n1", "n3", "n4", "n5"]), None, str(folder), None)


def test_positions_name_the_nodes_of_a_dataset_without_ids():
    y, _ = labels_of(rows(None, 1797), None, "digits", None)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    mixed, _ = labels_of(rows([str(int(i)) for i in order], 1797), None, "digits", None)
    assert torch.equal(mixed, y[order])
    with pytest.raises(DataError, match="no ids but the positions"):
        labels_of(rows([f"p{i}" for i in range(1797)], 1797), None, "digits", None)


def test_splits_are_put_in_the_same_order(monkeypatch):
    import gcl.data.load
    from gcl.core.adjacency import Adjacency
    from gcl.core.graph import Graph
    from gcl.data.dataset import Dataset

    empty = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (3, 3))
    splits = torch.tensor([[0, 2], [1, 1], [2, 0]], dtype=torch.uint8)
    graph = Graph.homogeneous(None, empty, attrs={"y": torch.tensor([5, 6, 7]), "splits": splits})
    data = Dataset("own", graph, node_ids=["a", "b", "c"])
    monkeypatch.setattr(gcl.data.load, "load_dataset", lambda *args, **kwargs: data)
    y, turned = labels_of(rows(["c", "a", "b"], 3), None, "own", None)
    assert y.tolist() == [7, 5, 6]
    assert turned.tolist() == [[2, 0], [0, 2], [1, 1]]


def test_labels_file_with_ids_against_a_file_without(tmp_path):
    np.save(tmp_path / "z.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "y.csv").write_text("id,label\nu,0\nv,1\nw,1\n")
    with pytest.raises(DataError, match="has ids but the embeddings have none"):
        labels_of(read_source(tmp_path / "z.npy"), tmp_path / "y.csv", None, None)


def test_commands_say_it_in_one_sentence(gcl, folder, tmp_path):
    (tmp_path / "z.csv").write_text("id,a,b\n" + "".join(f"m{i},{i},1\n" for i in range(6)))
    done = gcl("evaluate", "clustering", tmp_path / "z.csv", "--dataset", folder)
    assert done.code == 2
    assert "are not there" in done.err
    assert "Traceback" not in done.err
