"""The processes that train together, as the loop sees them."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gcl.core.context import StepOutput
from gcl.core.errors import ConfigError, RankError
from gcl.ops.rank_rows import broadcast, sum_over_ranks


class Ranks(Protocol):
    """What the loop asks of the processes that it is one of."""

    rank: int
    world: int

    def sum_step(self, output: StepOutput, parameters: Sequence[nn.Parameter], stop: bool) -> tuple[StepOutput, bool]:
        """Loss, parts and gradients summed over the processes, and whether any of them wants to stop."""
        ...

    def of_first(self, values: Sequence[float]) -> list[float]:
        """What the first process says, everywhere."""
        ...

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Gives every process the first one's values, in place."""
        ...

    def why(self, error: RankError) -> str:
        """What became of the process that is gone."""
        ...


class Alone:
    """One process."""

    rank = 0
    world = 1

    def sum_step(self, output: StepOutput, parameters: Sequence[nn.Parameter], stop: bool) -> tuple[StepOutput, bool]:
        """What came in."""
        return output, stop

    def of_first(self, values: Sequence[float]) -> list[float]:
        """What came in."""
        return list(values)

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Nothing."""

    def why(self, error: RankError) -> str:
        """The error's own words."""
        return str(error)


class Together:
    """One of several processes, joined by torch's default process group.

    Args:
        rank, world: number of this process and how many there are.
        started: the others, where this process started them: rank and process.
        reported: what another process said before it ended, by its rank; ``None`` where it said nothing.
    """

    def __init__(self, rank: int, world: int, *, started: Sequence[tuple[int, Any]] = (), reported: Any = None):
        self.rank = rank
        self.world = world
        self._started = started
        self._reported = reported
        self._parts: list[str] = []  # whose values are exchanged, in this order

    def sum_step(self, output: StepOutput, parameters: Sequence[nn.Parameter], stop: bool) -> tuple[StepOutput, bool]:
        """Loss, parts and gradients summed over the processes, and whether any of them wants to stop.

        A parameter without a gradient in every process stays without one: optimisers leave it alone.

        Raises:
            ConfigError: the processes have parts of other names.
            RankError: another process is gone.
        """
        there = [float(parameter.grad is not None) for parameter in parameters]
        told = self._told(output, stop, there)
        if told[3]:  # of what follows, nothing is what it seems
            self._agree_on_parts(list(output.parts))
            told = self._told(output, stop, there)
        loss, weights, stops, _ = told[:4].unbind()
        names, counts = self._parts, told[4 + len(self._parts) :].tolist()
        parts = told[4 : 4 + len(names)]
        used = [parameter for parameter, count in zip(parameters, counts, strict=True) if count]
        for group in _alike(used):
            _sum_gradients(group)
        device = output.loss.device
        summed = dataclasses.replace(
            output,
            loss=loss.to(device),
            weight=float(weights),
            parts={name: part.to(device) for name, part in zip(names, parts, strict=True)},
        )
        return summed, bool(stops)

    def _told(self, output: StepOutput, stop: bool, there: Sequence[float]) -> Tensor:
        """Sums of loss, weight, wish to stop, other parts than were agreed on, the parts, and what has gradients."""
        weight = float(output.weight) if self.rank == 0 else 0.0  # one for all, by which they leave a stage together
        others = sorted(output.parts) != sorted(self._parts)
        parts = [math.nan if others else output.parts[name] for name in self._parts]
        numbers = [output.loss, weight, float(stop), float(others), *parts, *there]
        return sum_over_ranks(
            torch.stack([torch.as_tensor(value).detach().double().reshape(()).cpu() for value in numbers])
        )

    def _agree_on_parts(self, names: list[str]) -> None:
        """From now on these parts are summed, in the order of the first process.

        Raises:
            ConfigError: another process has others.
        """
        text = torch.frombuffer(bytearray("\n".join(names).encode() + b"\n"), dtype=torch.uint8).int()
        sizes = torch.zeros(self.world, dtype=torch.int64)
        sizes[self.rank] = text.numel()
        texts = torch.zeros(self.world, int(sum_over_ranks(sizes).max()), dtype=torch.int32)
        texts[self.rank, : text.numel()] = text
        said = [bytes(row.tolist()).rstrip(b"\0").decode().split("\n")[:-1] for row in sum_over_ranks(texts)]
        for rank, others in enumerate(said):
            if sorted(others) != sorted(said[0]):
                raise ConfigError(
                    f"process 0 of {self.world} has the parts {', '.join(said[0]) or 'none'} of the loss, and process "
                    f"{rank} {', '.join(others) or 'none'}; a method gives parts of the same names in every process, "
                    "with the value 0 where a share has nothing of one"
                )
        self._parts = said[0]

    def of_first(self, values: Sequence[float]) -> list[float]:
        """What the first process says, everywhere.

        The first process itself does not fail here: it finishes its epoch, and meets the loss at the next step.

        Raises:
            RankError: the first process is gone.
        """
        told = torch.tensor(list(values), dtype=torch.float64)
        try:
            broadcast(told)
        except RankError:
            if self.rank:
                raise
        return list(values) if self.rank == 0 else told.tolist()

    @torch.no_grad()
    def align(self, tensors: Iterable[Tensor]) -> None:
        """Gives every process the first one's values, in place.

        Raises:
            RankError: another process is gone.
        """
        for tensor in tensors:
            if not tensor.numel():
                continue
            data = tensor.detach().contiguous().reshape(-1)
            broadcast(data.view(torch.uint8))  # gloo does not know every type
            tensor.copy_(data.view_as(tensor))

    def why(self, error: RankError) -> str:
        """What became of the process that is gone."""
        end = time.monotonic() + 5  # its connection closes a moment before it is over
        while self.rank == 0 and time.monotonic() < end:
            if (found := self.ended()) is not None:
                return found
            time.sleep(0.05)
        return f"one of the {self.world} processes is gone, or cannot be reached"

    def ended(self) -> str | None:
        """Which process failed or ended, and how; ``None`` while all are there."""
        codes = [(rank, process.poll()) for rank, process in self._started]
        for rank, code in codes:  # what others then say is of its death
            if code is not None and code < 0:
                return self._how(rank, code)
        for rank in range(1, self.world):
            if self._reported is not None and (said := self._reported(rank)):
                return f"process {rank} of {self.world} (counted from 0) failed: {said}"
        for rank, code in codes:
            if code:  # 0: it found another one gone, and left
                return self._how(rank, code)
        return None

    def _how(self, rank: int, code: int) -> str:
        how = f"exit code {code}"
        if code < 0:
            name = signal.Signals(-code).name if -code in {*signal.Signals} else str(-code)
            how = f"signal {name}" + (", as where memory runs out" if -code == signal.SIGKILL else "")
        return f"process {rank} of {self.world} (counted from 0) ended with {how}"


def _alike(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters of one device and type each, in their order."""
    groups: dict[tuple[torch.device, torch.dtype], list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault((parameter.device, parameter.dtype), []).append(parameter)
    return list(groups.values())


def _sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """One sum over the processes of the gradients of parameters, which may be missing here."""
    if len(parameters) == 1 and parameters[0].grad is not None and parameters[0].grad.is_contiguous():
        sum_over_ranks(parameters[0].grad)  # a recommender's table is not copied
        return
    flat = torch.cat([_gradient(parameter).reshape(-1) for parameter in parameters])
    sum_over_ranks(flat)
    for parameter, part in zip(parameters, flat.split([parameter.numel() for parameter in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
