"""A directed, weighted graph with self-loops from files of one's own: every command that takes it or its run."""

from __future__ import annotations

import json

import numpy as np
import pytest

NUM_NODES = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same graph as an archive and as csv files."""
    folder, generator = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    y = np.arange(NUM_NODES) % 2
    edge_index = np.stack((generator.random((NUM_NODES, NUM_NODES)) < np.where(y[:, None] == y, 0.3, 0.05)).nonzero())
    assert (edge_index[0] == edge_index[1]).any()
    weight = generator.integers(1, 9, edge_index.shape[1]) / 4
    x = generator.random((NUM_NODES, 5)) + y[:, None]
    np.savez(folder / "own.npz", edge_index=edge_index, edge_weight=weight, x=x, y=y, directed=np.array(True))
    csv = folder / "csv"
    csv.mkdir()
    lines = [f"{source},{target},{value}" for source, target, value in zip(*edge_index, weight, strict=True)]
    (csv / "arcs.csv").write_text("\n".join(["source,target,weight", *lines]) + "\n")
    np.savetxt(csv / "features.csv", x, delimiter=",", header="a,b,c,d,e", comments="")
    (csv / "labels.csv").write_text("\n".join(["label", *("odd" if each else "even" for each in y)]) + "\n")
    return folder


@pytest.mark.parametrize("name", ["own.npz", "csv"])
def test_every_command(name, files, gcl, tmp_path):
    def asked(*words):
        done = gcl(*words, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    own, run = files / name, tmp_path / "run"
    assert asked("data", "info", own)
    asked("train", "grace", own, "trainer.epochs=2", "evaluate.links.decoder=cosine", "--out", run)
    assert asked("evaluate", "classification", run)["metrics"]["accuracy"]["mean"] > 0.5
    assert asked("evaluate", "clustering", run)
    assert 0 <= asked("evaluate", "links", run)["metrics"]["auc"]["mean"] <= 1
    done = gcl("report", run, "--out", tmp_path / "page.html")
    assert done.code == 0, done.err
    assert (tmp_path / "page.html").stat().st_size > 10_000
