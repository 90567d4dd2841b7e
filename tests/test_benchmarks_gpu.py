"""The command for a GPU, without one: its checks run by Triton's interpreter, its stopwatch is a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks are no part of the installed package

from benchmarks import gpu, gpu_cases  # noqa: E402
from gcl.ops.triton.resources import MODULES  # noqa: E402


def command(*arguments):
    variables = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    line = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    return subprocess.run(line, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=200, check=False)


class Stopwatch:
    """In place of a CUDA event."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = time.perf_counter()

    def elapsed_time(self, end):
        return 1e3 * (end.at - self.at)


@pytest.fixture
def stand_in(monkeypatch):
    """Everything of CUDA that the timing asks for; the kernels are interpreted."""
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "WARM_UPS", 1)
    monkeypatch.setattr(gpu, "_cannot_run", lambda interpret: None)
    monkeypatch.setattr(gpu, "describe_gpu", lambda: {"gpu": "stand-in"})
    monkeypatch.setattr(torch.cuda, "Event", Stopwatch)
    for name in ("synchronize", "reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**20)


def test_the_interpreter_checks_every_kernel():
    done = command("--interpret")
    assert done.returncode == 0, done.stderr[-3000:]
    cases = gpu_cases.all_cases(tiny=True)
    assert {case.kernel for case in cases} == set(MODULES)
    for case in cases:
        assert case.label in done.stdout
    assert f"{len(cases)} of {len(cases)} checks passed" in done.stdout
    assert "FAILED" not in done.stdout


def test_timed_cases_cover_every_kernel_and_have_names_of_their_own():
    cases = gpu_cases.all_cases(tiny=False)
    assert {case.kernel for case in cases} == set(MODULES)
    assert len({case.label for case in cases}) == len(cases)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_can_be_done(tmp_path):
    done = command("--out", str(tmp_path / "figures.json"))
    assert done.returncode == 2
    assert "CUDA" in done.stderr
    assert "--interpret" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--interpret", "--only", "no such case"], "no such case"),
        (["--interpret", "--repeats", "0"], "--repeats"),
        (["--interpret", "--out", "figures.json"], "--out"),
    ],
)
def test_what_cannot_be_is_refused(arguments, said, capsys):
    with pytest.raises(SystemExit) as stop:
        gpu.main(arguments)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_a_failing_check_is_named_and_the_others_run(monkeypatch, capsys):
    from gcl.ops.triton import meta_node_sum

    right = meta_node_sum.meta_node_sum_triton
    wrong = lambda z, labels, k: right(z, labels, k) * (1.001 if k == 10 else 1.0)  # noqa: E731
    monkeypatch.setattr(meta_node_sum, "meta_node_sum_triton", wrong)
    assert gpu.main(["--interpret", "--only", "meta_node_sum", "float32"]) == 1
    said = capsys.readouterr()
    (line,) = (line for line in said.err.splitlines() if line.startswith("failed"))
    assert "meta_node_sum: 600 x 24, 10 clusters, float32" in line
    assert "1 of 2 checks passed" in said.out


@pytest.mark.parametrize("error", [RuntimeError("illegal instruction"), KeyError()])
def test_a_kernel_that_dies_fails_its_case_only(error, monkeypatch, capsys):
    def dies(*given, **options):
        raise error

    monkeypatch.setattr(gpu_cases, "segment_sum", dies)
    assert gpu.main(["--interpret", "--only", "_sum: ", "float32"]) == 1
    said = capsys.readouterr()
    assert said.err.count("failed: segment_sum") == 1
    assert "2 of 3 checks passed" in said.out


def test_figures_are_written_and_never_lost(stand_in, tmp_path, capsys):
    out = tmp_path / "figures.json"
    arguments = ["--quick", "--repeats", "2", "--out", str(out), "--only", "float32", "drop 0.3"]
    assert gpu.main(arguments) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["machine"]["gpu"] == "stand-in"
    assert record["command"] == " ".join(["python -m benchmarks.gpu", *arguments])
    assert {row["kernel"] for row in record["rows"]} == {"sparse_product", "neighbor_logsumexp"}
    for row in record["rows"]:
        assert row["failed"] is None
        assert row["error"] <= row["limit"]
        assert set(row["ms"]) >= {"ours", "torch", "textbook"}
        assert row["ratio"]["torch"] == pytest.approx(row["ms"]["torch"] / row["ms"]["ours"])
        assert row["peak_mib"]["ours"] == 2.0
        assert row["rate"] > 0
        assert row["unit"] == "GB/s"
    printed = capsys.readouterr().out
    assert all(row["label"] in printed for row in record["rows"])

    before = out.read_bytes()
    with pytest.raises(SystemExit) as stop:
        gpu.main(arguments)
    assert stop.value.code == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert gpu.main([*arguments, "sparse", "--force"]) == 0
    assert len(json.loads(out.read_text(encoding="utf-8"))["rows"]) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["figures.json"]


def test_a_quick_run_writes_nothing_by_itself(stand_in):
    assert gpu.main(["--quick", "--repeats", "1", "--only", "segment_sum", "float32"]) == 0
    assert not gpu.RESULTS.exists()


def test_a_side_that_does_not_fit_is_left_out(stand_in):
    x = torch.ones(4, requires_grad=True)

    def too_large(x):
        raise torch.OutOfMemoryError("2 GiB more")

    sides = {"ours": lambda x: x * 2, "torch": lambda x: x + x, "textbook": too_large}
    operation = gpu_cases.Operation((x,), (torch.ones(4),), sides, lambda: iter(()), 1e9, "GB/s")
    figures = gpu.measure(operation, 3)
    assert set(figures["ms"]) == {"ours", "torch"}
    assert figures["absent"] == {"textbook": "out of memory"}
    assert figures["rate"] == pytest.approx(1e3 / figures["ms"]["ours"])
    with pytest.raises(torch.OutOfMemoryError):
        gpu.measure(gpu_cases.Operation((x,), (torch.ones(4),), {"ours": too_large}, iter, 1.0, "GB/s"), 1)


def test_rows_without_a_neighbor_must_be_empty_on_both_sides():
    x = torch.ones(3, requires_grad=True)
    sides = {"ours": lambda x: x.log(), "textbook": lambda x: x.log()}

    def parts():
        yield 0, ..., lambda x: torch.where(torch.tensor([True, False, True]), x.log(), -torch.inf)

    with pytest.raises(AssertionError, match="-inf"):
        gpu.check(gpu_cases.Operation((x,), (torch.ones(3),), sides, parts, 1.0, "GB/s"), 1e-4)


def test_tf32_is_off_unless_a_case_asks_for_it():
    before = torch.get_float32_matmul_precision()
    for name, arithmetic in gpu_cases.ARITHMETIC.items():
        with gpu._precision(arithmetic.precision):
            assert torch.backends.cuda.matmul.allow_tf32 == name.startswith("tf32")
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("case", [case for case in gpu_cases.all_cases(tiny=True) if case.arithmetic == "float32"])
def test_the_reference_is_the_same_in_parts_and_of_the_textbook_form(case, monkeypatch):
    operation = case.build(torch.device("cpu"))
    whole = gpu.reference(operation)
    for name in ("ROWS_AT_ONCE", "GRAPH_ROWS_AT_ONCE"):
        monkeypatch.setattr(gpu_cases, name, 37)
    gpu.difference(gpu.reference(operation), whole, 1e-12)
    for side in ("textbook", "torch"):
        gpu.difference(gpu.step(operation, side), whole, 1e-4)
