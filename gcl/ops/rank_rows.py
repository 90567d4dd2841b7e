"""Rows that are shared out over processes, and put together again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gcl.core.context import Clock
from gcl.core.errors import RankError

LOOK_EVERY = 1.0  # seconds


def _nothing_known() -> str | None:
    return None


_watch: Callable[[], str | None] = _nothing_known


def own_rows(rows: Tensor, clock: Clock) -> Tensor:
    """This process's share of some rows, ``[n, ...]``: consecutive ones, of which processes have one more at most.

    Args:
        rows: the same in every process, ``[N, ...]``.
        clock: its ``rank`` and ``world``.
    """
    return rows if clock.world == 1 else rows.tensor_split(clock.world)[clock.rank]


def gathered_rows(own: Tensor, num_rows: int, clock: Clock) -> Tensor:
    """All rows ``[N, d]`` of the shares ``[n, d]`` that :func:`own_rows` gave to the processes, with gradient.

    Each process computes a share of one loss from all rows; backward sums over the processes what each of them
    says of a row. Called by all processes at once. With one process, ``own`` itself.

    Raises:
        RankError: another process is gone.
    """
    if clock.world == 1:
        return own
    gathered: Tensor = _Gather.apply(own, num_rows, clock.rank, clock.world)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    # A sum of parts that are zero elsewhere, forward and backward: shares differ in size, and gloo's own gather wants
    # equal ones. It moves twice what a gather would.

    @staticmethod
    def forward(ctx: Any, own: Tensor, num_rows: int, rank: int, world: int) -> Tensor:
        sizes = [len(part) for part in torch.empty(num_rows, device="meta").tensor_split(world)]
        ctx.start, ctx.size = sum(sizes[:rank]), sizes[rank]
        whole = own.new_zeros(num_rows, *own.shape[1:])
        whole[ctx.start : ctx.start + ctx.size] = own
        return sum_over_ranks(whole)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = gradients
        total = sum_over_ranks(gradient.clone(memory_format=torch.contiguous_format))
        return total[ctx.start : ctx.start + ctx.size], None, None, None


@contextmanager
def watched(look: Callable[[], str | None]) -> Iterator[None]:
    """Inside the block, whoever waits for another process asks now and then whether it is still there.

    Args:
        look: what became of it; ``None`` while all is well.
    """
    global _watch
    before, _watch = _watch, look
    try:
        yield
    finally:
        _watch = before


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in place; the same bits everywhere.

    Raises:
        RankError: another process is gone.
    """
    return _finished(lambda: dist.all_reduce(tensor, async_op=True), tensor)


def broadcast(tensor: Tensor) -> Tensor:
    """The first process's values of a tensor, in place.

    Raises:
        RankError: another process is gone.
    """
    return _finished(lambda: dist.broadcast(tensor, src=0, async_op=True), tensor)


def _finished(start: Callable[[], Any], tensor: Tensor) -> Tensor:
    """Starts an exchange between processes and waits until it is done; signals are heard meanwhile.

    Args:
        start: begins it and gives its handle.
        tensor: what is exchanged.

    Raises:
        RankError: another process is gone.
    """
    pause, look = 1e-5, time.monotonic() + LOOK_EVERY
    try:
        work = start()
        while not work.is_completed():
            time.sleep(pause)  # a wait inside the library would not let Python handle a signal
            pause = min(2 * pause, 0.01 if tensor.device.type == "cpu" else 5e-5)
            if time.monotonic() > look:
                look = time.monotonic() + LOOK_EVERY
                if (found := _watch()) is not None:
                    raise RankError(found)
        work.wait()
    except (torch.OutOfMemoryError, RankError):
        raise
    except RuntimeError as error:
        raise RankError("the processes lost touch") from error
    return tensor
