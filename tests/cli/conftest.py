"""The command as a process: a forked child of the test process, which has torch imported already."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from children import Done, in_a_child


@pytest.fixture
def gcl(tmp_path, monkeypatch) -> Callable[..., Done]:
    """``gcl("train", "grace", "karate")`` in an empty folder without any data root."""
    import gcl.cli.app
    import gcl.run.pipeline  # so that children need not import torch

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("GCL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: Any, env: dict[str, str] | None = None) -> Done:
        def work() -> None:
            os.environ.update(env or {})
            sys.argv = ["gcl", *map(str, arguments)]
            gcl.cli.app.main()

        return in_a_child(work, tmp_path)

    return run
