from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import gcl as package


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("links") / "run"
    result = package.pipeline(
        "grace", "karate", evaluate={"links": {"decoder": "cosine"}}, trainer={"epochs": 3}, out=folder
    )
    return folder, result


def scored(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


def refused(done, code):
    assert done.code == code
    assert done.err.count("\n") == 1
    return done.err


def test_a_run_is_scored_as_in_its_report(trained, gcl):
    folder, result = trained
    record = scored(gcl("evaluate", "links", folder, "--json"))
    report = result.scores["links"]["trained"]
    assert record["metrics"]["auc"]["mean"] == pytest.approx(report.mean("auc"))
    assert record["protocol"] == report.protocol
    again = scored(gcl("evaluate", "links", folder, "--protocol", "reconstruction", "--json"))
    assert again["details"]["links"] == 78 - int(0.1 * 78) - int(0.05 * 78)


def test_pairs_of_a_file(gcl, tmp_path):
    z = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    np.save(tmp_path / "z.npy", z)
    (tmp_path / "pairs.csv").write_text("source,target,label\n0,1,1\n0,2,0\n1,2,0\n")
    record = scored(gcl("evaluate", "links", tmp_path / "z.npy", "--pairs", tmp_path / "pairs.csv", "--json"))
    assert (record["n"], record["metrics"]["auc"]["mean"]) == (3, 1.0)
    (tmp_path / "z.csv").write_text("id,a,b\nx,1,0\ny,1,0.1\nz,0,1\n")
    (tmp_path / "named.csv").write_text("link,to,from\n1,y,x\n0,x,z\n")
    record = scored(
        gcl("evaluate", "links", tmp_path / "z.csv", "--pairs", tmp_path / "named.csv", "--decoder", "cosine", "--json")
    )
    assert (record["details"]["links"], record["details"]["others"]) == (1, 1)
    np.save(tmp_path / "pairs.npy", np.array([[0, 1, 1], [0, 2, 0]]))
    assert scored(gcl("evaluate", "links", tmp_path / "z.npy", "--pairs", tmp_path / "pairs.npy", "--json"))["n"] == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source,target,label\n0,1,1\n0,9,0\n", "names node 9"),
        ("source,target,label\n0,1,1\n0,2,2\n", "labels a pair 2"),
        ("source,target,label\n0,1,1\n0,2,1\n", "every pair"),
        ("source,target,label\n0,1,yes\n0,2,no\n", "'yes'"),
        ("source,target,label\n0,0,1\n0,2,0\n", "pairs node 0 with itself"),
        ("source,target,label\n0,1,1\n0,2,0\n2,0,1\n", "pair 2 - 0 both as a link and as none"),
        ("source,target\n0,1\n0,2\n", "call them source, target and label"),
        ("0,1\n0,2\n", "2 columns"),
    ],
)
def test_wrong_files_of_pairs_are_refused(gcl, tmp_path, text, said):
    np.save(tmp_path / "z.npy", np.eye(3))
    (tmp_path / "pairs.csv").write_text(text)
    assert said in refused(gcl("evaluate", "links", tmp_path / "z.npy", "--pairs", tmp_path / "pairs.csv"), 2)


def test_what_was_not_held_out_is_not_called_so(trained, gcl, tmp_path):
    folder, result = trained
    np.save(tmp_path / "z.npy", result.outputs.main.numpy())
    file = ("evaluate", "links", tmp_path / "z.npy")
    assert "nobody knows" in refused(gcl(*file, "--dataset", "karate"), 2)
    assert (
        scored(
            gcl(
                "evaluate", "links", tmp_path / "z.npy", "--dataset", "karate", "--protocol", "reconstruction", "--json"
            )
        )["n"]
        == 156
    )
    other = tmp_path / "whole"
    package.pipeline("grace", "karate", trainer={"epochs": 1}, evaluate=False, out=other)
    assert "trained with every edge" in refused(gcl("evaluate", "links", other), 2)
    assert scored(gcl("evaluate", "links", folder, "--dataset", "karate", "--json"))["n"] == 14
    both = ("--pairs", "pairs.csv", "--dataset", "karate")
    assert "leave out" in refused(gcl("evaluate", "links", folder, *both), 2)


def test_a_graph_that_has_changed_is_not_what_the_run_held_out_of(gcl):
    Path("mine").mkdir()
    edges = [f"{node},{(node + step) % 40}" for node in range(40) for step in (1, 2, 7)]
    Path("mine/edges.csv").write_text("source,target\n" + "\n".join(edges) + "\n")
    Path("mine/features.csv").write_text("\n".join(f"{node % 5},{node % 3}" for node in range(40)) + "\n")
    done = gcl("train", "grace", "mine", "evaluate.links.test=0.1", "trainer.epochs=2", "--out", "run", "-q")
    assert done.code == 0, done.err
    whole = scored(gcl("evaluate", "links", "run", "--json"))
    assert whole["n"] == 24
    Path("mine/edges.csv").write_text("source,target\n" + "\n".join(edges[:-1]) + "\n")
    assert "is not the graph that run was trained on" in refused(gcl("evaluate", "links", "run"), 2)


def test_a_run_on_a_graph_in_memory_takes_the_graph_from_a_file(gcl):
    data = package.load_dataset("karate")
    result = package.pipeline("grace", data.graph, evaluate={"links": {}}, trainer={"epochs": 1}, out="run")
    assert "--dataset NAME" in refused(gcl("evaluate", "links", "run"), 2)
    record = scored(gcl("evaluate", "links", "run", "--dataset", "karate", "--json"))
    assert record["metrics"]["auc"]["mean"] == pytest.approx(result.scores["links"]["trained"].mean("auc"))


def test_the_named_embedding_of_the_run_is_scored(gcl):
    spec = {"links": {"name": "links", "embedding": "embedding"}}
    package.pipeline("grace", "karate", evaluate=spec, trainer={"epochs": 1}, out="run")
    assert scored(gcl("evaluate", "links", "run", "--json"))["n"] == 14


def test_rows_of_a_file_are_put_in_the_order_of_the_nodes(gcl, tmp_path, trained):
    """By their ids, for the edges of the dataset are those of its nodes."""
    z = trained[1].outputs.main.numpy()
    asked = ("--dataset", "karate", "--protocol", "reconstruction", "--json")
    np.save(tmp_path / "z.npy", z)
    plain = scored(gcl("evaluate", "links", tmp_path / "z.npy", *asked))
    order = np.random.default_rng(0).permutation(len(z))
    lines = [",".join([str(at), *map(repr, map(float, z[at]))]) for at in order]
    (tmp_path / "z.csv").write_text("\n".join([",".join(["id", *map(str, range(z.shape[1]))]), *lines]) + "\n")
    shuffled = scored(gcl("evaluate", "links", tmp_path / "z.csv", *asked))
    assert shuffled["metrics"] == plain["metrics"]


def test_a_recommender_has_no_links_of_one_table(gcl):
    package.pipeline("bpr_mf", "rec/davis", trainer={"epochs": 1}, evaluate=False, out="run")
    Path("pairs.csv").write_text("source,target,label\n0,1,1\n0,2,0\n")
    for words in ((), ("--pairs", "pairs.csv")):
        assert "use gcl evaluate ranking" in refused(gcl("evaluate", "links", "run", *words), 2)
