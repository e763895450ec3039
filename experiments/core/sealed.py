"""Small files with their own hash, so that corruption is detected; setting aside damaged files."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

DAMAGED = ".damaged"
"""Suffix of files that were set aside."""

_SEAL = "sha256"


def seal(content: dict[str, Any]) -> str:
    """`content` as JSON text with its own hash in it."""
    return json.dumps({**content, _SEAL: _hash(content)}, indent=1) + "\n"


def unseal(text: str | bytes) -> dict[str, Any]:
    """The content of a text that `seal` made.

    Raises:
        ValueError: it was not made by `seal`, or was changed.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict) or content.pop(_SEAL, None) != _hash(content):
        raise ValueError("not as it was written")
    return content


def set_aside(path: Path) -> str:
    """Rename a damaged file or folder, replacing an earlier one set aside; returns the new name."""
    aside = path.with_name(path.name + DAMAGED)
    remove(aside)
    path.rename(aside)
    return aside.name


def remove(path: Path) -> None:
    """Delete a file or folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
