"""What ``gcl data info`` shows of data that has no card."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gcl.data.names import find_name


def is_own_source(source: str) -> bool:
    """Whether this is an existing file or folder rather than a dataset's name. Imports no torch.

    Raises:
        DataError: a bare name that several collections have.
    """
    return find_name(source) is None and Path(source).expanduser().exists()


def source_info(source: str | os.PathLike[str]) -> dict[str, Any]:
    """What is in a file or folder, as JSON has it: ``nodes`` by type, ``arcs`` by relation, ``features`` by type, ...

    Raises:
        DataError: it cannot be read.
    """
    from gcl.data.load import load_dataset

    dataset = load_dataset(Path(source).expanduser())
    graph, splits = dataset.graph, dataset.splits
    with_ids = [graph.target] if dataset.node_ids is not None else []
    return {
        "name": dataset.name,
        "path": str(source),
        "target": graph.target,
        "nodes": dict(graph.num_nodes_by_type),
        "arcs": {
            f"{name} ({' -> '.join(graph.relation_types[name])})": adjacency.num_arcs
            for name, adjacency in graph.relations.items()
        },
        **(
            {"directed": not next(iter(graph.relations.values())).symmetric}
            if len(graph.relations) == 1 and len(graph.num_nodes_by_type) == 1
            else {}
        ),
        "features": graph.spec.in_channels,
        "classes": dataset.num_classes,
        "labelled": 0 if dataset.y is None else int((dataset.y >= 0).sum()),
        "class_names": list(dataset.class_names),
        "splits": 0 if splits is None else splits.shape[1],
        **({"held": {part: pairs.shape[1] for part, pairs in dataset.held.items()}} if dataset.held else {}),
        "with_ids": [*with_ids, *dataset.other_ids],
        "fingerprint": dataset.fingerprint,
    }
