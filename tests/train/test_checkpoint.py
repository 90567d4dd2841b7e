from __future__ import annotations

import json
import os
import pickle
import shutil

import pytest
import torch
from torch import nn

from gcl.core.context import Clock
from gcl.core.errors import CheckpointError, ConfigError, OutputError
from gcl.train.checkpoint import Checkpoint, CheckpointStore, TrainerState
from gcl.train.random_state import get_random_state, set_random_state
from gcl.train.weights import copy_weights, load_weights

FILES = ["best.safetensors", "manifest.json", "model.safetensors", "trainer.json", "trainer.pt"]


def example(step: int) -> Checkpoint:
    module = nn.Linear(3, 2)
    nn.init.constant_(module.weight, step)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = TrainerState(
        Clock("main", 4, 2, step),
        seed=3,
        best_metric=0.1 + 0.2,
        best_step=1,
        data_fingerprint="d",
        sums={"loss": (0.1, 2)},
        metrics_bytes=17,
    )
    weights = module.state_dict()
    return Checkpoint(
        {**weights, "tied": module.weight, "view": module.weight.t()},
        state,
        optimizer.state_dict(),
        weights,
        get_random_state(),
    )


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    assert a.state == b.state
    for one, other in ((a.model, b.model), (a.best, b.best)):
        assert set(one) == set(other)
        assert all(torch.equal(one[name], other[name]) for name in one)
    for index, entry in a.optimizer["state"].items():
        assert all(torch.equal(value, b.optimizer["state"][index][name]) for name, value in entry.items())
    assert a.optimizer["param_groups"] == b.optimizer["param_groups"]
    assert torch.equal(a.random["torch"], b.random["torch"])


def folder_of(store: CheckpointStore, name: str = "last"):
    return store.folder / json.loads((store.folder / f"{name}.json").read_text())["folder"]


def test_round_trip_keeps_everything(tmp_path):
    store, checkpoint = CheckpointStore(tmp_path / "checkpoint"), example(7)
    assert not store.exists()
    store.save("last", checkpoint)
    assert store.exists()
    loaded = store.load()
    assert_same(loaded, checkpoint)
    assert loaded.state.best_metric.hex() == checkpoint.state.best_metric.hex()
    assert torch.equal(store.load_weights()["view"], checkpoint.model["view"])
    assert sorted(path.name for path in folder_of(store).iterdir()) == FILES
    assert folder_of(store).name.startswith("step-7-")


