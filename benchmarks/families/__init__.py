"""One family of cases a file; each has a ``TITLE``, a ``SUMMARY`` and ``cases(options)``."""

from __future__ import annotations

import importlib
from types import ModuleType

FAMILIES = (
    *(
        "loss",
        "loss-options",
        "epoch",
        "propagation",
        "sampling",
        "csgcl-preparation",
        "probe",
        "pot",
        "lightgcl",
        "pamc",
        "metapath",
        "growth",
    ),
)


def load_family(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.families.{name.replace('-', '_')}")
