"""Which shipped settings a run takes, and what is known of a reproduction before it."""

from __future__ import annotations

import pytest

import gcl
from gcl.core.classes import find_class
from gcl.core.errors import CheckpointError, ConfigError
from gcl.data.names import find_name
from gcl.run.reproduce import _begin, planned
from gcl.run.settings import experiment_file, experiment_method, read_yaml, settle, write_yaml

SHIPPED = sorted(
    path for path in experiment_file("grace", None).parent.parent.glob("*/*.yaml") if path.stem != "default"
)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_experiment_is_found_by_its_stem_as_on_the_command_line(path):
    kind = find_class("method", experiment_method(path.parent.name)).kind
    assert experiment_file(path.parent.name, find_name(path.stem, kind=kind)) == path


@pytest.mark.parametrize("method", ["pamc", "scgc_star"])
def test_settings_of_one_set_are_not_those_of_another_of_the_same_stem(method):
    assert experiment_file(method, "cluster/acm").stem == "acm"
    assert experiment_file(method, "node/citeseer").stem == "citeseer"
    for other in ("hetero/acm", "acm", None):  # as well a file of that name
        assert experiment_file(method, other) is None
    assert settle(method, "cluster/acm", overrides={})["paper"] is not None
    taken = settle(method, "hetero/acm", overrides={"metapath": "paper-author-paper"})
    assert taken["paper"] is None
    assert taken["method"] == settle(method, None, overrides={})["method"]


def test_the_graph_of_a_meta_path_has_no_settings_of_the_whole_one(tmp_path, monkeypatch):
    for stem in ("aminer", "default"):
        (tmp_path / "experiments" / "grace").mkdir(parents=True, exist_ok=True)
        (tmp_path / "experiments" / "grace" / f"{stem}.yaml").write_text(f"trainer: {{epochs: {len(stem)}}}\n")
    monkeypatch.setattr("gcl.run.settings.resource_folder", lambda name: tmp_path / name)
    assert settle("grace", "hetero/aminer", overrides={})["trainer"]["epochs"] == 6
    by = {"metapath": {"path": "paper-author-paper"}}
    assert settle("grace", "hetero/aminer", overrides=by)["trainer"]["epochs"] == 7
    (tmp_path / "experiments" / "grace" / "hetero-aminer.yaml").write_text("trainer: {epochs: 1}\n")
    assert settle("grace", "hetero/aminer", overrides={})["trainer"]["epochs"] == 1


def test_a_reproduction_is_checked_as_a_whole_without_running_it(data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings, data = planned("meow", "acm", seeds=[2], overrides={"floors": False}, data_root=data_root)
    assert data.name == "hetero/acm"
    assert (settings["seeds"], settings["floors"], settings["method"]["top"]) == ([2], False, [110, 700])
    assert not list(tmp_path.iterdir())
    for changes, message in (
        ({"anchors": 0}, "anchors must be a whole number from 1"),
        ({"loss": {"num_clusters": [5000]}}, "num_clusters=5000 clusters cannot be made of 4019 nodes"),
        ({"trainer": {"select": "validation"}, "evaluate": dict.fromkeys(settings["evaluate"])}, "needs an evaluator"),
    ):
        for refused in (planned, lambda *given, **options: gcl.reproduce(*given, **options, out=tmp_path / "out")):
            with pytest.raises(ConfigError, match=message):
                refused("meow", "acm", overrides=changes, data_root=data_root)
    with pytest.raises(ConfigError, match="no experiment with a paper's figure for meow on hetero/freebase"):
        planned("meow", "freebase", data_root=data_root)
    assert not list(tmp_path.iterdir())


def test_runs_that_an_earlier_version_began_go_on(tmp_path):
    """It knew fewer options: those that it lacked have their defaults, and its own words stay."""
    settings = settle("pamc", "karate", overrides={})
    (tmp_path / "run").mkdir()
    _begin(tmp_path / "run", settings)
    recorded = read_yaml(tmp_path / "run" / "config.yaml")
    del recorded["method"]["num_walks"], recorded["trainer"]["max_minutes"]
    del recorded["evaluate"]["clustering"]["embedding"]
    write_yaml(tmp_path / "run" / "config.yaml", recorded)
    used = _begin(tmp_path / "run", {**settings, "seeds": [0, 1]})
    assert used["method"] == recorded["method"]
    assert "num_walks" not in used["method"]
    assert (used["trainer"], used["seeds"]) == (recorded["trainer"], [0, 1])
    for other in ({"num_walks": 7}, {"order": 3}):
        changed = settle("pamc", "karate", overrides=other)
        with pytest.raises(CheckpointError, match="other settings"):
            _begin(tmp_path / "run", changed)
