"""The README's Python runs as it stands, and its commands name things that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
CODE = [(page.name, code) for page in PAGES for code in blocks("python", page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "code"), CODE)
def test_python_blocks_run(page, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {"__name__": "documentation"})


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
    shown = {match for block in blocks("bash") for match in re.findall(r"(?:^|/)gcl ([a-z]+)", block, flags=re.M)}
    assert shown
    assert shown <= known


def test_the_readme_promises_only_what_is_there():
    assert "FIGURES" not in TEXT
    for page in PAGES:
        for link in re.findall(r"\]\(([\w./-]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page.name, link)
    for name in re.findall(r"`((?:docs|experiments|datasets|gcl|tests)/[\w./-]+)`", TEXT):
        assert (ROOT / name).exists(), name
