"""A whole run that is killed at random steps ends, byte for byte, like one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest
import torch
from children import in_a_child

import gcl
import gcl.run.pipeline as run
from gcl.methods.csgcl import CSGCL
from gcl.run import run_directory as files

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")

RAMP_START, EPOCHS = 14, 24
SETTINGS = {
    "trainer": {"epochs": EPOCHS, "checkpoint_every": 1},
    "loss": {"ramp_start": RAMP_START, "ramp_max": 2.0, "ramp_length": 5},
    "encoder": {"out_channels": 16, "dropout": 0.2},
    "evaluate": {"classification": None, "clustering": None},
    "floors": False,
    "seeds": [7],
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(step: int) -> None:
    """Arms the process to die right after an optimiser step."""
    original = CSGCL.after_step

    def after_step(self, clock):
        original(self, clock)
        if clock.step == step:
            die()

    CSGCL.after_step = after_step


def in_a_checkpoint_write(step: int) -> None:
    """Arms the process to die inside the first checkpoint after a step, with half of it written."""
    import gcl.train.checkpoint as checkpoint

    original, seen = torch.save, []

    def after_step(self, clock):
        seen.append(clock.step)

    def save(record, path, *arguments, **options):
        original(record, path, *arguments, **options)
        if seen and seen[-1] >= step:
            Path(path).write_bytes(Path(path).read_bytes()[:100])
            die()

    CSGCL.after_step = after_step
    checkpoint.torch.save = save


def records(folder: Path) -> list[dict]:
    lines = (folder / files.METRICS).read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "timing"} for line in lines]


def test_ten_kills(tmp_path):
    whole = tmp_path / "whole"
    assert in_a_child(lambda: gcl.pipeline("csgcl", "karate", out=whole, **SETTINGS), tmp_path).code == 0
    steps = sorted(
        random.Random(0).sample(range(1, RAMP_START), 6) + random.Random(1).sample(range(RAMP_START + 1, EPOCHS), 3)
    )
    kills = [(at_step, step) for step in steps]
    kills.insert(4, (in_a_checkpoint_write, steps[4]))
    assert len(kills) == 10
    assert any(step > RAMP_START + 1 for _, step in kills)

    broken = tmp_path / "broken"
    for index, (arm, step) in enumerate(kills):

        def work(index=index, arm=arm, step=step):
            arm(step)
            if index == 0:
                gcl.pipeline("csgcl", "karate", out=broken, **SETTINGS)
            else:
                run.resume(broken)

        done = in_a_child(work, tmp_path)
        assert done.code == -signal.SIGKILL, (index, step, done.err)
    assert in_a_child(lambda: run.resume(broken), tmp_path).code == 0

    for name in (files.MODEL, files.EMBEDDINGS, files.PREPARED, files.SPEC):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    assert records(broken) == records(whole)
    assert len(records(whole)) == EPOCHS


@pytest.mark.parametrize(("every", "step"), [(1000, 5), (7, 3), (7, 9)])
def test_a_kill_before_or_between_checkpoints(tmp_path, every, step):
    settings = {**SETTINGS, "trainer": {"epochs": 12, "checkpoint_every": every}}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert in_a_child(lambda: gcl.pipeline("csgcl", "karate", out=whole, **settings), tmp_path).code == 0

    def work():
        at_step(step)
        gcl.pipeline("csgcl", "karate", out=broken, **settings)

    assert in_a_child(work, tmp_path).code == -signal.SIGKILL
    done = in_a_child(lambda: run.resume(broken), tmp_path)
    assert done.code == 0, done.err
    assert (broken / files.MODEL).read_bytes() == (whole / files.MODEL).read_bytes()
    assert records(broken) == records(whole)


def test_several_seeds_resume_where_they_stopped(tmp_path):
    settings = {**SETTINGS, "seeds": [0, 1, 2], "trainer": {"epochs": 4, "checkpoint_every": 1}}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert in_a_child(lambda: gcl.pipeline("csgcl", "karate", out=whole, **settings), tmp_path).code == 0

    def work():
        seen = []
        original = CSGCL.after_step

        def after_step(self, clock):
            original(self, clock)
            seen.append(clock.step)
            if len(seen) == 6:  # in the second seed
                die()

        CSGCL.after_step = after_step
        gcl.pipeline("csgcl", "karate", out=broken, **settings)

    assert in_a_child(work, tmp_path).code == -signal.SIGKILL
    assert (broken / "seed-0" / files.RESULT).is_file()
    assert not (broken / "seed-2").exists()
    assert in_a_child(lambda: run.resume(broken), tmp_path).code == 0
    for seed in (0, 1, 2):
        name = f"seed-{seed}/{files.EMBEDDINGS}"
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
