"""Several processes against one: the same loss and gradients, and what happens when one of them is gone."""

from __future__ import annotations

import datetime
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sharing_method import Sharing
from tiny_method import TinyMethod, records, tiny_graph

import gcl
from gcl.core.errors import CheckpointError, ConfigError, NonFiniteError, RankError
from gcl.core.streams import Streams
from gcl.data.store_graph import store_graph
from gcl.data.stored_graph import read_stored_graph, unchanged_file
from gcl.train import hand_over, process_group
from gcl.train.checkpoint import CheckpointStore
from gcl.train.launch import together
from gcl.train.ranks import Together
from gcl.train.trainer import Trainer

QUICK = {"evaluate": False, "floors": False}
SGD = {"epochs": 1, "optimizer": "sgd", "learning_rate": 1.0, "precision": "64-true", "device": "cpu"}


def fit(method, devices, run_dir=None, *, epochs=3, resume=False, **more):
    settings = {"epochs": epochs, "learning_rate": 0.05, "precision": "64-true", "device": "cpu", "weight_decay": 0.1}
    settings |= more.pop("trainer", {})
    method.build()
    result = Trainer(devices=devices, **settings).fit(
        method, tiny_graph(), streams=Streams(1), run_dir=run_dir, resume=resume, progress=False, **more
    )
    return {name: value.clone() for name, value in method.state_dict().items()}, result


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-9, atol=1e-12, equal_nan=True, msg=name)


def losses(folder):
    return [{key: record[key] for key in ("epoch", "step", "loss", "half", "odd")} for record in records(folder)]


# -- the same result ---------------------------------------------------------------------------------------------------

STILL = {"view1": {"edge": {"name": "edge_drop", "drop_prob": 0.0}, "feature": None}}
STILL["view2"] = STILL["view1"]
PARTS = {"augment": STILL, "trainer": {"batch": {"name": "neighbors", "batch_size": 12, "fanout": [-1, -1, -1]}}}
CASES = {
    "grace": ("karate", {"loss": {"temperature": 0.4}}, 3),
    "csgcl": ("karate", {}, 2),
    "grace, parts": ("karate", PARTS, 3),
    "csgcl, parts": ("karate", {**PARTS, "anchors": 5, "memory": "recent"}, 2),
    "lightgcl": (None, {"embedding_dim": 4, "batch_size": 10000, "rank": 3, "num_layers": 2}, 3),
    "meow": (None, {"loss": {"num_clusters": [3]}}, 2),
    "pamc": ("digits", {"num_clusters": 10, "hidden_channels": [9], "pretrain_epochs": 1, "order": 2}, 3),
    "scgc": ("digits", {"num_clusters": 10, "hidden_channels": [9], "pretrain_epochs": 1, "order": 2}, 2),
}


def data_for(name, folder):
    """A small recommender's or heterogeneous data set, written as an archive."""
    generator = torch.Generator().manual_seed(0)
    if name == "lightgcl":
        rows = ["user,item"]
        taken = (torch.rand(19, 13, generator=generator) < 0.4).nonzero()
        rows += [f"u{user},i{item}" for user, item in taken.tolist()]
        (folder / "train.csv").write_text("\n".join(rows) + "\n")
        return folder / "train.csv"
    from gcl.core.adjacency import Adjacency
    from gcl.core.graph import Graph

    index = (torch.rand(21, 8, generator=generator) < 0.3).nonzero().t()
    return Graph(
        features={"paper": torch.rand(21, 5, generator=generator)},
        relations={"writes": Adjacency.from_edge_index(index.flip(0), (21, 8))},
        relation_types={"writes": ("author", "paper")},
        num_nodes_by_type={"paper": 21, "author": 8},
        target="paper",
    )


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_those_of_one_process(name, tmp_path):
    dataset, settings, world = CASES[name]
    trainer = {**SGD, **settings.get("trainer", {})}
    settings = {**settings, "trainer": trainer}
    name = name.partition(",")[0]
    dataset = data_for(name, tmp_path) if dataset is None else dataset
    weights, logs = [], []
    for devices in (1, world):
        out = tmp_path / str(devices)
        trainer["devices"] = devices
        result = gcl.pipeline(name, dataset, **settings, **QUICK, out=out)
        weights.append(dict(result.runs[0].method.state_dict()))
        logs.append(list(records(out)))
    assert_close(weights[0], weights[1])  # after one step of plain gradient descent: every gradient
    for one, other in zip(*logs, strict=True):
        for key in set(one) - {"timing"}:
            assert other[key] == (pytest.approx(one[key], rel=1e-9) if isinstance(one[key], float) else one[key]), key


