"""A run that is killed at any moment goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_method import records, weight_bytes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")

HERE = Path(__file__).parent
KILLED = -signal.SIGKILL
EXPECTED = {
    "whole": [0],
    "before the first checkpoint": [KILLED] * 3 + [0],
    "at steps": [KILLED] * 5 + [0],
    "while files are written": [KILLED] * 3 + [0],
    "before the folder is renamed": [KILLED] * 2 + [0],
    "before the pointer is replaced": [KILLED] * 2 + [0],
    "while weights are written": [KILLED, 0],
    "while the old one is removed": [KILLED, 0],
    "interrupted": [130, 130, KILLED, 0],
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_driver.py"), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("scenario", [name for name in EXPECTED if name != "whole"])
def test_killed_run_ends_like_an_unbroken_one(killed, scenario):
    folder, codes, errors = killed
    assert codes[scenario] == EXPECTED[scenario], errors
    run_dir = folder / scenario.replace(" ", "-")
    assert weight_bytes(run_dir) == weight_bytes(folder / "whole")
    assert records(run_dir) == records(folder / "whole")
    # Nothing is left behind but the last checkpoint and its pointer.
    assert len(list((run_dir / "checkpoint").iterdir())) == 2
