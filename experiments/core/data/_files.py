"""Finding and opening a user's files, with errors that say what, where and what to do."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from experiments.core.errors import MissingError, SpecError


def locate(path: str, data_dir: Path | None) -> Path:
    """The file or folder a spec names: as given (from the working directory), else inside the data folder.

    Raises:
        MissingError: it is in neither place.
    """
    given = Path(path).expanduser()
    tried = [given] if given.is_absolute() or data_dir is None else [given, data_dir / given]
    for place in tried:
        if place.exists():
            return place
    raise MissingError(
        f"no data at {path}",
        "looked for " + " and ".join(str(place) for place in tried),
        "correct data.path, or name the data folder with --data-dir or FEDLAB_DATA_DIR",
    )


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked when its name ends in .gz.

    Raises:
        MissingError: it is not there or cannot be read.
        SpecError: the gzip stream is cut short or damaged.
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SpecError(f"damaged gzip file ({error})", str(path), "fetch or pack the file again") from error
    except OSError as error:
        raise MissingError(f"cannot read the file ({error.strerror})", str(path), "check that it is there") from error
