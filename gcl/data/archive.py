"""Reading `.npz` archives in the benchmark layout."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.data.from_arrays import from_arrays

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, NotImplementedError)


def read_npz(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], str]:
    """All arrays of an archive, read into memory, and the SHA-256 of the file. Pickled objects are never loaded.

    Raises:
        DataError: the file is missing, truncated, no `.npz` archive, or holds pickled objects.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}); check the path and its permissions") from None
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path} holds a single array, not a .npz archive; save it with numpy.savez")
        arrays = {key: archive[key] for key in archive.files}
    except DataError:
        raise
    except _DAMAGED as error:
        if "allow_pickle" in str(error) and zipfile.is_zipfile(io.BytesIO(content)):
            raise DataError(f"{path} holds pickled objects, which are never loaded; save plain arrays") from None
        raise DataError(f"{path} is truncated or not a .npz archive ({type(error).__name__}); fetch it again") from None
    return arrays, hashlib.sha256(content).hexdigest()


def graph_from_archive(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> tuple[Graph, dict[str, Any]]:
    """The graph of an archive in the layout of ``node/`` and ``cluster/``, and facts about it.

    Undirected edges are listed once (or in both directions); ``directed``, ``edge_weight`` and ``self_loops`` are
    optional, as are features, labels and splits.

    Raises:
        DataError: another layout, a missing key, or a bad value.
    """
    if "edge_index" not in arrays:
        raise DataError(f"{path} has no key edge_index (it has {', '.join(sorted(arrays)) or 'none'})")
    edge_index, weight = arrays["edge_index"], arrays.get("edge_weight")
    if "num_edges" in arrays and edge_index.ndim == 2 and edge_index.shape[1] != int(arrays["num_edges"]):
        raise DataError(f"{path} says num_edges {int(arrays['num_edges'])} but holds {edge_index.shape[1]}")
    if "self_loops" in arrays and arrays["self_loops"].size:
        loops = arrays["self_loops"].reshape(1, -1)
        if weight is not None:
            weight = np.concatenate([weight, np.ones(loops.size, weight.dtype)])
        edge_index = np.concatenate([edge_index, np.repeat(loops, 2, axis=0)], axis=1)
    splits = arrays.get("splits")
    graph = from_arrays(
        edge_index,
        features_from_archive(arrays, path),
        y=arrays.get("y"),
        num_nodes=int(arrays["num_nodes"]) if "num_nodes" in arrays else None,
        directed=bool(arrays["directed"]) if "directed" in arrays else False,
        edge_weight=weight,
        splits=None if splits is None else np.atleast_2d(splits).T,  # the archive has [S, N]
        duplicates="merge",
    )
    return graph, facts_from_archive(arrays)


def facts_from_archive(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Source, licence, kind of split and class names, where an archive of any layout states them."""
    info: dict[str, Any] = {
        key: str(arrays[key]) for key in ("source", "licence", "split_kind") if key in arrays and arrays[key].ndim == 0
    }
    if "class_names" in arrays:
        info["class_names"] = tuple(str(name) for name in arrays["class_names"])
    return info


def features_from_archive(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> Any:
    """Dense ``x`` or the four CSR keys as a SciPy matrix; ``None`` without features.

    Raises:
        DataError: the CSR keys contradict one another.
    """
    if "x" in arrays:
        return arrays["x"]
    if not any(f"x_{part}" in arrays for part in ("data", "indices", "indptr", "shape")):
        return None
    return csr_from_archive(arrays, "x", path, what="sparse features")


def csr_from_archive(
    arrays: Mapping[str, np.ndarray],
    prefix: str,
    path: str | os.PathLike[str],
    *,
    what: str,
    shape: tuple[int, int] | None = None,
) -> Any:
    """The SciPy matrix of the keys ``<prefix>_data``, ``_indices``, ``_indptr`` and ``_shape``.

    Args:
        arrays: the arrays of the archive.
        prefix: what the keys begin with.
        path: the file, for messages.
        what: what the matrix holds, for messages.
        shape: its shape, where the archive has neither ``_shape`` nor ``_data`` (all entries are 1).

    Raises:
        DataError: a key is missing, or the keys contradict one another.
    """
    import scipy.sparse

    keys = [f"{prefix}_{part}" for part in ("indices", "indptr", *(() if shape else ("data", "shape")))]
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise DataError(f"{path} has no key {missing[0]}; {what} need {', '.join(keys)}")
    if any(arrays[key].dtype.kind not in "iu" for key in keys if not key.endswith("_data")):
        raise DataError(f"{path} has {what} whose indices are not whole numbers")
    indices, indptr = (arrays[key].astype(np.int64) for key in keys[:2])
    data = np.ones(indices.shape, np.uint8) if shape else arrays[keys[2]]
    size = shape or tuple(int(size) for size in arrays[keys[3]])
    try:
        matrix = scipy.sparse.csr_matrix((data, indices, indptr), shape=size)
        matrix.check_format(full_check=True)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} has {what} that contradict themselves ({error})") from None
    return matrix
