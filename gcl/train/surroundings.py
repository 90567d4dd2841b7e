"""What ``torchrun`` says of this process."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gcl.core.errors import ConfigError

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
OF_LAUNCHERS = (*NAMES, "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK")


@dataclass(frozen=True)
class Surroundings:
    """The place of this process among those that were started together.

    Args:
        rank, world: its number and how many there are.
        local_rank, local_world: the same on this machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1


def surroundings() -> Surroundings:
    """What the environment says; one process alone where it says nothing.

    Raises:
        ConfigError: a set of variables that does not make sense.
    """
    if not ("RANK" in os.environ and "WORLD_SIZE" in os.environ):
        return Surroundings()
    rank, world = _number("RANK", 0), _number("WORLD_SIZE", 1)
    if world == 1:
        return Surroundings()
    if missing := [name for name in NAMES if name not in os.environ]:
        raise ConfigError(
            f"WORLD_SIZE={world} of the environment makes this one of several processes, but {' and '.join(missing)} "
            "say not where they meet; start them by torchrun, or unset RANK and WORLD_SIZE"
        )
    local_rank, local_world = _number("LOCAL_RANK", 0, rank), _number("LOCAL_WORLD_SIZE", 1, world)
    _number("MASTER_PORT", 1)
    if rank >= world or local_rank >= local_world:
        raise ConfigError(
            f"RANK={rank}, WORLD_SIZE={world}, LOCAL_RANK={local_rank} and LOCAL_WORLD_SIZE={local_world} of the "
            "environment do not fit together; start the processes by torchrun, or unset them"
        )
    return Surroundings(rank, world, local_rank, local_world)


def _number(name: str, least: int, default: int | None = None) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.strip().isdigit() or int(text) < least:
        raise ConfigError(f"{name}={text!r} of the environment must be a whole number from {least}; mend or unset it")
    return int(text)
