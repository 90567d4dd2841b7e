"""The GPU benchmark's checks by interpreter, and what it says where it cannot run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks are no part of the installed package

from benchmarks import gpu, gpu_cases  # noqa: E402
from gcl.ops.triton.resources import MODULES  # noqa: E402

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    line = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=environment)


def test_every_kernel_agrees_with_float64():
    done = command("--interpret")
    assert done.returncode == 0, done.stderr
    cases = gpu_cases.all_cases()
    assert f"{len(cases)} of {len(cases)} cases agree" in done.stdout
    assert {case.kernel for case in cases} == set(MODULES)


@without_gpu
def test_without_a_gpu_it_says_so():
    done = command()
    assert done.returncode == 2
    assert "no CUDA device was found" in done.stderr
    assert "--interpret" in done.stderr
    assert not gpu.RESULTS.exists()


def test_unknown_case(capsys):
    assert gpu.main(["--interpret", "--only", "no_such_kernel"]) == 2
    assert "no_such_kernel" in capsys.readouterr().err


def test_a_wrong_kernel_fails_and_is_named(capsys, monkeypatch):
    right = gpu_cases.meta_node_sum
    monkeypatch.setattr(gpu_cases, "meta_node_sum", lambda *given, **options: 1.01 * right(*given, **options))
    assert gpu.main(["--interpret", "--only", "float32", "10 clusters"]) == 1
    said = capsys.readouterr()
    assert "FAILED meta_node_sum: 1,000,000 nodes, d=64, 10 clusters, float32: AssertionError" in said.err
    assert "0 of 1 cases agree" in said.out


def test_a_record_is_kept_unless_forced(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # restored afterwards
    out = tmp_path / "gpu.json"
    out.write_text("{}")
    assert gpu.main(["--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "{}"


def test_what_was_timed_is_written_and_shown(tmp_path, capsys, monkeypatch):
    """Everything but the clock and the GPU itself."""
    measured = {"milliseconds": {"triton": 1.0, "torch": 4.0}, "peak_mib": {"triton": 3.0}, "rate": 2.0, "unit": "GB/s"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(gpu, "_machine", lambda: {"device": "a GPU"})
    monkeypatch.setattr(gpu, "check", lambda case, device: {"error": 1e-6, "limit": 1e-4})
    monkeypatch.setattr(gpu, "_timed", lambda case, repeats: {**measured, "repeats": repeats})
    out = tmp_path / "gpu.json"
    assert gpu.main(["--out", str(out), "--only", "segment_sum", "--repeats", "7"]) == 0
    record = json.loads(out.read_text())
    assert record["device"] == "a GPU"
    assert [case["repeats"] for case in record["cases"]] == [7, 7]
    assert "2 GB/s" in capsys.readouterr().out
