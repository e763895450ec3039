"""Whether a file's format matches its name, for files without a published checksum."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path


def misfit(path: Path, name: str) -> str:
    """A short description of what is wrong with the format of the file at `path`, to be stored as `name`; else "".

    Raises:
        OSError: it cannot be read.
    """
    form, is_one = _FORMS.get(name.rpartition(".")[2], ("", _anything))
    try:
        return "" if is_one(path) else f"is no sound {form} file"
    except (ValueError, RecursionError):
        return f"is no sound {form} file"


def _anything(path: Path) -> bool:
    return True


def _is_parquet(path: Path) -> bool:
    """Begins and ends as parquet files do."""
    with path.open("rb") as opened:
        head = opened.read(4)
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - 4))
        return head == opened.read(4) == b"PAR1"


def _is_safetensors(path: Path) -> bool:
    """The header says where every tensor ends; the last one ends with the file."""
    size = path.stat().st_size
    with path.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length <= size - 8:
            return False
        header = json.loads(opened.read(length))
    ends = [part["data_offsets"][1] for name, part in header.items() if name != "__metadata__"]
    return bool(size == 8 + length + max(ends))


def _is_json(path: Path) -> bool:
    return isinstance(json.loads(path.read_bytes()), dict | list)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as opened:
        return opened.read(2) == b"\x1f\x8b"


_FORMS: dict[str, tuple[str, Callable[[Path], bool]]] = {
    "parquet": ("parquet", _is_parquet),
    "safetensors": ("safetensors", _is_safetensors),
    "json": ("JSON", _is_json),
    "npz": ("npz", zipfile.is_zipfile),
    "gz": ("gzip", _is_gzip),
    "tgz": ("gzip", _is_gzip),
}
