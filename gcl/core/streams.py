"""Counter-based random streams."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Streams:
    """Independent random generators, each named by a purpose and counters.

    A generator depends on ``(seed, purpose, counters)`` alone, never on what was drawn before. Evaluation, logging and
    prefetching therefore cannot disturb training, and a run resumes from its counters without saved random states.

    Args:
        seed: any integer from 0 to 2**63 - 1.

    Example:
        >>> streams = Streams(0)
        >>> first = streams.generator("augment", 3, 1)
        >>> torch.equal(torch.rand(2, generator=first), torch.rand(2, generator=streams.generator("augment", 3, 1)))
        True
    """

    def __init__(self, seed: int):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
        self.seed = seed

    def integer(self, purpose: str, *counters: int, bits: int = 63) -> int:
        """A non-negative integer below ``2**bits`` (at most 63), for libraries that take a plain seed."""
        text = "/".join([str(self.seed), repr(purpose), *(str(int(counter)) for counter in counters)])
        digest = hashlib.sha256(text.encode()).digest()
        return int.from_bytes(digest[:8], "little") >> (64 - bits)

    def generator(self, purpose: str, *counters: int, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh generator for this purpose and these counters."""
        generator = torch.Generator(device=device)
        generator.manual_seed(self.integer(purpose, *counters))
        return generator

    @contextmanager
    def scope(self, purpose: str, *counters: int) -> Iterator[None]:
        """Seeds torch's *global* generators inside the block and restores them after it.

        For modules that draw without a ``generator`` argument: initialisation and dropout of foreign modules.
        """
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            # Not torch.manual_seed: it formats a stack trace for every kind of device that is absent.
            seed = self.integer(purpose, *counters)
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed_all(seed)
            yield

    def __repr__(self) -> str:
        return f"Streams(seed={self.seed})"


def draw_seed(generator: torch.Generator | None, bits: int = 31) -> int:
    """One integer below ``2**bits`` from a generator, to seed a library outside torch."""
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(0, 2**bits, (1,), generator=generator, device=device))
