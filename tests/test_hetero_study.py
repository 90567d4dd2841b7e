"""The study of several node types on tiny graphs: what it plans, runs, keeps and shows."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

import gcl
from benchmarks import hetero_study
from gcl.core.errors import DataError
from gcl.methods.adameow import AdaMEOW
from gcl.run import settings as run_settings

SIZES = {
    "acm": ("paper", 320, {"author": 60, "subject": 6}),
    "imdb": ("movie", 520, {"actor": 60, "director": 30, "keyword": 80}),
    "freebase": ("movie", 90, {"actor": 60, "director": 30, "writer": 40}),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Small graphs of the names and types of the shipped ones."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "hetero").mkdir()
    for name, (target, size, others) in SIZES.items():
        draw = np.random.RandomState(0)
        labels = np.arange(size) % 3
        arrays = {
            "node_types": np.array([target, *others]),
            "num_nodes": np.array([size, *others.values()]),
            "target_type": np.array(target),
            "relations": np.array([f"{target}_{kind}" for kind in others]),
            "labels": labels,
        }
        for kind, count in others.items():
            arrays[f"edge_{target}_{kind}"] = np.unique(
                np.stack([np.arange(size).repeat(2), draw.randint(count, size=2 * size)]), axis=1
            )
        for budget in (20, 40, 60):
            order = draw.permutation(size)
            for part, nodes in zip(("train", "val", "test"), np.array_split(order, 3), strict=True):
                arrays[f"{part}_{budget}"] = nodes
        if name != "freebase":
            arrays[f"feat_{target}_dense"] = np.abs(draw.randn(size, 7) + np.eye(7)[labels]).astype(np.float32)
        np.savez(folder / "hetero" / f"{name}.npz", **arrays)
    return folder


@pytest.fixture
def study(root, tmp_path, monkeypatch):
    """Calls it as the command line does, with cheap probes, and counts what is trained."""
    monkeypatch.setenv("GCL_DATA", str(root))
    quick = {"labels": {"num_probes": 2, "steps": 5}, "clustering": {"num_seeds": 1}}
    shipped, calls = run_settings.read_yaml, []

    def read(path):
        preset = shipped(path)
        for name, spec in preset.get("evaluate", {}).items():
            spec.update(quick.get(name.partition("-")[0], {}))
        return preset

    for module in ("gcl.run.settings", "gcl.run.reproduce", "benchmarks.hetero_study"):
        monkeypatch.setattr(f"{module}.read_yaml", read)
    for name in ("reproduce", "pipeline"):
        original = getattr(gcl, name)

        def counted(method, dataset, *, original=original, name=name, **options):
            calls.append((name, method, dataset, options))
            return original(method, dataset, **options)

        monkeypatch.setattr(gcl, name, counted)

    def call(*arguments):
        calls.clear()
        code = hetero_study.main([*arguments, "--out", str(tmp_path / "out"), "--records", str(tmp_path / "records")])
        return code, list(calls)

    call.records = tmp_path / "records"
    return call


def records(study, experiment):
    return {path.name: json.loads(path.read_text()) for path in sorted((study.records / experiment).glob("*.json"))}


def trained(calls):
    return [(method, dataset, options["seeds"]) for name, method, dataset, options in calls if name == "reproduce"]


def test_every_run_leaves_a_record_and_is_not_run_again(study, capsys):
    few = ("acm", "--methods", "adameow", "heco", "--epochs", "1")
    code, calls = study(*few, "--seeds", "1")
    assert code == 0
    assert trained(calls) == [("adameow", "hetero/acm", [0]), ("heco", "hetero/acm", [0])]
    assert "[1 of 4] acm-adameow, untrained, seed 0" in capsys.readouterr().err
    code, calls = study(*few, "--seeds", "2")
    assert trained(calls) == [("adameow", "hetero/acm", [1]), ("heco", "hetero/acm", [1])]
    assert study(*few, "--seeds", "2") == (0, [])
    found = records(study, "acm-adameow")
    assert [name.partition("-")[0] for name in found] == ["epochs", "epochs", "untrained", "untrained"]
    first, second, *untrained = found.values()
    assert (first["seed"], first["epochs"], first["best_epoch"], first["changes"]["epochs"]) == (0, 1, None, 1)
    assert set(first["scores"]) >= {"labels-20", "labels-60-last-pass", "linear", "clustering"}
    assert first["scores"] != second["scores"]
    # of every seed before training, and once what needs none
    assert untrained[0]["scores"]["labels-20"] != untrained[1]["scores"]["labels-20"]
    assert [list(record["floors"])[:1] for record in untrained] == [["raw features"], []]
    last = {name: None for name in first["scores"] if name.endswith("last-pass")}
    whole = gcl.pipeline("adameow", "hetero/acm", seeds=[1], trainer={"epochs": 0}, evaluate=last)
    expected = whole.scores["clustering"]["untrained"].mean("nmi")
    assert untrained[1]["scores"]["clustering"]["nmi"] == expected


def test_one_epoch_is_not_the_whole_experiment(study):
    """Nor is one minute."""
    assert hetero_study.told({**hetero_study.UNCHANGED, "epochs": 1}) == {"epochs": 1}
    assert hetero_study.told({**hetero_study.UNCHANGED, "minutes": 1.0}) == {"minutes": 1.0}
    assert hetero_study.told(hetero_study.UNCHANGED) == {}
    names = []
    for options in (["--epochs", "1"], ["--minutes", "1"], []):
        given = arguments("acm", "--methods", "adameow", "--seeds", "1", *options)
        names += [job.name.rpartition("-")[0] for job in hetero_study.plan(given)[0] if job.changes]
    assert names == ["epochs-1", "minutes-1.0", "whole"]


def arguments(*given):
    """As they are after parsing."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hetero_study, "plan", lambda parsed: (seen.append(parsed), ([], 0))[1])
        hetero_study.main([*given, "--out", "nowhere", "--records", "nowhere"])
    return seen[0]


