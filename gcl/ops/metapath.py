"""Meta-paths: sequences of node types that relations join."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import POSITIVE, Graph
from gcl.core.graph_spec import GraphSpec
from gcl.ops.scipy_matrix import binary_matrix

_STEP = re.compile(r"-\[([^\]]+)\]-|-")
_NAMED = re.compile(r"\[([^\]]+)\]")
SKETCHES = 64
MOST_PRODUCTS = 2**28  # multiplications of a product on the way


@dataclass(frozen=True)
class MetaPath:
    """A meta-path whose relations are known.

    Args:
        types: the node types on the way, two at least; first and last are the target type.
        relations: the relation of each step.
        flipped: of each step, whether it goes from the relation's source to its receiver, so that the step's incidence
            is the transpose of the relation's adjacency.
        spoken: how it was written; empty = by its types.
    """

    types: tuple[str, ...]
    relations: tuple[str, ...]
    flipped: tuple[bool, ...]
    spoken: str = ""

    @classmethod
    def parse(cls, path: str | Sequence[str], spec: GraphSpec) -> MetaPath:
        """Reads ``paper-author-paper``, or ``paper-[writes]-author-[writes]-paper`` where several relations join two.

        A relation between two nodes of one type is walked as it is stored, from the node that receives.

        Args:
            path: the text, or its pieces as a list (the only way for types with a ``-`` in their name), such as
                ``["paper", "[sent]", "e-mail", "[sent]", "paper"]``.
            spec: the types and relations that there are.

        Raises:
            ConfigError: an unknown type or relation, no relation or more than one for a step, or ends that are not the
                target type.
        """
        text = path if isinstance(path, str) else "-".join(path)
        if isinstance(path, str):
            pieces = _STEP.split(path)
            types, named = pieces[0::2], pieces[1::2]
        else:
            types, named = _read_pieces(path, spec)
        for kind in types:
            if kind not in spec.num_nodes:
                raise ConfigError(f"meta-path {text}: {unknown('node type', kind, spec.num_nodes)}")
        if len(types) < 2 or not types[0] == types[-1] == spec.target:
            raise ConfigError(
                f"meta-path {text} must begin and end with the target type {spec.target!r}, as in "
                f"{spec.target}-...-{spec.target}"
            )
        steps = [
            _relation(here, there, name, spec, text, as_list=not isinstance(path, str))
            for here, there, name in zip(types[:-1], types[1:], named, strict=True)
        ]
        return cls(tuple(types), tuple(name for name, _ in steps), tuple(flip for _, flip in steps), text)

    @property
    def name(self) -> str:
        """``paper-author-paper``, with the relations where they were named."""
        return self.spoken or "-".join(self.types)

    def step(self, graph: Graph, index: int) -> sp.csr_matrix:
        """The binary incidence of one step, nodes of ``types[index]`` by nodes of ``types[index + 1]``, float64."""
        return binary_matrix(graph.relations[self.relations[index]], transposed=self.flipped[index])

    def steps(self, graph: Graph) -> list[sp.csr_matrix]:
        """The incidences of all steps."""
        return [self.step(graph, index) for index in range(len(self.relations))]


def _read_pieces(path: Sequence[str], spec: GraphSpec) -> tuple[list[str], list[str | None]]:
    """Node types, and the relation of each step where one in brackets stands in it."""
    types: list[str] = []
    named: list[str | None] = []
    for piece in path:
        name = None if piece in spec.num_nodes else _NAMED.fullmatch(piece)
        if name is None:
            named.extend([None] * (len(types) - len(named)))
            types.append(piece)
        elif len(named) == len(types) - 1:
            named.append(name[1])
        else:
            raise ConfigError(f"meta-path {'-'.join(path)}: relation {piece} must stand between two node types")
    if types and len(named) == len(types):
        raise ConfigError(f"meta-path {'-'.join(path)}: relation {path[-1]} must stand between two node types")
    return types, named


def _relation(
    here: str, there: str, name: str | None, spec: GraphSpec, text: str, *, as_list: bool
) -> tuple[str, bool]:
    """The relation of a step, and whether it is walked against its adjacency."""
    joining = {
        relation: (source, receiver) != (there, here)
        for relation, (source, receiver) in spec.relations.items()
        if {source, receiver} == {here, there} and (relation != POSITIVE or name == POSITIVE)
    }
    if name is not None:
        if name not in spec.relations:
            raise ConfigError(f"meta-path {text}: {unknown('relation', name, spec.relations)}")
        if name not in joining:
            raise ConfigError(
                f"meta-path {text} does not compose: relation {name!r} joins {' and '.join(spec.relations[name])}, "
                f"not {here} and {there}"
            )
        return name, joining[name]
    if not joining:
        known = ", ".join(dict.fromkeys(f"{a}-{b}" for name, (a, b) in spec.relations.items() if name != POSITIVE))
        raise ConfigError(f"meta-path {text} does not compose: no relation joins {here} and {there}; there are {known}")
    if len(joining) > 1:
        pieces = [here, f"[{next(iter(joining))}]", there]
        raise ConfigError(
            f"meta-path {text}: {len(joining)} relations join {here} and {there} ({', '.join(joining)}); name one, as "
            f"in {pieces if as_list else '-'.join(pieces)}"
        )
    return next(iter(joining.items()))


def chain_ends(steps: Sequence[sp.csr_matrix], what: str, mend: str) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Two matrices whose product counts the instances of a whole path.

    Of the products that lie next to each other the cheapest is taken first, so that a type of few nodes in the middle
    keeps everything small.

    Args:
        steps: incidences of the steps, from 1.
        what, mend: for the error: the path, and what to do.

    Raises:
        DataError: a product on the way that would not fit.
    """
    parts = [*steps] if len(steps) > 1 else [*steps, sp.identity(steps[0].shape[1], format="csr")]
    while len(parts) > 2:
        work = [_multiplications(a, b) for a, b in itertools.pairwise(parts)]
        at = int(np.argmin(work))
        if work[at] > MOST_PRODUCTS:
            raise DataError(
                f"{what} needs a product of {work[at]:,.0f} multiplications on its way, and as many entries at most "
                f"({work[at] * 12 / 2**30:.1f} GiB); {mend}"
            )
        parts[at : at + 2] = [(parts[at] @ parts[at + 1]).tocsr()]
    return parts[0], parts[1]


