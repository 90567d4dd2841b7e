"""Where benchmark archives are looked for. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

from gcl.core.errors import DataError
from gcl.data.cards import Card

ENVIRONMENT = "GCL_DATA"


def data_roots(data_root: str | os.PathLike[str] | None = None) -> list[Path]:
    """Folders that are searched: the one given and no other, else ``GCL_DATA`` and then the user's cache folder."""
    if data_root is not None:
        return [Path(data_root).expanduser()]
    roots = [Path(os.environ[ENVIRONMENT]).expanduser()] if os.environ.get(ENVIRONMENT) else []
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [*roots, Path(cache).expanduser() / "gcl" / "data"]


def find_archive(card: Card, data_root: str | os.PathLike[str] | None = None) -> Path | None:
    """The archive of a card, or ``None`` where no root has it (or the set is embedded)."""
    if card.embedded:
        return None
    return next((root / card.file for root in data_roots(data_root) if (root / card.file).is_file()), None)


def require_archive(card: Card, data_root: str | os.PathLike[str] | None = None) -> Path:
    """The archive of a card.

    Raises:
        DataError: no root has it; names the file, the places and how to give it.
    """
    path = find_archive(card, data_root)
    if path is None:
        places = " or ".join(str(root) for root in data_roots(data_root))
        given = f', or pass the graph of {card.obtain} with name="{card.name}"'
        other = given if card.obtain.startswith("torch_geometric") else ""
        if card.obtain.startswith(("torch_geometric", "ogb ")):
            other = f", fetch it by `gcl data prepare {card.name}`{other}"
        free = "rec/blocks and rec/davis" if card.collection == "rec" else "digits and karate"
        raise DataError(
            f"dataset {card.name} needs the file {card.file}, which is not in {places}; name the folder that has it "
            f"with --data-root or {ENVIRONMENT}{other} ({free} need no files)"
        )
    return path
