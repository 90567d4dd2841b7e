"""The queue of experiments: what comes first, when it stops, what it goes on with, what it writes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch
import yaml

import gcl
from gcl.core.errors import BusyError, ConfigError, DataError, OutputError
from gcl.core.files import claimed
from gcl.data.cards import read_card
from gcl.report.reproductions import reproductions
from gcl.run import reproduce_all as module
from gcl.run.experiments import experiments
from gcl.run.reproduce_all import reproduce_all
from gcl.train.interruption import OutOfTime, stop_after


def experiment(value, *, epochs=2, seeds=2, **more):
    return {
        "seeds": seeds,
        "trainer": {"epochs": epochs, "checkpoint_every": 1},
        "evaluate": {"accuracy": {"name": "classification", "num_splits": 2}},
        "paper": {
            "title": "A paper",
            "figures": [{"evaluate": "accuracy", "metric": "accuracy", "value": value, "source": "its table", **more}],
        },
    }


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of experiments in place of the shipped ones: two methods on two small graphs, and one without data."""
    from gcl.data.resources import resource_folder

    folder = tmp_path / "experiments"
    for name, stem, record in (
        ("grace", "karate", experiment(1.0)),
        ("csgcl", "karate", experiment(99.0, std=0.5, note="on other nodes")),
        ("grace", "cora", experiment(83.3)),
        ("grace", "default", {"trainer": {"epochs": 7}}),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{stem}.yaml").write_text(yaml.safe_dump(record))
    monkeypatch.setenv("GCL_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def find(name):
        return folder if name == "experiments" else resource_folder(name)

    for place in ("gcl.run.experiments", "gcl.run.settings", "gcl.run.reproduce"):
        monkeypatch.setattr(f"{place}.resource_folder", find)
    return folder


def test_everything_within_the_budget_is_done_and_written(shipped, tmp_path):
    said = []
    path = reproduce_all(tmp_path / "out", hours=0.5, say=said.append)
    assert path == tmp_path / "out" / "RESULTS.md"
    started = [line for line in said if "about" in line]
    # the first seed of each before the second of any
    assert [line.partition(",")[0] for line in started[:2]] == ["csgcl on node/karate", "grace on node/karate"] or [
        line.partition(",")[0] for line in started[:2]
    ] == ["grace on node/karate", "csgcl on node/karate"]
    assert [line.partition("seed ")[2][0] for line in started] == ["0", "0", "1", "1"]
    records = {each.stem: json.loads(each.read_text()) for each in (tmp_path / "out" / "records").glob("*.json")}
    assert sorted(records) == ["csgcl-node-karate", "grace-node-karate"]
    record = records["csgcl-node-karate"]
    whole, comparison, _ = gcl.reproduce("csgcl", "karate", out=tmp_path / "whole")
    assert record["comparison"] == json.loads(json.dumps(comparison))
    assert record["seeds_wanted"] == 2
    assert len(record["seconds"]) == 2
    text = path.read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| csgcl | node/karate |")]
    ours = whole.scores["accuracy"]["trained"]
    assert f"| 99.00 ± 0.50 | {100 * ours.mean('accuracy'):.2f} ± {100 * ours.std('accuracy'):.2f} |" in row
    assert "| 2 of 2 |" in row
    assert "- csgcl on node/karate, accuracy accuracy: " in text
    assert "- csgcl on node/karate: on other nodes." in text
    assert "- grace on node/cora: its data (node/cora.npz) are not here; see `gcl data info node/cora`" in text
    assert "1 of 3 experiments cannot be run here" in said[0]
    assert "grace on node/karate, accuracy accuracy" not in text.partition("## Below the paper")[2].partition("##")[0]
    # and is not done again
    said.clear()
    reproduce_all(tmp_path / "out", hours=0.5, say=said.append)
    assert not [line for line in said if "about" in line]
    assert path.read_text() == text


def test_a_run_that_is_out_of_time_goes_on_to_the_same_result(shipped, tmp_path, monkeypatch):
    """The budget ends in the middle of the second epoch; the next call ends the run."""
    record = experiment(1.0, epochs=6, seeds=1)
    (shipped / "grace" / "karate.yaml").write_text(yaml.safe_dump(record))
    whole, _, _ = gcl.reproduce("grace", "karate", out=tmp_path / "whole")
    from gcl.train import interruption

    checks = []
    requested = interruption.Interruption.requested.fget

    def after_three(self):
        checks.append(self)
        return len(checks) == 3 or requested(self)

    monkeypatch.setattr(interruption.Interruption, "requested", property(after_three))
    said = []
    reproduce_all(tmp_path / "out", hours=0.5, methods=["grace"], datasets=["karate"], say=said.append)
    assert [line.rpartition(": ")[2] for line in said if "goes on" in line] == ["goes on later"]
    run = tmp_path / "out" / "grace-karate" / "seed-0"
    assert torch.equal(gcl.open_run(run).outputs.main, whole.outputs.main)
    found = json.loads((tmp_path / "out" / "records" / "grace-node-karate.json").read_text())
    assert found["comparison"][0]["ours"] == round(100 * whole.scores["accuracy"]["trained"].mean("accuracy"), 3)


def test_training_stops_at_the_deadline_with_a_checkpoint(tmp_path):
    options = {"trainer": {"epochs": 10_000, "checkpoint_every": 0}, "evaluate": False, "out": tmp_path / "run"}
    with pytest.raises(OutOfTime, match="resume the run"), stop_after(1.0), stop_after(50):
        gcl.pipeline("grace", "karate", **options)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) < 10_000
    assert list((tmp_path / "run" / "checkpoint").iterdir())
    with stop_after(0.0):
        pass
    assert gcl.pipeline("grace", "karate", trainer={"epochs": 1}, evaluate=False).runs[0].fit["epochs"] == 1


def test_what_gives_most_for_the_time_is_first(shipped, tmp_path):
    def place(name, *, done=(), epoch=0, elapsed=0.0):
        (each,) = experiments(tmp_path / "out", methods=[name], datasets=["karate"])
        for seed, seconds in enumerate(done):
            folder = each.folder / f"seed-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "result.json").write_text(json.dumps({"timing": {"seconds": {"train": seconds, "prepare": 1}}}))
        if epoch:
            folder = each.folder / f"seed-{len(done)}"
            folder.mkdir(parents=True, exist_ok=True)
            lines = [{"epoch": at + 1, "timing": {"elapsed": elapsed * (at + 1) / epoch}} for at in range(epoch)]
            (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"epoch": 9, "tim')
        return each

    card = read_card("node/karate")
    fresh = place("csgcl")
    assert fresh.seconds_left(card) == 1.0  # a guess, by the size
    begun = place("csgcl", epoch=1, elapsed=30.0)  # of two epochs
    assert begun.seconds_left(card) == pytest.approx(30.0)
    assert begun.gain(card) == pytest.approx(1 / 30)
    known = place("grace", done=[9.0])
    assert known.finished == [0]
    assert known.next_seed == 1
    assert known.seconds_left(card) == pytest.approx(10.0)
    assert known.gain(card) == pytest.approx(1 / 2 / 10)
    assert place("grace", done=[9.0], epoch=1, elapsed=6.0).seconds_left(card) == pytest.approx(4.0)
    assert place("grace", done=[9.0, 9.0]).next_seed is None


def test_an_experiment_that_fails_does_not_end_the_queue(shipped, tmp_path, monkeypatch):
    original = module.planned

    def failing(name, dataset, **options):
        if name == "grace":
            raise DataError("a hole | in the\ngraph")
        return original(name, dataset, **options)

    monkeypatch.setattr(module, "planned", failing)
    said = []
    path = reproduce_all(tmp_path / "out", hours=0.5, seeds=1, say=said.append)
    assert "failed: grace on node/karate: a hole | in the\ngraph" in said
    text = path.read_text()
    assert "- grace on node/karate: a hole \\| in the graph." in text
    assert "| csgcl | node/karate |" in text
    assert "| 1 of 2 |" in text  # whatever --seeds was
    assert "; 1 of 2 seeds are not run" in text
    assert "- csgcl on node/karate: 1 of 2 seeds." in text


def test_a_damaged_seed_does_not_end_the_queue(shipped, tmp_path):
    damaged = tmp_path / "out" / "grace-karate" / "seed-0"
    damaged.mkdir(parents=True)
    (damaged / "result.json").write_text("{}")
    said = []
    text = reproduce_all(tmp_path / "out", hours=0.5, say=said.append).read_text()
    assert any(line.startswith("failed: grace on node/karate: ") and "damaged" in line for line in said)
    assert "| csgcl | node/karate |" in text
    assert "| 2 of 2 |" in text


def test_an_experiment_that_has_got_more_seeds_is_not_complete(shipped, tmp_path):
    asked = {"hours": 0.5, "methods": ["grace"], "datasets": ["karate"]}
    assert "| 2 of 2 |" in reproduce_all(tmp_path / "out", **asked).read_text()
    (shipped / "grace" / "karate.yaml").write_text(yaml.safe_dump(experiment(1.0, seeds=3)))
    text = reproduce_all(tmp_path / "out", seeds=2, **asked).read_text()
    assert "| 2 of 3 |" in text
    assert "- grace on node/karate: 2 of 3 seeds." in text


def test_what_another_process_was_at_is_looked_at_again(shipped, tmp_path):
    lock, said = contextlib.ExitStack(), []
    lock.enter_context(claimed(tmp_path / "out" / "csgcl-karate" / ".lock"))

    def say(line):
        said.append(line)
        if line.startswith("grace on node/karate, acc"):
            lock.close()  # the other process is done, or was stopped

    with lock:
        text = reproduce_all(tmp_path / "out", hours=0.5, seeds=1, say=say).read_text()
    assert "passed over: csgcl on node/karate, which another process is at" in said
    assert "| csgcl | node/karate |" in text


def test_what_another_process_is_at_is_passed_over(shipped, tmp_path):
    said = []
    with claimed(tmp_path / "out" / "grace-karate" / ".lock"):
        reproduce_all(tmp_path / "out", hours=0.5, seeds=1, say=said.append)
    assert "passed over: grace on node/karate, which another process is at" in said
    assert [each.name for each in (tmp_path / "out" / "records").iterdir()] == ["csgcl-node-karate.json"]


def test_what_another_queue_finished_meanwhile_stays_in_the_record(shipped, tmp_path, monkeypatch):
    """It is done between the choice and the lock, and this one reads the seeds after."""
    few = {"hours": 0.5, "methods": ["grace"], "datasets": ["karate"]}
    original, called = module.claim, []

    def late(folder):
        if not called:
            called.append(folder)
            gcl.reproduce("grace", "karate", out=folder, seeds=2)
        return original(folder)

    monkeypatch.setattr(module, "claim", late)
    assert "| 2 of 2 |" in reproduce_all(tmp_path / "out", **few).read_text()
    record = json.loads((tmp_path / "out" / "records" / "grace-node-karate.json").read_text())
    assert record["seeds"] == [0, 1]


def test_what_is_looked_at_while_a_config_is_written_is_busy(shipped, tmp_path):
    folder = tmp_path / "out" / "grace-karate"
    folder.mkdir(parents=True)
    (folder / ".config.yaml.x8").write_text("half of it")
    said = []
    with claimed(folder / ".lock"):
        reproduce_all(tmp_path / "out", hours=0.5, methods=["grace"], datasets=["karate"], say=said.append)
        with pytest.raises(BusyError):
            gcl.pipeline("grace", "karate", out=folder)
    assert "passed over: grace on node/karate, which another process is at" in said
    assert not any(line.startswith("failed") for line in said)


def test_a_folder_with_other_files_gets_no_lock(shipped, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    for begin in (gcl.reproduce, gcl.pipeline):
        with pytest.raises(OutputError, match="is not an empty folder"):
            begin("grace", "karate", out=tmp_path / "mine")
    assert [each.name for each in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    (tmp_path / "mine" / "thesis.tex").rename(tmp_path / "mine" / ".lock")
    gcl.reproduce("grace", "karate", out=tmp_path / "mine", seeds=1)
    assert (tmp_path / "mine" / ".lock").read_text() == "mine"


def test_one_seed_goes_on_in_its_own_folder(shipped, tmp_path, monkeypatch):
    asked = ("grace", "karate")
    gcl.reproduce(*asked, out=tmp_path / "run", seeds=1)
    whole = (tmp_path / "run" / "seed-0" / "model.safetensors").read_bytes()
    gcl.resume(tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    with monkeypatch.context() as patch:  # stopped before the first seed began
        patch.setattr("gcl.run.training.resolve_evaluators", lambda settings: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            gcl.reproduce(*asked, out=tmp_path / "again", seeds=1)
    gcl.resume(tmp_path / "again")
    assert (tmp_path / "again" / "seed-0" / "model.safetensors").read_bytes() == whole


def test_a_record_that_cannot_be_written_ends_the_queue(shipped, tmp_path, monkeypatch):
    def full(path, record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_json", full)
    for _ in range(2):  # trains; then takes up what was trained
        with pytest.raises(OSError, match="No space left"):
            reproduce_all(tmp_path / "out", hours=0.5, methods=["grace"], datasets=["karate"])


def test_an_interrupted_queue_writes_what_it_has(shipped, tmp_path, monkeypatch):
    original, calls = module.run_planned, []

    def interrupted(settings, data, folder, **options):
        calls.append(folder)
        if len(calls) == 2:
            raise KeyboardInterrupt("enough")
        return original(settings, data, folder, **options)

    monkeypatch.setattr(module, "run_planned", interrupted)
    with pytest.raises(KeyboardInterrupt, match="enough"):
        reproduce_all(tmp_path / "out", hours=0.5)
    text = (tmp_path / "out" / "RESULTS.md").read_text()
    assert sum(line.startswith(("| grace", "| csgcl")) for line in text.splitlines()) == 1
    assert "1 of 2 seeds" in text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"hours": 0}, "hours"),
        ({"hours": float("nan")}, "hours"),
        ({"hours": 1, "methods": ["graze"]}, "no experiment is shipped for method 'graze'"),
        ({"hours": 1, "datasets": ["pubmed"]}, "for dataset 'pubmed'"),
        ({"hours": 1, "methods": ["csgcl"], "datasets": ["cora"]}, "for this method on this dataset"),
        ({"hours": 1, "seeds": 0}, "seeds must be a whole number from 1"),
    ],
)
def test_wrong_queues_are_refused(shipped, tmp_path, wrong, said):
    with pytest.raises(ConfigError, match=said):
        reproduce_all(tmp_path / "out", **wrong)


def test_every_shipped_experiment_is_in_the_queue(tmp_path):
    found = experiments(tmp_path)
    assert len({each.key for each in found}) == len(found) > 50
    assert all(each.seeds >= 1 for each in found)
    assert {"csgcl", "grace", "pamc", "meow", "lightgcn", "pot-grace"} <= {each.name for each in found}
    assert all(each.seconds_left(read_card(each.dataset)) >= 1 for each in found)


def test_a_shortfall_has_its_line():
    line = {
        "evaluate": "linear", "metric": "accuracy", "paper": 90.0, "paper_std": 0.5, "ours": 88.0, "ours_std": 1.0,
        "difference": -2.0, "seeds": [0, 1], "floors": {"raw features": 70.0, "A²X": 88.5}, "protocol": "linear",
        "note": None,
    }  # fmt: skip
    record = {
        "experiment": "grace", "dataset": "node/cora", "seeds_wanted": 5, "comparison": [line],
        "oracle": {"linear": {"accuracy": 91.0}}, "seconds": [60.0, 120.0], "peak_memory_bytes": 2**30,
        "environments": [{"processor": "a CPU", "threads": 2, "commit": "abc"},
                         {"processor": "a CPU", "threads": 2, "commit": None}],
    }  # fmt: skip
    text = reproductions([record], [("csgcl on node/wikics", "its data are not here")])
    assert (
        "| grace | node/cora | linear accuracy, linear | 90.00 ± 0.50 | 88.00 ± 1.00 | -2.00 | 2 of 5 | A²X 88.50 | "
        "91.00 | 1.5 | 1024 |" in text
    )
    assert (
        "- grace on node/cora, linear accuracy: 2.00 below, 2.0 of the larger deviation; 3 of 5 seeds are not run; not "
        "above the floor 'A²X'." in text
    )
    assert "- csgcl on node/wikics: its data are not here." in text
    assert "- a CPU, 2 thread(s), commit abc\n- a CPU, 2 thread(s), an installed package" in text


def test_floors_are_scored_once_for_all_seeds_of_a_folder(shipped, tmp_path, monkeypatch):
    """But again where the evaluators or the labels are others, or what was kept is damaged."""
    from gcl.run import scoring

    calls, original = [], scoring.score_floors
    monkeypatch.setattr(scoring, "score_floors", lambda *given: calls.append(1) or original(*given))
    whole, _, _ = gcl.reproduce("grace", "karate", out=tmp_path / "out", seeds=[0])
    again, _, _ = gcl.reproduce("grace", "karate", out=tmp_path / "out", seeds=[0, 1])
    assert len(calls) == 1
    for row in ("raw features", "A²X"):
        before, after = (result.floors["accuracy"][row] for result in (whole, again))
        assert before.values == after.values
        assert before.protocol == after.protocol
    kept = tmp_path / "out" / "floors.json"
    kept.write_text(kept.read_text()[:50])
    third, _, _ = gcl.reproduce("grace", "karate", out=tmp_path / "out", seeds=[0])
    assert len(calls) == 2
    assert third.floors["accuracy"]["A²X"].values == whole.floors["accuracy"]["A²X"].values
    settings = dict(whole.settings)
    data = gcl.load_dataset("karate")
    keys = {scoring._floors_key(data.graph, settings)}
    keys.add(scoring._floors_key(data.graph.with_node_attrs(y=data.y.flip(0)), settings))
    keys.add(scoring._floors_key(data.graph, {**settings, "seeds": [3]}))
    keys.add(scoring._floors_key(data.graph, {**settings, "evaluate": {}}))
    assert len(keys) == 4


def test_an_experiment_without_a_figure_has_its_row_and_comes_late(shipped, tmp_path):
    record = experiment(1.0, seeds=1)
    record["paper"]["figures"] = []
    (shipped / "grace" / "karate.yaml").write_text(yaml.safe_dump(record))
    said = []
    path = reproduce_all(tmp_path / "out", hours=0.5, say=said.append)
    started = [line.partition(" on")[0] for line in said if "about" in line]
    assert started == ["csgcl", "csgcl", "grace"]
    (row,) = [line for line in path.read_text().splitlines() if line.startswith("| grace |")]
    assert "accuracy accuracy, linear |  | " in row
    assert "grace" not in path.read_text().partition("## Below the paper")[2].partition("##")[0]


def test_seeds_that_were_finished_elsewhere_are_taken_up(shipped, tmp_path):
    """By the single command in the same folder, or before the record was written."""
    gcl.reproduce("grace", "karate", out=tmp_path / "out" / "grace-karate", seeds=[0, 1])
    said = []
    path = reproduce_all(tmp_path / "out", hours=0.5, methods=["grace"], say=said.append)
    assert not [line for line in said if "about" in line]
    (row,) = [line for line in path.read_text().splitlines() if line.startswith("| grace | node/karate")]
    assert "| 2 of 2 |" in row
    assert "csgcl on node/karate: 0 of 2 seeds" in path.read_text()  # the table has all, whatever was asked for


def test_a_slice_gains_a_step_at_least_and_the_last_scores_are_not_cut(shipped, tmp_path, monkeypatch):
    """However short the slice is beside what is no training."""
    record = experiment(1.0, epochs=3, seeds=1)
    (shipped / "grace" / "karate.yaml").write_text(yaml.safe_dump(record))
    monkeypatch.setattr(module, "SHORTEST_SLICE", 0.0)
    monkeypatch.setattr(module.Experiment, "seconds_left", lambda self, card: 0.0)
    monkeypatch.setattr(module.Experiment, "gain", lambda self, card: 1.0)
    from gcl.run import training

    scored = []
    score = training.score
    monkeypatch.setattr(training, "score", lambda *given: scored.append(1) or score(*given))
    said = []
    reproduce_all(tmp_path / "out", hours=0.5, methods=["grace"], datasets=["karate"], say=said.append)
    assert len([line for line in said if "goes on later" in line]) == 3  # one step each, the last epoch's end too
    assert (tmp_path / "out" / "records" / "grace-node-karate.json").is_file()
    assert len(scored) == 2  # before training once, and after it
    whole, _, _ = gcl.reproduce("grace", "karate", out=tmp_path / "whole")
    assert torch.equal(gcl.open_run(tmp_path / "out" / "grace-karate").outputs.main, whole.outputs.main)


def test_other_files_among_the_records_are_passed_over(shipped, tmp_path):
    folder = tmp_path / "out" / "records"
    folder.mkdir(parents=True)
    (folder / ".grace-node-karate.json.abc.json").write_text("{")
    (folder / "other.json").write_text('{"mine": 1}')
    (folder / "damaged.json").write_text("{")
    said = []
    path = reproduce_all(tmp_path / "out", hours=0.5, methods=["grace"], datasets=["karate"], say=said.append)
    assert sum("which is no record" in line for line in said) == 2
    assert "| grace | node/karate |" in path.read_text()


def test_a_file_that_is_no_table_is_not_overwritten(shipped, tmp_path):
    (tmp_path / "mine.md").write_text("my notes")
    with pytest.raises(OutputError, match="no table of reproductions"):
        reproduce_all(tmp_path / "out", hours=0.5, table=tmp_path / "mine.md")
    assert (tmp_path / "mine.md").read_text() == "my notes"
    path = reproduce_all(tmp_path / "out", hours=0.5, methods=["grace"], table=tmp_path / "table.md")
    assert reproduce_all(tmp_path / "out", hours=0.5, methods=["grace"], table=path) == path


def test_a_run_that_is_gone_on_with_elsewhere_is_passed_over(shipped, tmp_path):
    gcl.reproduce("grace", "karate", out=tmp_path / "out" / "grace-karate", seeds=1)
    said = []
    with claimed(tmp_path / "out" / "grace-karate" / ".lock"):
        text = reproduce_all(tmp_path / "out", hours=0.5, say=said.append).read_text()
    assert "passed over: grace on node/karate, which another process is at" in said
    assert not any(line.startswith("failed") for line in said)
    assert "- grace on node/karate: 1 of 2 seeds." in text


def test_a_file_that_is_no_record_is_not_overwritten(shipped, tmp_path):
    mine = tmp_path / "mine" / "grace-node-karate.json"
    mine.parent.mkdir()
    mine.write_text('{"my": "thesis"}')
    with pytest.raises(OutputError, match="is no record of an experiment; choose another --records"):
        reproduce_all(tmp_path / "out", hours=0.5, records=mine.parent)
    assert mine.read_text() == '{"my": "thesis"}'
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_not_trained_in_twice(shipped, tmp_path):
    with claimed(tmp_path / "run" / ".lock"), pytest.raises(OutputError, match="another process trains in"):
        gcl.reproduce("grace", "karate", out=tmp_path / "run")
    assert [each.name for each in (tmp_path / "run").iterdir()] == [".lock"]
    gcl.reproduce("grace", "karate", out=tmp_path / "run", seeds=1)
    before = [(tmp_path / "run" / name).read_bytes() for name in ("report.json", "config.yaml")]
    with claimed(tmp_path / "run" / ".lock"):
        with pytest.raises(OutputError, match="another process trains in"):
            gcl.resume(tmp_path / "run")
        with pytest.raises(OutputError, match="another process trains in"):
            gcl.reproduce("grace", "karate", out=tmp_path / "run")
        assert [(tmp_path / "run" / name).read_bytes() for name in ("report.json", "config.yaml")] == before
        with pytest.raises(BusyError):
            gcl.pipeline("grace", "karate", out=tmp_path / "run", trainer={"epochs": 1})
    with pytest.raises(OutputError, match="holds a run"):
        gcl.pipeline("grace", "karate", out=tmp_path / "run", trainer={"epochs": 1})
    gcl.resume(tmp_path / "run")


def test_changed_settings_have_a_folder_of_their_own(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, _, plain = gcl.reproduce("grace", "karate", seeds=1)
    assert plain == Path("runs/reproduce/grace-karate/results.json")
    before = plain.read_bytes()
    paths = [
        gcl.reproduce("grace", "karate", seeds=1, overrides={"trainer": {"epochs": epochs}})[2] for epochs in (1, 3, 1)
    ]
    assert paths[0] == paths[2] != paths[1]
    assert all(path.parts[:2] == ("runs", "reproduce") and path not in (plain, None) for path in paths)
    assert json.loads(paths[1].read_text())["changed"] == {"trainer": {"epochs": 3}}
    assert plain.read_bytes() == before


def test_epochs_that_are_expected():
    found = {each.key: each for each in experiments(Path("runs"))}
    assert found["pamc-cluster-usps"].epochs == 230  # 30 of pre-training
    assert found["meow-hetero-acm"].epochs == 300  # ten times its patience of 30
    assert found["grace-node-cora"].epochs == 200
    assert not found["pot-gca-node-cora"].has_figure