def _multiplications(a: sp.csr_matrix, b: sp.csr_matrix) -> float:
    """Of the product of two sparse matrices; no more entries come of it."""
    return float(np.bincount(a.indices, minlength=a.shape[1]) @ np.diff(b.indptr).astype(np.float64))


def estimated_pairs(steps: Sequence[sp.csr_matrix]) -> float:
    """About how many pairs of a first and a last node some instance joins.

    Last nodes draw ranks, and each step back takes the smallest: the smaller, the more nodes are reached (Cohen, JCSS
    1997). 64 draws are off by about a tenth.
    """
    ranks = np.random.RandomState(0).standard_exponential((steps[-1].shape[1], SKETCHES))
    for step in reversed(steps):
        ranks = _smallest(step, ranks)
    total = ranks.sum(axis=1)
    reached = np.isfinite(total)
    return float(np.clip((SKETCHES - 1) / total[reached], 1, steps[-1].shape[1]).sum())


def _smallest(step: sp.csr_matrix, ranks: np.ndarray) -> np.ndarray:
    """The smallest rank among each row's neighbours, infinity without any, ``[rows, sketches]``."""
    out = np.full((step.shape[0], ranks.shape[1]), np.inf)
    filled = np.flatnonzero(np.diff(step.indptr))
    if filled.size:
        for sketch in range(ranks.shape[1]):  # one at a time: an entry each, and not one for each sketch
            out[filled, sketch] = np.minimum.reduceat(ranks[step.indices, sketch], step.indptr[filled])
    return out


def check_size(expected: float, *, entry_bytes: int, most_bytes: int, what: str, mend: str) -> None:
    """Refuses a matrix of too many entries.

    Args:
        expected: entries, as by :func:`estimated_pairs`.
        entry_bytes: memory of one while the matrix is made.
        most_bytes: memory that it may take.
        what, mend: for the error: the path, and what to do.

    Raises:
        DataError: it would take more.
    """
    if expected * entry_bytes > most_bytes:
        raise DataError(
            f"{what} joins about {expected:,.0f} pairs of nodes, which take {expected * entry_bytes / 2**30:.3g} GiB, "
            f"more than the {most_bytes / 2**30:.3g} GiB that they may; {mend}"
        )
