"""``gcl cluster`` as people use it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rows(gcl):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    np.save("z.npy", (np.eye(3)[y] + 0.05 * rng.normal(size=(90, 3))).astype(np.float32))
    Path("y.csv").write_text("id,label\n" + "".join(f"{index},{label}\n" for index, label in enumerate(y)))
    return y


@pytest.mark.parametrize("method", ["kmeans", "gmm", "agglomerative", "leiden"])
def test_every_method_writes_scores_and_draws(gcl, rows, method):
    number = () if method == "leiden" else ("--k", 3)
    seeds = () if method == "agglomerative" else ("--seeds", 2)
    done = gcl(
        "cluster", "z.npy", *number, "--method", method, "--labels", "y.csv", *seeds, "--out", "c.csv",
        "--plot", "c.png", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["seeds"] == ([0, 1] if seeds else [0])
    assert done.json["n"] == 90
    assert done.json["metrics"]["nmi"]["mean"] > 0.7
    assert done.json["quality"]["silhouette"] > 0.3
    assert Path("c.png").stat().st_size > 1000
    assert len(Path("c.csv").read_text().splitlines()) == 91
    again = gcl("cluster", "z.npy", "--k", 3, "--compare", "c.csv", "--json")
    assert again.json["agreement"]["nmi"] > 0.7


def test_datasets_and_runs_bring_their_graph(gcl):
    done = gcl("cluster", "karate", "--method", "leiden", "--seeds", 1)
    assert done.code == 0, done.err
    assert "modularity" in done.out
    quick = ("trainer.epochs=2", "evaluate=false", "floors=false", "--quiet")
    assert gcl("train", "grace", "karate", *quick, "--out", "run").code == 0
    record = gcl("cluster", "run", "--json").json
    assert record["k_from"] == "the number of classes"
    assert {"silhouette", "modularity", "conductance"} <= set(record["quality"])


def test_the_archive_of_a_graph_is_a_graph_and_no_table_of_edges(gcl):
    done = gcl(
        "train", "grace", "karate", "trainer.epochs=1", "evaluate=false", "floors=false", "--quiet", "--out", "r"
    )
    assert done.code == 0
    rng = np.random.default_rng(0)
    source, target = np.triu(rng.random((20, 20)) < 0.3, 1).nonzero()
    np.savez(
        "graph.npz", num_nodes=20, num_features=3, edge_index=np.stack([source, target]), x=rng.random((20, 3)),
        y=rng.integers(2, size=20),
    )  # fmt: skip
    record = gcl("cluster", "graph.npz", "--method", "leiden", "--seeds", 1, "--json")
    assert record.code == 0, record.err
    assert record.json["n"] == 20
    assert "modularity" in record.json["quality"]
    assert not record.json["notes"]  # its own graph


def test_a_run_s_own_assignment_is_taken_and_written(gcl):
    small = (
        "num_clusters=2",
        "hidden_channels=[8]",
        "pretrain_epochs=1",
        "trainer.epochs=2",
        "floors=false",
        "--quiet",
    )
    assert gcl("train", "pamc", "karate", *small, "--out", "run").code == 0
    done = gcl("cluster", "run", "--out", "own.csv", "--json")
    assert done.code == 0, done.err
    assert done.json["protocol"] == "assignment"
    assert len(Path("own.csv").read_text().splitlines()) == 35
    assert gcl("cluster", "run", "--k", 2, "--json").json["protocol"] == "kmeans-l2"
    refused = gcl("cluster", "run", "--seeds", 2)
    assert refused.code == 2
    assert "method own gives the same clusters with every seed" in refused.err


def test_a_run_whose_data_is_gone_says_so(gcl, rows):
    Path("graph").mkdir()
    Path("graph/edges.csv").write_text("source,target\n" + "".join(f"{i},{i + 1}\n" for i in range(30)))
    Path("graph/features.csv").write_text("id,a,b\n" + "".join(f"{i},{i % 3},{i % 2}\n" for i in range(31)))
    quick = ("trainer.epochs=1", "evaluate=false", "floors=false", "--quiet", "--out", "run")
    assert gcl("train", "grace", "graph", *quick).code == 0
    Path("graph").rename("moved")
    done = gcl("cluster", "run", "--k", 2)
    assert done.code == 0, done.err
    assert "note: no labels and no graph:" in done.out
    Path("y31.csv").write_text("id,label\n" + "".join(f"{i},{i % 3}\n" for i in range(31)))
    for number, k in ((("--k", 2), 2), ((), 3)):  # the classes in the file are a number, too
        done = gcl("cluster", "run", *number, "--labels", "y31.csv", "--json")
        assert done.code == 0, done.err
        assert (done.json["k"], "accuracy" in done.json["metrics"]) == (k, True)
        assert any(note.startswith("no graph: ") for note in done.json["notes"])
    for needed in (("--method", "pamc"), ("--method", "leiden"), ("--k", 2, "--dataset", "graph")):
        done = gcl("cluster", "run", *needed, "--labels", "y31.csv")
        assert done.code == 2, needed
        assert "graph" in done.err
    assert gcl("cluster", "run").code == 2  # neither classes nor a graph to find the number in
    assert gcl("cluster", "run", "--k", 2, "--method", "pamc").code == 2


def test_a_dataset_is_loaded_once(gcl, monkeypatch):
    import gcl.data.load as module

    real = module.load_dataset

    def load(source, **options):
        print(f"loaded {source}", file=sys.stderr)
        return real(source, **options)

    monkeypatch.setattr(module, "load_dataset", load)
    quick = ("trainer.epochs=1", "evaluate=false", "floors=false", "--quiet", "--out", "run")
    assert gcl("train", "grace", "karate", *quick).code == 0
    Path("y.csv").write_text("id,label\n" + "".join(f"{i},{i % 2}\n" for i in range(34)))
    for source in ("karate", "run"):
        for more in ((), ("--labels", "y.csv")):
            done = gcl("cluster", source, "--seeds", 1, "--json", *more)
            assert done.code == 0, done.err
            assert "modularity" in done.json["quality"]
            assert done.err.count("loaded") == 1, (source, more, done.err)


def test_pamc_takes_settings(gcl, rows):
    done = gcl(
        "cluster", "z.npy", "--k", 3, "--method", "pamc", "--set", "trainer.epochs=2", "--set", "pretrain_epochs=1",
        "--set", "hidden_channels=[8]", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["protocol"] == "pamc"
    assert done.json["seeds"] == [0]


def test_without_a_number_the_eigengap_decides_and_says_so(gcl, rows):
    done = gcl("cluster", "z.npy", "--seeds", 1)
    assert done.code == 0, done.err
    assert "3 clusters (k: the eigengap of the graph)" in done.out
    assert "note: the graph joins each row to its 10 nearest" in done.out


def test_many_sizes_are_cut_short(gcl, rows):
    out = gcl("cluster", "z.npy", "--k", 40, "--seeds", 1).out
    assert "and 20 more" in out


def test_mistakes_are_one_sentence(gcl, rows):
    np.save("equal.npy", np.ones((5, 2), dtype=np.float32))
    assert "all rows are equal" in gcl("cluster", "equal.npy", "--k", 2, "--seeds", 1).out
    Path("taken.png").write_text("")
    Path("short.csv").write_text("cluster\n0\n1\n")
    Path("nothing.csv").write_text("id,cluster\n" + "".join(f"{i},-1\n" for i in range(90)))
    for arguments, words in (
        (("nothing.npy", "--k", 2), "does not exist"),
        (("z.npy", "--k", 2, "--plot", "p.bmp"), ".png"),
        (("z.npy", "--k", 2, "--plot", "taken.png"), "taken.png exists"),
        (("z.npy", "--k", 2, "--method", "leiden"), "leave k out"),
        (("z.npy", "--k", 2, "--compare", "short.csv"), "2 rows for 90"),
        (("z.npy", "--k", 2, "--compare", "nothing.csv"), "leaves every row out"),
        (("z.npy", "--k", 2, "--method", "agglomerative", "--seeds", 2), "leave seeds out"),
        (("z.npy", "--k", 2, "--method", "pamc", "--seeds", 0), "seeds"),
        (("davis", "--k", 2), "no features"),
    ):
        done = gcl("cluster", *arguments)
        assert done.code == 2, (arguments, done.out, done.err)
        assert words in done.err, (arguments, done.err)
        assert "Traceback" not in done.err


def test_what_cannot_end_well_is_refused_before_the_work(gcl, rows, monkeypatch):
    def work(*given, **options):
        raise AssertionError("clustered")

    monkeypatch.setattr("gcl.run.cluster.find_clusters", work)
    Path("file").write_text("")
    Path("nothing.csv").write_text("id,cluster\n" + "".join(f"{i},-1\n" for i in range(90)))
    for arguments, words in (
        (("--out", "file/c.csv"), "file/c.csv cannot be written"),
        (("--plot", "file/c.png"), "file/c.png cannot be written"),
        (("--out", "nothing.csv"), "nothing.csv exists"),
        (("--compare", "nothing.csv"), "leaves every row out"),
    ):
        done = gcl("cluster", "z.npy", "--k", 3, *arguments)
        assert done.code == 2, (arguments, done.err)
        assert words in done.err


def test_a_graph_without_features_is_clustered_alone(gcl):
    Path("g").mkdir()
    edges = [(a, b) for block in (range(6), range(6, 12)) for a in block for b in block if a < b] + [(0, 6)]
    Path("g/edges.csv").write_text("source,target\n" + "".join(f"n{a},n{b}\n" for a, b in edges))
    Path("g/labels.csv").write_text("id,label\n" + "".join(f"n{node},{node // 6}\n" for node in range(12)))
    done = gcl("cluster", "g", "--method", "leiden", "--out", "c.csv", "--json")
    assert done.code == 0, done.err
    assert done.json["metrics"]["nmi"]["mean"] == 1.0
    assert set(done.json["quality"]) == {"modularity", "conductance"}
    assert Path("c.csv").read_text().splitlines()[1].startswith("n")
    for words, sentence in (
        (("g", "--k", "2"), "g has no features; give embeddings of its nodes, or cluster its graph by --method leiden"),
        (("g", "--method", "leiden", "--plot", "c.png"), "--plot draws embeddings, and g has none; leave it out"),
        (("g/edges.csv", "--method", "leiden"), "reads as a list of edges (source, target); embeddings have a row"),
    ):
        wrong = gcl("cluster", *words)
        assert wrong.code == 2
        assert sentence in wrong.err


def test_warnings_are_in_the_record_too(gcl, rows):
    Path("some.csv").write_text("id,label\n" + "".join(f"{row},{row % 3}\n" for row in range(80)))
    Path("z.csv").write_text("id,a,b\n" + "".join(f"{row},{row % 3},{row % 7}\n" for row in range(90)))
    done = gcl("cluster", "z.csv", "--labels", "some.csv", "--seeds", 1, "--json")
    assert done.code == 0, done.err
    (note,) = done.json["notes"]
    assert "no row for 10 of the 90 ids" in note
    assert note in done.err
    done = gcl("cluster", "z.csv", "--k", 3, "--compare", "some.csv", "--seeds", 1, "--json")
    assert done.json["notes"] == [note]