@pytest.mark.parametrize("gather", [False, True])
def test_many_steps_with_a_parameter_that_only_one_process_uses(tmp_path, gather):
    one, first = fit(Sharing(gather=gather), 1, tmp_path / "1")
    other, second = fit(Sharing(gather=gather), 3, tmp_path / "3")
    assert_close(one, other)
    assert torch.equal(one["unused"], torch.ones(3, dtype=torch.float64))  # no gradient anywhere: no weight decay
    for mine, theirs in zip(losses(tmp_path / "1"), losses(tmp_path / "3"), strict=True):
        assert theirs == pytest.approx(mine, rel=1e-9)
    assert (first.steps, first.epochs) == (second.steps, second.epochs)
    assert not torch.distributed.is_initialized()


def test_the_first_process_validates_and_decides(tmp_path):
    def with_scores(devices):
        scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
        trainer = {"select": "validation", "validate_every": 1, "patience": 2}
        return fit(Sharing(), devices, epochs=5, trainer=trainer, validate=lambda: next(scores))

    (one, first), (other, second) = with_scores(1), with_scores(2)
    assert_close(one, other)
    assert first.best_epoch == second.best_epoch == 2
    assert second.stopped_early
    assert second.epochs == first.epochs == 4


# -- stops and losses --------------------------------------------------------------------------------------------------


def test_a_run_stopped_with_two_processes_goes_on_with_one_and_with_three(tmp_path):
    whole, _ = fit(Sharing(), 1, tmp_path / "whole")

    def ctrl_c(clock, record):
        if clock.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    for name in ("one", "three"):
        with pytest.raises(KeyboardInterrupt, match="interrupted in stage 'train', epoch 2, after step 4; resume"):
            fit(Sharing(), 2, tmp_path / name, on_epoch=ctrl_c)
    for name, devices in (("one", 1), ("three", 3)):
        rest, result = fit(Sharing(), devices, tmp_path / name, resume=True)
        assert_close(whole, rest)
        assert result.resumed_from == 4
        for mine, theirs in zip(losses(tmp_path / "whole"), losses(tmp_path / name), strict=True):
            assert theirs == pytest.approx(mine, rel=1e-9)


def test_a_dead_process_ends_the_others_with_a_message_and_a_whole_checkpoint(tmp_path):
    whole, _ = fit(Sharing(), 1)
    with pytest.raises(RankError) as error:
        fit(Sharing("kill"), 3, tmp_path)
    text = str(error.value)
    assert text.startswith(
        "process 1 of 3 (counted from 0) ended with signal SIGKILL, as where memory runs out, in stage"
    )
    assert f"after step 4; resume the run in {tmp_path} to go on, with another trainer.devices if need be" in text
    assert CheckpointStore(tmp_path / "checkpoint").load().state.clock.step == 4
    assert children_of_this_process() == []
    rest, result = fit(Sharing(), 1, tmp_path, resume=True)
    assert_close(whole, rest)  # with the buffer that the lost step had changed
    assert result.resumed_from == 4


def test_ctrl_c_in_the_last_epoch_is_heard(tmp_path):
    def ctrl_c(clock, record):
        if clock.epoch == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(Sharing(), 2, tmp_path, on_epoch=ctrl_c)
    assert CheckpointStore(tmp_path / "checkpoint").load().state.finished


@pytest.mark.parametrize("at", ["before the group", "before the job"])
def test_a_process_that_dies_before_training_is_told(at, tmp_path, monkeypatch):
    where = {"before the group": "gcl.train.serve.process_group", "before the job": "gcl.train.serve.receive"}[at]
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if sys.argv[0:1] == ['-m'] or 'gcl.train.helper' in ' '.join(sys.orig_argv):\n"
        "    import importlib\n"
        f"    module, name = '{where}'.rsplit('.', 1)\n"
        "    setattr(importlib.import_module(module), name, lambda *words: os._exit(9))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    if at == "before the group":
        monkeypatch.setattr(process_group, "MEETING", datetime.timedelta(seconds=3))
    with pytest.raises(RankError, match=r"^process 1 of 2 \(counted from 0\) ended with exit code 9"):
        fit(Sharing(), 2)
    assert children_of_this_process() == []


def test_fewer_gpus_than_processes_is_said_before_any_is_started(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    started = pytest.raises(ConfigError, match=r"2 processes on this machine need a GPU each, and torch sees 1; lower ")
    with started, together(2, torch.device("cuda", 0)):
        pass


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT say not where they meet"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK='x' of the environment must be a whole number from 0"),
        ({"RANK": "3", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "do not fit together"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "abc"}, "MASTER_PORT='abc'"),
    ],
)
def test_a_half_set_environment_is_said(variables, sentence, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=sentence):
        gcl.pipeline("grace", "karate", trainer={"epochs": 1}, **QUICK)