def test_selection_by_validation_ends_a_run(study, monkeypatch):
    given = arguments("acm", "--methods", "adameow", "--select", "validation", "--epochs", "500", "--minutes", "9")
    trainer = hetero_study.plan(given)[0][-1].overrides["trainer"]
    assert trainer == {
        "checkpoint_every": 20, "select": "validation", "validate_every": 10, "patience": 20, "epochs": 500,
        "max_minutes": 9.0,
    }  # fmt: skip
    monkeypatch.setattr("gcl.evaluate.node_classification.NodeClassification.validate", lambda *_: {"accuracy": 0.5})
    code, _ = study("acm", "--methods", "adameow", "heco", "--select", "validation", "--patience", "2", "--seeds", "1")
    assert code == 0
    for experiment in ("acm-adameow", "acm-heco"):
        record = next(iter(records(study, experiment).values()))
        assert (record["epochs"], record["best_epoch"]) == (30, 10)  # of 1,200 and 10,000
        assert record["changes"]["patience"] == 2
    with pytest.raises(SystemExit):
        study("acm", "--patience", "2")


def test_what_cannot_be_is_said_before_the_first_run_and_the_rest_goes_on(study, capsys):
    few = ("--epochs", "1", "--seeds", "1")
    code, calls = study("freebase", "imdb", *few, "--anchors", "1.0", "0.5")  # the default methods
    said = capsys.readouterr().err
    assert "left out: MEOW on hetero/freebase, for which no experiment is shipped" in said
    assert "left out: HeCo on hetero/imdb, for which no experiment is shipped" in said
    assert "left out: HeCo on hetero/freebase with anchors 0.5, for it has no anchors" in said
    # 520 movies are too few for its 700 clusters
    assert "refused: MEOW on hetero/imdb, epochs 1: num_clusters=700 clusters cannot be made of 520 nodes" in said
    assert said.index("refused: ") < said.index("[1 of ")
    assert code == 1
    assert trained(calls) == [("heco", "hetero/freebase", [0])]
    assert study("freebase", *few)[0] == 0  # what is only left out is no failure
    with pytest.raises(SystemExit):
        study("amc", *few)
    assert "did you mean 'hetero/acm'" in capsys.readouterr().err


@pytest.mark.parametrize("error", [DataError("out of luck"), RuntimeError("out of memory")])
def test_a_failure_costs_its_run_alone(study, monkeypatch, capsys, error):
    original = gcl.reproduce

    def fails(method, dataset, **options):
        if method == "adameow":
            raise error
        return original(method, dataset, **options)

    monkeypatch.setattr(gcl, "reproduce", fails)
    code, _ = study("acm", "--methods", "adameow", "heco", "--epochs", "1", "--seeds", "1")
    assert code == 1
    said = capsys.readouterr().err
    assert "failed: acm-adameow, epochs 1, seed 0: " in said
    assert str(error) in said
    assert any(name.startswith("epochs-1") for name in records(study, "acm-heco"))
    assert not any(name.startswith("epochs-1") for name in records(study, "acm-adameow"))


