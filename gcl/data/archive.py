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
    if "train_indptr" in arrays or "node_types" in arrays:
        what = "interactions" if "train_indptr" in arrays else "several node types"
        raise DataError(f"{path} holds {what}, which cannot be loaded yet; give an archive of the node or cluster sets")
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
    info: dict[str, Any] = {
        key: str(arrays[key]) for key in ("source", "licence", "split_kind") if key in arrays and arrays[key].ndim == 0
    }
    if "class_names" in arrays:
        info["class_names"] = tuple(str(name) for name in arrays["class_names"])
    return graph, info


def features_from_archive(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> Any:
    """Dense ``x`` or the four CSR keys as a SciPy matrix; ``None`` without features.

    Raises:
        DataError: the CSR keys contradict one another.
    """
    if "x" in arrays:
        return arrays["x"]
    keys = ("x_data", "x_indices", "x_indptr", "x_shape")
    if not any(key in arrays for key in keys):
        return None
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise DataError(f"{path} has no key {missing[0]}; sparse features need {', '.join(keys)}")
    import scipy.sparse

    data, indices, indptr, shape = (arrays[key] for key in keys)
    try:
        matrix = scipy.sparse.csr_matrix((data, indices, indptr), shape=tuple(int(size) for size in shape))
        matrix.check_format(full_check=True)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} has sparse features that contradict themselves ({error})") from None
    return matrix
