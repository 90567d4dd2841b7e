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
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import TCPStore, rendezvous  # type: ignore[attr-defined]

from gcl.core.errors import ConfigError, RankError
from gcl.ops.rank_rows import watched
from gcl.train.process_group import HOST, LOOPBACK, PATIENCE, process_group
from gcl.train.ranks import Alone, Ranks, Together
from gcl.train.serve import serve
from gcl.train.surroundings import OF_LAUNCHERS, surroundings

ARRIVAL = 1800  # seconds until all processes of torchrun must have called

_jobs = 0  # of torchrun's processes
_store: Any = None  # torchrun's, once it was asked for


def lend_a_hand() -> None:
    """Under ``torchrun``, makes a helper of every process but the first; it ends when the first one does.

    Raises:
        SystemExit: at that end.
    """
    here = surroundings()
    if here.world == 1:
        return
    store = _torchrun_store()  # in the first process, too: its end is then told to the others, whatever it does
    if here.rank:
        sys.exit(serve(store, here.rank, here.world))


@contextmanager
def together(devices: int, device: torch.device) -> Iterator[Ranks]:
    """The processes to train with, for one training; the others are there and wait for a job.

    Args:
        devices: how many processes, on this machine; under ``torchrun`` its processes are taken.
        device: of this process.

    Raises:
        ConfigError: a number that does not go with torchrun's or with the GPUs, or torch's process group is in use.
        RankError: a process could not be started.
    """
    global _jobs
    here = surroundings()
    if devices == 1 and here.world == 1:
        yield Alone()
        return
    if devices not in (1, here.local_world) and here.world > 1:
        raise ConfigError(
            f"trainer.devices={devices} asks for other processes than the {here.local_world} that torchrun started on "
            "this machine; leave it out"
        )
    local = here.local_world if here.world > 1 else devices
    if device.type == "cuda" and local > torch.cuda.device_count():
        raise ConfigError(
            f"{local} processes on this machine need a GPU each, and torch sees {torch.cuda.device_count()}; lower "
            "trainer.devices, or set trainer.device=cpu"
        )
    if dist.is_initialized():
        raise ConfigError(
            "trainer.devices uses torch.distributed's default process group, which this program has initialised; "
            "destroy it first, or leave trainer.devices out"
        )
    with contextlib.ExitStack() as stack:
        number, started, world = 0, [], here.world
        if world > 1:
            store = _torchrun_store()
            number, _jobs = _jobs, _jobs + 1
        else:
            world = devices
            store = _own_store()
            threads = max(1, torch.get_num_threads() // world)
            started = stack.enter_context(_started(store.port, world, threads))
            stack.enter_context(_threads(threads))
            if LOOPBACK and "GLOO_SOCKET_IFNAME" not in os.environ:  # whatever this machine's name means
                stack.enter_context(_environment(GLOO_SOCKET_IFNAME=LOOPBACK))

        def reported(rank: int) -> str | None:
            key = f"{number}/error-{rank}"
            return store.get(key).decode() if store.check([key]) else None

        ranks = Together(0, world, started=started, reported=reported)
        store.set(f"{number}/job", device.type)
        keys = [f"{number}/ready-{rank}" for rank in range(1, world)]
        end = time.monotonic() + ARRIVAL
        while not store.check(keys):
            found = ranks.ended() or next((f"process {rank} ended" for rank, one in started if one.poll() == 0), None)
            if found is None and time.monotonic() > end:
                found = f"not all of the {world} processes came within {ARRIVAL // 60} minutes; each must call gcl"
            if found is not None:
                raise RankError(f"{found}, before training could begin")
            time.sleep(0.02)
        try:
            stack.enter_context(process_group(store, number, 0, world, device))
        except RuntimeError as error:
            raise RankError(f"{ranks.why(RankError())}, before training could begin") from error
        stack.push(_ends(started))
        stack.enter_context(watched(ranks.ended))
        yield ranks


def _ends(started: list[tuple[int, Any]]) -> Callable[..., None]:
    """On an error, ends helpers before the group is left, which would wait for an exchange with them."""

    def leave(kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is not None:
            for _, process in started:
                process.kill()

    return leave


@contextmanager
def _started(port: int, world: int, threads: int) -> Iterator[list[tuple[int, Any]]]:
    """Helpers on this machine, which are ended with the block."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {name: value for name, value in os.environ.items() if name not in OF_LAUNCHERS}
    environment |= {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    if LOOPBACK:
        environment.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
    processes: list[tuple[int, Any]] = []
    try:
        for rank in range(1, world):
            # -P: the current folder is not searched, unless it is in the path of this process
            command = [sys.executable, "-P", "-m", "gcl.train.helper", str(port), str(rank), str(world)]
            processes.append(
                (
                    rank,
                    subprocess.Popen(
                        command,
                        env={**environment, "LOCAL_RANK": str(rank)},
                        stdin=subprocess.DEVNULL,
                        stdout=2,  # what a helper prints is a message, never a result
                        start_new_session=True,  # Ctrl-C is for the first process
                    ),
                )
            )
        yield processes
        end = time.monotonic() + 5
        for _, process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
    finally:  # at once where something went wrong, for they may wait for this process
        for _, process in processes:
            process.kill()
        for _, process in processes:
            process.wait()


def _own_store() -> Any:
    """Where the processes of this machine meet; nobody outside it can reach it."""
    listener = socket.socket()
    listener.bind((HOST, 0))
    listener.listen()
    port = listener.getsockname()[1]
    return TCPStore(
        HOST, port, is_master=True, wait_for_workers=False, timeout=PATIENCE, master_listen_fd=listener.detach()
    )


def _torchrun_store() -> Any:
    global _store
    if _store is None:
        try:
            _store, rank, _ = next(rendezvous("env://", timeout=datetime.timedelta(seconds=ARRIVAL)))
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"the processes do not find each other at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} "
                f"({error}); start them by torchrun, or unset RANK and WORLD_SIZE"
            ) from error
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
