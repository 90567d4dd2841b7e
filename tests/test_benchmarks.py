"""The benchmarks run, their plain sides equal ours, and their records become a page. Nothing here is about speed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import document, graphs, results, runner
from benchmarks.case import compare
from benchmarks.families import FAMILIES

ROOT = Path(__file__).parents[1]

SECONDS = {"core", "core_min", "core_max", "wall", "repeats"}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Records of a quick run of all families, each checked for equality by the run itself."""
    out = tmp_path_factory.mktemp("benchmarks") / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, json.loads(out.read_text(encoding="utf-8"))


def test_every_family_leaves_a_complete_record(quick):
    printed, content = quick
    assert content["format"] == results.FORMAT
    assert list(content["families"]) == list(FAMILIES)
    for record in content["families"].values():
        assert record["title"] in printed
        assert record["quick"] is True
        assert record["threads"] == 1
        assert {"processor", "cores", "caches", "packages", "date", "commit", "threads"} <= set(record["machine"])
        assert record["machine"]["threads"] == 1
        for limits in record["limits"].values():
            assert {"sgemm_torch_cube", "sgemm_ours_tile", "sgemm", "copy", "exp"} <= set(limits)
            assert all(value > 0 for value in limits.values())
        assert record["rows"] or record["curves"]


def test_both_sides_ran_and_were_equal(quick):
    rows = [row for record in quick[1]["families"].values() for row in record["rows"]]
    assert len(rows) >= len(FAMILIES) - 2  # growth and meta-paths have curves alone
    for row in rows:
        assert row["error"] is not None, row["label"]
        assert 0 <= row["error"] < 0.02, row["label"]
        assert row["no_plain"] is None
        assert row["ratio"] > 0
        for side in ("ours", "plain"):
            times = row["sides"][side]
            assert set(times) >= SECONDS
            assert times["core_min"] <= times["core"] <= times["core_max"]


def test_memory_is_measured_in_a_process_of_its_own(quick):
    (row,) = quick[1]["families"]["loss"]["rows"]
    peaks = [row["sides"][side]["peak_mib"] for side in ("ours", "plain")]
    if sys.platform == "linux":
        assert all(peak is None or 0 <= peak < 200 for peak in peaks)
    assert all("peak_mib" in row["sides"][side] for side in ("ours", "plain"))


def test_growth_has_exponents(quick):
    curves = quick[1]["families"]["growth"]["curves"]
    assert curves
    for curve in curves:
        assert len(curve["points"]) >= 2
        assert math.isfinite(curve["exponent"])


