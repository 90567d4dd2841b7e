"""Where training runs and in which precision."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def find_device(name: str) -> torch.device:
    """The device of a name: ``auto`` is the first GPU if there is one, else the CPU.

    Raises:
        ConfigError: the GPU is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        if not torch.cuda.is_available() or device.index >= torch.cuda.device_count():
            raise ConfigError(
                f"device {name!r} is not available: torch sees {torch.cuda.device_count()} GPUs; use 'auto' or 'cpu'"
            )
    return device


def own_device(device: torch.device, rank: int) -> torch.device:
    """The device of one of several processes: the GPU of its number on this machine, or the CPU.

    Raises:
        ConfigError: there are fewer GPUs than processes.
    """
    if device.type != "cuda":
        return device
    number = int(os.environ.get("LOCAL_RANK", rank))  # of torchrun, or of the process that started this one
    if number >= torch.cuda.device_count():
        raise ConfigError(
            f"process {rank} finds no GPU of its own: torch sees {torch.cuda.device_count()}; lower trainer.devices"
        )
    return torch.device("cuda", number)


def make_fabric(device: torch.device, precision: str) -> Any:
    """A Lightning Fabric of one device, without its messages. It gives autocast and backward."""
    logger = logging.getLogger("lightning_fabric")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment

        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            # One process whatever the surroundings say (SLURM, torchrun).
            return Fabric(
                accelerator=device.type,
                devices=1 if device.type == "cpu" else [device.index],
                precision=precision,  # type: ignore[arg-type]
                plugins=[LightningEnvironment()],
            )
        finally:
            logger.setLevel(level)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Makes new floating-point tensors of this type inside the block."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)


def place_graph(graph: Graph, device: torch.device, dtype: torch.dtype) -> Graph:
    """The graph on a device; in float64 all its floating-point values become so (otherwise they are kept).

    A graph that needs no change is returned as it is, so that what a method keeps of it is found again.
    """
    graph = graph.to(device)
    if dtype != torch.float64 or not any(value.dtype != dtype for value in _real_values(graph)):
        return graph

    def cast(value: Tensor) -> Tensor:
        return value.to(dtype) if value.is_floating_point() else value

    def cast_weight(value: Adjacency) -> Adjacency:
        return value if value.weight is None else dataclasses.replace(value, weight=cast(value.weight))

    def cast_attrs(attrs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        return {kind: {name: cast(value) for name, value in group.items()} for kind, group in attrs.items()}

    return dataclasses.replace(
        graph,
        features={
            kind: cast(value) if isinstance(value, Tensor) else cast_weight(value)
            for kind, value in graph.features.items()
        },
        relations={name: cast_weight(value) for name, value in graph.relations.items()},
        node_attrs=cast_attrs(graph.node_attrs),
        edge_attrs=cast_attrs(graph.edge_attrs),
    )


def _real_values(graph: Graph) -> Iterator[Tensor]:
    """All tensors of a graph that hold real numbers."""
    for matrix in (*graph.features.values(), *graph.relations.values()):
        value = matrix.weight if isinstance(matrix, Adjacency) else matrix
        if value is not None and value.is_floating_point():
            yield value
    for attrs in (*graph.node_attrs.values(), *graph.edge_attrs.values()):
        yield from (value for value in attrs.values() if value.is_floating_point())
