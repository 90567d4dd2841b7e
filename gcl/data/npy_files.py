"""``.npy`` files that are mapped into memory, or written where a disk may fill up."""

from __future__ import annotations

import errno
import math
import mmap
import os
import shutil
import sys
import tokenize
from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError

# Python names it from 3.13 on.
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def mapped_array(path: Path, mend: str) -> np.ndarray:
    """The array of an ``.npy`` file on the pages of that file; what is written to it stays in this process.

    No memory is set aside for such writes, so that the file may be larger than memory and swap together.

    Args:
        path: the file.
        mend: what to do where it cannot be used, for messages.

    Raises:
        DataError: missing, no ``.npy`` array, of Python objects, of another size than its header says, or more than the
            system lets a process map.
    """
    try:
        with open(path, "rb") as stream:
            version = np.lib.format.read_magic(stream)
            if version not in READERS:
                raise ValueError(version)
            shape, in_columns, dtype = READERS[version](stream)
            start, size = stream.tell(), os.fstat(stream.fileno()).st_size
            if dtype.hasobject:
                raise DataError(f"{path} holds Python objects, which are not read; {mend}")
            expected = start + math.prod(shape) * dtype.itemsize
            if size != expected:
                raise DataError(f"{path} is truncated or damaged ({size} bytes, its header says {expected}); {mend}")
            pages = _private_pages(path, stream.fileno(), size)
        return np.ndarray(shape, dtype, buffer=pages, offset=start, order="F" if in_columns else "C")
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {mend}") from None
    except (ValueError, TypeError, OverflowError, SyntaxError, tokenize.TokenError):  # as a header may be damaged
        raise DataError(f"{path} is no .npy array, or its header is damaged; {mend}") from None


def _private_pages(path: Path, descriptor: int, size: int) -> mmap.mmap:
    """A file's pages, which can be written to without a change of the file: torch warns of what it cannot write to."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
    try:
        return mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE | NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise DataError(
            f"{path} has {size / 2**30:.3g} GiB, more than the system lets this process map; lift the limits of "
            "`ulimit -v` and `ulimit -d`, or set vm.overcommit_memory to 0 or 1"
        ) from None


def new_mapped_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """A new file's array, to be written to on its pages; its place on the disk is taken first.

    Raises:
        OSError: the disk is full, which a later write to a page would end the process by.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # not on every system
        with open(path, "r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, os.fstat(stream.fileno()).st_size)
            except OSError as error:  # some file systems cannot
                if error.errno in NO_ROOM:
                    raise
    return array


def save_array(path: Path, array: np.ndarray) -> None:
    """As ``np.save``, but a full disk raises an ``OSError`` that says so."""
    array = np.asarray(array, order="C")
    with open(path, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.write(array.data)


def with_header(raw: Path, dtype: np.dtype | type, shape: tuple[int, ...]) -> None:
    """Turns a file of bare numbers into an ``.npy`` of the same name; it is copied once, a megabyte at a time."""
    target = raw.with_suffix(".npy")
    with open(target, "wb") as out, open(raw, "rb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(out, header)
        shutil.copyfileobj(stream, out, 1 << 20)
    raw.unlink()
