"""Recommenders from a name to figures, lists and a resumed run."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal

import pytest
import torch
from children import in_a_child

import gcl
from gcl.core.classes import find_class, names
from gcl.core.errors import ConfigError, DataError
from gcl.data.load import load_dataset
from gcl.methods.sgl import SGL
from gcl.run import run_directory as files
from gcl.run.open_run import open_run
from gcl.run.recommend import similar_items

RECOMMENDERS = [name for name in names("method") if find_class("method", name).kind == "rec"]
SMALL = {"lightgcl": {"rank": 3}, "lightgcl_paper": {"rank": 3}}
QUIET = {"floors": False, "evaluate": False}


@pytest.mark.parametrize("method", RECOMMENDERS)
def test_every_recommender_gives_rows_beside_its_floors(method):
    result = gcl.pipeline(method, "davis", trainer={"epochs": 2}, **SMALL.get(method, {}))
    assert {name: z.shape[0] for name, z in result.outputs.embeddings.items()} == {"user": 18, "item": 14}
    assert list(result.scores) == ["ranking"]
    rows = result.scores["ranking"]
    assert list(rows)[-2:] == ["untrained", "trained"]
    assert {"popularity", "item-kNN"} <= set(rows)
    json.dumps(result.to_json(), allow_nan=False)


def test_contrast_does_not_harm_and_both_beat_popularity_on_blocks():
    """Section 6.5 of LightGCL's specification: on small dense data a weight of 0.01 costs nothing."""
    shared = {"trainer": {"epochs": 20}, "embedding_dim": 32, "num_layers": 2, "batch_size": 1024, "l2": 0.0}
    recall = {}
    for weight in (0.0, 0.01):
        rows = gcl.pipeline("lightgcl", "blocks", contrast_weight=weight, **shared).scores["ranking"]
        recall[weight] = rows["trained"].mean("recall@20")
    assert recall[0.01] > recall[0.0] - 0.02
    assert min(recall.values()) > 2 * rows["popularity"].mean("recall@20")


def test_selection_by_validation_and_interactions_split_anew(tmp_path):
    result = gcl.pipeline(
        "bpr_mf",
        "davis",
        interactions={"split": "leave-one-out"},
        trainer={"epochs": 6, "select": "validation", "validate_every": 2},
        evaluate={"ranking": {"k": [3], "select": "recall@3"}},
        out=tmp_path / "run",
    )
    report = result.scores["ranking"]["trained"]
    assert report.n == 18  # one item of everyone
    assert result.runs[0].fit["best_epoch"] in (2, 4, 6)
    assert result.settings["interactions"]["split"] == "leave-one-out"
    assert result.settings["evaluate"]["ranking"]["k"] == [3]
    again = gcl.resume(tmp_path / "run")
    assert again.scores["ranking"]["trained"].values == report.values
    with pytest.raises(ConfigError, match="split"):
        gcl.pipeline("bpr_mf", "davis", interactions={"split": "leave-two-out"})
    with pytest.raises(ConfigError, match="no interactions"):
        gcl.pipeline("grace", "karate", interactions={"split": "ratio"})


