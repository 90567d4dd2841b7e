"""``gcl certify`` as a process."""

from __future__ import annotations

import csv
import json

import pytest


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    import gcl

    folder = tmp_path_factory.mktemp("certify") / "run"
    gcl.pipeline(
        "grace", "karate", trainer={"epochs": 3}, evaluate=False, floors=False, out=folder,
        regularizer={"name": "pot", "weight": 0.3}, augment={"view1": {"feature": None}, "view2": {"feature": None}},
    )  # fmt: skip
    return folder


def test_table_file_and_picture(gcl, trained, tmp_path):
    pytest.importorskip("matplotlib")
    out, plot = tmp_path / "c.csv", tmp_path / "c.svg"
    done = gcl("certify", str(trained), "--drop-prob", "0.2", "--out", str(out), "--plot", str(plot))
    assert done.code == 0, done.err
    assert "every node may lose rint(0.2 degree) incoming arcs, never the last" in " ".join(done.out.split())
    assert "degree 3-4" in done.out
    assert "class 1" in done.out
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 34
    for row in rows:
        assert float(row["lower"]) <= float(row["upper"]) <= float(row["value"])
        assert (row["certified"] == "1") == (float(row["lower"]) > float(row["margin"]) > 0)
        assert (row["refuted"] == "1") == (float(row["upper"]) < -float(row["margin"]))
    picture = plot.read_text()
    assert picture.startswith("<?xml")
    assert all(f"{name} (number of nodes above)" in picture for name in ("degree", "class"))
    again = gcl("certify", str(trained), "--out", str(out))
    assert again.code == 2
    assert "exists" in again.err


def test_json_is_what_the_table_says(gcl, trained):
    done = gcl("certify", str(trained), "--drop-prob", "0.1", "--deletion", "edges", "--samples", "3", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["protocol"]["deletion"] == "edges"
    assert record["all"]["nodes"] == 34
    assert set(record["by_class"]) == {"0", "1"}
    table = gcl("certify", str(trained), "--drop-prob", "0.1", "--deletion", "edges", "--samples", "3")
    assert f"{100 * record['all']['certified']:.1f}" in table.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--drop-prob", "1"], "drop_prob must be from 0 and below 1"),
        (["--out", "c.txt"], "must end in .csv"),
        (["--plot", "c.jpg"], "must end in one of .png"),
        (["--coverage", "0"], "coverage must be"),
        (["--seed", "-1"], "seed must be a whole number from 0"),
        (["--out", "/proc/none/c.csv", "--samples", "100000"], "cannot be written"),
    ],
)
def test_misuse_is_one_sentence(gcl, trained, arguments, sentence):
    done = gcl("certify", str(trained), *arguments)
    assert done.code == 2
    assert sentence in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_folder_without_a_run_is_refused(gcl, tmp_path):
    done = gcl("certify", str(tmp_path))
    assert done.code == 2
    assert "holds no run" in done.err


def test_an_encoder_that_cannot_be_bounded_is_refused_by_name(gcl, tmp_path):
    import gcl as package

    package.pipeline(
        "grace", "karate", encoder="mlp", trainer={"epochs": 1}, evaluate=False, floors=False, out=tmp_path / "run"
    )
    done = gcl("certify", str(tmp_path / "run"))
    assert done.code == 2
    assert "cannot bound the encoder MLP" in done.err


POT = ("train", "grace", "karate", "regularizer=pot", "trainer.epochs=2", "evaluate=none", "floors=false", "--quiet")
EDGES_ONLY = ("augment.view1.feature=null", "augment.view2.feature=null")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["regularizer.weight=1.5"], "must be from 0 to 1, got 1.5"),
        (["encoder.activation=elu"], "POT cannot bound the encoder GCN: activation 'elu' is not linear below 0"),
        (["encoder=mlp"], "POT cannot bound the encoder MLP"),
        (["augment.view1.edge.drop_prob=1.0"], "view1.edge (EdgeDrop) drops every edge with probability 1"),
        (["regularizer.mode=certfied"], "must be one of 'reference', 'target', 'relaxed', 'certified', got 'certfied'"),
    ],
)
def test_training_with_pot_refuses_in_one_sentence_and_leaves_nothing(gcl, tmp_path, arguments, sentence):
    done = gcl(*POT, *EDGES_ONLY, *arguments, "--out", "run")
    assert done.code == 2
    assert sentence in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "work" / "run").exists()


def test_masking_with_pot_is_warned_of_in_one_line_and_taking_it_out_is_not(gcl):
    done = gcl(*POT, "--out", "masked")
    assert done.code == 0, done.err
    warned = [line for line in done.err.splitlines() if "masked" in line and "POT" in line]
    assert len(warned) == 1
    assert warned[0].startswith("gcl: features are masked (view1.feature, view2.feature)")
    assert "masked" not in gcl("certify", "masked", "--samples", "2").err  # a certificate has nothing to do with masks
    done = gcl(*POT, "--out", "seeds", "--seeds", "2")
    assert sum("masked" in line for line in done.err.splitlines()) == 1
    report = gcl("certify", "seeds", "--samples", "2")
    assert "of the 2 seeds in seeds this is seed-0" in " ".join(report.out.split())
    record = json.loads(gcl("certify", "seeds/seed-1", "--samples", "2", "--seed", "5", "--json").out)
    assert record["run"].endswith("seed-1")
    assert record["sample_seed"] == 5
    done = gcl(*POT, *EDGES_ONLY, "--out", "run")
    assert done.code == 0, done.err
    assert "masked" not in done.err


@pytest.mark.parametrize("method", ["grace", "gca", "progcl", "costa", "csgcl"])
def test_pot_plugs_into_every_method_by_configuration(gcl, method):
    done = gcl("train", method, *POT[2:], "regularizer.weight=0.4", "--out", "run")
    assert done.code == 0, done.err
    assert gcl("certify", "run", "--samples", "2", "--json").code == 0
