"""Dataset cards: what is known of each named dataset. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gcl.core.errors import DataError
from gcl.data.resources import resource_folder

COLLECTIONS = ("node", "cluster", "hetero", "rec")

# libyaml reads the cards about ten times faster; wheels of PyYAML have it, builds from source may not.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Card:
    """What is known of a named dataset; one YAML file each in ``datasets/<collection>/<stem>.yaml``.

    Args:
        name: canonical name, ``collection/stem``.
        title: the name that people print.
        collection: ``node``, ``cluster``, ``hetero`` or ``rec``.
        source: where the data come from.
        licence: what the source says.
        statistics: counts by name, of the file itself.
        obtain: the PyG call that gives the same graph, ``data root only``, or ``embedded`` (needs no file).
        sha256: checksum of the archive; ``None`` where there is no file.
        transform: names of the feature transforms that loading by name applies, in order.
        notes: the protocol, and how the set differs from others of its name.
    """

    name: str
    title: str
    collection: str
    source: str
    licence: str
    statistics: Mapping[str, Any]
    obtain: str
    sha256: str | None = None
    transform: tuple[str, ...] = ()
    notes: str = ""

    @property
    def stem(self) -> str:
        """The name without its collection."""
        return self.name.split("/", 1)[1]

    @property
    def embedded(self) -> bool:
        """Whether the set needs no file."""
        return self.obtain == "embedded"

    @property
    def file(self) -> str:
        """The archive relative to a data root."""
        return f"{self.name}.npz"


@cache
def card_names() -> tuple[str, ...]:
    """Canonical names of all cards, by collection and stem; reads file names only."""
    folder = resource_folder("datasets")
    return tuple(
        f"{collection}/{path.stem}"
        for collection in COLLECTIONS
        for path in sorted((folder / collection).glob("*.yaml"))
    )


@cache
def read_card(name: str) -> Card:
    """The card of a canonical name.

    Raises:
        DataError: the card is absent or damaged.
    """
    path = resource_folder("datasets") / f"{name}.yaml"
    if not path.is_file():
        raise DataError(f"there is no card {path}; `gcl data list` shows the datasets that have one")
    return parse_card(path)


def parse_card(path: Path) -> Card:
    """Reads and checks one card file.

    Raises:
        DataError: not YAML, a key is missing or unknown, or the name does not agree with the place.
    """
    try:
        record = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise DataError(
            f"the card {path} is not valid YAML ({str(error).splitlines()[0]}); mend or remove it"
        ) from None
    known = {field.name for field in fields(Card)}
    required = known - {"sha256", "transform", "notes"}
    if not isinstance(record, dict) or not required <= set(record) or not set(record) <= known:
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise DataError(f"the card {path} must have the keys {sorted(required)}, got {found}")
    if record["name"] != f"{path.parent.name}/{path.stem}":
        raise DataError(f"the card {path} is named {record['name']!r}; the name must be its folder and file name")
    record["transform"] = tuple(record.get("transform") or ())
    record["notes"] = (record.get("notes") or "").strip()
    return Card(**record)
