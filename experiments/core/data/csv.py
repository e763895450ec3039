"""A table of one's own: numeric features, a label column, and perhaps a column that names the client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from experiments.core.data.pool import DataBlock, Pool
from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Csv(DataBlock):
    """One csv file with a header. Labels may be words; they are numbered in sorted order. Rows are split here.

    With a client column each client's rows are split on their own and `natural` keeps the clients; without one, choose
    another partition.
    """

    kind: Literal["csv"] = "csv"
    path: str = Field(description="file, from the working directory or else inside the data folder")
    name: str | None = Field(None, description="name in results; default: the file's")
    label: str = Field("label", description="column of labels")
    client: str | None = Field(None, description="column that names the client of each row")
    features: Annotated[tuple[str, ...] | None, Field(strict=False)] = Field(
        None, description="columns of features; default: all others"
    )
    standardise: bool = Field(
        False, description="shift and scale each feature by mean and deviation of the training rows"
    )
    train_fraction: float = Field(0.8, gt=0, lt=1, description="share of rows that train")
    split_seed: int = Field(0, ge=0, description="seed of the split")

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the file; see `DataBlock.load`."""
        import numpy as np

        from experiments.core.data._files import locate
        from experiments.core.data.pool import make_pool

        file = locate(self.path, data_dir)
        table = _read(file)
        labels, y = np.unique(self._column(table, self.label, file), return_inverse=True)
        x = self._features(table, file)
        if len(labels) < 2:
            raise SpecError(f"{len(labels)} different labels in column {self.label!r}", str(file), "give at least two")
        train, test, owner, names = self._rows(table, file)
        if self.standardise:
            mean, scale = x[train].mean(0), x[train].std(0)
            x = (x - mean) / np.where(scale > 0, scale, 1)
        held = None if owner is None else owner[train]
        parts = ((x[train], y[train]), (x[test], y[test]))
        return make_pool(str(file), *parts, len(labels), self.name or file.stem, held, names)

    def _rows(
        self, table: pd.DataFrame, file: Path
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, tuple[str, ...]]:
        """Training rows, test rows, the client of every row (None without a client column), the clients' names."""
        from experiments.core.data._clients import by_name
        from experiments.core.data._split import split_by_owner, split_rows
        from experiments.core.engine.seeds import stream

        if self.client is None:
            rows = split_rows(len(table), self.train_fraction, stream(self.split_seed, "split", part="rows"))
            return *rows, None, ()
        names, owner = by_name(self._column(table, self.client, file))
        return *split_by_owner(owner, names, self.train_fraction, self.split_seed), owner, names

    def _features(self, table: pd.DataFrame, file: Path) -> np.ndarray:
        """The features as [N, d] float32."""
        import numpy as np

        columns = self.features or tuple(c for c in table.columns if c not in (self.label, self.client))
        if not columns:
            raise SpecError("no feature columns", str(file), "give columns of numbers besides the label")
        parts = [self._column(table, name, file) for name in columns]
        for name, part in zip(columns, parts, strict=True):
            if part.dtype.kind not in "iufb":
                raise SpecError(
                    f"column {name!r} is not numeric", str(file), "encode it, or list data.features without it"
                )
        return np.stack([part.astype(np.float32) for part in parts], axis=1)

    def _column(self, table: pd.DataFrame, name: str, file: Path) -> np.ndarray:
        """One column without gaps."""
        import numpy as np

        if name not in table.columns:
            raise SpecError(f"no column {name!r}", str(file), f"it has {', '.join(map(str, table.columns))}")
        gaps = np.flatnonzero(table[name].isna().to_numpy())
        if len(gaps):
            raise SpecError(f"row {gaps[0] + 1} has no value in column {name!r}", str(file), "fill or remove the row")
        column: np.ndarray = table[name].to_numpy()
        return column.astype(str) if column.dtype.kind not in "iufb" else column


def _read(file: Path) -> pd.DataFrame:
    """The table, with pandas' complaints told in our words."""
    import warnings

    import pandas as pd

    try:
        with warnings.catch_warnings():
            # With index_col=False pandas only warns of rows that are too long, and cuts them.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(file, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
        raise SpecError(
            f"not a sound csv file ({error})", str(file), "give every row as many fields as the header"
        ) from error
    except OSError as error:
        raise MissingError(f"cannot read the file ({error})", str(file), "check that it is a readable file") from error
    if len(table) < 2:
        raise SpecError(f"{len(table)} rows", str(file), "give at least two rows below the header")
    return table
