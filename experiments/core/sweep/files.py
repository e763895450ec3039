"""Files that are either whole or absent: atomic writes, hashes, locks, and telling a full disk from other faults."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from experiments.core.errors import BusyError, MissingError

CLIENTS = "clients.csv"
"""In a cell's folder: who its clients are."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NEARLY_NOTHING = 2**16  # bytes free below which a writer's error without an errno is put down to the disk


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write `data` so that `path` holds either its old content or all of the new, also after a kill or power loss.

    Raises:
        OSError: as the operating system says; the temporary file is gone then and `path` untouched.
    """
    payload = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            _write_all(descriptor, payload)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _write_all(descriptor: int, payload: bytes) -> None:
    view = memoryview(payload)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable (a rename is only safe once its folder is on disk)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file written by someone else durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def lock(path: Path, what: str, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold the lock `path` (exclusive unless `shared`) over a block.

    The system frees it when the process dies, however it dies.
    The lock file itself stays: removing it would let two processes lock two different files of one name.

    Raises:
        BusyError: when someone else holds it and `wait` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BusyError(f"another process is computing {what}", todo="wait for it, then repeat") from None
        try:
            yield
        finally:
            # Said aloud, since a forked child may still hold the same descriptor open.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Tell whether `error`, or what it arose from, came of a full disk (or quota) under `folder`.

    Writers in C (torch.save among them) raise a RuntimeError without an errno; then the free space decides.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        seen = seen.__cause__ or seen.__context__
    return isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < _NEARLY_NOTHING


def disk_full(what: str) -> MissingError:
    """The one error a full disk becomes."""
    return MissingError(
        "disk full", what, "free some space and repeat the command: it resumes from the last checkpoint"
    )


def nearest(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that is there."""
    whole = Path(os.path.abspath(folder))  # noqa: PTH100  (resolving raises on links in a circle)
    return next(parent for parent in (whole, *whole.parents) if os.path.isdir(parent))  # noqa: PTH112


def size_of(folder: Path) -> int:
    """Bytes in the files under `folder`; 0 when it does not exist."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder.is_dir() else 0
