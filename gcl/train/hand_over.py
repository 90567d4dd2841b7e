"""What the first process sends to the others: method, graph and state, pickled."""

from __future__ import annotations

import io
import pickle
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gcl.core.errors import ConfigError, RankError
from gcl.data.stored_graph import mapped_again, unchanged_file
from gcl.ops.rank_rows import broadcast
from gcl.train.ranks import Ranks

PIECE = 2**28  # bytes sent at once


class Job(Protocol):
    """What the first process has the others do."""

    def run(self, ranks: Ranks) -> None:
        """Takes part in training."""
        ...


def hand_out(job: Job, ranks: Ranks) -> None:
    """Gives every helper the job.

    Raises:
        ConfigError: it holds what cannot be sent to another process.
        RankError: a helper is gone.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer).dump(job)
    except Exception as error:  # a class may refuse in any way
        raise ConfigError(
            f"trainer.devices sends method and graph to other processes, and a part cannot be pickled ({error}); "
            "define its class in a module, without lambdas, or leave trainer.devices out"
        ) from error
    data = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
    try:
        for piece in (torch.tensor([data.numel()]), *data.split(PIECE)):
            broadcast(piece)
    except RankError as error:
        raise RankError(ranks.why(error)) from error


def receive() -> Job | None:
    """The job, in a helper; ``None`` where the first process sends none after all.

    Raises:
        ConfigError: it names what is not here.
        RankError: the first process is gone.
    """
    size = torch.zeros(1, dtype=torch.int64)
    try:
        broadcast(size)
    except RankError:
        return None
    data = torch.empty(int(size), dtype=torch.uint8)
    for piece in data.split(PIECE):
        broadcast(piece)
    try:
        job: Job = _Unpickler(io.BytesIO(data.numpy().data)).load()
    except (AttributeError, ImportError) as error:
        raise ConfigError(
            f"another process cannot find a part ({error}); define its class in a module that can be imported, or "
            "leave trainer.devices out"
        ) from error
    return job


class _Pickler(pickle.Pickler):
    """Sends the name of a file in place of a tensor on its pages, and tensors of a GPU by way of the CPU."""

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._files: dict[int, tuple[Tensor, str | None]] = {}  # by identity, each looked at once

    def persistent_id(self, value: Any) -> str | None:
        if isinstance(value, type) and value.__module__ == "__main__":
            raise pickle.PicklingError(f"{value.__name__} is defined in the program itself")
        if not isinstance(value, Tensor):
            return None
        if id(value) not in self._files:
            self._files[id(value)] = (value, unchanged_file(value))
        return self._files[id(value)][1]

    def reducer_override(self, value: Any) -> Any:
        if type(value) is Tensor and value.device.type != "cpu":
            return value.cpu().__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        if type(value) is nn.Parameter and value.device.type != "cpu":
            here = nn.Parameter(value.detach().cpu(), value.requires_grad)
            return here.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self._mapped: dict[str, Tensor] = {}

    def persistent_load(self, pid: str) -> Tensor:
        if pid not in self._mapped:
            self._mapped[pid] = mapped_again(pid)
        return self._mapped[pid]
