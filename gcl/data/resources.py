"""Where the package's own data files are: dataset cards and experiments."""

from __future__ import annotations

from pathlib import Path

from gcl.core.errors import DataError

PACKAGE = Path(__file__).resolve().parent.parent


def resource_folder(name: str) -> Path:
    """The folder of ``datasets`` (cards) or ``experiments``: inside an installed package, else beside it in a checkout.

    Raises:
        DataError: neither place has it; the installation is incomplete.
    """
    places = (PACKAGE / f"_{name}", PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    raise DataError(
        f"the folder {name!r} of the package is in neither {places[0]} nor {places[1]}; reinstall torch-gcl"
    )
