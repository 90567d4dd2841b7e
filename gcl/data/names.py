"""Canonical dataset names. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from gcl.core.errors import DataError, unknown
from gcl.data.cards import card_names


def fold(name: str) -> str:
    """The form in which names are compared: lower case, ``-`` and blanks as ``_``."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def find_name(name: str, *, kind: str | None = None, names: Iterable[str] | None = None) -> str | None:
    """The canonical name ``collection/stem`` that ``name`` stands for, or ``None`` where there is none.

    Case, ``-`` and ``_`` are equal. A bare stem is enough where one collection has it, or where ``kind`` has it.

    Args:
        name: ``collection/stem`` or ``stem``.
        kind: the collection that a bare stem is looked up in first.
        names: canonical names to choose from; those of all cards by default.

    Raises:
        DataError: a bare stem that several collections have and ``kind`` does not decide.
    """
    choices = {fold(choice): choice for choice in (card_names() if names is None else names)}
    folded = fold(name)
    if "/" in folded:
        return choices.get(folded)
    if kind is not None and f"{fold(kind)}/{folded}" in choices:
        return choices[f"{fold(kind)}/{folded}"]
    found = [choice for key, choice in choices.items() if key.split("/", 1)[1] == folded]
    if len(found) > 1:
        raise DataError(f"dataset {name!r} could be {' or '.join(sorted(found))}; give the full name")
    return found[0] if found else None


def resolve_name(name: str, *, kind: str | None = None) -> str:
    """The canonical name of a dataset; as :func:`find_name`, but an unknown name is an error.

    Raises:
        DataError: an unknown name (the nearest are named) or an ambiguous one (the candidates are listed).
    """
    found = find_name(name, kind=kind)
    if found is None:
        choices = card_names() if "/" in name else tuple({choice.split("/", 1)[1] for choice in card_names()})
        raise DataError(f"{unknown('dataset', name, choices)} (`gcl data list` shows all; a file needs its path)")
    return found
