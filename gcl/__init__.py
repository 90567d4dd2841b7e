"""Graph contrastive learning: node representations from graphs without labels.

``import gcl`` is cheap: torch is imported when the first name below is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gcl.core.version import __version__

if TYPE_CHECKING:
    from gcl.data.load import load_dataset
    from gcl.run.certify import certify
    from gcl.run.cluster import cluster
    from gcl.run.open_run import Run, open_run
    from gcl.run.pipeline import pipeline, resume
    from gcl.run.recommend import recommend
    from gcl.run.report import write_report
    from gcl.run.reproduce import reproduce
    from gcl.run.result import Result

_HOMES = {
    "Result": "gcl.run.result",
    "Run": "gcl.run.run_directory",
    "certify": "gcl.run.certify",
    "cluster": "gcl.run.cluster",
    "load_dataset": "gcl.data.load",
    "open_run": "gcl.run.open_run",
    "pipeline": "gcl.run.pipeline",
    "recommend": "gcl.run.recommend",
    "reproduce": "gcl.run.reproduce",
    "resume": "gcl.run.pipeline",
    "write_report": "gcl.run.report",
}

__all__ = [
    "Result",
    "Run",
    "__version__",
    "certify",
    "cluster",
    "load_dataset",
    "open_run",
    "pipeline",
    "recommend",
    "reproduce",
    "resume",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gcl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