def test_optional_parts_may_be_absent(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save("last", Checkpoint({}, TrainerState(Clock(), 0)))
    loaded = store.load()
    assert (loaded.model, loaded.optimizer, loaded.best, loaded.random) == ({}, None, None, None)


def test_only_what_a_name_points_to_is_kept(tmp_path):
    store = CheckpointStore(tmp_path)
    for step in (1, 1, 2):
        store.save("last", example(step))
    store.save("crash", example(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crash.json", "last.json", "step-2-3", "step-3-4"]
    assert store.load("crash").state.clock.step == 3
    (tmp_path / ".step-9-9").mkdir()
    (tmp_path / "step-9-8").mkdir()
    (tmp_path / "notes").mkdir()  # not ours
    store.clean()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["notes", "step-2-3", "step-3-4"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncate", "remove", "alter", "empty"])
def test_damage_is_found_and_named(tmp_path, name, damage):
    store = CheckpointStore(tmp_path)
    store.save("last", example(1))
    path = folder_of(store) / name
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"truncate": content[:-3], "alter": flipped, "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")) as caught:
        store.load()
    assert "\n" not in str(caught.value)
    store.clean()  # a damaged checkpoint is not thrown away
    assert folder_of(store).exists()


def test_damaged_pointer(tmp_path):
    store = CheckpointStore(tmp_path)
    with pytest.raises(CheckpointError, match=r"last\.json.* is missing"):
        store.load()
    store.save("last", example(1))
    pointer = tmp_path / "last.json"
    good = json.loads(pointer.read_text())
    for content, word in (
        ("{", "JSON"),
        ("[]", "object"),
        (json.dumps({**good, "format": 2}), "format 2"),
        (json.dumps({**good, "folder": "../elsewhere"}), "does not name"),
        (json.dumps({**good, "manifest_sha256": "0"}), "points to"),
    ):
        pointer.write_text(content)
        with pytest.raises(CheckpointError, match=word):
            store.load()
    pointer.write_text(json.dumps(good))
    shutil.rmtree(tmp_path / good["folder"])
    with pytest.raises(CheckpointError, match="is missing"):
        store.load()


def test_state_of_another_version_is_refused(tmp_path):
    state = TrainerState(Clock(), 0).to_json()
    assert TrainerState.from_json(json.loads(json.dumps(state))) == TrainerState(Clock(), 0)
    with pytest.raises(TypeError):
        TrainerState.from_json({**state, "colour": "red"})


def test_pickle_is_not_executed(tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    store = CheckpointStore(tmp_path / "checkpoint")
    monkeypatch.setattr(torch, "save", lambda record, path: path.write_bytes(pickle.dumps(Evil(), protocol=2)))
    store.save("last", example(1))
    with pytest.raises(CheckpointError, match=r"trainer\.pt"):
        store.load()
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("first", [True, False], ids=["first save", "second save"])
def test_failure_between_any_two_file_operations_leaves_old_or_new(tmp_path, monkeypatch, first):
    old, new = example(1), example(2)
    outcomes = set()
    for count in range(100):
        store = CheckpointStore(tmp_path / str(count))
        if not first:
            store.save("last", old)
        calls = 0

        def failing(function, count=count):
            def call(*arguments, **keywords):
                nonlocal calls
                calls += 1
                if calls > count:  # the disk is gone from here on
                    raise OSError(28, "No space left on device")
                return function(*arguments, **keywords)

            return call

        with monkeypatch.context() as patch:
            for name in ("fsync", "replace", "mkdir", "unlink", "rmdir", "chmod"):
                patch.setattr(os, name, failing(getattr(os, name)))
            try:
                store.save("last", new)
                saved = True
            except OutputError:
                saved = False
        reopened = CheckpointStore(store.folder)
        if first and not reopened.exists():
            outcomes.add("none")
            assert not saved
        else:
            step = reopened.load().state.clock.step
            outcomes.add(step)
            assert_same(reopened.load(), new if step == 2 else old)
            assert step == 2 or not saved
        # Whatever was left behind, the next save works and cleans up.
        reopened.save("last", new)
        assert len(list(store.folder.iterdir())) == 2  # the pointer and its folder
        assert_same(reopened.load(), new)
        if calls <= count:
            break
    assert count > 8
    assert outcomes == ({"none", 2} if first else {1, 2})


def test_random_states_go_through_a_checkpoint(tmp_path):
    import random

    import numpy as np

    np.random.standard_normal()  # leaves a cached value
    store, checkpoint = CheckpointStore(tmp_path), example(1)
    store.save("last", checkpoint)
    drawn = torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), random.gauss(0, 1)
    set_random_state(store.load().random)
    assert drawn == (torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), random.gauss(0, 1))


def test_weights_come_back_into_buffers_that_training_made():
    class Clusters(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))
            self.register_buffer("centres", None if size is None else torch.zeros(size, dtype=torch.int32))
            self.register_buffer("fixed", torch.zeros(1), persistent=False)

    saved = copy_weights(Clusters(4))
    assert set(saved) == {"weight", "centres"}
    for size in (None, 2, 4):
        module = Clusters(size)
        load_weights(module, saved)
        assert module.centres.shape == (4,)
        assert module.centres.dtype == torch.int32
    with pytest.raises(CheckpointError, match="does not find 'weight'"):
        load_weights(Clusters(4), {"centres": saved["centres"]})
    with pytest.raises(CheckpointError, match="no place for 'other'"):
        load_weights(Clusters(4), {**saved, "other.weight": torch.ones(1), "other": torch.ones(1)})
    with pytest.raises(CheckpointError, match="parameter 'weight' has shape"):
        load_weights(Clusters(4), {**saved, "weight": torch.ones(3)})


def test_copies_have_memory_of_their_own():
    module = nn.Linear(2, 2)
    copy = copy_weights(module)
    nn.init.zeros_(module.weight)
    assert copy["weight"].abs().sum() > 0


def test_extra_state_that_is_no_tensor_is_refused():
    class Extra(nn.Module):
        def get_extra_state(self):
            return {"count": 1}

        def set_extra_state(self, state): ...

    with pytest.raises(ConfigError, match="make it a buffer"):
        copy_weights(Extra())
