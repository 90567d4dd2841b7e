"""The tiles behind ``product_logsumexp``: a grid, running sums, and two passes over the logits of a rectangle."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gcl.core.errors import DataError
from gcl.ops.pair_weight import PairWeight

# |logit| up to which exp needs no shift. It leaves room below the range of the type (e^88 and e^709) for the sum over
# a million keys and for the reciprocal of that sum, which the gradient multiplies with.
NO_SHIFT_BELOW = {torch.float32: 70.0, torch.float64: 600.0}
TILE_PAIRS = {"cpu": 2**20, "cuda": 2**24}  # pairs in one tile where memory allows

Tile = tuple[slice, slice]


@dataclass(frozen=True)
class Grid:
    """Cuts an n × m rectangle into tiles; of a symmetric one only those on and above the diagonal."""

    rows: list[slice]
    cols: list[slice]
    symmetric: bool

    @classmethod
    def of(cls, n: int, m: int, weight: PairWeight | None, symmetric: bool, memory: int, like: Tensor) -> Grid:
        """Square tiles, as large as ``memory`` and the scratch of the pair weight allow."""
        values = 3 + (0 if weight is None else weight.scratch)  # buffers of a tile's size at work at once
        budget = memory // (2 * values * like.element_size())  # the other half is for kept tiles
        pairs = max(1, min(budget, TILE_PAIRS.get(like.device.type, 2**24) * 3 // values))
        side = max(1, min(math.isqrt(pairs), n))
        width = side if symmetric else max(1, min(pairs // side, m))
        return cls(_slices(n, side), _slices(m, width), symmetric)

    def strip(self, index: int) -> list[Tile]:
        """The tiles of one row block."""
        return [(self.rows[index], cols) for cols in self.cols[index if self.symmetric else 0 :]]

    def tiles(self) -> list[Tile]:
        """All tiles."""
        return [tile for index in range(len(self.rows)) for tile in self.strip(index)]


def _slices(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _shape(tile: Tile) -> tuple[int, int]:
    return tile[0].stop - tile[0].start, tile[1].stop - tile[1].start


def _num_pairs(tiles: Sequence[Tile]) -> int:
    return sum(math.prod(_shape(tile)) for tile in tiles)


def _largest(tiles: Sequence[Tile]) -> int:
    return max((math.prod(_shape(tile)) for tile in tiles), default=0)


def _cut(flat: Tensor, tiles: Sequence[Tile]) -> list[Tensor]:
    """Consecutive pieces of a flat buffer, one for each tile."""
    sizes = [math.prod(_shape(tile)) for tile in tiles]
    starts = itertools.accumulate(sizes, initial=0)
    return [
        flat[start : start + size].view(_shape(tile)) for tile, size, start in zip(tiles, sizes, starts, strict=False)
    ]


@dataclass
class Sums:
    """Running sums of exp(logit - maximum) of rows or columns, in float64; no maximum where no shift is needed."""

    total: Tensor  # [n], float64
    maximum: Tensor | None  # [n]

    @classmethod
    def zeros(cls, size: int, like: Tensor, shifted: bool) -> Sums:
        """Empty sums, with a running maximum if ``shifted``."""
        maximum = torch.full((size,), -math.inf, dtype=like.dtype, device=like.device) if shifted else None
        return cls(torch.zeros(size, dtype=torch.float64, device=like.device), maximum)

    def add(self, index: slice, tile: Tensor, dim: int, scratch: Tensor) -> None:
        """Adds a tile: exponentials where there is no maximum, else logits, which are left as they are."""
        if self.maximum is None:
            self.total[index] += tile.sum(dim)
            return
        before = self.maximum[index]
        after = torch.maximum(before, tile.amax(dim))
        base = _finite(after)
        self.total[index] *= (before.double() - base).exp()
        self.total[index] += torch.sub(tile, base.unsqueeze(dim), out=scratch).exp_().sum(dim)
        self.maximum[index] = after

    def log(self) -> Tensor:
        """The log-sum-exp, float64."""
        log = self.total.log()
        return log if self.maximum is None else log + self.maximum

    def factor(self, grad: Tensor, scale: float) -> Factor:
        """What turns logits into a gradient: ``grad`` is that of the log-sum-exp, ``scale`` is divided out."""
        factor = torch.where(self.total == 0, 0.0, grad.double() / scale / self.total)
        base = None if self.maximum is None else _finite(self.maximum)
        return Factor(base, factor.to(grad.dtype))


@dataclass
class Factor:
    """The gradient of a log-sum-exp by a logit is exp(logit - base) factor, by row or by column."""

    base: Tensor | None  # [n]
    factor: Tensor  # [n]

    def share(self, tile: Tensor, index: slice, dim: int, out: Tensor) -> Tensor:
        """That gradient for one tile: of exponentials where there is no base, else of logits."""
        factor = self.factor[index].unsqueeze(dim)
        if self.base is None:
            return torch.mul(tile, factor, out=out)
        return torch.sub(tile, self.base[index].unsqueeze(dim), out=out).exp_().mul_(factor)


def _finite(maximum: Tensor) -> Tensor:
    """The maximum to subtract: 0 instead of -inf, where nothing is summed."""
    return maximum.masked_fill(maximum == -math.inf, 0.0)


@dataclass
class Grads:
    """Gradients being summed; ``None`` where none is needed. In a symmetric problem ``b`` is ``a``."""

    a: Tensor | None
    b: Tensor | None
    bias: Tensor | None
    sides: list[Tensor | None]


@dataclass
class Pairs:
    """The logits of an n × m rectangle and the two passes over its tiles."""

    a: Tensor  # [n, d]
    b: Tensor  # [m, d]
    bias: Tensor | None  # [m]
    exclude: Tensor | None  # [n]
    weight: PairWeight | None
    temperature: float
    symmetric: bool
    memory: int
    grid: Grid = field(repr=False)
    grad: bool  # whether a backward pass may come
    shifted: bool = True

    def bound(self) -> float:
        """An upper bound of the magnitude of every logit."""
        if 0 in (*self.a.shape, self.b.shape[0]):
            return 0.0
        bound = float(self.a.detach().norm(dim=1).max()) * float(self.b.detach().norm(dim=1).max())
        if self.bias is not None:
            bound += float(self.bias.detach().abs().max())
        weight_bound = 0.0 if self.weight is None else self.weight.bound
        return bound / self.temperature + (math.inf if weight_bound is None else weight_bound)

    # -- side tensors of the pair weight ------------------------------------------------------------------------------

    def sides(self) -> tuple[Tensor, ...]:
        """All tensors of the pair weight, in one row."""
        return () if self.weight is None else (*self.weight.row, *self.weight.col, *self.weight.shared)

    def with_tensors(self, a: Tensor, b: Tensor | None, bias: Tensor | None, sides: Sequence[Tensor]) -> Pairs:
        """The same problem over the tensors that autograd handed out."""
        weight = self.weight
        if weight is not None:
            first, second = len(weight.row), len(weight.row) + len(weight.col)
            row, col, shared = tuple(sides[:first]), tuple(sides[first:second]), tuple(sides[second:])
            weight = dataclasses.replace(weight, row=row, col=col, shared=shared)
        return dataclasses.replace(self, a=a, b=a if b is None else b, bias=bias, weight=weight)

    def without_tensors(self) -> Pairs:
        """The same problem without its large tensors, to be kept for the backward pass."""
        weight = self.weight
        if weight is not None:  # empty ones in their places keep the count
            empty = self.a.new_empty(0)
            row, col, shared = ((empty,) * len(part) for part in (weight.row, weight.col, weight.shared))
            weight = dataclasses.replace(weight, row=row, col=col, shared=shared)
        empty = self.a.new_empty(0)
        return dataclasses.replace(self, a=empty, b=empty, bias=None, weight=weight)

    # -- passes -------------------------------------------------------------------------------------------------------

    def logits(self, tile: Tile, out: Tensor, log_weight: Tensor | None = None) -> Tensor:
        """The logits of one tile, written into ``out``; ``log_weight`` is evaluated here unless given."""
        rows, cols = tile
        out.addmm_(self.a[rows], self.b[cols].t(), beta=0, alpha=1 / self.temperature)  # [r, c]
        if self.bias is not None:
            out += self.bias[cols] / self.temperature
        if self.weight is not None:
            out += self.log_weight(tile, ())[0] if log_weight is None else log_weight
        if self.exclude is not None:
            key = self.exclude[rows]
            hit = ((key >= cols.start) & (key < cols.stop)).nonzero().squeeze(1)
            out[hit, key[hit] - cols.start] = -math.inf
        return out

    def log_weight(self, tile: Tile, needed: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """The log weights of one tile, and the leaves that stand for the side tensors whose gradient is needed."""
        assert self.weight is not None
        rows, cols = tile
        row = [tensor[rows].detach() for tensor in self.weight.row]
        col = [tensor[cols].detach() for tensor in self.weight.col]
        shared = [tensor.detach() for tensor in self.weight.shared]
        leaves = [[*row, *col, *shared][index].requires_grad_() for index in needed]
        with torch.set_grad_enabled(bool(needed)):
            value = self.weight.log_weight(tuple(row), tuple(col), tuple(shared))
        if value.shape != _shape(tile):
            raise DataError(
                f"pair_weight.log_weight must give one value a pair, shape {list(_shape(tile))} for this tile, "
                f"got {list(value.shape)}"
            )
        return value, leaves

    def new_sums(self, size: int) -> Sums:
        """Empty sums for this many rows or columns."""
        return Sums.zeros(size, self.a, self.shifted)

    def keeps(self, tiles: Sequence[Tile]) -> bool:
        """Whether these tiles fit into the memory beside the working buffers."""
        return _num_pairs(tiles) * self.a.element_size() <= self.memory // 2

    def sum_up(self, tiles: Sequence[Tile], rows: Sums | None, cols: Sums | None, *, keep: bool) -> Tensor | None:
        """First pass: adds the tiles to the sums; returns them (exponentials, or logits where shifted) if kept."""
        buffer = self.a.new_empty(_num_pairs(tiles) if keep else _largest(tiles))
        scratch = self.a.new_empty(_largest(tiles) if self.shifted else 0)
        kept = _cut(buffer, tiles) if keep else None
        for index, tile in enumerate(tiles):
            value = self.logits(tile, _cut(buffer, [tile])[0] if kept is None else kept[index])
            if not self.shifted:
                value.exp_()
            room = _cut(scratch, [tile])[0] if self.shifted else scratch
            if rows is not None:
                rows.add(tile[0], value, 1, room)
            if cols is not None and not (self.symmetric and tile[0] == tile[1]):  # the diagonal tile is its own mirror
                cols.add(tile[1], value, 0, room)
        return buffer if keep else None

    def differentiate(
        self,
        tiles: Sequence[Tile],
        rows: tuple[Sums, Tensor] | None,
        cols: tuple[Sums, Tensor] | None,
        grads: Grads,
        kept: Tensor | None,
    ) -> None:
        """Second pass: adds to ``grads``, given sums and gradients of the log-sum-exp of rows and of columns."""
        scale = _common_scale((rows, cols))  # so that the factors stay in range
        row = None if rows is None else rows[0].factor(rows[1], scale)
        col = None if cols is None else cols[0].factor(cols[1], scale)
        buffers = [self.a.new_empty(_largest(tiles)) for _ in range(3)]
        kept_tiles = None if kept is None else _cut(kept, tiles)
        needed = [place for place, grad in enumerate(grads.sides) if grad is not None]
        for index, tile in enumerate(tiles):
            log_weight, leaves = self.log_weight(tile, needed) if needed else (None, [])
            first, *room = (_cut(buffer, [tile])[0] for buffer in buffers)
            if kept_tiles is not None:
                value = kept_tiles[index]
            else:
                value = self.logits(tile, first, None if log_weight is None else log_weight.detach())
                value = value if self.shifted else value.exp_()
            share = _shares(tile, value, row, col, room)  # d loss / d logit / scale, [r, c]
            self._accumulate(tile, share, scale / self.temperature, grads)
            if log_weight is not None and log_weight.requires_grad:
                share = share.mul_(scale).to(log_weight.dtype)
                parts = torch.autograd.grad(log_weight, leaves, share, allow_unused=True)
                self._accumulate_sides(tile, needed, parts, grads)

    def _accumulate(self, tile: Tile, share: Tensor, alpha: float, grads: Grads) -> None:
        rows, cols = tile
        if grads.a is not None:
            grads.a[rows].addmm_(share, self.b[cols], alpha=alpha)
        if grads.b is not None and not (self.symmetric and rows == cols):
            grads.b[cols].addmm_(share.t(), self.a[rows], alpha=alpha)
        if grads.bias is not None:
            grads.bias[cols] += share.sum(0) * alpha

    def _accumulate_sides(
        self, tile: Tile, places: Sequence[int], parts: Sequence[Tensor | None], grads: Grads
    ) -> None:
        assert self.weight is not None
        num_row, num_col = len(self.weight.row), len(self.weight.col)
        for place, part in zip(places, parts, strict=True):
            target = grads.sides[place]
            if part is None or target is None:
                continue
            if place < num_row:
                target = target[tile[0]]
            elif place < num_row + num_col:
                target = target[tile[1]]
            target += part

    def new_grads(self, needs: Sequence[bool]) -> Grads:
        """Zeros where ``needs`` (a, b, bias, then the sides) says so."""
        a = torch.zeros_like(self.a) if needs[0] else None
        b = a if self.symmetric else torch.zeros_like(self.b) if needs[1] else None
        bias = torch.zeros_like(self.bias) if needs[2] and self.bias is not None else None
        sides = [
            torch.zeros_like(side, dtype=torch.promote_types(side.dtype, torch.float32)) if need else None
            for side, need in zip(self.sides(), needs[3:], strict=True)
        ]
        return Grads(a, b, bias, sides)


def _common_scale(sides: Sequence[tuple[Sums, Tensor] | None]) -> float:
    """The largest gradient of a log-sum-exp that is not empty; 1 where there is nothing to scale by."""
    largest = [
        float(side[1].masked_fill(side[0].total == 0, 0.0).abs().max())
        for side in sides
        if side is not None and side[1].numel()
    ]
    scale = max(largest, default=0.0)
    return scale if 0 < scale < math.inf else 1.0


def _shares(tile: Tile, value: Tensor, row: Factor | None, col: Factor | None, room: list[Tensor]) -> Tensor:
    """Gradient of the loss by each logit of a tile, from its row and its column."""
    if row is not None and col is not None and row.base is None:  # one multiplication for both
        return torch.add(row.factor[tile[0]].unsqueeze(1), col.factor[tile[1]], out=room[0]).mul_(value)
    if row is None:
        assert col is not None
        return col.share(value, tile[1], 0, room[0])
    share = row.share(value, tile[0], 1, room[0])
    return share if col is None else share.add_(col.share(value, tile[1], 0, room[1]))
