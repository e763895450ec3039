"""Where the packaged files lie, in a checkout and in an installed wheel."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.core.errors import SpecError

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
    return expanded(named) if named else None


def expanded(given: str | Path) -> Path:
    """`given` with `~` and `~user` as the home folder that a shell puts there, which it does not in `--out=~/x`.

    Raises:
        SpecError: there is no such user.
    """
    whole = os.path.expanduser(given)  # noqa: PTH111  (Path's own raises a RuntimeError)
    if whole.startswith("~"):
        user = whole.partition("/")[0]
        raise SpecError(f"there is no home folder {user}", whole, f"write the path in full, or ./{user} for that name")
    return Path(whole)
