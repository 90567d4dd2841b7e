"""Every kind of bad input: exit code 2, and one sentence that names the thing and the mend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

EDGES = np.array([[0, 1, 2, 3, 0], [1, 2, 3, 4, 4]])
X = np.random.default_rng(0).random((5, 3)).astype(np.float32)
Y = np.array([0, 1, 0, 1, 0])


def save(**arrays) -> str:
    np.savez("graph.npz", **{"edge_index": EDGES, "x": X, "y": Y, "num_nodes": 5, **arrays})
    return "graph.npz"


def with_value(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


def refused(done, *words):
    assert done.code == 2, (done.code, done.out, done.err)
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("gcl: ")
    for word in words:
        assert word in lines[0], (word, lines[0])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": with_value(X, (2, 1), np.nan)}, ["nan in row 2, column 1"]),
        ({"x": with_value(X, (2, 1), np.inf)}, ["inf in row 2, column 1"]),
        ({"edge_index": with_value(EDGES, (0, 0), 5)}, ["5", "out of range"]),
        ({"edge_index": with_value(EDGES, (1, 1), -1)}, ["-1", "negative"]),
        ({"edge_index": EDGES + 0.5}, ["integer"]),
        ({"y": Y + 0.5}, ["label"]),
        ({"y": Y[:3]}, ["3", "5"]),
        ({"edge_index": np.zeros((2, 0), dtype=np.int64)}, ["no edges"]),
        ({"edge_index": np.zeros((2, 0), dtype=np.int64), "x": X[:0], "y": Y[:0], "num_nodes": 0}, ["no"]),
    ],
)
def test_bad_graphs(gcl, arrays, words):
    refused(gcl("train", "grace", save(**arrays), "--out", "run"), *words)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "grace", "coraa"), ["unknown dataset 'coraa'", "cora"]),
        (("train", "grace", "cora"), ["--data-root", "GCL_DATA", "digits"]),
        (("train", "grase", "karate"), ["unknown method 'grase'", "'grace'"]),
        (("train", "grace", "karate", "loss.temprature=1"), ["'temprature'", "'temperature'"]),
        (("train", "grace", "karate", "los.temperature=1"), ["'los'", "'loss'"]),
        (("train", "grace", "karate", "trainer.epoch=1"), ["'epoch'", "'epochs'"]),
        (("train", "grace", "karate", "loss.temperature=hot"), ["loss.temperature", "'hot'"]),
        (("train", "grace", "karate", "loss.temperature=-1"), ["temperature", "-1"]),
        (("train", "grace", "karate", "trainer.epochs=many"), ["trainer.epochs", "'many'"]),
        (("train", "grace", "karate", "loss=team_upp"), ["team_up"]),
        (("train", "grace", "karate", "augment.view3.edge=edge_drop"), ["view1", "view3"]),
        (("train", "grace", "karate", "augment.view1.edge.drop_prob=1.5"), ["drop_prob", "1.5"]),
        (("train", "grace", "karate", "evaluate.classification.protocol=linar"), ["protocol", "linar"]),
        (("train", "grace", "karate", "temperature"), ["key=value"]),
        (("train", "grace", "karate", "seeds=0"), ["seeds"]),
        (("train", "grace", "karate", "--seed", "1", "--seeds", "2"), ["--seed"]),
        (("train", "grace"), ["dataset"]),
        (("train", "--resume", "nowhere"), ["nowhere"]),
        (("train", "--resume", "nowhere", "trainer.epochs=3"), ["no other settings"]),
        (("train", "grace", "karate", "--config", "none.yaml"), ["none.yaml"]),
        (("cluster", "none.npy", "--k", "2"), ["none.npy"]),
        (("embed", "nowhere"), ["nowhere"]),
        (("reproduce", "csgcl", "karate"), ["csgcl"]),
        (("data", "info", "nothing"), ["nothing"]),
    ],
)
def test_misuse(gcl, arguments, words):
    refused(gcl(*arguments), *words)


def test_clusters_and_labels(gcl):
    np.save("z.npy", X)
    np.save("y.npy", Y)
    np.save("short.npy", Y[:4])
    np.save("halves.npy", Y + 0.5)
    refused(gcl("cluster", "z.npy", "--k", 0), "k", "0")
    refused(gcl("cluster", "z.npy", "--k", 6), "6", "5")
    refused(gcl("cluster", "z.npy", "--k", 2, "--labels", "short.npy"), "4", "5")
    refused(gcl("evaluate", "clustering", "z.npy", "--labels", "halves.npy"), "label")
    refused(gcl("evaluate", "classification", "z.npy", "--labels", "short.npy"), "4", "5")
    refused(gcl("evaluate", "classification", "z.npy"), "--labels")
    np.save("nan.npy", with_value(X, (1, 1), np.nan))
    refused(gcl("cluster", "nan.npy", "--k", 2), "NaN")


def test_an_empty_split(gcl):
    splits = np.array([[0, 0, 0, 1, 1]], dtype=np.uint8)  # nothing to test on
    refused(gcl("train", "grace", save(splits=splits, split_kind="stored"), "--out", "run"), "test")


def test_truncated_files(gcl):
    save()
    data = Path("graph.npz").read_bytes()
    Path("graph.npz").write_bytes(data[: len(data) // 2])
    refused(gcl("train", "grace", "graph.npz"), "graph.npz")
    Path("text.npz").write_text("not an archive")
    refused(gcl("train", "grace", "text.npz"), "text.npz")
    np.save("z.npy", X)
    Path("z.npy").write_bytes(Path("z.npy").read_bytes()[:100])
    refused(gcl("cluster", "z.npy", "--k", 2), "z.npy")


def test_a_folder_that_holds_a_run_is_never_overwritten(gcl):
    quick = ("trainer.epochs=1", "evaluate.classification=null", "evaluate.clustering=null", "floors=false", "--quiet")
    assert gcl("train", "grace", "karate", *quick, "--out", "run").code == 0
    before = Path("run/model.safetensors").read_bytes()
    refused(gcl("train", "grace", "karate", *quick, "--out", "run"), "run", "--out")
    assert Path("run/model.safetensors").read_bytes() == before
    Path("file").write_text("mine")
    refused(gcl("train", "grace", "karate", *quick, "--out", "file"), "file")
    assert Path("file").read_text() == "mine"


def test_a_truncated_checkpoint_and_other_data(gcl):
    quick = (
        "trainer.epochs=4",
        "trainer.checkpoint_every=2",
        "evaluate.classification=null",
        "evaluate.clustering=null",
    )
    save()
    assert gcl("train", "grace", "graph.npz", *quick, "floors=false", "--out", "run", "--quiet").code == 0
    Path("run/result.json").unlink()  # as if it had been interrupted before the end
    save(x=X + 1)
    refused(gcl("train", "--resume", "run"), "data")
    save()
    for path in Path("run/checkpoint").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-10])
    refused(gcl("train", "--resume", "run"), "checkpoint")
    Path("run/model.safetensors").write_bytes(Path("run/model.safetensors").read_bytes()[:50])
    refused(gcl("embed", "run", "graph.npz", "--out", "z.npy"), "model.safetensors")


def test_diverging_training_is_a_failure_with_a_name(gcl):
    quick = ("evaluate.classification=null", "evaluate.clustering=null", "floors=false", "--quiet")
    done = gcl(
        "train", "grace", "karate", *quick, "trainer.optimizer=sgd", "trainer.learning_rate=1e38", "--out", "run"
    )
    assert done.code == 1, (done.code, done.err)
    assert len(done.err.strip().splitlines()) == 1
    assert json.loads(Path("run/graph_spec.json").read_text())["target"] == "node"


def test_refused_settings_leave_no_folder_behind(gcl):
    for bad in ("augment.view1.edge.drop_prob=1.5", "anchors=0", "encoder=pyg", "loss=nothing", "evaluate.x.y=1"):
        refused(gcl("train", "grace", "karate", bad, "--out", "run"))
        assert not Path("run").exists(), bad
    refused(gcl("train", "grace", "karate", "--out", "/proc/none"), "/proc/none")
    refused(gcl("train", "grace", "karate", "--sead", 1), "--sead")
    refused(gcl("nothing"), "nothing")


def test_outputs_that_cannot_be_written(gcl):
    np.save("z.npy", X)
    Path("file").write_text("mine")
    refused(gcl("cluster", "z.npy", "--k", 2, "--out", "file/c.csv"), "file")
    refused(gcl("cluster", "z.npy", "--k", 2, "--out", "c.npy"), ".csv")
    refused(gcl("train", "grace", "karate", "--out", "file/run"), "file")
    assert Path("file").read_text() == "mine"


def test_damaged_run_folders(gcl):
    quick = ("trainer.epochs=1", "evaluate.classification=null", "evaluate.clustering=null", "--quiet")
    assert gcl("train", "grace", "karate", *quick, "--out", "run").code == 0
    Path("run/seed-old").mkdir()
    assert gcl("embed", "run", "--out", "z.npy").code == 0
    saved = {name: Path("run", name).read_bytes() for name in ("config.yaml", "graph_spec.json", "result.json")}
    for name, content in (("config.yaml", b"format: 1"), ("result.json", b"{}")):
        Path("run", name).write_bytes(content)
        refused(gcl("train", "--resume", "run"), name)
        Path("run", name).write_bytes(saved[name])
    Path("run/graph_spec.json").write_text("{}")
    refused(gcl("embed", "run", "karate", "--out", "y.npy"), "graph_spec.json")
    Path("run/graph_spec.json").write_bytes(saved["graph_spec.json"])
    Path("run/embeddings.safetensors").write_bytes(b"")
    refused(gcl("cluster", "run", "--k", 2), "embeddings.safetensors")
