"""Files written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gcl.core.errors import OutputError


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Gives a temporary path in the same folder; it is synced and renamed to ``path`` when the block ends well.

    Raises:
        OutputError: ``path`` exists and ``overwrite`` is ``False``, or its folder cannot be written to.
    """
    target = Path(path)
    if not overwrite and os.path.lexists(target):
        raise OutputError(f"{target} exists; choose another name or remove it first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror}); choose another place") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        if overwrite:
            os.replace(temporary, target)
        else:
            _name_anew(temporary, target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _name_anew(temporary: Path, target: Path) -> None:
    """Renames, but refuses what has appeared in the meantime."""
    try:
        os.link(temporary, target)  # which replaces nothing
    except FileExistsError:
        raise OutputError(f"{target} has appeared while it was made; choose another name or remove it first") from None
    except OSError as error:  # a file system without links
        if os.path.lexists(target):
            raise OutputError(f"{target} has appeared while it was made; choose another name") from error
        os.replace(temporary, target)


@contextmanager
def claimed(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Whether this process has what a lock file stands for to itself; its end, however it comes, gives it back.

    Where the system has no such locks it always has.

    Raises:
        OutputError: the lock file cannot be written.
    """
    target = Path(path)
    with ExitStack() as held:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            stream = held.enter_context(open(target, "a"))
        except OSError as error:
            raise OutputError(f"{target} cannot be written ({error.strerror}); choose another place") from error
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except (ImportError, OSError):  # Windows, and file systems without locks
            pass
        yield True


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuses a place for a new file before any work is done for it.

    Raises:
        OutputError: it exists, or its folder cannot be made or written to.
    """
    target = Path(path)
    if os.path.lexists(target):
        raise OutputError(f"{target} exists; choose another name or remove it first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror}); choose another place") from error
    os.close(handle)
    os.unlink(name)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sync_folder(path: Path) -> None:
    """Makes a rename inside the folder durable (where the system can)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | os.PathLike[str], text: str, *, overwrite: bool = True) -> None:
    """Writes a text file atomically."""
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], record: Any, *, overwrite: bool = True) -> None:
    """Writes a JSON file atomically, keys in the order given."""
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n", overwrite=overwrite)
