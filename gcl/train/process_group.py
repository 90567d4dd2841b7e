"""Torch's process group for one training."""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]

PATIENCE = datetime.timedelta(hours=2)  # of a process with another one that is there and says nothing
MEETING = datetime.timedelta(minutes=2)
HOST = "127.0.0.1"
LOOPBACK = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)


@contextmanager
def process_group(store: Any, number: int, rank: int, world: int, device: torch.device) -> Iterator[None]:
    """The default process group, by gloo on the CPU and by NCCL on GPUs.

    Args:
        store: where the processes meet.
        number: of the training among those that the store is for.
        rank, world: of this process.
        device: of this process.

    Raises:
        RuntimeError: another process is gone.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    # All have said that they are ready; one that is killed between that and this is noticed after two minutes, where
    # gloo lets the time be changed later.
    can = torch.__version__ >= (2, 10)  # type: ignore[operator]
    lengthen = getattr(dist.distributed_c10d, "_set_pg_timeout", None) if can else None
    first = PATIENCE if lengthen is None else MEETING
    try:
        dist.init_process_group(
            backend, store=PrefixStore(f"{number}/group", store), rank=rank, world_size=world, timeout=first
        )
    except RuntimeError:
        with contextlib.suppress(AttributeError):  # else the next group would have another name here than elsewhere
            dist.distributed_c10d._world.group_count = 0
        raise
    if lengthen is not None:
        lengthen(PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()