def test_selection_without_a_validation_part_is_refused_before_any_work(tmp_path):
    data = load_dataset("davis")
    graph = dataclasses.replace(data.graph, held={"test": data.held["test"]})
    with pytest.raises(ConfigError, match="needs a validation part"):
        gcl.pipeline("bpr_mf", graph, evaluate={"ranking": {"validation": 0.0}}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    last = gcl.pipeline(
        "bpr_mf", graph, evaluate={"ranking": {"validation": 0.0}}, trainer={"select": "last", "epochs": 1}
    )
    assert "no validation" in last.scores["ranking"]["trained"].protocol


def test_a_set_without_a_test_part_is_trained_and_not_scored():
    data = load_dataset("davis")
    graph = data.graph.for_training()
    result = gcl.pipeline("lightgcn", graph, trainer={"epochs": 1})
    assert result.scores == {}
    assert any("nothing was scored" in note for note in result.notes)


def own_files(folder):
    rows = [
        ("ann", "007"),
        ("ann", "7"),
        ("bob", "7"),
        ("bob", "x"),
        ("cid", "x"),
        ("cid", "007"),
        ("cid", "y"),
        ("dan", "y"),
    ]
    path = folder / "taken.csv"
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([("user", "item"), *rows])
    return path, rows


def test_lists_have_the_ids_of_the_data_and_leave_out_what_was_seen(tmp_path):
    path, rows = own_files(tmp_path)
    run = tmp_path / "run"
    result = gcl.pipeline("lightgcn", str(path), trainer={"epochs": 3}, **QUIET, out=run)
    path.unlink()  # the run alone is enough
    taken = {user: {item for who, item in rows if who == user} for user, _ in rows}
    for source in (run, open_run(run), result):
        lists = gcl.recommend(source, ["cid", "ann"], k=10)
        assert [entry.query for entry in lists] == ["cid", "ann"]
        for entry in lists:
            assert set(entry.items) == {"007", "7", "x", "y"} - taken[entry.query]
            assert list(entry.scores) == sorted(entry.scores, reverse=True)
    everything = gcl.recommend(run, ["ann"], k=10, seen="none")[0]
    assert set(everything.items) == {"007", "7", "x", "y"}
    z = open_run(run)
    row = dict(zip(z.ids_of("user"), z.embeddings["user"], strict=True))["ann"]
    expected = dict(zip(z.ids_of("item"), (z.embeddings["item"] @ row).tolist(), strict=True))
    assert dict(zip(everything.items, everything.scores, strict=True)) == pytest.approx(expected)
    assert [entry.query for entry in gcl.recommend(run)] == z.ids_of("user")
    assert gcl.recommend(run, ["ann"], k=1)[0].items == gcl.recommend(run, ["ann"], k=10)[0].items[:1]


def test_held_out_items_may_come_back_as_the_test_saw_them(tmp_path):
    result = gcl.pipeline("bpr_mf", "davis", trainer={"epochs": 1}, **QUIET)
    data = load_dataset("davis")
    user = int(data.held["test"][0, 0])
    name = data.node_ids[user]
    test = {data.other_ids["item"][item] for item in data.held["test"][1][data.held["test"][0] == user].tolist()}
    every, train = (set(gcl.recommend(result, [name], k=14, seen=which)[0].items) for which in ("all", "train"))
    assert train - every == test
    assert not every & test


def test_unknown_users_and_similar_items():
    result = gcl.pipeline("bpr_mf", "davis", trainer={"epochs": 1}, **QUIET)
    with pytest.raises(ConfigError, match=r"no user 'Ruth De Sand' .*nearest: Ruth DeSand"):
        gcl.recommend(result, ["Ruth De Sand"])
    known, unknown = gcl.recommend(result, ["Ruth DeSand", "nobody"], k=3, unknown_user="popular")
    assert not known.popular
    assert unknown.popular
    counts = load_dataset("davis").graph.adjacency.t_row_ptr.diff()
    assert list(unknown.scores) == counts.sort(descending=True).values[:3].tolist()
    (entry,) = similar_items(result, ["E3"], k=20)
    assert len(entry.items) == 13
    assert "E3" not in entry.items
    z = torch.nn.functional.normalize(result.outputs.embeddings["item"], dim=1)
    cosine = dict(zip(result.other_ids["item"], (z @ z[result.other_ids["item"].index("E3")]).tolist(), strict=True))
    assert dict(zip(entry.items, entry.scores, strict=True)) == pytest.approx(
        {k: v for k, v in cosine.items() if k != "E3"}
    )
    with pytest.raises(ConfigError, match="no item 'E33'"):
        similar_items(result, ["E33"])
    with pytest.raises(ConfigError, match="no recommender"):
        gcl.recommend(gcl.pipeline("grace", "karate", trainer={"epochs": 1}, **QUIET), ["1"])


def test_a_graph_of_other_users_has_no_embeddings(tmp_path):
    gcl.pipeline("bpr_mf", "davis", trainer={"epochs": 1}, **QUIET, out=tmp_path / "run")
    path, _ = own_files(tmp_path)
    run = open_run(tmp_path / "run")
    assert run.embed(load_dataset("davis").graph).embeddings["item"].shape[0] == 14
    with pytest.raises(DataError, match="18 users and 14 items"):
        run.embed(load_dataset(path, kind="rec").graph)


def test_sgls_node_dropping_as_its_page_says_drops_nodes_alone():
    node = {"edge": None, "node": {"name": "node_drop", "drop_prob": 0.1, "exact": True}}
    result = gcl.pipeline("sgl", "davis", augment={"view1": node, "view2": node}, trainer={"epochs": 1}, **QUIET)
    for augmenter in result.runs[0].method.augmenters_:
        assert list(augmenter.augmenters) == ["node"]


def test_users_and_items_of_the_test_alone_are_not_answered_by_noise(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "train.csv").write_text("user,item\na,p\na,q\nb,q\nb,r\nc,p\n")
    (folder / "test.csv").write_text("user,item\nnew,p\na,fresh\n")
    result = gcl.pipeline("bpr_mf", folder, trainer={"epochs": 1}, **QUIET)
    with pytest.raises(ConfigError, match="'new' has no training interaction"):
        gcl.recommend(result, ["new"])
    (entry,) = gcl.recommend(result, ["new"], unknown_user="popular")
    assert entry.popular
    assert {entry.query: entry.popular for entry in gcl.recommend(result)} == {
        "a": False,
        "b": False,
        "c": False,
        "new": True,
    }
    with pytest.raises(ConfigError, match="'fresh' has no training interaction"):
        similar_items(result, ["fresh"])
    (entry,) = similar_items(result, ["p"], k=10**12)
    assert set(entry.items) == {"q", "r"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
def test_a_run_killed_inside_an_epoch_ends_like_one_that_was_not(tmp_path):
    """SGL holds the views of an epoch: they must be drawn again as they were."""
    settings = {
        "trainer": {"epochs": 3, "checkpoint_every": 1},
        "batch_size": 20,
        "seeds": [5],
        **QUIET,
    }

    def train(folder, step=None):
        original = SGL.after_step

        def after_step(self, clock):
            original(self, clock)
            if clock.step == step:
                os.kill(os.getpid(), signal.SIGKILL)

        SGL.after_step = after_step
        return lambda: (
            gcl.resume(folder)
            if (folder / files.CONFIG).is_file()
            else gcl.pipeline("sgl", "davis", out=folder, **settings)
        )

    assert in_a_child(train(tmp_path / "whole"), tmp_path).code == 0
    for step in (2, 4, 8):  # three steps an epoch
        in_a_child(lambda step=step: train(tmp_path / "killed", step)(), tmp_path)
    assert in_a_child(train(tmp_path / "killed"), tmp_path).code == 0
    one, two = (files.read_tensors(tmp_path / name / files.MODEL) for name in ("whole", "killed"))
    assert all(torch.equal(one[key], two[key]) for key in one)
