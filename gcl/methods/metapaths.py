"""The meta-paths of a method: those that were given, or there and back along every relation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from gcl.core.errors import ConfigError
from gcl.core.graph_spec import GraphSpec
from gcl.ops.metapath import MetaPath


def metapaths_of(metapaths: Sequence[str | Sequence[str]] | None, spec: GraphSpec) -> list[MetaPath]:
    """Meta-paths by their names; without any, there and back along every relation of the target type.

    Raises:
        ConfigError: one that does not compose or is given twice, or no relation of the target type.
    """
    if metapaths is not None:
        paths = [MetaPath.parse(path, spec) for path in metapaths]
        known: dict[tuple[object, ...], str] = {}
        for path in paths:
            key = (path.relations, path.flipped, path.types)
            if key in known:
                raise ConfigError(f"meta-path {path.name} is given twice (as {known[key]}); leave one of them out")
            known[key] = path.name
        return paths
    found = []
    for name, (source, receiver) in spec.relations.items():
        if spec.target not in (source, receiver) or source == receiver:
            continue
        other = source if receiver == spec.target else receiver
        flipped = receiver != spec.target
        several = sum({a, b} == {other, spec.target} for a, b in spec.relations.values()) > 1
        spoken = f"{spec.target}-[{name}]-{other}-[{name}]-{spec.target}" if several else ""
        found.append(MetaPath((spec.target, other, spec.target), (name, name), (flipped, not flipped), spoken))
    if not found:
        raise ConfigError(
            f"no relation joins {spec.target!r} with another type, so there is no meta-path; give metapaths="
        )
    return found


def say_metapaths(metapaths: Sequence[str | Sequence[str]] | None, spec: GraphSpec) -> None:
    """Tells which meta-paths are taken where none were given."""
    if metapaths is None:
        names = ", ".join(path.name for path in metapaths_of(None, spec))
        warnings.warn(f"metapaths were not given; taking {names}. Set metapaths to decide them", stacklevel=3)
