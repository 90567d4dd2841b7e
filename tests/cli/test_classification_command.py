"""``gcl evaluate classification`` with the protocols that take stored splits, as processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gcl.core.streams import Streams
from gcl.data.load import load_dataset
from gcl.evaluate.heco_protocol import heco_protocol

HECO = ("--protocol", "heco", "--learning-rate", "0.05", "--weight-decay", "0.001")


@pytest.fixture
def files(gcl):
    """``z.npy``, ``y.npy`` and ``splits.npy`` (two columns) in the folder that the command runs in."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    z = (rng.normal(size=(3, 6))[y] + rng.normal(size=(90, 6))).astype(np.float32)
    splits = np.stack([(np.arange(90) // 3 + shift) % 3 for shift in range(2)], axis=1).astype(np.uint8)
    for name, array in (("z", z), ("y", y), ("splits", splits)):
        np.save(f"{name}.npy", array)
    return gcl, torch.from_numpy(z), torch.from_numpy(y), torch.from_numpy(splits)


def evaluate(gcl, *options):
    return gcl("evaluate", "classification", "z.npy", "--labels", "y.npy", *options)


def test_heco_of_a_splits_file(files):
    gcl, z, y, splits = files
    done = evaluate(gcl, "--splits", "splits.npy", *HECO, "--json")
    assert done.code == 0, done.err
    assert done.json["protocol"] == "heco"
    assert len(done.json["seeds"]) == 100
    one = evaluate(gcl, "--splits", "splits.npy", "--split-index", 1, *HECO, "--json")
    assert one.code == 0, one.err
    draw = Streams(0).generator("evaluate")
    expected = heco_protocol(z, y, splits[:, 1], learning_rate=0.05, weight_decay=0.001, generator=draw)
    assert one.json == expected.to_json()
    table = evaluate(gcl, "--splits", "splits.npy", "--split-index", 1, *HECO)
    for metric in ("accuracy", "macro_f1", "micro_f1", "auc"):
        assert f"{100 * one.json['metrics'][metric]['mean']:.2f}" in table.out


def test_what_cannot_be_is_one_sentence(files):
    gcl, _, y, splits = files
    done = evaluate(gcl, "--protocol", "linear-adam", "--weight-decay", "0.1")
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1)
    assert "weight_decay=0.1 is for protocol heco, not linear-adam" in done.err
    done = evaluate(gcl, "--learning-rate", "0.1")
    assert "learning_rate=0.1 is for protocol linear-adam and heco, not linear" in done.err
    done = evaluate(gcl, "--split-index", 0)
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1)
    assert "no stored splits" in done.err
    done = evaluate(gcl, "--splits", "splits.npy", "--split-index", 2, *HECO)
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1)
    assert "2 stored splits, 0 to 1" in done.err
    np.save("few.npy", np.where(((y == 2) & (splits[:, 1] == 2)).numpy()[:, None] * [False, True], 3, splits.numpy()))
    done = evaluate(gcl, "--splits", "few.npy", *HECO)
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1)
    assert "the test part of split 1 has no node of class 2" in done.err


@pytest.mark.data
def test_heco_of_a_datasets_stored_splits(gcl, data_root):
    graph = load_dataset("hetero/freebase", data_root=data_root).graph
    y = graph.attr("y")
    z = torch.eye(3)[y] + torch.randn(len(y), 3, generator=torch.Generator().manual_seed(0))
    np.save("z.npy", z.numpy())
    options = ("--protocol", "heco", "--split-index", 2, "--data-root", data_root, "--json")
    done = gcl("evaluate", "classification", "z.npy", "--dataset", "hetero/freebase", *options)
    assert done.code == 0, done.err
    assert len(done.json["seeds"]) == 50
    assert 0.5 < done.json["metrics"]["macro_f1"]["mean"] < 0.8
