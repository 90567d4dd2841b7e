"""A helper: a process that trains along with the first one."""

from __future__ import annotations

import contextlib
import datetime
import signal
import traceback
from typing import Any

import torch

from gcl.core.errors import GCLError, RankError
from gcl.train.device import own_device
from gcl.train.hand_over import receive
from gcl.train.process_group import process_group
from gcl.train.ranks import Together

FOREVER = datetime.timedelta(days=365)


def serve(store: Any, rank: int, world: int, *, jobs: int | None = None) -> int:
    """Does what the first process asks until it is gone or says that it is over; gives the exit code.

    What goes wrong in a job is left in the store for the first process, which tells the user.

    Args:
        store: where they meet.
        rank, world: of this process.
        jobs: after how many to end; ``None`` = never.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops all of them, between two steps
    noted: list[int] = []  # SIGTERM waits for the end of a job, for the first process stops between two steps
    failed = False
    done = 0
    while jobs is None or done < jobs:
        try:
            store.wait([f"{done}/job"], FOREVER)
            kind = store.get(f"{done}/job").decode()
        except RuntimeError:
            return 0  # the first process is gone
        if not kind:
            return 0
        previous = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
        failed = False
        try:
            _help(store, done, rank, world, kind)
        except Exception as error:
            failed = True
            with contextlib.suppress(RuntimeError):
                store.set(f"{done}/error-{rank}", f"{type(error).__name__}: {error}")
            if not isinstance(error, GCLError):
                traceback.print_exc()
        finally:
            signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
        if noted:
            return 1
        done += 1
    return int(failed)


def _help(store: Any, number: int, rank: int, world: int, kind: str) -> None:
    device = own_device(torch.device(kind), rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store.set(f"{number}/ready-{rank}", b"1")
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(RankError))  # the first process tells the user
        try:
            stack.enter_context(process_group(store, number, rank, world, device))
        except RuntimeError as error:
            raise RankError("the processes did not meet") from error
        job = receive()
        if job is not None:
            job.run(Together(rank, world))
