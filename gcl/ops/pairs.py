"""The pairs of an n × m rectangle behind ``product_logsumexp``, and the two passes over their tiles."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gcl.core.errors import DataError
from gcl.ops.matmul import add_product, exp2_product_into, product_into
from gcl.ops.pair_sums import Factor, Sums, common_scale
from gcl.ops.pair_tiles import Grid, Tile, cut, largest, num_pairs, shape
from gcl.ops.pair_weight import PairWeight

# |logit| up to which exp needs no shift. It leaves room below the range of the type (e^88 and e^709) for the sum over
# a million keys and for the reciprocal of that sum, which the gradient multiplies with.
NO_SHIFT_BELOW = {torch.float32: 70.0, torch.float64: 600.0}


@dataclass
class Grads:
    """Gradients being summed; ``None`` where none is needed.

    That of the keys is summed transposed, ``[d, m]``, which the products like better by a third where d is small. In a
    symmetric problem ``b`` is ``a`` and as it is.
    """

    a: Tensor | None
    b: Tensor | None
    bias: Tensor | None
    sides: list[Tensor | None]

    @property
    def of_keys(self) -> Tensor | None:
        """``[m, d]``."""
        return None if self.b is None else self.b.t().contiguous()


@dataclass
class Pairs:
    """The pairs of an n × m rectangle.

    Without a shift, tiles hold :math:`w_{ij} e^{a_i b_j / τ}`, and the bias is a factor :math:`e^{c_j / τ}` of a whole
    column that is multiplied in where tiles are summed: so tiles are symmetric where only the bias is not. With one
    they hold logits, bias and log weight included.
    """

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
    _block: tuple[slice, Tensor] | None = field(default=None, init=False, repr=False)
    _transposed: tuple[slice, Tensor] | None = field(default=None, init=False, repr=False)
    _rooms: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def scaled(self, rows: slice) -> Tensor:
        """``a / τ`` of a row block; to base 2 for exponentials, where a power of 2 costs a quarter of one of e.

        Tiles come strip by strip, so one block is kept.
        """
        if self._block is None or self._block[0] != rows:
            factor = (1 if self.shifted else math.log2(math.e)) / self.temperature
            self._block = (rows, self.a[rows].detach() * factor)
        return self._block[1]

    def transposed(self, rows: slice) -> Tensor:
        """A row block of ``a``, ``[d, r]``, contiguous; one is kept."""
        if self._transposed is None or self._transposed[0] != rows:
            self._transposed = (rows, self.a[rows].detach().t().contiguous())
        return self._transposed[1]

    def room(self, name: str, size: int) -> Tensor:
        """A buffer of at least this many values; strips share it: to touch fresh memory costs more than exp."""
        if name not in self._rooms or self._rooms[name].numel() < size:
            self._rooms[name] = self.a.new_empty(size)
        return self._rooms[name]

    @functools.cached_property
    def key_factor(self) -> Tensor | None:
        """``exp(c / τ)``, ``[m]``."""
        return None if self.bias is None else (self.bias.detach() / self.temperature).exp()

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

    # -- tiles --------------------------------------------------------------------------------------------------------

    def tile(self, tile: Tile, out: Tensor, log_weight: Tensor | None = None) -> Tensor:
        """One tile, written into ``out``; the weight is evaluated here unless given."""
        rows, cols = tile
        left, right = self.scaled(rows), self.b[cols].t()
        if self.shifted:
            product_into(out, left, right)  # [r, c]
            if self.bias is not None:
                out += self.bias[cols] / self.temperature
            if self.weight is not None:
                out += self.log_weight(tile, ())[0] if log_weight is None else log_weight
        else:
            exp2_product_into(out, left, right)
            if self.weight is not None:
                out *= self._weight(tile) if log_weight is None else log_weight.exp()
        if self.exclude is not None:
            key = self.exclude[rows]
            hit = ((key >= cols.start) & (key < cols.stop)).nonzero().squeeze(1)
            out[hit, key[hit] - cols.start] = -math.inf if self.shifted else 0.0
        return out

    def _weight(self, tile: Tile) -> Tensor:
        assert self.weight is not None
        if self.weight.weight is None:
            return self.log_weight(tile, ())[0].exp()
        return _checked(self.weight.weight(*self._side_tiles(tile)), tile, "weight")

    def log_weight(self, tile: Tile, needed: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """The log weights of one tile, and the leaves that stand for the side tensors whose gradient is needed."""
        assert self.weight is not None
        row, col, shared = self._side_tiles(tile)
        leaves = [[*row, *col, *shared][index].requires_grad_() for index in needed]
        with torch.set_grad_enabled(bool(needed)):
            value = self.weight.log_weight(row, col, shared)
        return _checked(value, tile, "log_weight"), leaves

    def _side_tiles(self, tile: Tile) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
        assert self.weight is not None
        return (
            tuple(tensor[tile[0]].detach() for tensor in self.weight.row),
            tuple(tensor[tile[1]].detach() for tensor in self.weight.col),
            tuple(tensor.detach() for tensor in self.weight.shared),
        )

    # -- the first pass -----------------------------------------------------------------------------------------------

    def new_sums(self, size: int) -> Sums:
        """Empty sums for this many rows or columns."""
        return Sums.zeros(size, self.a, self.shifted)

    def keeps(self, tiles: Sequence[Tile]) -> bool:
        """Whether these tiles fit into the memory beside the working buffers."""
        return num_pairs(tiles) * self.a.element_size() <= self.memory // 2

    def sum_up(self, tiles: Sequence[Tile], rows: Sums | None, cols: Sums | None, *, keep: bool) -> Tensor | None:
        """First pass: adds the tiles to the sums; returns them if kept."""
        buffer = self.room("kept" if keep else "tile", num_pairs(tiles) if keep else largest(tiles))
        scratch = self.room("scratch", largest(tiles) if self.shifted else 0)
        kept = cut(buffer, tiles) if keep else None
        for index, tile in enumerate(tiles):
            value = self.tile(tile, cut(buffer, [tile])[0] if kept is None else kept[index])
            if self.symmetric and tile[0] == tile[1]:  # the diagonal tile is its own mirror
                self._add(tile, value, rows, None, scratch)
            else:
                self._add(tile, value, rows, cols, scratch)
        return buffer if keep else None

    def _add(self, tile: Tile, value: Tensor, rows: Sums | None, cols: Sums | None, scratch: Tensor) -> None:
        if self.shifted:
            for sums, dim in ((rows, 1), (cols, 0)):
                if sums is not None:
                    sums.add_logits(tile[1 - dim], value, dim, cut(scratch, [tile])[0])
            return
        factor = self.key_factor
        if rows is not None:
            rows.total[tile[0]] += value.sum(1) if factor is None else torch.mv(value, factor[tile[1]])
        if cols is not None and self.symmetric and factor is not None:  # the columns are rows, with other keys
            cols.total[tile[1]] += torch.mv(value.t(), factor[tile[0]])
        elif cols is not None:
            cols.total[tile[1]] += value.sum(0) if factor is None else value.sum(0) * factor[tile[1]]

    # -- the second pass ----------------------------------------------------------------------------------------------

    def differentiate(
        self,
        tiles: Sequence[Tile],
        rows: tuple[Sums, Tensor] | None,
        cols: tuple[Sums, Tensor] | None,
        grads: Grads,
        kept: Tensor | None,
    ) -> None:
        """Second pass: adds to ``grads``, given sums and gradients of the log-sum-exp of rows and of columns."""
        scale = common_scale((rows, cols))  # so that the factors stay in range
        row = None if rows is None else rows[0].factor(rows[1], scale)
        col = None if cols is None else cols[0].factor(cols[1], scale)
        first, *rest = [
            self.room(name, largest(tiles)) for name in ("tile", "share", "scratch")[: 3 if self.shifted else 2]
        ]
        kept_tiles = None if kept is None else cut(kept, tiles)
        needed = [place for place, grad in enumerate(grads.sides) if grad is not None]
        by_autograd = bool(needed) and self.weight is not None and self.weight.gradient is None
        for index, tile in enumerate(tiles):
            log_weight, leaves = self.log_weight(tile, needed) if by_autograd else (None, [])
            if kept_tiles is not None:
                value = kept_tiles[index]
            else:
                value = self.tile(tile, cut(first, [tile])[0], None if log_weight is None else log_weight.detach())
            share = self._share(tile, value, row, col, [cut(buffer, [tile])[0] for buffer in rest])
            self._accumulate(tile, share, scale / self.temperature, grads)
            self._accumulate_bias(tile, value, share, row, scale / self.temperature, grads)
            if needed:
                # a diagonal tile of a symmetric problem holds both roles of both nodes of a pair
                share = share.mul_(scale / 2 if self.symmetric and tile[0] == tile[1] else scale)
                self._accumulate_sides(tile, needed, self._weight_gradient(tile, share, log_weight, leaves), grads)

    def _share(self, tile: Tile, value: Tensor, row: Factor | None, col: Factor | None, room: list[Tensor]) -> Tensor:
        """Gradient of the loss by each logit of a tile, from its row and its column, over the scale; ``[r, c]``."""
        rows, cols = tile
        out = room[0]
        if self.shifted:
            if row is None:
                assert col is not None
                return col.share_of_logits(value, cols, 0, out)
            share = row.share_of_logits(value, rows, 1, out)
            return share if col is None else share.add_(col.share_of_logits(value, cols, 0, room[1]))
        factor = self.key_factor
        of_row = None if row is None else row.factor[rows].unsqueeze(1)
        of_col = None if col is None else col.factor[cols]
        if of_row is not None and factor is not None:
            of_row = torch.mul(of_row, factor[cols], out=out)
        if self.symmetric and factor is not None:
            assert of_row is not None
            assert of_col is not None
            return of_row.addcmul_(factor[rows].unsqueeze(1), of_col).mul_(value)
        if of_col is not None and factor is not None:
            of_col = of_col * factor[cols]
        if of_row is None or of_col is None:
            only = of_col if of_row is None else of_row
            assert only is not None
            return torch.mul(value, only, out=out)
        return torch.add(of_row, of_col, out=out).mul_(value)

    def _accumulate(self, tile: Tile, share: Tensor, alpha: float, grads: Grads) -> None:
        rows, cols = tile
        if grads.a is not None:
            add_product(grads.a[rows], share, self.b[cols], alpha)
        if grads.b is None:
            return
        if not self.symmetric:
            add_product(grads.b[:, cols], self.transposed(rows), share, alpha)
        elif rows != cols:
            add_product(grads.b[cols], share.t(), self.a[rows], alpha)

    def _accumulate_bias(
        self, tile: Tile, value: Tensor, share: Tensor, row: Factor | None, alpha: float, grads: Grads
    ) -> None:
        if grads.bias is None:
            return
        rows, cols = tile
        if not self.symmetric:
            grads.bias[cols] += share.sum(0) * alpha
            return
        # the share holds both roles of a pair; the bias belongs to the key of each
        assert row is not None
        assert self.key_factor is not None
        key_factor, factor = self.key_factor, row.factor
        grads.bias[cols] += torch.mv(value.t(), factor[rows]) * key_factor[cols] * alpha
        if rows != cols:
            grads.bias[rows] += torch.mv(value, factor[cols]) * key_factor[rows] * alpha

    def _weight_gradient(
        self, tile: Tile, share: Tensor, log_weight: Tensor | None, leaves: list[Tensor]
    ) -> list[Tensor | None]:
        """Gradients of the needed side tensors (by autograd) or of all of them (the weight's own formula)."""
        assert self.weight is not None
        if self.weight.gradient is not None:
            return list(self.weight.gradient(*self._side_tiles(tile), share))
        if log_weight is None or not log_weight.requires_grad:
            return [None] * len(self.sides())
        parts = torch.autograd.grad(log_weight, leaves, share.to(log_weight.dtype), allow_unused=True)
        return list(parts)

    def _accumulate_sides(
        self, tile: Tile, places: Sequence[int], parts: Sequence[Tensor | None], grads: Grads
    ) -> None:
        assert self.weight is not None
        num_row, num_col = len(self.weight.row), len(self.weight.col)
        if self.weight.gradient is not None:
            parts = [parts[place] for place in places]
        for place, part in zip(places, parts, strict=False):
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
        b = a if self.symmetric else self.b.new_zeros(self.b.shape[::-1]) if needs[1] else None
        bias = torch.zeros_like(self.bias) if needs[2] and self.bias is not None else None
        sides = [
            torch.zeros_like(side, dtype=torch.promote_types(side.dtype, torch.float32)) if need else None
            for side, need in zip(self.sides(), needs[3:], strict=True)
        ]
        return Grads(a, b, bias, sides)


def largest_logit(a: Tensor, b: Tensor, bias: Tensor | None, weight: PairWeight | None, temperature: float) -> float:
    """An upper bound of the magnitude of every logit, the bias counted twice: it is a factor of a gradient, too."""
    if 0 in (*a.shape, b.shape[0]):
        return 0.0
    bound = float(a.detach().norm(dim=1).max()) * float(b.detach().norm(dim=1).max())
    if bias is not None:
        bound += 2 * float(bias.detach().abs().max())
    weight_bound = 0.0 if weight is None else weight.bound
    return bound / temperature + (math.inf if weight_bound is None else weight_bound)


def _checked(value: Tensor, tile: Tile, name: str) -> Tensor:
    if value.shape != shape(tile):
        raise DataError(
            f"pair_weight.{name} must give one value a pair, shape {list(shape(tile))} for this tile, "
            f"got {list(value.shape)}"
        )
    return value
