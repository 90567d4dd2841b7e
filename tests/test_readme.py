"""The README's Python runs as it stands, and its commands name things that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})


def test_the_two_commands_stand_at_the_top():
    first, second = blocks("bash")[:2]
    assert "venv" in first
    assert "gcl train csgcl digits" in first
    assert "pytest" in second
    assert "constraints.txt" in first
    assert "constraints.txt" in second


def test_shown_commands_exist():
    from typer.main import get_command

    from gcl.cli.app import app

    known = set(get_command(app).commands)
    shown = {
        match for block in blocks("bash") for match in re.findall(r"(?:^|\s{2,}|/)gcl ([a-z]+)", block, flags=re.M)
    }
    assert shown
    assert shown <= known


def test_the_readme_promises_only_what_is_there():
    root = README.parent
    assert "FIGURES" not in TEXT
    for name in re.findall(r"`((?:docs|experiments|datasets|gcl|tests)/[\w./-]+)`", TEXT):
        assert (root / name).exists(), name
