"""The study of recommenders on tiny interactions: what it tries, chooses, keeps and shows."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gcl
from benchmarks import recommender_study
from benchmarks.study import percent
from gcl.core.files import claimed


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two small sets of interactions under shipped names."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "rec").mkdir()
    for name, seed in (("lastfm", 0), ("ml100k", 1)):
        draw = np.random.RandomState(seed)
        taken = draw.rand(40, 60) < 0.05 + 0.4 * ((np.arange(40)[:, None] + np.arange(60)) % 4 == 0)
        test = taken & (draw.rand(40, 60) < 0.2)
        arrays = {"num_users": np.int32(40), "num_items": np.int32(60), "split_kind": np.array("random")}
        for part, mask in (("train", taken & ~test), ("test", test)):
            arrays[f"{part}_indptr"] = np.concatenate([[0], mask.sum(1).cumsum()]).astype(np.int32)
            arrays[f"{part}_indices"] = mask.nonzero()[1].astype(np.int32)
        np.savez(folder / "rec" / f"{name}.npz", **arrays)
    return folder


@pytest.fixture
def study(root, tmp_path, monkeypatch):
    """Calls it as the command line does, and notes what is trained."""
    monkeypatch.setenv("GCL_DATA", str(root))
    calls, original = [], gcl.pipeline

    def noted(method, dataset, **options):
        calls.append((method, dataset, options))
        return original(method, dataset, **options)

    monkeypatch.setattr(gcl, "pipeline", noted)

    def call(*arguments):
        calls.clear()
        places = ["--out", str(tmp_path / "out"), "--records", str(tmp_path / "records")]
        code = recommender_study.main([*arguments, "--epochs", "2", "--validate-every", "1", *places])
        return code, [call for call in calls if not call[2].get("floors")]

    call.records = tmp_path / "records"
    return call


def tried(calls, name):
    return [(options["trainer"]["learning_rate"], options[name], *options["seeds"]) for _, _, options in calls]


def test_the_best_trial_is_trained_with_all_seeds_and_nothing_twice(study, capsys):
    few = ("lastfm", "--methods", "lightgcl", "--seeds", "2")
    code, calls = study(*few)
    assert code == 0
    runs = tried(calls, "contrast_weight")
    assert runs[:2] == [(1e-3, 0.2, 0), (5e-3, 0.2, 0)]
    records = recommender_study.read_records(study.records / "lastfm")
    scores = {tuple(record["setting"].values()): record["validation"] for record in records if record["seed"] == 0}
    rate = max((1e-3, 5e-3), key=lambda rate: scores[rate, 0.2])
    assert runs[2:4] == [(rate, 0.01, 0), (rate, 0.05, 0)]
    best = max(scores, key=scores.get)
    assert runs[4:] == [(*best, 1)]
    for record in records:
        assert record["validation"] == max(point["validation"] for point in record["curve"])
        assert record["curve"][record["best_epoch"] - 1]["validation"] == record["validation"]
        assert len(record["curve"]) == record["epochs"] == 2
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("| popularity |") for line in lines)
    (row,) = [line for line in lines if line.startswith("| LightGCL")]
    recalls = [record["test"]["recall@20"] for record in records if tuple(record["setting"].values()) == best]
    assert f"| learning rate {best[0]:g}, contrast weight {best[1]:g} | 2 | {percent(recalls)} |" in row
    assert study(*few) == (0, [])
    assert study(*few, "--table") == (0, [])
    assert not [path for path in study.records.rglob("*") if path.suffix not in (".json", ".lock", "")]


def test_what_was_chosen_on_one_dataset_serves_another(study, capsys):
    with pytest.raises(SystemExit):
        study("ml100k", "--methods", "bpr_mf", "--as", "lastfm")
    assert "run the study of lastfm first" in capsys.readouterr().err
    study("lastfm", "--methods", "bpr_mf", "--seeds", "1", "--published", "--learning-rates", "0.02")
    _, calls = study("ml100k", "--methods", "bpr_mf", "--seeds", "2", "--as", "lastfm", "--minutes", "5")
    assert tried(calls, "l2") == [(0.02, 1e-4, 0), (0.02, 1e-4, 1)]
    assert [options["trainer"]["patience"] for _, _, options in calls] == [None, None]
    assert {options["trainer"]["max_minutes"] for _, _, options in calls} == {5}
    _, calls = study(
        "ml100k", "--methods", "bpr_mf", "--seeds", "1", "--as", "lastfm", "--learning-rates", "0.02", "0.04"
    )
    assert tried(calls, "l2") == [(0.02, 1e-4, 0), (0.04, 1e-4, 0)]


def test_one_thing_is_changed_of_what_was_chosen(study):
    study("lastfm", "--methods", "lightgcn", "--seeds", "1", "--published", "--learning-rates", "0.02")
    few = ("lastfm", "--methods", "lightgcn", "--as", "lastfm", "--set", "lightgcn.num_layers=1")
    _, calls = study(*few, "--seeds", "1")
    assert tried(calls, "l2") == [(0.02, 1e-4, 0)]
    assert [options["num_layers"] for _, _, options in calls] == [1]
    assert tried(study(*few, "--seeds", "2")[1], "l2") == [(0.02, 1e-4, 1)]


def test_another_process_is_at_a_trial(study, capsys):
    """So that nothing can be chosen yet: the method waits, the next goes on."""
    few = ("lastfm", "--methods", "bpr_mf", "lightgcn", "--seeds", "1", "--published", "--learning-rates", "0.01")
    study(*few)
    (record,) = study.records.glob("lastfm/bpr_mf-*.json")
    (next_one,) = study.records.glob("lastfm/lightgcn-*.json")
    record.unlink()
    next_one.unlink()
    with claimed(record.with_suffix(".lock")) as is_ours:
        assert is_ours
        code, _ = study(*few)
    assert code == 0
    assert "passed over: BPR-MF on lastfm" in capsys.readouterr().err
    assert next_one.exists()
    assert not record.exists()
    study(*few)
    assert record.exists()


def test_an_unfinished_run_is_resumed_to_the_same_record(study, monkeypatch):
    few = ("lastfm", "--methods", "lightgcn", "--seeds", "1", "--published", "--learning-rates", "0.01")
    study(*few)
    (path,) = study.records.glob("lastfm/*-seed-0.json")
    whole = json.loads(path.read_text())
    path.unlink()
    resumed, original = [], gcl.resume
    monkeypatch.setattr(gcl, "resume", lambda folder, **options: resumed.append(folder) or original(folder, **options))
    assert study(*few) == (0, [])
    again = json.loads(path.read_text())
    assert len(resumed) == 1
    for key in ("test", "validation", "best_epoch", "curve"):
        assert again[key] == whole[key]


def test_a_method_that_fails_does_not_end_the_others(study, capsys, monkeypatch):
    few = ("lastfm", "--methods", "bpr_mf", "lightgcn", "--seeds", "1", "--published", "--learning-rates", "0.01")
    run = recommender_study.Job.run

    def failing(job, out, environment):
        if job.method == "bpr_mf":
            raise RuntimeError("out of luck")
        return run(job, out, environment)

    monkeypatch.setattr(recommender_study.Job, "run", failing)
    code, calls = study(*few)
    assert code == 1
    assert [method for method, _, _ in calls] == ["lightgcn"]
    assert "failed: BPR-MF on lastfm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("nowhere",), "nowhere"),
        (("lastfm", "--seeds", "0"), "--seeds"),
        (("lastfm", "--set", "lightgcl.anchor=4"), "has no 'anchor'"),
        (("lastfm", "--set", "anchors=4"), "METHOD.NAME=VALUE"),
        (("lastfm", "--set", "lightgcn.l2=0.5"), "that is what is tried"),
        (("lastfm", "--set", "lightgcl.anchors=-1"), "anchors"),
        (("lastfm", "--learning-rates", "-1"), "learning_rate"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_run(study, capsys, given, said):
    with pytest.raises(SystemExit):
        study(*given)
    assert said in capsys.readouterr().err
    assert not study.records.exists()


def test_budgets_are_told_apart(study, capsys):
    few = ("lastfm", "--methods", "lightgcn", "--seeds", "1", "--published", "--learning-rates", "0.01")
    study(*few)
    study(*few, "--minutes", "1", "--set", "lightgcn.num_layers=1")
    capsys.readouterr()
    study(*few, "--table")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| LightGCN")]
    assert len(rows) == 2
    assert sum("minutes 1" in row and "num layers 1" in row for row in rows) == 1
