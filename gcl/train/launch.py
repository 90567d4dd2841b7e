"""Starting, or finding, the other processes that a trainer shares its steps with.

One process, the first, does everything that is not a training step: it loads, prepares, validates, writes and
evaluates. The others are helpers: they wait for a job, get method and graph from the first, and run the same loop. The
first starts them itself for ``trainer.devices``; under ``torchrun`` every process runs the whole command, and
:func:`lend_a_hand` makes helpers of all but one.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import io
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore, rendezvous  # type: ignore[attr-defined]

from gcl.core.errors import ConfigError, GCLError, RankError
from gcl.data.stored_graph import mapped_again
from gcl.train.ranks import Alone, Ranks, Together

PATIENCE = datetime.timedelta(hours=2)  # of a process with another one that is there and says nothing
PIECE = 2**28  # bytes sent at once
HOST = "127.0.0.1"

_jobs = 0  # of this process
_store: Any = None  # torchrun's, once it was asked for


class Job(Protocol):
    """What the first process has the others do."""

    def run(self, ranks: Ranks) -> None:
        """Takes part in training."""
        ...


def surroundings() -> tuple[int, int]:
    """Rank and number of the processes that ``torchrun`` started, this one among them; ``(0, 1)`` without it."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if not all(name in os.environ for name in names):
        return 0, 1
    try:
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except ValueError as error:
        raise ConfigError(
            f"RANK and WORLD_SIZE of the environment must be whole numbers ({error}); unset them"
        ) from error


def lend_a_hand() -> None:
    """Under ``torchrun``, makes a helper of every process but the first; it ends when the first one does.

    Raises:
        SystemExit: at that end.
    """
    rank, world = surroundings()
    if rank == 0 or world == 1:
        return
    sys.exit(serve(_torchrun_store(), rank, world))


