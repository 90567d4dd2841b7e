"""``results.json``: the latest record of each family."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcl.core.files import write_json

FORMAT = 1
RESULTS = Path(__file__).resolve().parent / "results.json"


def read_results(path: Path = RESULTS) -> dict[str, Any]:
    """The families' records by name; none where there is no file."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} has format {content.get('format')}, not {FORMAT}; remove it and measure again")
    return content["families"]


def merge_results(records: Mapping[str, Any], path: Path = RESULTS) -> None:
    """Replaces the records of some families and keeps the others; written under another name, then renamed."""
    write_json(path, {"format": FORMAT, "families": {**read_results(path), **records}})
