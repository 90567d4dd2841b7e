"""What ``gcl data list`` and ``gcl data info`` show. Imports no torch."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from gcl.core.errors import DataError, unknown
from gcl.core.files import sha256_of
from gcl.data.cards import COLLECTIONS, Card, card_names, read_card
from gcl.data.names import resolve_name
from gcl.data.roots import data_roots, find_archive


def list_datasets(data_root: str | os.PathLike[str] | None = None, *, kind: str | None = None) -> list[dict[str, Any]]:
    """One record a dataset: ``name``, ``title``, ``collection``, ``statistics``, ``available``, ``path``.

    ``available`` is ``embedded``, ``found`` (``path`` says where) or ``missing``.
    """
    if kind is not None and kind not in COLLECTIONS:
        raise DataError(unknown("collection", kind, COLLECTIONS))
    cards = (read_card(name) for name in card_names() if kind is None or name.startswith(f"{kind}/"))
    return [
        {
            "name": card.name,
            "title": card.title,
            "collection": card.collection,
            "statistics": dict(card.statistics),
            **_availability(card, data_root),
        }
        for card in cards
    ]


def dataset_info(
    name: str,
    data_root: str | os.PathLike[str] | None = None,
    *,
    kind: str | None = None,
    verify: bool = False,
) -> dict[str, Any]:
    """Everything on a dataset's card, where its file is, and with ``verify`` whether the checksum agrees.

    ``verified`` is ``None`` where nothing was compared: not asked, no file, embedded, or an archive that was prepared
    from the card's source (``prepared_from``), whose counts were compared when it was made.
    """
    card = read_card(resolve_name(name, kind=kind))
    record = dataclasses.asdict(card)
    record["statistics"], record["transform"] = dict(card.statistics), list(card.transform)
    record.update(_availability(card, data_root))
    record["searched"] = [str(root) for root in data_roots(data_root)]
    path = record["path"]
    record["verified"] = sha256_of(Path(path)) == card.sha256 if verify and path and card.sha256 else None
    if record["verified"] is False and _source_of(Path(path)) == card.obtain:
        record["verified"], record["prepared_from"] = None, card.obtain
    return record


def _source_of(path: Path) -> str | None:
    """What an archive says of where it comes from."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return str(archive["source"])
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _availability(card: Card, data_root: str | os.PathLike[str] | None) -> dict[str, Any]:
    path = find_archive(card, data_root)
    state = "embedded" if card.embedded else "missing" if path is None else "found"
    return {"available": state, "path": None if path is None else str(path)}
