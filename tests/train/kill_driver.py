"""Runs TinyMethod in forked children that kill themselves, so that torch is imported once. Called by a test.

Usage: kill_driver.py FOLDER. Prints one JSON object: scenario to how often the child was killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

torch.set_num_threads(1)

import tiny_method  # noqa: E402

from gcl.train import checkpoint as checkpoint_module  # noqa: E402


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(step, checkpoint_every=2):
    def train(run_dir):
        trainer = tiny_method.tiny_trainer(checkpoint_every=checkpoint_every)
        method = tiny_method.TinyMethod(before_step=lambda clock: die() if clock.step == step else None)
        tiny_method.fit(run_dir, method.build(), resume=True, trainer=trainer)

    return train


def in_save(nth, function_name, module=os):
    """Dies at the nth call of a file function inside a save."""

    def train(run_dir):
        function, calls = getattr(module, function_name), 0

        def call(*arguments, **keywords):
            nonlocal calls
            calls += 1
            if calls == nth:
                die()
            return function(*arguments, **keywords)

        setattr(module, function_name, call)
        tiny_method.fit(run_dir, resume=True)

    return train


def interrupted(number, step):
    def train(run_dir):
        def before_step(clock):
            if clock.step == step:
                os.kill(os.getpid(), number)

        try:
            tiny_method.fit(run_dir, tiny_method.TinyMethod(before_step=before_step).build(), resume=True)
        except KeyboardInterrupt:
            os._exit(130)

    return train


SCENARIOS = {
    "before the first checkpoint": [at_step(0, 7), at_step(8, 7), at_step(5, 7)],
    "at steps": [at_step(step) for step in (0, 4, 8, 13, 20)],
    "while files are written": [in_save(nth, "fsync") for nth in (2, 4, 9)],
    "before the folder is renamed": [in_save(1, "replace"), in_save(3, "replace")],
    "before the pointer is replaced": [in_save(2, "replace"), in_save(4, "replace")],
    "while weights are written": [in_save(2, "_write_tensors", checkpoint_module)],
    "while the old one is removed": [in_save(1, "rmtree", checkpoint_module.shutil)],
    "interrupted": [interrupted(signal.SIGINT, 4), interrupted(signal.SIGTERM, 11), at_step(17)],
}


def in_child(train, run_dir) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            train(run_dir)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder: Path) -> None:
    import lightning_fabric  # noqa: F401 - once, for all children

    codes = {"whole": [in_child(tiny_method.fit, folder / "whole")]}
    for name, attempts in SCENARIOS.items():
        run_dir = folder / name.replace(" ", "-")
        codes[name] = [in_child(train, run_dir) for train in (*attempts, at_step(None))]
    print(json.dumps(codes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
