"""FEMNIST: handwritten digits and letters in 62 classes, by writer (Caldas et al. 2018)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.core.data._files import first_line
from experiments.core.data.pool import DataBlock, Pool
from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np


class Femnist(DataBlock):
    """FEMNIST from `<data folder>/femnist`: LEAF's JSON files, or the public parquet release with writer ids.

    LEAF files may be there or in `data/` below it, whole (`all_data_*.json`) or split (`train/`, `test/`). Inputs are
    1x28x28 in 0..1 with LEAF's polarity (white paper = 1); labels 0-9 digits, 10-35 upper case, 36-61 lower case.
    """

    kind: Literal["femnist"] = "femnist"
    writers: int | None = Field(None, ge=1, description="take so many writers at random; default: all")
    min_samples: int = Field(10, ge=1, description="leave out writers with fewer samples (training and test together)")
    train_fraction: float = Field(0.9, gt=0, lt=1, description="share that trains, where the files are not split yet")
    split_seed: int = Field(0, ge=0, description="seed of that split and of the choice of writers")

    def outline(self) -> tuple[tuple[int, ...], int, float, int]:
        """See `DataBlock.outline`."""
        return (1, 28, 28), 62, 200.0, self.writers or 3550

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the files; see `DataBlock.load`."""
        from experiments.core.data._leaf import leaf_pool

        options: Any = {k: getattr(self, k) for k in ("train_fraction", "split_seed", "writers", "min_samples")}
        source = _locate_source(data_dir)
        if isinstance(source, Path):
            return leaf_pool(source, "femnist", 62, (1, 28, 28), **options)
        return _parquet_pool(source, source[0].parent, **options)

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`."""
        _locate_source(data_dir)


def _locate_source(data_dir: Path | None) -> Path | list[Path]:
    """The folder of LEAF files, else the parquet files.

    Raises:
        MissingDataError: there are neither.
    """
    from experiments.core.data._files import STAND_IN, absent
    from experiments.core.data._leaf import has_leaf

    folder = None if data_dir is None else data_dir / "femnist"
    if folder is not None:
        for candidate in (folder, folder / "data", folder / "data" / "all_data", folder / "all_data"):
            if has_leaf(candidate):
                return candidate
        if files := sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]):
            return files
    where = f"looked in {folder}" if folder else "no data folder is given (--data-dir or FEDLAB_DATA_DIR)"
    raise absent("FEMNIST (62 classes, by writer) is not there", where, "femnist", data_dir, STAND_IN)


def _parquet_pool(
    files: list[Path], folder: Path, train_fraction: float, split_seed: int, writers: int | None, min_samples: int
) -> Pool:
    """The pool of the parquet release (columns image, writer_id, character); only the chosen writers are decoded."""
    import numpy as np

    from experiments.core.data._leaf import choose
    from experiments.core.data._split import drawn, split_by_owner
    from experiments.core.data.pool import make_pool

    ids = np.concatenate([_writers(path) for path in files])
    writer_ids, counts = np.unique(ids, return_counts=True)
    names = choose(
        dict(zip(writer_ids.tolist(), counts.tolist(), strict=True)), writers, min_samples, split_seed, str(folder)
    )
    index = {name: k for k, name in enumerate(names)}
    owner = np.array([index.get(i, -1) for i in ids.tolist()])
    rows = np.flatnonzero(owner >= 0)
    y = _labels(files, rows)
    x = _polarity(_decode(files, rows))
    train, test = split_by_owner(owner[rows], names, train_fraction, split_seed)
    parts = ((x[train], y[train]), (x[test], y[test]))
    test_from = drawn(train_fraction, "each writer's samples", split_seed)
    return make_pool(str(folder), *parts, 62, "femnist", owner[rows][train], names, test_from=test_from)


def _labels(files: list[Path], rows: np.ndarray) -> np.ndarray:
    """The labels [len(rows)] of the given rows."""
    import numpy as np

    from experiments.core.data._labels import numbered_labels

    columns = np.concatenate([_column(path, "character") for path in files])
    return numbered_labels(str(files[0].parent), [columns[rows]], 62, lambda part, row: f"row {rows[row]}").parts[0]


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """An open parquet file; damage is reported in one line."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingError(
            "the parquet release needs pyarrow", str(path), "pip install 'fedlab-influence[parquet]'"
        ) from error
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise SpecError(f"damaged parquet file ({first_line(error)})", str(path), "fetch it again") from error


def _column(path: Path, name: str) -> np.ndarray:
    """One column of a parquet file as an array without missing values."""
    import numpy as np

    with _parquet(path) as file:
        _require_column(file, name, path)
        column = file.read(columns=[name]).column(name)
        if column.null_count:
            raise SpecError(f"a row without {name}", str(path), "fetch it again")
        values: np.ndarray = column.to_numpy()
        return np.array(values.tolist()) if values.dtype.kind == "O" else values


def _require_column(file: Any, name: str, path: Path) -> None:
    """Raise SpecError where the file has no column of that name."""
    if name not in file.schema_arrow.names:
        raise SpecError(f"no column {name!r}", str(path), "use the release with image, writer_id, hsf_id, character")


def _writers(path: Path) -> np.ndarray:
    """The writer of each row of a parquet file, as text."""
    import numpy as np

    ids = _column(path, "writer_id").tolist()
    strange = next((name for name in ids if not isinstance(name, (str, int))), None)
    if strange is not None or not ids:
        what = f"writer_id holds a {type(strange).__name__}" if ids else "no rows"
        raise SpecError(what, str(path), "use the release with image, writer_id, hsf_id, character")
    return np.array([str(name) for name in ids])


def _decode(files: list[Path], rows: np.ndarray) -> np.ndarray:
    """Images [len(rows), 1, 28, 28] in 0..1 of the given rows (ascending, counted over all files)."""
    import numpy as np

    x = np.empty((len(rows), 1, 28, 28), np.float32)
    start = done = 0
    for path in files:
        with _parquet(path) as file:
            _require_column(file, "image", path)
            for batch in file.iter_batches(batch_size=8192, columns=["image"]):
                wanted = rows[(rows >= start) & (rows < start + len(batch))] - start
                for i in wanted.tolist():
                    x[done] = _png(batch.column(0)[i].as_py(), path, start + i)
                    done += 1
                start += len(batch)
    return x


def _png(cell: Any, path: Path, row: int) -> np.ndarray:
    """One image cell ({"bytes": png, ...}) as [28, 28] in 0..1."""
    from experiments.core.data._pictures import read_image

    raw = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(raw, bytes):
        raise SpecError(f"row {row} holds no image", str(path), "fetch the file again")
    pixels = read_image(io.BytesIO(raw), f"{path}, row {row}", "grey", formats=("PNG",))[0]
    if pixels.shape != (28, 28):
        raise SpecError(f"row {row} is an image of {pixels.shape}, not 28x28", str(path), "use FEMNIST's 28x28 release")
    return pixels


def _polarity(x: np.ndarray) -> np.ndarray:
    """Images with white paper = 1 as in LEAF, whatever the release's polarity; the margins show the paper's value."""
    import numpy as np

    margin = np.concatenate([x[:, 0, 0], x[:, 0, -1], x[:, 0, :, 0], x[:, 0, :, -1]], axis=1)
    return x if np.median(margin) > 0.5 else 1 - x
