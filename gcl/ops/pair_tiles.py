"""The grid of tiles behind ``product_logsumexp``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

# Pairs in one tile where memory allows. On a CPU a tile and its gradient stay in the L2 cache between the matrix
# products, where an exponential costs a third of what it costs from memory.
TILE_PAIRS = {"cpu": 512**2, "cuda": 2**24}
# Rows from which a low strip of tiles that are kept until its sums are known beats a high one of tiles made again: each
# strip adds to the gradient of every key.
LOWEST_STRIP = 48
ALIGNMENT = 16  # sides are multiples of it, for full vectors

Tile = tuple[slice, slice]


@dataclass(frozen=True)
class Grid:
    """Cuts an n × m rectangle into tiles; of a symmetric one only those on and above the diagonal."""

    rows: list[slice]
    cols: list[slice]
    symmetric: bool

    @classmethod
    def of(
        cls, n: int, m: int, *, symmetric: bool, memory: int, scratch: int, like: Tensor, in_strips: bool = False
    ) -> Grid:
        """Square tiles, as large as ``memory`` allows with ``scratch`` values a pair beside the three of every tile.

        Where strips end one by one (``in_strips``), tiles are lower if all of a strip can then be kept.
        """
        budget = memory // (2 * (3 + scratch) * like.element_size())  # the other half is for kept tiles
        pairs = max(1, min(budget, TILE_PAIRS.get(like.device.type, 2**24)))
        side = max(1, min(math.isqrt(pairs), n))
        fitting = memory // (2 * max(1, m) * like.element_size()) if in_strips else 0
        if fitting >= LOWEST_STRIP:
            side = min(side, fitting - fitting % ALIGNMENT)
        width = side if symmetric else max(1, min(pairs // side, m))
        return cls(_slices(n, side), _slices(m, width), symmetric)

    def strip(self, index: int) -> list[Tile]:
        """The tiles of one row block."""
        return [(self.rows[index], cols) for cols in self.cols[index if self.symmetric else 0 :]]

    def tiles(self) -> list[Tile]:
        """All tiles."""
        return [tile for index in range(len(self.rows)) for tile in self.strip(index)]


def _slices(size: int, step: int) -> list[slice]:
    """Pieces of nearly equal length, at most ``step``."""
    if not size:
        return []
    even = math.ceil(size / math.ceil(size / step))
    step = min(step, math.ceil(even / ALIGNMENT) * ALIGNMENT)
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def shape(tile: Tile) -> tuple[int, int]:
    """Rows and columns of a tile."""
    return tile[0].stop - tile[0].start, tile[1].stop - tile[1].start


def num_pairs(tiles: Sequence[Tile]) -> int:
    """Pairs in all tiles together."""
    return sum(math.prod(shape(tile)) for tile in tiles)


def largest(tiles: Sequence[Tile]) -> int:
    """Pairs in the largest tile."""
    return max((math.prod(shape(tile)) for tile in tiles), default=0)


def cut(flat: Tensor, tiles: Sequence[Tile]) -> list[Tensor]:
    """Consecutive pieces of a flat buffer, one for each tile, in its shape."""
    starts = itertools.accumulate((math.prod(shape(tile)) for tile in tiles), initial=0)
    return [
        flat[start : start + math.prod(shape(tile))].view(shape(tile))
        for tile, start in zip(tiles, starts, strict=False)
    ]
