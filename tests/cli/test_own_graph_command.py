"""A directed, weighted graph with self-loops from files of one's own: every command that takes it or its run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    asked("cluster", run, "--k", "2", "--out", tmp_path / "clusters.csv")
    asked("embed", run, own, "--out", tmp_path / "z.csv")
    assert "this one has some; leave the weights out" in gcl("certify", run).err
    done = gcl("report", run, "--out", tmp_path / "page.html")
    assert done.code == 0, done.err
    assert (tmp_path / "page.html").stat().st_size > 10_000


OWN_PARTS = """
import torch
from gcl.augment.augmenter import Augmenter

class Halve(Augmenter):
    def augment(self, view, generator):
        adjacency = view.relation()
        return view.with_adjacency("edge", adjacency.masked(torch.rand(adjacency.num_arcs, generator=generator) < 0.5))

class Forgets(Augmenter):
    def augment(self, view, generator):
        pass

class Pull(torch.nn.Module):
    def forward(self, z1, z2=None, *, context=None):
        return 1 - torch.nn.functional.cosine_similarity(z1, z2).mean()

class OneNumber(torch.nn.Module):
    def forward(self, z1, z2=None, *, context=None):
        return (z1 - z2).square().mean(dim=(0, 1), keepdim=True)[0]

class Constant(torch.nn.Module):
    def forward(self, z1, z2=None, *, context=None):
        return (z1 * z2).detach().sum()

class Rows(torch.nn.Module):
    def forward(self, z1, z2=None, *, context=None):
        return (z1 * z2).sum(1)

class Other(torch.nn.Module):
    def forward(self, z):
        return z.sum()
