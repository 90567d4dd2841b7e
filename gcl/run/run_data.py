"""The data of a run, as it was trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcl.core.errors import ConfigError
from gcl.data.dataset import Dataset
from gcl.data.load import load_dataset
from gcl.data.names import find_name
from gcl.run.run_directory import kind_of


def load_for_run(
    settings: Mapping[str, Any],
    dataset: Any = None,
    *,
    data_root: str | Path | None = None,
    where: str = "the run",
    same: bool = False,
) -> Dataset:
    """The dataset that a run was trained on, or another for it.

    Another named set brings its own transform of the features; data of one's own get what the run was trained with.

    Args:
        settings: of the run, as its ``config.yaml`` has them.
        dataset: ``None`` = the run's own.
        data_root: where named datasets lie; ``None`` = where they lay for the run.
        where: what the message calls the run.
        same: whether ``dataset`` is what the run was trained on, given again: then what was done to it then is done
            again, unless it was done before it was given.

    Raises:
        ConfigError: the run was trained on a graph in memory and none is given.
        DataError: it cannot be read.
    """
    reference = settings["dataset"] if dataset is None else dataset
    if reference is None:
        raise ConfigError(f"{where} was trained on a graph in memory; give it again as the dataset")
    if isinstance(reference, Dataset) and not same:
        return reference
    kind = kind_of(settings)
    name = find_name(reference, kind=kind) if isinstance(reference, str) else None
    own = same or dataset is None or (name is not None and name == settings["dataset"])
    options: dict[str, Any] = {
        "data_root": data_root or settings["data_root"],
        "interactions": settings.get("interactions") if own else None,
        "metapath": settings.get("metapath"),
    }
    transform = settings.get("transform")
    done = reference.info if isinstance(reference, Dataset) else {}
    if done.get("metapath"):
        options["metapath"] = None
    if own and transform is not None and not done.get("transform"):
        options["transform"] = transform
    found = load_dataset(reference, kind=kind, **options)
    if not own and found.card is None and transform:
        found = load_dataset(reference, kind=kind, **options, transform=transform)
    return found
