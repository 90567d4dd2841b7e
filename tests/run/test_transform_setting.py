"""Features as they are stored, in place of the way of a dataset's card."""

from __future__ import annotations

import dataclasses

import pytest
import scipy.sparse
import torch

import gcl
from gcl.core.errors import ConfigError
from gcl.data.load import load_dataset
from gcl.run.open_run import open_run
from gcl.run.run_data import load_for_run
from gcl.run.settings import experiment_file, read_yaml

SMALL = {"trainer": {"epochs": 1}, "floors": False, "evaluate": False, "encoder": {"out_channels": 4}}


def test_a_run_says_how_its_features_were_transformed_and_finds_them_again(tmp_path, data_root, monkeypatch):
    monkeypatch.setenv("GCL_DATA", str(data_root))
    by_card = gcl.pipeline("grace", "citeseer", **SMALL)
    stored = gcl.pipeline("grace", "citeseer", transform=[], out=tmp_path / "run", **SMALL)
    assert by_card.settings["transform"] == ["row_normalize"]
    assert stored.settings["transform"] == []
    assert not torch.equal(by_card.runs[0].outputs.main, stored.runs[0].outputs.main)

    plain = load_dataset("node/citeseer", transform=None)
    same = gcl.pipeline("grace", plain, **SMALL)
    assert torch.equal(same.runs[0].outputs.main, stored.runs[0].outputs.main)
    assert gcl.pipeline("grace", "citeseer", transform="row_normalize", **SMALL).settings["transform"] == [
        "row_normalize"
    ]

    run = open_run(tmp_path / "run")
    own = load_for_run(run.settings)
    assert own.fingerprint == plain.fingerprint
    assert load_for_run(run.settings, "citeseer").fingerprint == plain.fingerprint  # the same by name
    assert load_for_run(run.settings, "cora").info["transform"] == ["row_normalize"]  # another brings its own
    resumed = gcl.resume(tmp_path / "run")
    assert torch.equal(resumed.runs[0].outputs.main, stored.runs[0].outputs.main)
    again = gcl.pipeline("grace", "citeseer", config=tmp_path / "run" / "config.yaml")
    assert torch.equal(again.runs[0].outputs.main, stored.runs[0].outputs.main)


def test_unknown_and_contradicting_transforms_are_one_sentence(data_root, monkeypatch):
    monkeypatch.setenv("GCL_DATA", str(data_root))
    with pytest.raises(ConfigError, match="did you mean 'row_normalize'"):
        gcl.pipeline("grace", "karate", transform="row_normalise", **SMALL)
    with pytest.raises(ConfigError, match="must be a name or a list"):
        gcl.pipeline("grace", "karate", transform=3, **SMALL)
    loaded = load_dataset("node/citeseer")
    with pytest.raises(ConfigError, match="was loaded with transform"):
        gcl.pipeline("grace", loaded, transform=[], **SMALL)


@pytest.mark.parametrize("method", ["pamc", "scgc", "scgc_star", "sdcn"])
def test_auto_encoders_get_citeseer_as_it_is_stored(method):
    settings = read_yaml(experiment_file(method, "node/citeseer"))
    assert settings["transform"] == []


def test_data_that_are_given_again_get_what_the_run_did_to_them(tmp_path, data_root, monkeypatch):
    monkeypatch.setenv("GCL_DATA", str(data_root))
    plain, graph = load_dataset("node/citeseer", transform=None), load_dataset("karate").graph
    hetero = load_dataset("hetero/acm")
    runs = {
        "dataset": (plain, {"transform": "row_normalize"}),
        "graph": (graph, {"transform": "binarize"}),
        "metapath": (hetero, {"metapath": "paper-author-paper"}),
        "untouched": (graph, {}),
    }
    for name, (data, options) in runs.items():
        run = gcl.pipeline("grace", data, out=tmp_path / name, **options, **SMALL)
        again = gcl.resume(tmp_path / name, dataset=data)
        assert torch.equal(run.runs[0].outputs.main, again.runs[0].outputs.main), name


def test_interactions_that_are_given_again_are_split_again(tmp_path):
    matrix = scipy.sparse.random(30, 20, density=0.3, random_state=0, format="csr")
    small = {"trainer": {"epochs": 1}, "floors": False, "evaluate": False, "embedding_dim": 4}
    run = gcl.pipeline("lightgcn", matrix, interactions={"seed": 5}, out=tmp_path / "run", **small)
    again = gcl.resume(tmp_path / "run", dataset=matrix)
    assert torch.equal(run.runs[0].outputs.main, again.runs[0].outputs.main)


def test_a_configuration_does_not_carry_what_came_with_the_data_to_other_data(tmp_path):
    graph = load_dataset("karate").graph
    other = dataclasses.replace(graph, features={"node": 2 * graph.x})
    loaded = load_dataset(graph, transform="binarize")
    came = gcl.pipeline("grace", loaded, out=tmp_path / "came", **SMALL)
    asked = gcl.pipeline("grace", graph, transform="binarize", out=tmp_path / "asked", **SMALL)
    assert came.settings["transform"] == asked.settings["transform"] == ["binarize"]
    for config in (tmp_path / "came" / "config.yaml", came.settings):
        assert gcl.pipeline("grace", other, config=config).settings["transform"] == []
        again = gcl.pipeline("grace", loaded, config=config)
        assert torch.equal(again.outputs.main, came.outputs.main)
    config = tmp_path / "came" / "config.yaml"
    assert gcl.pipeline("grace", other, config=config, transform="binarize").settings["transform"] == ["binarize"]
    config = tmp_path / "asked" / "config.yaml"
    for name in ("second", "third"):  # what a user asked for is a setting, also the second time
        result = gcl.pipeline("grace", other, config=config, out=tmp_path / name)
        assert result.settings["transform"] == ["binarize"]
        config = tmp_path / name / "config.yaml"
    written = {**SMALL, "evaluate": {}, "transform": "binarize"}
    assert gcl.pipeline("grace", other, config=written).settings["transform"] == ["binarize"]


@pytest.mark.parametrize("transform", ["binarize", ["row_normalize", "binarize"]])
def test_interactions_have_no_features_to_transform(transform):
    message = r"^transform=\[.*'binarize'\] changes features of nodes, which interactions do not have; leave it out$"
    for source in ("rec/davis", load_dataset("rec/davis"), load_dataset("rec/davis").graph):
        with pytest.raises(ConfigError, match=message):
            load_dataset(source, transform=transform)
    small = {"trainer": {"epochs": 1}, "floors": False, "evaluate": False, "embedding_dim": 4}
    with pytest.raises(ConfigError, match=message):
        gcl.pipeline("lightgcn", "rec/davis", transform=transform, **small)
    with pytest.raises(ConfigError, match=message):
        gcl.pipeline("lightgcn", "rec/davis", config={**small, "evaluate": {}, "transform": transform})
    for nothing in ([], None, "none"):
        assert gcl.pipeline("lightgcn", "rec/davis", transform=nothing, **small).settings["transform"] == []


def test_a_loaded_dataset_stays_as_it_is_where_only_a_shipped_experiment_says_otherwise(data_root, monkeypatch):
    monkeypatch.setenv("GCL_DATA", str(data_root))
    small = {"trainer": {"epochs": 0}, "floors": False, "evaluate": False, "hidden_channels": [4], "pretrain_epochs": 1}
    with pytest.warns(UserWarning, match="settings shipped for node/citeseer"):
        result = gcl.pipeline("sdcn", load_dataset("node/citeseer"), n_init=1, **small)
    assert result.settings["transform"] == ["row_normalize"]
