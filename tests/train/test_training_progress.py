from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch
from tiny_method import TinyMethod, fit

import gcl
from gcl.core.context import Clock
from gcl.train import memory, progress
from gcl.train.interruption import Interruption
from gcl.train.memory import memory_method, peak_memory_bytes, reset_peak_memory
from gcl.train.progress import TrainingProgress


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def advance(clock, shown, epochs, seconds=1.0):
    for epoch in range(1, epochs + 1):
        clock[0] += seconds
        shown.update(Clock("main", epoch, 0, epoch), epoch, 0.5)


def test_plain_lines_come_every_few_seconds_on_stderr(clock, capsys):
    with TrainingProgress(20) as shown:
        advance(clock, shown, 20)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 4
    assert lines[0] == "main: epoch 5, 5/20 done, step 5, loss 0.5, 1 epochs/s, 0:00:15 left"
    assert "\x1b" not in err


def test_a_long_first_epoch_shows_its_steps(clock, capsys):
    with TrainingProgress(2) as shown:
        clock[0] += 6
        shown.update(Clock("main", 1, 9, 9), 0, 0.5)
    assert capsys.readouterr().err == "main: epoch 1, 0/2 done, step 9, loss 0.5\n"


def test_rate_counts_from_where_the_run_was_resumed(clock, capsys):
    with TrainingProgress(100, 50) as shown:
        clock[0] += 10
        shown.update(Clock("main", 55, 0, 55), 55, 0.5)
    assert "2 s/epoch, 0:01:30 left" in capsys.readouterr().err


def test_silence(clock, capsys):
    with TrainingProgress(20, show=False) as shown:
        advance(clock, shown, 20)
    assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal(monkeypatch, capsys):
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    fit(None, TinyMethod(epochs=(5, 5)).build(), progress=None)
    assert capsys.readouterr().out == ""
    assert re.search(r"10/10", terminal.getvalue())


def test_interruption_restores_handlers_and_respects_ignored_signals():
    before = signal.getsignal(signal.SIGINT)
    ignored = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
            assert interruption.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGTERM, ignored)


def test_two_sigterm_at_once_are_one_order(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("gcl.train.interruption.time.monotonic", lambda: now[0])
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        for _ in range(2):  # to the process, and to its group
            signal.raise_signal(signal.SIGTERM)
        assert interruption.signalled
        now[0] += 2.0
        with pytest.raises(KeyboardInterrupt, match="interrupted twice"):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_training_works_in_another_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(None)[1]))
    thread.start()
    thread.join()
    assert results[0].epochs == 7


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system does not reset it")
def test_peak_memory_is_of_one_run_and_not_of_those_before_it():
    size = 300 * 2**20
    torch.ones(size, dtype=torch.uint8)
    before = peak_memory_bytes()
    run = gcl.pipeline("grace", "karate", trainer={"epochs": 1}, evaluate=False, floors=False).runs[0]
    assert run.cost["peak_memory_bytes"] < before - size / 2
    torch.ones(size, dtype=torch.uint8)
    assert peak_memory_bytes() > before - size / 4
    reset_peak_memory("cpu")
    assert peak_memory_bytes() < before - size / 2


def test_what_cannot_be_reset_goes_on(monkeypatch):
    monkeypatch.setattr(memory, "Path", lambda name: Refusing(name))
    reset_peak_memory("cpu")


class Refusing(type(Path())):
    def write_text(self, *_):
        raise PermissionError("not here")


def test_peak_memory_grows_with_a_tensor():
    assert memory_method() in ("vm_hwm", "ru_maxrss")
    before = peak_memory_bytes()
    size = before // 4 + 200 * 2**20
    torch.ones(size, dtype=torch.uint8)
    assert 2**20 < before <= peak_memory_bytes() < before + 2 * size
