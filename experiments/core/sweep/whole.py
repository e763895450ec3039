"""Whether a cell's folder is as it was written, and can be read by all that read it."""

from __future__ import annotations

import csv
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

from experiments.core.sweep import files
from experiments.core.sweep.cell import COLUMNS
from experiments.core.sweep.rows import from_csv, to_csv

_NEEDED = ("cell.json", "provenance.json", "rows.csv")
_DESCRIBED = {"paper": str, "setting": str, "scale": str, "seed": int, "method": str, "version": int}


def fault(folder: Path) -> str:
    """What keeps the folder from counting as a finished cell, in a few words; "" when it is whole.

    Every file that DONE names must have the hash it gives there; the three that tables are made of must also hold what
    belongs in them, since a file may have been damaged before it was hashed.
    """
    hashes = read_json(folder / "DONE")
    if not isinstance(hashes, dict) or not set(_NEEDED) <= set(hashes):
        return "DONE is missing or damaged"
    for name, value in hashes.items():
        try:
            if not (folder / name).is_file():
                return f"{name} is missing"
            if files.sha256(folder / name) != value:
                return f"{name} is not as it was written"
            if name.endswith(".npz") and not _is_archive(folder / name):
                return f"{name} is no sound npz file"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    readable = (_is_described, _is_mapping, _is_table)
    return next((f"{n} does not hold what it should" for n, good in zip(_NEEDED, readable, strict=True)
                 if not good(folder / n)), "")  # fmt: skip


def is_whole(folder: Path) -> bool:
    """Whether the folder is that of a finished cell, and undamaged."""
    return not fault(folder)


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None when it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _is_described(path: Path) -> bool:
    cell = read_json(path)
    return isinstance(cell, dict) and all(type(cell.get(key)) is kind for key, kind in _DESCRIBED.items())


def _is_mapping(path: Path) -> bool:
    return isinstance(read_json(path), dict)


def _is_archive(path: Path) -> bool:
    """Whether this is a zip file whose members have the checksums that it gives them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError):
        return False


def _is_table(path: Path) -> bool:
    """Whether there are all columns, and every row has them and a number as its value."""
    try:
        text = path.read_text(encoding="utf-8")
        rows = from_csv(text)
        numbers = [float(row["value"]) for row in rows if row.keys() == set(COLUMNS) and None not in row.values()]
    except (OSError, ValueError, csv.Error):  # a UnicodeDecodeError is a ValueError
        return False
    return text.startswith(to_csv([])) and len(numbers) == len(rows)