def test_left_over_variables_of_one_process_change_nothing(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert fit(Sharing(), 1)[1].epochs == 3


def children_of_this_process():
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if "gcl.train.helper" in line]


def test_a_helper_ends_where_nobody_waits_for_it():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gcl.train.helper", str(port), "1", "2"]
    assert subprocess.run(command, timeout=60, check=False, capture_output=True).returncode == 1


def test_an_impatient_end_while_processes_start_leaves_none(monkeypatch):
    def interrupted(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr("gcl.train.launch.process_group", interrupted)
    told, wait = [], subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: (told.append("kill"), process.send_signal(9)))
    monkeypatch.setattr(subprocess.Popen, "wait", lambda process, timeout=None: (told.append("wait"), wait(process)))
    with pytest.raises(KeyboardInterrupt), together(3, torch.device("cpu")):
        pass
    assert told == ["kill", "kill", "wait", "wait"]  # none is waited for before it is told
    assert children_of_this_process() == []


def test_tensors_without_numbers_are_not_sent(monkeypatch):
    sent = []
    monkeypatch.setattr("gcl.train.ranks.broadcast", sent.append)
    Together(1, 2).align([torch.zeros(0, 3, dtype=torch.int16), torch.ones(2, dtype=torch.int16)])
    assert [(tensor.dtype, tensor.numel()) for tensor in sent] == [(torch.uint8, 4)]