def test_seeds_are_outermost_and_every_kind_of_run_is_its_own(study):
    given = arguments("acm", "--methods", "adameow", "heco", "--seeds", "2", "--anchors", "1", "0.5")
    jobs, refused = hetero_study.plan(given)
    assert refused == 0
    assert [job.seed for job in jobs] == [0] * 5 + [1] * 5
    assert [(job.experiment.method, hetero_study._sentence(job.changes)) for job in jobs[:5]] == [
        ("adameow", "untrained"), ("adameow", "whole"), ("adameow", "anchors 0.5"), ("heco", "untrained"),
        ("heco", "whole"),
    ]  # fmt: skip
    assert jobs[2].overrides["anchors"] == 160
    assert len({job.record_in(Path()) for job in jobs}) == 10
    assert len(hetero_study.plan(arguments("acm", "--methods", "adameow"))[0]) == 2 * 3  # the experiment's own seeds


def test_two_processes_keep_the_records_of_both(study, monkeypatch):
    original, others = gcl.reproduce, []

    def meanwhile(method, dataset, **options):
        if not others:
            others.append(1)
            study("acm", "--methods", "adameow", "--epochs", "1", "--seeds", "1", "--anchors", "0.5")
        return original(method, dataset, **options)

    monkeypatch.setattr(gcl, "reproduce", meanwhile)
    study("acm", "--methods", "adameow", "--epochs", "1", "--seeds", "1")
    shares = [record["changes"]["anchors"] for record in records(study, "acm-adameow").values() if record["changes"]]
    assert sorted(shares) == [0.5, 1.0]


def test_a_run_that_another_process_is_at_is_passed_over(study, monkeypatch, capsys):
    original, inner = gcl.reproduce, []

    def meanwhile(method, dataset, **options):
        if not inner:
            inner.append(study("acm", "--methods", "adameow", "--epochs", "1", "--seeds", "1"))
        return original(method, dataset, **options)

    monkeypatch.setattr(gcl, "reproduce", meanwhile)
    assert study("acm", "--methods", "adameow", "--epochs", "1", "--seeds", "1")[0] == 0
    assert inner[0] == (0, [])  # the other trained nothing
    assert "passed over: acm-adameow, epochs 1, seed 0" in capsys.readouterr().err


def test_shares_are_compared_at_equal_epochs_or_time(study, capsys):
    jobs, refused = hetero_study.plan(arguments("acm", "--methods", "meow", "--anchors", "1", "0.5", "--seeds", "1"))
    assert ([job.overrides["trainer"].get("patience", "own") for job in jobs if job.changes], refused) == (["own"], 1)
    assert "MEOW on hetero/acm with anchors 0.5: give --epochs or --minutes" in capsys.readouterr().err
    given = arguments("acm", "--methods", "meow", "--anchors", "1", "0.5", "--seeds", "1", "--epochs", "7")
    jobs, refused = hetero_study.plan(given)
    trainers = [job.overrides["trainer"] for job in jobs if job.changes]
    assert trainers == [{"checkpoint_every": 20, "epochs": 7, "patience": None}] * 2
    assert refused == 0


