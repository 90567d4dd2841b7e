"""Settings and fixtures that all tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores; also for the processes that tests start
os.environ.setdefault("TRITON_INTERPRET", "1")  # read by triton when torch first imports it

import pytest
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # so that any test can `from strategies import ...`

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the benchmark data; the test is skipped where there is none."""
    root = Path(os.environ.get("GCL_DATA") or HERE.parents[1] / "shared" / "data")
    if not root.is_dir():
        pytest.skip("benchmark data not found; set GCL_DATA to its folder")
    return root
