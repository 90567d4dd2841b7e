"""Named datasets from where they are published, stored in the package's own layout."""

from __future__ import annotations

import ast
import http.client
import importlib
import os
import shutil
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError, MissingDependencyError, OutputError
from gcl.core.graph import Graph
from gcl.data.cards import Card, read_card
from gcl.data.convert import from_pyg
from gcl.data.names import resolve_name
from gcl.data.ogb import ogb_url, read_ogb
from gcl.data.roots import data_roots, find_archive
from gcl.data.write_archive import write_archive

PYG, OGB = "torch_geometric.", "ogb "

Say = Callable[[str], None]


def prepare_dataset(
    name: str,
    *,
    raw: str | os.PathLike[str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    say: Say = lambda line: None,
) -> Path:
    """Fetches a named dataset by what its card says, checks that it is the same graph, and stores it in a data root.

    PyG's sets are fetched by PyG, OGB's are read from their raw files. What is stored is an ``.npz`` without pickles,
    which :func:`gcl.load_dataset` reads; what was fetched for it is removed again.

    Args:
        name: a dataset's name.
        raw: what was fetched already: the ``root`` folder of PyG's class, or OGB's zip file or folder. PyG reads
            pickles there, which can execute code: give only what you trust.
        data_root: where it is stored; by default ``GCL_DATA``, else the user's cache folder.
        say: gets a line on what happens.

    Returns:
        The path of the archive; where a data root has it already, that of this one.

    Raises:
        DataError: an unknown name, a set that cannot be fetched, a failed download, or another graph than the card's.
        MissingDependencyError: PyG is not installed.
    """
    card = read_card(resolve_name(name))
    if card.embedded:
        raise DataError(f"{card.name} is built in and needs no file")
    known = find_archive(card, data_root)
    if known is not None:
        say(f"{card.name} is here already")
        return known
    if raw is not None and not Path(raw).exists():
        raise DataError(f"{raw} does not exist; give what was fetched before, or leave --raw out")
    if not card.obtain.startswith((PYG, OGB)):
        raise DataError(
            f"{card.name} cannot be fetched: no public source is known to give the same graph ({card.source}); put "
            f"{card.file} into a data root, in the layout of docs/data.md"
        )
    target = data_roots(data_root)[0] / card.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{card.stem}."))
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be written ({error.strerror}); give --data-root") from error
    try:
        graph, listed = (_by_pyg if card.obtain.startswith(PYG) else _by_ogb)(card, raw, scratch, say)
        _check_same(card, graph, listed)
        info = {"source": card.obtain, "licence": card.licence}
        return write_archive(graph, target, info=info)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _by_pyg(card: Card, raw: str | os.PathLike[str] | None, scratch: Path, say: Say) -> tuple[Graph, int]:
    make = _pyg_call(card.obtain)
    root = str(scratch if raw is None else raw)
    say(f"{card.obtain.replace('root', repr(root), 1)}")
    try:
        data = make(root)[0]
    except ImportError as error:
        raise MissingDependencyError(f"{card.name} is fetched by PyG, and {error.name} is not installed") from error
    except Exception as error:  # whatever a download or a damaged file brings up
        raise DataError(
            f"PyG could not make {card.name} ({type(error).__name__}: {error}); look at the network, or give --raw, "
            f"the root folder of {card.obtain}"
        ) from error
    return from_pyg(data), int(data.edge_index.shape[1])


def _pyg_call(text: str) -> Callable[[str], Any]:
    """A function of the root folder from a card's call: a class, ``root``, and keywords with plain values."""
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)
    options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    module, _, cls = ast.unparse(call.func).rpartition(".")

    def make(root: str) -> Any:
        return getattr(importlib.import_module(module), cls)(root, **options)

    return make


def _by_ogb(card: Card, raw: str | os.PathLike[str] | None, scratch: Path, say: Say) -> tuple[Graph, int]:
    name = card.obtain.removeprefix(OGB)
    source = Path(raw) if raw is not None else scratch / f"{name}.zip"
    if raw is None:
        url = ogb_url(name)
        try:
            with urllib.request.urlopen(url, timeout=60) as answer, open(source, "wb") as stream:
                told = answer.headers.get("Content-Length") or ""
                size = int(told) if told.isdecimal() else None
                say(f"fetching {url}" + ("" if size is None else f", {size / 2**20:.0f} MiB"))
                shutil.copyfileobj(answer, stream)
        except (OSError, http.client.HTTPException) as error:  # of a URL, a connection, or an answer
            raise DataError(
                f"{url} could not be fetched ({error}); fetch it elsewhere and give it with --raw"
            ) from error
        if size is not None and source.stat().st_size != size:
            raise DataError(f"{url} was cut off after {source.stat().st_size:,} of {size:,} bytes; run it again")
        if not zipfile.is_zipfile(source):
            raise DataError(f"{url} answered with no zip file; fetch it elsewhere and give it with --raw")
    return read_ogb(source)


def _check_same(card: Card, graph: Graph, listed: int) -> None:
    """Refuses another graph than the card's, by every count that it has."""
    adjacency = graph.adjacency
    loops = 0 if adjacency.is_loop is None else int(adjacency.is_loop.sum())
    edges = (adjacency.num_arcs - loops) // (2 if adjacency.symmetric else 1)
    y, features = graph.attr("y"), graph.features.get(graph.target)
    found: Mapping[str, int] = {
        "nodes": graph.num_nodes,
        "edges": edges,
        "self_loops": loops,
        "listed_edges": listed,
        "features": 0 if features is None else features.shape[1],
        "classes": 0 if y is None else int(y.max()) + 1,
    }
    expected = {"self_loops": 0, **card.statistics}
    wrong = [
        f"{found[key]:,} {key.replace('_', ' ')} and not {count:,}"
        for key, count in expected.items()
        if key in found and isinstance(count, int) and found[key] != count
    ]
    if wrong:
        raise DataError(
            f"what {card.obtain} gave is not {card.name}: it has {', '.join(wrong)}; nothing was stored. Its published "
            "files may have changed"
        )
    if isinstance(features, Adjacency) and not features.num_arcs:
        raise DataError(f"what {card.obtain} gave has no feature that is not 0; nothing was stored")