def test_files_beside_the_user_are_not_imported(tmp_path):
    (tmp_path / "queue.py").write_text("raise SystemExit('not yours to run')\n")
    settings = ("evaluate=false", "floors=false", "trainer.epochs=1", "trainer.devices=2", "trainer.device=cpu")
    done = gcl_command("train", "grace", "karate", *settings, launcher=("-P", "-m", "gcl"), folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_error_of_another_process_is_told(tmp_path):
    with pytest.raises(RankError, match=r"process 1 of 2 .* failed: ValueError: a part of one's own went wrong, in st"):
        fit(Sharing("raise"), 2)
    with pytest.raises(NonFiniteError, match="the loss became nan in stage 'train', epoch 2, step 4"):
        fit(Sharing("nan"), 2, tmp_path)
    crash = CheckpointStore(tmp_path / "checkpoint").load("crash")
    assert (crash.state.clock.rank, crash.state.clock.world) == (0, 1)
    assert crash.model["passes"] == crash.state.clock.step == 4  # as before the step, buffers too


def test_parts_of_other_names_in_another_process_are_told():
    with pytest.raises(ConfigError, match="process 0 of 2 has the parts half of the loss, and process 1 other; a met"):
        fit(Sharing("name"), 2)
    assert children_of_this_process() == []


def test_arrays_of_a_stored_graph_are_mapped_by_every_process_and_not_sent(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    np.savetxt(tmp_path / "edges.csv", random.integers(0, 60, (150, 2)), fmt="%d", delimiter=",")
    np.save(tmp_path / "x.npy", random.normal(size=(60, 8000)))  # 1.9 MB
    store_graph(tmp_path / "edges.csv", tmp_path / "big", features=tmp_path / "x.npy")
    sent, broadcast = [], torch.distributed.broadcast

    def counted(tensor, src, **more):
        sent.append(tensor.numel() * tensor.element_size())
        return broadcast(tensor, src=src, **more)

    monkeypatch.setattr(torch.distributed, "broadcast", counted)
    looked = []
    look = hand_over.unchanged_file
    monkeypatch.setattr(hand_over, "unchanged_file", lambda tensor: looked.append(look(tensor)) or looked[-1])
    settings = {"encoder": {"out_channels": 4}, "projector": {"hidden_channels": 4}, **QUICK}
    two = gcl.pipeline("grace", tmp_path / "big", **settings, trainer={"epochs": 2, "devices": 2})
    assert 1000 < sum(sent) < 400_000
    files = [file for file in looked if file]
    assert len(files) == len({*files}) >= 3  # each compared once
    one = gcl.pipeline("grace", tmp_path / "big", **settings, trainer={"epochs": 2})
    torch.testing.assert_close(two.outputs.main, one.outputs.main, rtol=1e-4, atol=1e-5)


def test_what_became_of_a_mapped_array_is_sent(tmp_path):
    (tmp_path / "edges.csv").write_text("0,1\n1,2\n")
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    store_graph(tmp_path / "edges.csv", tmp_path / "big", features=tmp_path / "x.npy")
    x = read_stored_graph(tmp_path / "big")[0].x
    assert unchanged_file(x) == str(tmp_path / "big" / "x.npy")
    x.numpy()[2, 1] = 9  # of which the tensor does not know
    assert unchanged_file(x) is None
    x.numpy()[2, 1] = 5
    assert unchanged_file(x) is not None
    x.mul_(1)
    assert unchanged_file(x) is None
    x = read_stored_graph(tmp_path / "big")[0].x
    for other in (np.zeros((3, 2), np.float32), np.zeros((4, 2), np.float32)):
        (tmp_path / "big" / "x.npy").unlink()
        np.save(tmp_path / "big" / "x.npy", other)
        assert unchanged_file(x) is None
    (tmp_path / "big" / "x.npy").unlink()
    assert unchanged_file(x) is None


def test_what_cannot_be_shared_is_refused_before_any_work():
    with pytest.raises(ConfigError, match="TinyMethod does every step whole"):
        fit(TinyMethod(), 2)
    method = Sharing()
    method.fail = lambda: None
    with pytest.raises(ConfigError, match=r"a part cannot be pickled .*define its class in a module"):
        fit(method, 2)
    for devices in (0, 1.5, True):
        with pytest.raises(ConfigError, match="devices must be"):
            Trainer(devices=devices)
    with pytest.raises(ConfigError, match=r"is one GPU and trainer\.devices=2 asks for several"):
        Trainer(device="cuda:1", devices=2)


# -- the command -------------------------------------------------------------------------------------------------------


def gcl_command(*words, launcher=("-m", "gcl"), folder=None, **environment):
    return subprocess.run(
        [sys.executable, *launcher, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
        check=False,
        cwd=folder,
    )


def test_torchrun_makes_one_run_that_the_command_goes_on_with(tmp_path):
    settings = ("evaluate=false", "floors=false", "trainer.precision=64-true", "trainer.device=cpu")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gcl")
    words = ("train", "grace", "karate", *settings, "trainer.epochs=3", "--seeds", "2", "--json")
    done = gcl_command(*words, "--out", tmp_path / "two", launcher=torchrun)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["runs"]) == 2  # one result on standard output
    alone = gcl.pipeline(
        "grace", "karate", **QUICK, trainer={"epochs": 3, "precision": "64-true", "device": "cpu"}, seeds=2
    )
    for seed in range(2):
        two = CheckpointStore(tmp_path / "two" / f"seed-{seed}" / "checkpoint").load()
        assert_close(dict(alone.runs[seed].method.state_dict()), dict(two.model))

    # misuse ends all processes at once, also where the first one never came to training
    started = time.monotonic()
    wrong = gcl_command("train", "lightgcl", "karate", launcher=torchrun)
    assert "gcl: " in wrong.stderr
    assert "SIGKILL" not in wrong.stderr
    assert time.monotonic() - started < 60

    again = gcl_command("train", "--resume", tmp_path / "two", "trainer.devices=1", "--json")
    assert again.returncode == 0, again.stderr  # finished in two processes, and known to be so with one
    wrong = gcl_command("train", "--resume", tmp_path / "two", "trainer.epochs=9")
    assert wrong.returncode == 2
    assert "takes no other settings than trainer.devices=N" in wrong.stderr


TWO_TRAININGS = """
from sharing_method import Sharing
from tiny_method import tiny_graph
from gcl.core.errors import GCLError
from gcl.core.streams import Streams
from gcl.train.trainer import Trainer

for fail in ("raise", "nan", ""):
    method = Sharing(fail)
    method.build()
    try:
        print(Trainer(epochs=3, device="cpu").fit(method, tiny_graph(), streams=Streams(1), progress=False).steps)
    except GCLError as error:
        print(error)
"""


def test_under_torchrun_a_program_can_go_on_after_an_error_of_another_process(tmp_path):
    (tmp_path / "program.py").write_text(TWO_TRAININGS)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = gcl_command(tmp_path / "program.py", launcher=torchrun, PYTHONPATH=os.pathsep.join(sys.path))
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.startswith(
        "process 1 of 2 (counted from 0) failed: ValueError: a part of one's own went wrong, in stage"
    )
    assert second.startswith("the loss became nan in stage 'train', epoch 2, step 4")
    assert third == "9"


def test_a_run_of_another_configuration_is_still_refused(tmp_path):
    gcl.pipeline("grace", "karate", **QUICK, trainer={"epochs": 1, "device": "cpu"}, out=tmp_path / "run")
    path = tmp_path / "run" / "config.yaml"
    path.write_text(path.read_text().replace("epochs: 1", "epochs: 2"))
    with pytest.raises(CheckpointError, match="config"):
        gcl.resume(tmp_path / "run", devices=2)
