"""Graph contrastive learning: node, user and item representations from graphs without labels.

``import gcl`` is cheap: torch is imported when the first name below is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gcl.pipeline import Result, open_run, pipeline

__all__ = ["Result", "__version__", "open_run", "pipeline"]


def __getattr__(name: str) -> Any:
    if name in ("Result", "open_run", "pipeline"):
        import gcl.pipeline as module

        value = getattr(module, name)
        globals()[name] = value  # keep the function where the submodule of the same name would land
        return value
    raise AttributeError(f"module 'gcl' has no attribute {name!r}")
