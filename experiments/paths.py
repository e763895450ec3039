"""Where the packaged files lie, in a checkout and in an installed wheel."""

from __future__ import annotations

import os
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def configs_dir() -> Path:
    """The folder of built-in YAML specs: the checkout's `configs/`, or the copy packed into the wheel."""
    checkout = _HERE.parent / "configs"
    return checkout if checkout.is_dir() else _HERE / "_configs"


def data_dir(given: Path | None = None) -> Path | None:
    """The data folder: `given` (--data-dir), else $FEDLAB_DATA_DIR, else None."""
    if given is not None:
        return given
    named = os.environ.get("FEDLAB_DATA_DIR")
    return Path(named).expanduser() if named else None