@contextmanager
def together(devices: int, device: torch.device) -> Iterator[Ranks]:
    """The processes to train with, for one training; the others are there and wait for a job.

    Args:
        devices: how many processes, on this machine; under ``torchrun`` its processes are taken.
        device: of this process.

    Raises:
        ConfigError: a number that does not go with torchrun's, or torch's process group is in use already.
        RankError: a process could not be started.
    """
    global _jobs
    _, world = surroundings()
    if devices == 1 and world == 1:
        yield Alone()
        return
    if dist.is_initialized():
        raise ConfigError(
            "trainer.devices uses torch.distributed's default process group, which this program has initialised; "
            "destroy it first, or leave trainer.devices out"
        )
    with contextlib.ExitStack() as stack:
        if world > 1:
            if devices not in (1, int(os.environ.get("LOCAL_WORLD_SIZE", devices))):
                raise ConfigError(
                    f"trainer.devices={devices} asks for other processes than the {world} of torchrun; leave it out"
                )
            store, started = _torchrun_store(), []
            number, _jobs = _jobs, _jobs + 1
        else:
            world, number = devices, 0
            store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
            threads = max(1, torch.get_num_threads() // world)
            started = stack.enter_context(_started(store.port, world, threads))
            stack.enter_context(_threads(threads))
            if "GLOO_SOCKET_IFNAME" not in os.environ:  # all are here, whatever this machine's name means
                stack.enter_context(_environment(GLOO_SOCKET_IFNAME="lo"))
        store.set(f"{number}/job", device.type)
        _wait_until_ready(store, number, world, started)
        stack.enter_context(_process_group(store, number, 0, world, device))

        def reported(rank: int) -> str | None:
            key = f"{number}/error-{rank}"
            return store.get(key).decode() if store.check([key]) else None

        yield Together(0, world, started=started, reported=reported)


def hand_out(job: Job, ranks: Ranks) -> None:
    """Gives every helper the job.

    Raises:
        ConfigError: it holds what cannot be sent to another process.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(job)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"trainer.devices sends method and graph to other processes, and a part cannot be pickled ({error}); "
            "define its class in a module, without lambdas, or leave trainer.devices out"
        ) from error
    data = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
    dist.broadcast(torch.tensor([data.numel()]), src=0)
    for piece in data.split(PIECE):
        dist.broadcast(piece, src=0)


class _Pickler(pickle.Pickler):
    """Sends the name of a file in place of a tensor on its pages."""

    def persistent_id(self, value: Any) -> str | None:
        return getattr(value, "mapped_from", None) if isinstance(value, torch.Tensor) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: str) -> torch.Tensor:
        return mapped_again(pid)


# -- helpers -----------------------------------------------------------------------------------------------------------


def serve(store: Any, rank: int, world: int, *, jobs: int | None = None) -> int:
    """Does what the first process asks until it is gone or says that it is over; gives the exit code.

    Args:
        store: where they meet.
        rank, world: of this process.
        jobs: after how many to end; ``None`` = never.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the first process stops all of them, between two steps
        signal.signal(number, signal.SIG_IGN)
    done = 0
    while jobs is None or done < jobs:
        try:
            store.wait([f"{done}/job"], datetime.timedelta(days=365))
            kind = store.get(f"{done}/job").decode()
        except RuntimeError:
            return 0  # the first process is gone, or never came to this
        if not kind:
            return 0
        try:
            _help(store, done, rank, world, kind)
        except BaseException as error:
            with contextlib.suppress(RuntimeError):
                store.set(f"{done}/error-{rank}", f"{type(error).__name__}: {error}")
            if not isinstance(error, GCLError):
                traceback.print_exc()
            return 1
        done += 1
    return 0


def _help(store: Any, number: int, rank: int, world: int, kind: str) -> None:
    device = torch.device(kind, int(os.environ.get("LOCAL_RANK", rank))) if kind == "cuda" else torch.device(kind)
    store.set(f"{number}/ready-{rank}", b"1")
    with _process_group(store, number, rank, world, device):
        ranks = Together(rank, world)
        try:
            job = _receive()
        except RuntimeError:
            return  # the first process had nothing after all
        try:
            job.run(ranks)
        except RankError:
            return  # the first process tells the user


def _receive() -> Job:
    size = torch.zeros(1, dtype=torch.int64)
    dist.broadcast(size, src=0)
    data = torch.empty(int(size), dtype=torch.uint8)
    for piece in data.split(PIECE):
        dist.broadcast(piece, src=0)
    try:
        job: Job = _Unpickler(io.BytesIO(data.numpy().data)).load()
    except (AttributeError, ImportError) as error:
        raise ConfigError(
            f"another process cannot find a part ({error}); define its class in a module that can be imported, or "
            "leave trainer.devices out"
        ) from error
    return job


# -- the first process -------------------------------------------------------------------------------------------------


@contextmanager
def _started(port: int, world: int, threads: int) -> Iterator[list[tuple[int, Any]]]:
    """Helpers on this machine, which are ended with the block."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    processes: list[tuple[int, Any]] = []
    try:
        for rank in range(1, world):
            command = [sys.executable, "-m", "gcl.train.helper", str(port), str(rank), str(world)]
            # what a helper prints is a message, never a result
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=2)
            processes.append((rank, process))
        yield processes
    finally:
        end = time.monotonic() + 5
        for _, process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
            process.kill()
            process.wait()


def _wait_until_ready(store: Any, number: int, world: int, started: list[tuple[int, Any]]) -> None:
    keys = [f"{number}/ready-{rank}" for rank in range(1, world)]
    while not store.check(keys):
        for rank, process in started:
            if (code := process.poll()) is not None:
                raise RankError(f"process {rank} of {world} could not start (exit code {code}); see its message above")
        time.sleep(0.02)


@contextmanager
def _process_group(store: Any, number: int, rank: int, world: int, device: torch.device) -> Iterator[None]:
    backend = "gloo"
    if device.type == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)
    group = PrefixStore(f"{number}/group", store)
    dist.init_process_group(backend, store=group, rank=rank, world_size=world, timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _torchrun_store() -> Any:
    global _store
    if _store is None:
        _store, rank, _ = next(rendezvous("env://", timeout=PATIENCE))
        if rank == 0:
            atexit.register(_say_that_it_is_over)
    return _store


def _say_that_it_is_over() -> None:
    with contextlib.suppress(RuntimeError):
        _store.set(f"{_jobs}/job", b"")
        time.sleep(0.5)  # a store that lives in this process is read before it goes


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