"""


def test_parts_of_the_folder_that_the_command_runs_in(gcl, tmp_path):
    Path("mine.py").write_text(OWN_PARTS)
    Path("broken.py").write_text("import math\nmath.tau2\n")
    Path("colorsys.py").write_text(OWN_PARTS)
    Path("leaves.py").write_text("import sys\nsys.exit(3)\n")
    Path("lazy.py").write_text("def __getattr__(name):\n    raise ImportError('not today')\n")
    Path("syntax.py").write_text("class Pull(:\n")
    Path("pandas").mkdir()  # no package that others would find here
    train = ("train", "grace", "karate", "trainer.epochs=2", "evaluate=none", "-q")
    done = gcl(*train, "augment.view1.edge=mine:Halve", "loss=mine:Pull", "--out", "run")
    assert done.code == 0, done.err
    assert gcl(*train, "loss=mine:OneNumber").code == 0
    for setting, said in (
        ("loss=mine:Rows", "loss Rows returned shape [34]; return one number"),
        (
            "loss=mine:Constant",
            "GRACE gave a loss without a gradient; a loss returns one number that depends on the emb",
        ),
        ("loss=mine:Other", "Other is no loss (too many positional arguments); a loss is called with (z1, z2=None"),
        ("loss=mine:Halve", "Halve is no loss"),
        (
            "loss=broken:Pull",
            "cannot be imported (AttributeError: module 'math' has no attribute 'tau2'); mend the module",
        ),
        ("loss=syntax:Pull", "cannot be imported (SyntaxError"),
        ("loss=:Pull", "names no class; give package.module:Class"),
        ("loss=mine:Pul", "mine.py has no class 'Pul'; did you mean 'Pull'?"),
        ("loss=colorsys:Pull", "colorsys.py has no class 'Pull'; give another module"),  # Python's own comes first
        ("loss=mine.py:Pull", "names a file; give the module, mine:Pull"),
        ("loss=/home/me/mine.py:Pull", "give the module, mine:Pull, and run where it lies"),
        ("loss=.mine:Pull", "names no class; give package.module:Class"),
        ("loss=leaves:Pull", "cannot be imported (SystemExit: 3); mend the module"),
        ("loss=lazy:Pull", "cannot be imported (ImportError: not today); mend the module"),
        ("loss=ours:Pull", "No module named 'ours'); install the module, or run where it lies"),
        ("augment.view1.edge=mine:Forgets", "Forgets.augment returned NoneType; return a View"),
    ):
        done = gcl(*train, setting)
        assert done.code == 2, done.err
        assert said in done.err
        assert done.err.count("\n") == 1
    done = gcl("train", "simgcl", "rec/davis", "contrast=mine:Rows", "trainer.epochs=1", "-q")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "loss Rows returned shape" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "grace", "karate", "epochs=5"), "unknown key 'epochs'; did you mean 'trainer.epochs'?"),
        (("train", "grace", "karate", "--epochs", "5"), "see gcl train --help"),
        (("train", "scgc", "karate", "contrast=torch.nn:Identity"), "Identity takes no positives"),
        (("train", "karate", "grace"), "'grace' is a method and stands second; write gcl train grace karate"),
    ],
)
def test_what_beginners_mistake(gcl, words, said):
    done = gcl(*words)
    assert done.code == 2
    assert said in done.err


def test_scales_that_do_not_compare_are_said(gcl, tmp_path):
    generator = np.random.default_rng(0)
    folder = Path("people")
    folder.mkdir()
    (folder / "edges.csv").write_text("source,target\n" + "".join(f"p{at},p{(at + 7) % 40}\n" for at in range(40)))
    rows = "".join(f"p{at},{generator.random():.3f},{generator.random():.3f},{1990 + at % 9}\n" for at in range(40))
    (folder / "features.csv").write_text("id,a,b,first_year\n" + rows)
    info = json.loads(gcl("data", "info", folder, "--json").out)
    assert (info["directed"], info["labelled"]) == (False, 0)
    done = gcl("train", "grace", folder, "trainer.epochs=2", "evaluate.links.test=0.2", "--out", "run", "-q")
    assert done.code == 0, done.err
    assert "column 2 of the features (from 0) has values of about 1.99e+03, most others of" in done.err
    assert "nearly lie on one line" in " ".join(done.out.split())
    one_of = np.eye(200)[generator.integers(0, 200, 40)].astype(int)  # few entries, so stored sparse
    rows = "".join(f"p{at},{1990 + at % 9}," + ",".join(map(str, one_of[at])) + "\n" for at in range(40))
    sparse = Path("sparse")
    sparse.mkdir()
    (sparse / "edges.csv").write_text((folder / "edges.csv").read_text())
    (sparse / "features.csv").write_text(",".join(["id", "year", *(f"c{at}" for at in range(200))]) + "\n" + rows)
    done = gcl("train", "grace", sparse, "trainer.epochs=1", "--out", "years", "-q")
    assert "column 0 of the features (from 0) has values of about 1.99e+03, most others of 1;" in done.err
    flags = (generator.random((40, 60)) < 0.02).astype(int)
    rows = "".join(f"p{at},{generator.normal():.3f}," + ",".join(map(str, flags[at])) + "\n" for at in range(40))
    (sparse / "features.csv").write_text(",".join(["id", "score", *(f"c{at}" for at in range(60))]) + "\n" + rows)
    done = gcl("train", "grace", sparse, "trainer.epochs=1", "--out", "flags", "-q")
    assert done.code == 0, done.err
    assert "outweighs" not in done.err
    done = gcl("embed", "run", "--out", "z.csv")
    assert "of the graph without the held-out edges, `gcl embed RUN DATASET`" in done.out
    done = gcl("embed", "run", folder, "--out", "whole.csv")
    assert "without" not in done.out


def test_runs_that_are_started_together_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("train", "grace", "karate", "trainer.epochs=1", "evaluate=none", "-q")
    command = [sys.executable, "-c", "from gcl.cli.app import main; main()"]
    started = [subprocess.Popen([*command, *words]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert len(list((tmp_path / "runs").glob("grace-karate-0-*/report.json"))) == 3
