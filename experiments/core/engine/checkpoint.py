"""Checkpoints: one file, replaced atomically, hashed, loaded without running anybody's code."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from experiments.core.memory import is_out_of_memory
from experiments.core.sealed import set_aside

_MARK = b"fedlab checkpoint 4\n"
_HEAD = struct.Struct(f"<{len(_MARK)}sQ32s")
"""In front of what torch.save wrote: the mark, how many bytes follow, their SHA-256."""


class Checkpoint:
    """A file holding tensors and plain values, with a fingerprint of what it belongs to.

    Args:
        path: the file.
        fingerprint: two runs with the same fingerprint compute the same numbers.
        seconds: how often `due` is true.
        warn: called with one line when the file turns out to be damaged.
        tell: called with one line when a run resumes from it.
    """

    def __init__(
        self,
        path: Path,
        fingerprint: str,
        seconds: float = 60.0,
        warn: Callable[[str], None] = lambda line: None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.path, self.fingerprint, self.seconds, self.warn, self.tell = path, fingerprint, seconds, warn, tell
        self._last = time.monotonic()

    def resumes(self, unit: str, following: int, last: int) -> None:
        """Announce that the run resumes at round or step (`unit`) `following` of `last`; nothing if it is finished."""
        if following <= last:
            self.tell(f"resuming at {unit} {following} of {last}")

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._last >= self.seconds

    def save(self, content: dict[str, Any]) -> None:
        """Write `content` under a temporary name, flush it to the disk, then take the old file's place."""
        aside = self.path.with_name(f".{self.path.name}.tmp")
        try:
            with aside.open("wb") as file:
                _write(file, {"fingerprint": self.fingerprint, **content})
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved content; None where there is none, or it belongs to another run.

        Anything but the bytes that were written is set aside with a warning, and None.
        """
        if not self.path.exists():
            return None
        try:
            content = _read(self.path)
        except (ValueError, OSError, pickle.UnpicklingError, RuntimeError) as fault:
            if is_out_of_memory(fault):
                raise
            self.warn(
                f"{self.path.name} is damaged or of another version: set aside as {set_aside(self.path)}, "
                "what it held is computed again"
            )
            return None
        return content if content["fingerprint"] == self.fingerprint else None

    def remove(self) -> None:
        """Delete the file; the run is done."""
        self.path.unlink(missing_ok=True)


class _Hashing:
    """Passes on what is written, and counts and hashes it on the way, so that no second copy is held."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.length, self.sha256 = file, 0, hashlib.sha256()
        self.flush = file.flush

    def write(self, data: bytes) -> int:
        self.length += len(data)
        self.sha256.update(data)
        return self._file.write(data)


def _write(file: BinaryIO, content: dict[str, Any]) -> None:
    file.write(bytes(_HEAD.size))
    hashing = _Hashing(file)
    torch.save(content, hashing)  # type: ignore[arg-type]
    file.seek(0)
    file.write(_HEAD.pack(_MARK, hashing.length, hashing.sha256.digest()))


def _read(path: Path) -> dict[str, Any]:
    """The content of a file of `_write`.

    Raises:
        ValueError: other bytes than were written. OSError, RuntimeError, UnpicklingError: as torch.load.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise ValueError("cut")
        mark, length, digest = _HEAD.unpack(head)
        if mark != _MARK or os.fstat(file.fileno()).st_size != _HEAD.size + length:
            raise ValueError("not as it was written")
        if hashlib.file_digest(file, "sha256").digest() != digest:
            raise ValueError("not as it was written")
        file.seek(_HEAD.size)
        content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or "fingerprint" not in content:
        raise ValueError("not a checkpoint")
    return content
