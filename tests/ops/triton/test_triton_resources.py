"""Kernels compiled ahead of time: in a process of their own, since this one interprets them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

pytest.importorskip("triton")

from gcl.ops.triton import resources
from gcl.ops.triton.resources import Resources

KERNELS = ("meta_node_sum", "neighbor_logsumexp", "product_logsumexp", "segment_sum", "sparse_product")


def report(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | environment
    command = [sys.executable, "-W", "ignore", "-m", "gcl.ops.triton.resources", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=variables)


@pytest.mark.skipif(
    tuple(map(int, version("triton").split(".")[:2])) < (3, 3),
    reason="Triton compiles ahead of time alike from 3.3 on",
)
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_compile_and_fit(kernel):
    done = report("--only", f"{kernel}/", "/d128", "--json")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert {case["arch"] for case in found} == {80, 90}
    assert {case["name"].split("/")[0] for case in found} == {kernel}
    for case in found:
        assert 0 < case["registers"] <= 255, case
        assert case["shared_bytes"] <= resources.SHARED_LIMIT[case["arch"]], case
        assert not (case["plain"] and case["spill_bytes"]), case
        assert case["good"], case
    assert any(case["plain"] for case in found)
    assert done.returncode == 0


def test_every_kernel_is_reported():
    assert sorted(resources.MODULES) == sorted(KERNELS)
    assert all(any(case.name.startswith(kernel) for case in resources.all_cases()) for kernel in KERNELS)


def test_what_is_too_large_is_not_good():
    small = Resources("a", 80, shared_bytes=100_000, registers=64, stack_bytes=0, spill_bytes=0, plain=True)
    assert small.good
    large = dataclasses.replace(small, shared_bytes=200_000)
    assert not large.fits
    assert not large.good
    assert dataclasses.replace(large, arch=90).good  # which has more
    spilling = dataclasses.replace(small, stack_bytes=64, spill_bytes=8)
    assert not spilling.good
    assert dataclasses.replace(spilling, plain=False).good


def test_unknown_case():
    done = report("--only", "no_such_kernel")
    assert done.returncode == 2
    assert "no_such_kernel" in done.stderr


def test_nothing_compiles_under_the_interpreter():
    done = report("--only", "segment_sum/fp32-i32/d16", TRITON_INTERPRET="1")
    assert done.returncode == 1
    assert "TRITON_INTERPRET" in done.stderr
