"""A place that cannot be written is an OutputError of one sentence."""

from __future__ import annotations

import errno
import os

import pytest
from tiny_method import fit

from gcl.core.context import Clock
from gcl.core.errors import CheckpointError, OutputError
from gcl.train import metrics
from gcl.train.checkpoint import Checkpoint, CheckpointStore, TrainerState
from gcl.train.metrics import MetricsLog

EMPTY = Checkpoint({}, TrainerState(Clock(), 0))


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("inside", ["file", "file/run"])
def test_run_folder_under_a_file(tmp_path, inside, resume):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file") as caught:
        fit(tmp_path / inside, resume=resume)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("mode", [0o500, 0o000])
@pytest.mark.parametrize("resume", [False, True])
def test_read_only_parent(tmp_path, mode, resume):
    parent = tmp_path / "parent"
    parent.mkdir()
    parent.chmod(mode)
    try:
        with pytest.raises(OutputError, match="parent"):
            fit(parent / "run", resume=resume)
        with pytest.raises(OutputError, match="parent"):
            CheckpointStore(parent / "checkpoint").save("last", EMPTY)
    finally:
        parent.chmod(0o700)


def test_checkpoint_folder_is_a_file(tmp_path):
    (tmp_path / "checkpoint").write_text("")
    with pytest.raises(OutputError, match="checkpoint"):
        CheckpointStore(tmp_path / "checkpoint").save("last", EMPTY)
    with pytest.raises(OutputError, match="checkpoint"):
        fit(tmp_path)


def test_log_is_a_folder(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"metrics\.jsonl"):
        MetricsLog(tmp_path / "metrics.jsonl")


def test_disk_gets_full_while_training(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics.os, "fsync", full)
    with pytest.raises(OutputError, match=r"metrics\.jsonl.*No space left"):
        fit(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_line_that_cannot_be_written_is_reported_once(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log._stream.close()
    log._stream = open("/dev/full", "ab")  # noqa: SIM115
    with pytest.raises(OutputError, match=r"metrics\.jsonl"), log:
        log.write({"loss": 1.0})


def test_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path)
    store.save("last", EMPTY)

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "exists", denied)
        with pytest.raises(OutputError, match="Permission denied"):
            store.exists()
    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "iterdir", denied)
        with pytest.raises(OutputError, match="Permission denied"):
            store.clean()
    monkeypatch.setattr("gcl.train.checkpoint._sha256", denied)
    with pytest.raises(CheckpointError, match="Permission denied"):
        store.load()
