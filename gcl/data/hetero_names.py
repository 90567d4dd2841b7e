"""What the files of a folder of several node types are called, and so what they hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from gcl.core.errors import DataError, nearest, unknown
from gcl.data.node_files import SUFFIXES, plain_edge_files

TARGET = "target.txt"
_READ = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
_Reading = tuple[str, str, str]  # source type, receiving type, name of the relation or ""


@dataclass(frozen=True)
class RelationFile:
    """A file of edges: its path, the relation's name, and the types at its ends."""

    path: Path
    name: str
    source: str
    receiver: str

    def __str__(self) -> str:
        return f"{self.path} ({self.source} -> {self.receiver})"


@dataclass(frozen=True)
class HeteroFiles:
    """The files of a folder by what they hold.

    Args:
        folder: where they are.
        relations: files of edges, by name.
        by_kind: ``features``, ``labels``, ``splits`` and ``nodes``, each a file by node type.
        types: all node types, in order of the alphabet.
        target: the type to embed.
    """

    folder: Path
    relations: tuple[RelationFile, ...]
    by_kind: Mapping[str, Mapping[str, Path]]
    types: tuple[str, ...]
    target: str


def is_hetero_folder(folder: Path) -> bool:
    """Whether a folder has edges between named node types: a file ``edges_SRC_DST``."""
    return any(path.suffix.lower() in _READ for path in folder.glob("edges_*_*"))


def hetero_files(folder: Path) -> HeteroFiles:
    """Reads the names of a folder's files, and ``target.txt``.

    ``edges_SRC_DST`` is the relation ``SRC_DST``, ``edges_SRC_DST_NAME`` the relation ``NAME`` (or ``SRC__NAME__DST``,
    where several relations have that name). Where a name has more than two words, both types must be known: from files
    of nodes, features or labels, or from a name of two words.

    Raises:
        DataError: edges of one type beside those of several, a name that can be read in several ways, an ending that
            is not read, two files of one name, a target that is not clear or that no edges touch.
    """
    found = _by_kind(folder)
    edges = found.pop("edges")
    plain = [path.name for path in plain_edge_files(folder) if path.suffix in _READ]
    if plain:
        raise DataError(
            f"{folder} has both {plain[0]} (one node type) and {next(iter(edges.values())).name} (several); keep the "
            "edges of one kind"
        )
    known = {kind for files in (found["nodes"], found["features"], found["labels"]) for kind in files}
    known |= {word for rest in edges if rest.count("_") == 1 and rest not in known for word in rest.split("_")}
    relations = _relations({path: _reading(path, rest, known) for rest, path in edges.items()})
    touched = {kind for relation in relations for kind in (relation.source, relation.receiver)}
    types = touched | {kind for name in ("nodes", "features", "labels") for kind in found[name]}
    target = _target(folder, types, touched, found)
    _refuse_strays(folder, touched, found, target, relations)
    return HeteroFiles(folder, relations, found, tuple(sorted(types)), target)


def _by_kind(folder: Path) -> dict[str, dict[str, Path]]:
    """Files by the word before the first ``_`` and by the rest of the name."""
    found: dict[str, dict[str, Path]] = {kind: {} for kind in SUFFIXES}
    for path in sorted(folder.iterdir()):
        kind, _, rest = path.stem.partition("_")
        if not rest or kind not in SUFFIXES or path.suffix.lower() not in _READ or not path.is_file():
            continue
        if path.suffix not in SUFFIXES[kind]:
            raise DataError(f"{path} has an ending that is not read; save it as {', '.join(SUFFIXES[kind])}")
        if rest in found[kind]:
            raise DataError(f"{folder} has both {found[kind][rest].name} and {path.name}; keep one of them")
        found[kind][rest] = path
    return found


def _reading(path: Path, rest: str, known: Collection[str]) -> _Reading:
    """The two types and the name of a relation from ``SRC_DST`` or ``SRC_DST_NAME``."""
    words = rest.split("_")
    if len(words) < 2 or "" in words or (len(words) == 2 and rest in known and not set(words) <= set(known)):
        raise DataError(
            f"{path} names one node type, {rest!r}; call a file of edges edges_SRC_DST or edges_SRC_DST_NAME"
        )
    ends = [(first, second) for first in range(1, len(words)) for second in range(first + 1, len(words) + 1)]
    readings = [("_".join(words[:i]), "_".join(words[i:j]), "_".join(words[j:])) for i, j in ends]
    if len(readings) == 1:
        return readings[0]
    likely = [reading for reading in readings if {reading[0], reading[1]} <= set(known)]
    if len(likely) == 1:
        return likely[0]
    said = [f"{a} -> {b}" + (f" ({name})" if name else "") for a, b, name in likely or readings]
    choices = " or ".join(said[:3]) + (" and so on" if len(said) > 3 else "")
    mend = "rename the types so that no name begins another" if likely else "add a file nodes_TYPE of each type"
    raise DataError(f"{path} can be read as {choices}; {mend}")


def _relations(readings: Mapping[Path, _Reading]) -> tuple[RelationFile, ...]:
    short = [name or f"{source}_{receiver}" for source, receiver, name in readings.values()]
    relations = []
    for (path, (source, receiver, given)), name in zip(readings.items(), short, strict=True):
        shared = given and short.count(name) > 1
        name = f"{source}__{given}__{receiver}" if shared else name
        relations.append(RelationFile(path, name, source, receiver))
    return tuple(relations)


def _target(
    folder: Path, types: Collection[str], touched: Collection[str], found: Mapping[str, Mapping[str, Path]]
) -> str:
    """The type to embed: that of ``target.txt``, else the only one with labels (or with splits, or at all)."""
    path = folder / TARGET
    if not path.is_file():
        for candidates in (found["labels"], found["splits"], touched):
            if len(candidates) == 1:
                return next(iter(candidates))
            if candidates:
                break
        kinds = sorted(found["labels"] or touched)
        what = "more than one node type has labels" if found["labels"] else "no node type has labels"
        raise DataError(
            f"{what} in {folder}, so the one to embed is not clear; write one of {', '.join(kinds)} into {path}"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} as UTF-8 text ({type(error).__name__}); save it as UTF-8") from None
    filled = [line.strip() for line in lines if line.strip()]
    if len(filled) != 1:
        raise DataError(
            f"{path} has {len(filled)} lines; write one, the node type to embed ({', '.join(sorted(types))})"
        )
    if filled[0] not in types:
        raise DataError(f"{path} names an {unknown('node type', filled[0], types)}")
    return filled[0]


def _refuse_strays(
    folder: Path,
    touched: Collection[str],
    found: Mapping[str, Mapping[str, Path]],
    target: str,
    relations: Collection[RelationFile],
) -> None:
    """Refuses a target, or files of a type, that no edges touch, and splits of another type than the target."""
    if target not in touched:
        listed = ", ".join(f"{relation.source} -> {relation.receiver}" for relation in relations)
        raise DataError(
            f"no relation in {folder} touches {target!r}, the type to embed (there are {listed}); add a file "
            f"edges_SRC_{target} or write another type into {folder / TARGET}"
        )
    for kind, path in found["splits"].items():
        if kind != target:
            raise DataError(
                f"{path} splits {kind!r}, but the type to embed is {target!r}; remove it or write {kind} into "
                f"{folder / TARGET}"
            )
    for files in found.values():
        for kind, path in files.items():
            if kind not in touched:
                close = nearest(kind, touched, limit=1)
                hint = f"rename it to {path.stem.partition('_')[0]}_{close[0]}" if close else "add edges or remove it"
                raise DataError(f"{path} is of {kind!r}, a type that no relation touches; {hint}")