def test_an_interrupted_run_is_resumed(study, monkeypatch):
    options = ("acm", "--methods", "adameow", "--epochs", "3", "--seeds", "1")
    step = AdaMEOW.training_step
    epochs = []

    def interrupted(self, batch, clock, streams):
        epochs.append(clock.epoch)
        if epochs == [1, 2]:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, clock, streams)

    monkeypatch.setattr(AdaMEOW, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study(*options)
    assert [record["changes"] for record in records(study, "acm-adameow").values()] == [None]
    assert study(*options)[0] == 0
    assert len(records(study, "acm-adameow")) == 2
    assert epochs == [1, 2, 3]  # the checkpoint holds the step in which the signal came


def test_edited_settings_are_another_experiment(study, monkeypatch, capsys):
    options = ("acm", "--methods", "adameow", "--epochs", "1", "--seeds", "1")
    study(*options)
    assert ", settings " not in capsys.readouterr().out
    before, shipped = records(study, "acm-adameow"), run_settings.read_yaml
    for module in ("gcl.run.settings", "gcl.run.reproduce", "benchmarks.hetero_study"):
        monkeypatch.setattr(f"{module}.read_yaml", lambda path: {**shipped(path), "feature_mask": 0.1})
    code, calls = study(*options)
    assert (code, len(trained(calls))) == (0, 1)
    assert len(records(study, "acm-adameow")) == 2 * len(before)
    lines = [line for line in capsys.readouterr().out.splitlines() if "evaluation" in line]
    assert len(lines) == 2
    assert all("| acm | AdaMEOW, epochs 1, settings " in line for line in lines)
    experiment = hetero_study.Experiment.find("adameow", "hetero/acm")
    more = {**experiment.settings, "seeds": 9, "paper": {"title": "another"}}
    assert hetero_study.Experiment("adameow", "hetero/acm", more).digest == experiment.digest


def test_the_commit_is_that_of_the_beginning(study, monkeypatch):
    commits = iter(["first", "second", "third"])
    monkeypatch.setattr(
        hetero_study,
        "describe_environment",
        lambda: {"commit": next(commits), "processor": "one", "threads": 1, "cores": 2},
    )
    study("acm", "--methods", "heco", "--epochs", "1", "--seeds", "2")
    environments = [record["environment"] for record in records(study, "acm-heco").values()]
    assert environments == [{"commit": "first", "processor": "one", "threads": 1}] * 4


def test_the_table_says_what_it_shows(tmp_path):
    def record(seed, value, changes=None, **more):
        scores = {"macro_f1": value, "micro_f1": value + 0.1, "auc": value + 0.2}
        evaluators = {"labels-20": scores, "labels-20-last-pass": {**scores, "macro_f1": 0.1}} if changes else {}
        record = {
            "method": "meow", "dataset": "hetero/acm", "seed": seed, "changes": changes, "experiment": "abc",
            "scores": {"labels-20": scores, "linear": {"accuracy": value}, "clustering": {"nmi": 0.5, "ari": 0.25},
                       **evaluators},
            **more,
        }  # fmt: skip
        (tmp_path / "acm-meow").mkdir(exist_ok=True)
        name = f"{seed}-{len(list((tmp_path / 'acm-meow').iterdir()))}-seed-{seed}.json"
        (tmp_path / "acm-meow" / name).write_text(json.dumps(record))

    floors = {"raw features": {"labels-20": {"macro_f1": 0.4, "micro_f1": 0.5, "auc": 0.6}}}
    record(0, 0.2, floors=floors)
    record(1, 0.3, floors={})
    for changes in ({**hetero_study.UNCHANGED, "anchors": 0.5}, hetero_study.UNCHANGED):
        for seed in (0, 1):
            best = 60 + seed if changes["anchors"] == 1 else None
            cost = {"seconds": 90.0 + 60 * seed, "peak_memory_bytes": (300 - seed) * 2**20}
            record(seed, 0.5 + 0.1 * seed, changes, epochs=80 + seed, best_epoch=best, **cost)
    lines = hetero_study.table(tmp_path, ["hetero/acm"], ["meow", "heco"])
    assert len({line.count("|") for line in lines}) == 1
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert header[6:9] == ["linear, mean of the three", "k-means: NMI / ARI", "epochs (best)"]
    assert [row[1:3] for row in rows] == [
        ["raw features, as MEOW", ""],
        ["MEOW, untrained", "2"],
        ["MEOW, whole, evaluation", "2"],
        ["MEOW, whole, last pass", "2"],
        ["MEOW, anchors 0.5, evaluation", "2"],
        ["MEOW, anchors 0.5, last pass", "2"],
    ]
    assert rows[0][3:] == ["40.00 / 50.00 / 60.00", "", "", "", "", "", "", ""]
    assert rows[1][3] == "25.00 ± 7.07 / 35.00 ± 7.07 / 45.00 ± 7.07"
    assert rows[2][3] == "55.00 ± 7.07 / 65.00 ± 7.07 / 75.00 ± 7.07"
    assert rows[2][6:] == ["55.00 ± 7.07", "50.00 ± 0.00 / 25.00 ± 0.00", "80 (60), 81 (61)", "2.0", "300"]
    assert rows[3][3].startswith("10.00 ± 0.00 / 65.00")
    assert rows[4][8] == "80, 81"
