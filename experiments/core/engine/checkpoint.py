"""Checkpoints: one file, replaced atomically, loaded without running anybody's code."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import torch


class Checkpoint:
    """A file holding tensors and plain values, with a fingerprint of what it belongs to.

    Args:
        path: the file.
        fingerprint: two runs with the same fingerprint compute the same numbers.
        seconds: how often `due` says yes.
    """

    def __init__(self, path: Path, fingerprint: str, seconds: float = 60.0) -> None:
        self.path, self.fingerprint, self.seconds = path, fingerprint, seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._last >= self.seconds

    def save(self, content: dict[str, Any]) -> None:
        """Write `content` under a temporary name, flush it to the disk, then take the old file's place."""
        aside = self.path.with_name(f".{self.path.name}.tmp")
        try:
            with aside.open("wb") as file:
                torch.save({"fingerprint": self.fingerprint, **content}, file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved content; None where there is none, it is damaged, or it belongs to another run."""
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
            return None
        return content if content.get("fingerprint") == self.fingerprint else None

    def remove(self) -> None:
        """Delete the file; the run is done."""
        self.path.unlink(missing_ok=True)