def test_the_page_is_written_between_its_markers(quick, tmp_path):
    records, page = tmp_path / "results.json", tmp_path / "performance.md"
    results.merge_results(quick[1]["families"], records)
    page.write_text((ROOT / "docs" / "performance.md").read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.document", "--results", str(records), "--page", str(page)]
    texts = []
    for _ in range(2):  # the second time it replaces its own tables
        subprocess.run(command, cwd=ROOT, check=True)
        texts.append(page.read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    before, _, rest = texts[0].partition(document.BEGIN)
    block, _, _ = rest.partition(document.END)
    assert "How it was measured" in before
    for record in quick[1]["families"].values():
        assert f"## {record['title']}" in block
        for row in record["rows"]:
            assert f"| {row['label']} |" in block
    for lines in block.split("\n\n"):
        if lines.startswith("|"):
            assert len({line.count("|") for line in lines.splitlines()}) == 1


def test_records_of_other_families_are_kept(tmp_path):
    path = tmp_path / "results.json"
    results.merge_results({"loss": {"a": 1}, "probe": {"b": 2}}, path)
    results.merge_results({"loss": {"a": 3}}, path)
    assert results.read_results(path) == {"loss": {"a": 3}, "probe": {"b": 2}}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="markers"):
        document.replace_block(f"{document.END} {document.BEGIN}", "")


def test_differences_are_found():
    a = torch.ones(3)
    assert compare([a], [a + 1e-5]) == pytest.approx(1e-5, rel=0.1)
    with pytest.raises(AssertionError, match="differ"):
        compare([a], [a * 1.01])
    with pytest.raises(AssertionError):
        compare([a * math.nan], [a])


def test_exponent_of_a_power_is_its_exponent():
    assert runner.slope([[n, 3.0 * n**1.7] for n in (100, 200, 400, 800)]) == pytest.approx(1.7)
    assert runner.slope([[100, 1.0]]) is None


def test_sides_alternate_and_are_counted():
    calls = []
    steps = {"ours": lambda: calls.append("ours"), "plain": lambda: calls.append("plain"), "base": None}
    times = runner.alternate(steps, {"ours": 3, "plain": 2, "base": 0})
    assert calls == ["ours", "plain", "ours", "plain", "ours"]
    assert times["ours"]["repeats"] == 3
    assert "base" not in times


def test_synthetic_graph_has_its_size_communities_and_heavy_tail():
    n, m = 3000, 20_000
    edge_index = graphs.community_graph(n, m, seed=1)
    assert torch.equal(edge_index, graphs.community_graph(n, m, seed=1))
    assert not torch.equal(edge_index, graphs.community_graph(n, m, seed=2))
    assert edge_index.shape == (2, 2 * m)
    assert bool((edge_index[0] != edge_index[1]).all())
    forth, back = edge_index[0] * n + edge_index[1], edge_index[1] * n + edge_index[0]
    assert bool((forth.diff() > 0).all())  # sorted, and so without duplicates
    assert torch.equal(forth, back.sort().values)
    degree = torch.bincount(edge_index[0], minlength=n).float()
    assert degree.max() > 10 * degree.median()

    from gcl.core.adjacency import Adjacency
    from gcl.ops.communities import detect_communities, modularity

    adjacency = Adjacency.from_edge_index(edge_index, (n, n))
    assert modularity(adjacency, detect_communities(adjacency)) > 0.4


def test_unknown_families_are_refused():
    done = subprocess.run([sys.executable, "-m", "benchmarks", "los"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "loss-options" in done.stderr


def test_the_study_of_pot_becomes_a_table():
    """The weight shown is the one that the first seed's validation chose, whatever the test says."""
    from benchmarks import pot_table

    def run(regularizer, seed, accuracy, validation=0.7):
        scores = {"public": {"accuracy": accuracy, "macro_f1": accuracy - 0.01, "validation": validation}}
        certified = {p: {"certified": 0.5} for p in ("0.2", "0.3")}
        untrained = {"public": {"accuracy": 0.4, "macro_f1": 0.3}}
        return {
            "regularizer": regularizer, "seed": seed, "scores": scores, "certified": certified,
            "untrained": {} if regularizer else untrained,
        }  # fmt: skip

    pot = {"mode": "reference", "weight": 0.3}
    runs = [run(None, 0, 0.80), run(None, 1, 0.82), run(pot, 0, 0.83, 0.8), run({**pot, "weight": 0.1}, 0, 0.9)]
    floors = {"public": {"A²X": {"accuracy": 0.6, "macro_f1": 0.5}}}
    rows = pot_table.rows({"method": "grace", "dataset": "cora", "floors": floors, "runs": runs})
    assert rows == [
        ["cora, public", "A²X", "", "1", "60.00", "50.00", "", ""],
        ["cora, public", "untrained", "", "2", "40.00 ± 0.00", "30.00 ± 0.00", "", ""],
        ["cora, public", "GRACE", "-", "2", "81.00 ± 1.41", "80.00 ± 1.41", "50.0 ± 0.0", "50.0 ± 0.0"],
        ["cora, public", "GRACE + POT, reference", "0.3", "1", "83.00", "82.00", "50.0", "50.0"],
    ]


def test_a_study_goes_on_from_its_records(tmp_path, data_root, monkeypatch):
    """What has a record is not trained again, also where the run folders are gone."""
    import gcl
    from benchmarks.pot_study import Study

    monkeypatch.setenv("GCL_DATA", str(data_root))
    trained, reproduce = [], gcl.reproduce

    def counted(*arguments, **options):
        trained.append((options["overrides"]["regularizer"], options["seeds"]))
        evaluate = {"public": {"steps": 20}, "random": None}
        return reproduce(*arguments, **{**options, "overrides": {**options["overrides"], "evaluate": evaluate}})

    monkeypatch.setattr(gcl, "reproduce", counted)
    settings = {"method": "grace", "dataset": "node/cora", "records": tmp_path / "records", "epochs": 1}
    Study(**settings, out=tmp_path / "one").run(seeds=1, weights=[0.2], modes=["reference"])
    assert len(trained) == 2
    again = Study(**settings, out=tmp_path / "two")
    again.run(seeds=2, weights=[0.2], modes=["reference"])
    assert [seeds for _, seeds in trained[2:]] == [[1], [1]]
    assert len(again.runs) == 4
    with pytest.raises(SystemExit, match="other settings"):
        Study(**{**settings, "epochs": 2}, out=tmp_path / "three")


def test_the_study_of_negatives_knows_its_runs_by_their_epochs(tmp_path, monkeypatch):
    """A short trial before the study is no part of it."""
    from benchmarks import negatives_study

    calls = []

    def apart(name, seed):
        epochs = int(sys.argv[sys.argv.index("--epochs") + 1]) if "--epochs" in sys.argv else 200
        calls.append((name, seed, epochs))
        return {
            "variant": name, "seed": seed, "planned_epochs": epochs, "accuracy": epochs / 1000, "epochs": epochs,
            "seconds": 1.0, "peak_memory_bytes": 0,
        }  # fmt: skip

    def cosines(given):
        calls.append(("cosines", given.epochs))
        return {name: {"1": 0.5} for name in negatives_study.variants(given.clusters) if name != "all pairs"}

    monkeypatch.setattr(negatives_study, "apart", apart)
    monkeypatch.setattr(negatives_study, "cosines", cosines)

    def study(*options):
        calls.clear()
        command = ["study", "node/karate", "--out", str(tmp_path / "out"), "--records", str(tmp_path), "--seeds", "1"]
        monkeypatch.setattr(sys, "argv", [*command, *options])
        negatives_study.main()
        return list(calls)

    assert study("--variants", "256 anchors", "--epochs", "5") == [("256 anchors", 0, 5)]
    with pytest.raises(SystemExit):
        study("--variants", "257 anchors")
    assert len(study("--epochs", "10")) == 9
    assert len(study()) == 9  # of the settings: 200 epochs
    assert study("--epochs", "10") == study() == []
    record = json.loads((tmp_path / "karate.json").read_text())
    assert {run["planned_epochs"] for run in record["runs"]} == {5, 10, 200}
    assert set(record["cosines"]) == {"10", "200"}
    assert "| all pairs | 20.00 |" in "\n".join(negatives_study.table(record, 200, negatives_study.variants(50)))
    assert len(study("--clusters", "9")) == 3  # two variants, and cosines with them
    assert set(record["untrained"]) == {"0"}
    assert len(study("--parts", "8")) == 6  # all pairs are known
    assert "| raw features | " in "\n".join(negatives_study.table(record, 200, negatives_study.variants(50)))


def test_the_study_of_negatives_times_its_variants_by_turns(tmp_path, monkeypatch):
    from benchmarks import negatives_study

    command = ["study", "node/karate", "--out", str(tmp_path / "out"), "--records", str(tmp_path), "--cost", "3"]
    options = ["--variants", "all pairs", "blocks, communities"]
    monkeypatch.setattr(negatives_study, "ROUNDS", 2)
    monkeypatch.setattr(sys, "argv", [*command, *options])
    negatives_study.main()
    costs = json.loads((tmp_path / "karate.json").read_text())["costs"]
    assert [(cost["variant"], cost["seed"]) for cost in costs] == [
        ("all pairs", 0), ("blocks, communities", 0), ("all pairs", 1), ("blocks, communities", 1),
    ]  # fmt: skip
    for cost in costs:
        assert cost["seconds_per_epoch"] > 0
        assert cost["peak_memory_bytes"] > 2**20
    monkeypatch.setattr(sys, "argv", [*command[:-1], "1"])
    with pytest.raises(SystemExit):
        negatives_study.main()

    costs[0] |= {"seconds_per_epoch": 7.0}
    costs[2] |= {"seconds_per_epoch": 9.0}
    run = {
        "variant": "all pairs", "planned_epochs": 5, "accuracy": 0.5, "epochs": 5, "seconds": 1.0,
        "peak_memory_bytes": 0,
    }  # fmt: skip
    record = {"runs": [run], "cosines": {}, "costs": costs}
    assert "| all pairs | 50.00 | 8.000 |" in negatives_study.table(record, 5, ["all pairs"])[-1]


def test_the_study_of_negatives_resumes_an_unfinished_run(tmp_path, monkeypatch):
    from argparse import Namespace

    import gcl
    from benchmarks import negatives_study
    from gcl.methods.grace import GRACE

    given = Namespace(dataset="node/karate", out=tmp_path, epochs=3, clusters=4, parts=None)
    step = GRACE.training_step

    def interrupted(self, batch, clock, streams):
        if clock.epoch == 2:
            raise KeyboardInterrupt
        return step(self, batch, clock, streams)

    with monkeypatch.context() as patch:
        patch.setattr(GRACE, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            negatives_study.train(given, "all pairs", 0)
    record = negatives_study.train(given, "all pairs", 0)
    assert (record["epochs"], record["planned_epochs"]) == (3, 3)
    whole = gcl.pipeline(
        "grace", "node/karate", seeds=[0], floors=False, trainer={"epochs": 3},
        evaluate={"classification": {"name": "classification", "splits": "random-10/10/80"}, "clustering": None},
    )  # fmt: skip
    assert record["accuracy"] == whole.scores["classification"]["trained"].mean("accuracy")
    given.epochs = 2  # another run, in a folder of its own
    assert negatives_study.train(given, "all pairs", 0)["epochs"] == 2


def test_the_study_of_clusters_keeps_the_floors_of_every_seed(tmp_path, monkeypatch):
    """Weights before training differ from seed to seed."""
    import gcl
    from benchmarks import cluster_study

    def reproduce(method, dataset, *, overrides, seeds, out):
        small = {"num_clusters": 2, "hidden_channels": [8], "pretrain_epochs": 1, "trainer": {"epochs": 1}}
        return gcl.pipeline(method, dataset, seeds=seeds, floors=overrides["floors"], **small), None, None

    monkeypatch.setattr(gcl, "reproduce", reproduce)
    record = {"method": "pamc", "dataset": "node/karate", "runs": []}
    for seed in (0, 1):
        cluster_study.run(record, seed, tmp_path)
    floors = [run["floors"] for run in record["runs"]]
    assert floors[0]["raw features"] == floors[1]["raw features"]
    assert floors[0]["untrained"] != floors[1]["untrained"]
    lines = cluster_study.rows(record)
    untrained = [100 * floor["untrained"]["accuracy"] for floor in floors]
    (line,) = [line for line in lines if "| untrained | 2 |" in line]
    assert f"| {sum(untrained) / 2:.2f} ± " in line
    assert any("| PamC, oracle | 2 |" in line for line in lines)
    assert cluster_study.rows({**record, "runs": []}) == []


def test_a_side_that_is_not_there_leaves_its_cell_empty():
    def row(reason):
        return {
            "label": "a", "note": "", "goals": {}, "met": {}, "ratio": None, "of_base": None, "share": None,
            "no_plain": reason, "sides": {"ours": {"peak_mib": 2.0}},
        }  # fmt: skip

    def table(*reasons):
        return document._tables({"threads": 1, "rows": [row(reason) for reason in reasons], "curves": []})

    assert table("only with --all", None) == [
        (["case", "plain, core s", "ours, MiB"], [["a", "(only with --all)", "2"], ["a", "", "2"]])
    ]
    assert table(None, None) == [(["case", "ours, MiB"], [["a", "2"], ["a", "2"]])]


def test_scores_that_are_bounds_are_below_the_minimum_by_enumeration():
    from benchmarks import soundness

    for deletion in ("edges", "arcs"):
        table = soundness.table(10, 1, 0.25, deletion)
        for name, (below_value, below_least, gap) in table.items():
            if name.startswith("certif"):
                assert below_value == below_least == 1
                assert gap >= 0
        assert table["relaxed"][0] == 1
        assert table["reference"][1] < 1
        assert table["certificate, counted, with paths"][2] <= table["certified, tight (training)"][2]
