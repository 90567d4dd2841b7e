"""``gcl train``, ``embed``, ``evaluate``, ``cluster`` from beginning to end."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from gcl.cli import doctor

QUICK = ("trainer.epochs=3", "evaluate.classification.num_splits=2", "evaluate.clustering.num_seeds=1")


def test_a_run_leaves_everything_that_the_other_commands_need(gcl, tmp_path):
    done = gcl("train", "csgcl", "karate", *QUICK, "loss.ramp_start=1", "--out", "first", "--quiet")
    assert done.code == 0, done.err
    for row in ("raw features", "A²X", "untrained", "trained"):
        assert row in done.out
    folder = tmp_path / "work" / "first"
    for name in (
        "config.yaml", "graph_spec.json", "prepared.safetensors", "metrics.jsonl", "model.safetensors",
        "embeddings.safetensors", "report.json", "result.json", "environment.json", "checkpoint",
    ):  # fmt: skip
        assert (folder / name).exists(), name
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["method"]["loss"]["ramp_start"] == 1
    assert config["method"]["augment"]["view1"]["edge"]["name"] == "communal_edge_drop"
    report = json.loads((folder / "report.json").read_text())
    accuracy = report["scores"]["classification"]["trained"]["metrics"]["accuracy"]
    assert 0 <= accuracy["mean"] <= 1
    assert len(accuracy["values"]) == 2
    epochs = [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]

    embedded = gcl("embed", "first", "--out", "z.npz", "--json")
    assert embedded.code == 0, embedded.err
    saved = load_file(folder / "embeddings.safetensors")["embedding"]
    np.testing.assert_array_equal(np.load("z.npz")["embeddings"], saved)
    assert embedded.json["n"] == 34

    y = np.load("z.npz")["embeddings"][:, 0] > np.median(saved[:, 0])
    np.save("y.npy", y.astype(np.int64))
    scored = gcl("evaluate", "clustering", "first", "--labels", "y.npy", "--json")
    assert scored.code == 0, scored.err
    assert set(scored.json["metrics"]) == {"accuracy", "nmi", "ari", "macro_f1"}
    own = gcl("evaluate", "classification", "first", "--json")  # labels come from the run's dataset
    assert own.code == 0, own.err
    assert own.json["protocol"] == "linear"


def test_json_is_all_that_standard_output_holds(gcl):
    done = gcl("train", "grace", "karate", *QUICK, "--seeds", 2, "--out", "run", "--json")
    assert done.code == 0, done.err
    trained = done.json["scores"]["clustering"]["trained"]
    assert trained["seeds"] == [0, 1]
    assert [run["seed"] for run in done.json["runs"]] == [0, 1]


def test_parts_are_replaced_by_name_and_by_value(gcl, tmp_path):
    done = gcl(
        "train", "csgcl", "karate", *QUICK, "loss=infonce", "loss.temperature=0.3", "augment.view1.edge.drop_prob=0.7",
        "augment.view2.feature=null", "encoder=mlp", "encoder.out_channels=8", "--out", "run", "--quiet",
    )  # fmt: skip
    assert done.code == 0, done.err
    method = yaml.safe_load((tmp_path / "work/run/config.yaml").read_text())["method"]
    assert method["loss"] == {"name": "infonce", "temperature": 0.3, "intra_view": True, "compat": None}
    assert method["augment"]["view1"]["edge"]["drop_prob"] == 0.7
    assert method["augment"]["view2"]["feature"] is None
    assert method["encoder"]["name"] == "mlp"
    assert load_file("run/embeddings.safetensors")["embedding"].shape == (34, 8)


def test_a_part_that_needs_communities_gets_them_in_any_method(gcl):
    done = gcl("train", "grace", "karate", *QUICK, "loss=team_up", "loss.ramp_start=0", "--out", "run", "--quiet")
    assert done.code == 0, done.err
    assert load_file("run/prepared.safetensors")["community"].shape == (34,)


def test_one_seed_one_result(gcl):
    for name in ("a", "b"):
        assert gcl("train", "csgcl", "karate", *QUICK, "--seed", 3, "--out", name, "--quiet").code == 0
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()
    assert Path("a/embeddings.safetensors").read_bytes() == Path("b/embeddings.safetensors").read_bytes()
    assert gcl("train", "csgcl", "karate", *QUICK, "--seed", 4, "--out", "c", "--quiet").code == 0
    assert Path("a/model.safetensors").read_bytes() != Path("c/model.safetensors").read_bytes()


def write_graph(folder, num_nodes=40, width=5, seed=0):
    """A folder with edges, features and labels, and ids that are not numbers."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    ids = [f"{index:03d}x" for index in range(num_nodes)]
    with open(folder / "edges.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["source", "target"])
        pairs = {(min(a, b), max(a, b)) for a, b in rng.integers(0, num_nodes, (3 * num_nodes, 2)) if a != b}
        writer.writerows((ids[a], ids[b]) for a, b in sorted(pairs))
    with open(folder / "features.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", *(f"f{column}" for column in range(width))])
        writer.writerows([name, *row] for name, row in zip(ids, rng.random((num_nodes, width)).round(3), strict=True))
    with open(folder / "labels.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "label"])
        writer.writerows(zip(ids, rng.integers(0, 2, num_nodes), strict=True))
    return ids


def test_a_graph_of_ones_own_and_a_run_that_outlives_its_data(gcl, tmp_path):
    work = tmp_path / "work"
    ids = write_graph(work / "mine")
    done = gcl("train", "grace", "mine", *QUICK, "--out", "run", "--quiet")
    assert done.code == 0, done.err
    (work / "mine").rename(work / "moved")
    assert gcl("embed", "run", "--out", "saved.csv").code == 0
    rows = list(csv.reader(Path("saved.csv").read_text().splitlines()))
    assert [row[0] for row in rows[1:]] == ids
    assert gcl("embed", "run", "moved", "--out", "again.npz").code == 0
    saved = load_file("run/embeddings.safetensors")["embedding"]
    np.testing.assert_array_equal(np.load("again.npz")["embeddings"], saved)

    write_graph(work / "other", num_nodes=17, seed=1)
    assert gcl("embed", "run", "other", "--out", "other.npy").code == 0
    assert np.load("other.npy").shape == (17, saved.shape[1])
    write_graph(work / "narrow", width=3)
    refused = gcl("embed", "run", "narrow", "--out", "narrow.npy")
    assert refused.code == 2
    assert "5 feature columns" in refused.err


def test_cluster_writes_and_scores_an_assignment(gcl):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    np.save("z.npy", (np.eye(3)[y] + 0.05 * rng.normal(size=(90, 3))).astype(np.float32))
    with open("y.csv", "w") as stream:
        stream.write("id,label\n" + "".join(f"{index},{label}\n" for index, label in enumerate(y)))
    done = gcl("cluster", "z.npy", "--k", 3, "--labels", "y.csv", "--out", "c.csv", "--json")
    assert done.code == 0, done.err
    assert done.json["metrics"]["accuracy"]["mean"] == 1.0
    assert sorted(done.json["sizes"]) == [30, 30, 30]
    assert len(Path("c.csv").read_text().splitlines()) == 91
    again = gcl("cluster", "z.npy", "--k", 3, "--out", "c.csv")
    assert again.code == 2
    assert "exists" in again.err
    assert gcl("cluster", "z.npy", "--labels", "y.csv").code == 0  # k from the labels


def test_the_doctor_sees_that_others_want_the_cores(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (3.2, 0.0, 0.0), raising=False)
    assert "load 3.2 on 2 cores" in doctor.busy(2, 2)
    assert doctor.busy(2, 1) == doctor.busy(16, 8) == ""
    assert doctor.busy(None, 2) == ""  # where the cores cannot be counted

    def unknown():
        raise OSError("not to be had")

    monkeypatch.setattr(os, "getloadavg", unknown, raising=False)
    assert doctor.busy(2, 2) == ""
    monkeypatch.delattr(os, "getloadavg")
    assert doctor.busy(2, 2) == ""


def test_lists_and_doctor(gcl):
    assert "csgcl" in gcl("methods").out
    assert gcl("methods", "--json").json["methods"]["grace"]
    records = {record["name"]: record for record in gcl("data", "list", "--json").json}
    assert records["node/digits"]["available"] == "embedded"
    assert records["node/cora"]["available"] == "missing"
    assert "scikit-learn" in gcl("data", "info", "digits").out
    assert "no public source" in gcl("data", "prepare", "yelp2018").err
    assert "gcl data prepare node/cora" in gcl("train", "grace", "cora").err
    Path("own").mkdir()
    Path("own/edges.csv").write_text("source,target\n0,1\n1,2\n")
    assert "own" in gcl("data", "info", "own").out
    for option in (("--data-root", "elsewhere"), ("--verify",)):
        refused = gcl("data", "info", "own", *option)
        assert refused.code == 2
        assert f"leave out {option[0]}" in refused.err
    healthy = gcl("doctor", "--json")
    assert healthy.code == 0
    assert healthy.json["packages"]["torch"]


def test_the_command_is_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # also where it is not installed
    shown = subprocess.run([sys.executable, "-m", "gcl", "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert shown.returncode == 0
    assert shown.stdout.startswith("gcl ")
    wrong = subprocess.run(
        [sys.executable, "-m", "gcl", "train", "csgc", "digits"], capture_output=True, text=True, cwd=tmp_path
    )
    assert wrong.returncode == 2
    assert wrong.stderr.strip().count("\n") == 0
    assert "'csgcl'" in wrong.stderr


@pytest.mark.data
def test_real_data_from_beginning_to_end(gcl, data_root, tmp_path):
    done = gcl(
        "train", "csgcl", "cora", *QUICK, "evaluate.classification.num_splits=1", "evaluate.clustering=null",
        "encoder.out_channels=32", "--data-root", data_root, "--out", "run", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    floors = done.json["scores"]["classification"]
    assert floors["A²X"]["metrics"]["accuracy"]["mean"] > floors["raw features"]["metrics"]["accuracy"]["mean"]
    embedded = gcl("embed", "run", "cora", "--data-root", data_root, "--out", "z.npy")
    assert embedded.code == 0, embedded.err
    np.testing.assert_array_equal(np.load("z.npy"), load_file("run/embeddings.safetensors")["embedding"])


@pytest.mark.data
def test_reproduce_keeps_finished_seeds_and_sets_the_papers_figure_beside_ours(gcl, data_root, tmp_path, monkeypatch):
    import gcl.run.reproduce as module
    from gcl.run.settings import read_yaml

    def short(path):
        record = read_yaml(path)
        record["trainer"]["epochs"] = 2
        record["evaluate"] = {"grace": {"name": "classification", "protocol": "linear", "num_splits": 1}}
        return record

    monkeypatch.setattr(
        module, "read_yaml", lambda path: short(path) if "experiments" in str(path) else read_yaml(path)
    )
    first = gcl("reproduce", "grace", "cora", "--seeds", 1, "--data-root", data_root, "--out", "r", "--json")
    assert first.code == 0, first.err
    comparison = first.json["comparison"][0]
    assert comparison["paper"] == 83.3
    assert set(comparison["floors"]) == {"raw features", "A²X", "untrained"}
    weights = (tmp_path / "work/r/seed-0/model.safetensors").stat().st_mtime_ns
    second = gcl("reproduce", "grace", "cora", "--seeds", 2, "--data-root", data_root, "--out", "r", "--json")
    assert second.code == 0, second.err
    assert second.json["comparison"][0]["seeds"] == [0, 1]
    assert (tmp_path / "work/r/seed-0/model.safetensors").stat().st_mtime_ns == weights
    record = json.loads((tmp_path / "work/r/results.json").read_text())
    assert record["environment"]["packages"]["torch"]
    assert record["runs"][1]["timing"]["peak_memory_bytes"] > 0
    unknown = gcl("reproduce", "grace", "digits")
    assert unknown.code == 2
    assert "grace cora" in unknown.err


def test_a_folder_of_a_datasets_name_is_not_that_dataset(gcl):
    Path("karate").mkdir()
    done = gcl("train", "grace", "karate", *QUICK, "--out", "run", "--quiet")
    assert done.code == 0, done.err
    assert yaml.safe_load(Path("run/config.yaml").read_text())["dataset"] == "node/karate"
    assert gcl("evaluate", "clustering", "run").code == 0


def test_an_interrupted_run_says_how_to_go_on(gcl, tmp_path):
    code = (
        "import os, signal, sys, gcl.cli.app, gcl.methods.grace as module\n"
        "def after_step(self, clock):\n"
        "    if clock.step == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "module.GRACE.after_step = after_step\n"
        f"sys.argv = ['gcl', 'train', 'grace', 'karate', {', '.join(map(repr, QUICK))}, 'trainer.epochs=9',"
        " '--out', 'run', '--quiet']\n"
        "gcl.cli.app.main()"
    )
    root = str(Path(__file__).parents[2])
    stopped = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "resume" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    resumed = gcl("train", "--resume", "run", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["runs"][0]["fit"]["epochs"] == 9


@pytest.mark.data
def test_a_file_gets_the_transform_that_the_run_was_trained_with(gcl, data_root):
    quick = (
        "trainer.epochs=1",
        "evaluate.clustering=null",
        "evaluate.linear=null",
        "evaluate.grace=null",
        "floors=false",
    )
    done = gcl("train", "grace", "cora", *quick, "--seed", 0, "--data-root", data_root, "--out", "run", "--quiet")
    assert done.code == 0, done.err
    assert gcl("embed", "run", data_root / "node" / "cora.npz", "--out", "file.npy").code == 0
    saved = load_file("run/embeddings.safetensors")["embedding"]
    np.testing.assert_array_equal(np.load("file.npy"), saved)
    elsewhere = gcl("cluster", "run", "--k", 3, "--json", env={"GCL_DATA": "/nowhere"})
    assert elsewhere.code == 0, elsewhere.err  # without its data, and without labels
    assert elsewhere.json["k"] == 3


def test_real_data_trains_on_sampled_parts_with_a_memory(gcl, tmp_path, data_root):
    done = gcl(
        "train", "csgcl", "cora", *QUICK, "trainer.batch=neighbors", "trainer.batch.fanout=[5,5]",
        "trainer.batch.batch_size=700", "memory=recent", "memory.size=500", "encoder.out_channels=16",
        "--data-root", data_root, "--out", "run", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    folder = tmp_path / "work" / "run"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["trainer"]["batch"] == {"name": "neighbors", "batch_size": 700, "fanout": [5, 5]}
    assert config["method"]["memory"] == {"name": "recent", "size": 500, "momentum": 0.95}
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 12]  # 2,708 nodes
    assert done.json["scores"]["classification"]["trained"]["metrics"]["accuracy"]["mean"] > 0.4
    assert load_file(folder / "embeddings.safetensors")["embedding"].shape == (2708, 16)
    again = gcl("embed", "run", "--out", "z.npz")  # reopened without the data
    assert again.code == 0, again.err


def test_wrong_batches_are_one_sentence(gcl):
    done = gcl("train", "grace", "karate", "trainer.fanout=[5,5]")
    assert done.code == 2
    assert "did you mean 'trainer.batch.fanout'" in done.err
    done = gcl("train", "grace", "karate", "trainer.batch=neighbors", "trainer.batch.fanout=[5,-3]")
    assert done.code == 2
    assert "fanout must list how many neighbours" in done.err
