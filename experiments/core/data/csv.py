"""A user's table: numeric features, a label column, and optionally a column that names the client."""

from __future__ import annotations

import codecs
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from experiments.core.data._own_test import TestRows
from experiments.core.data.pool import Pool
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

    from experiments.core.data._parts import Parts
    from experiments.core.data._table import Dialect, Reader, Table

Columns = Annotated[tuple[str, ...], Field(strict=False)]


class Csv(TestRows):
    """One csv file with a header, perhaps packed (.gz, .bz2, .xz, .zip); line 1 is the header's.

    Labels that are not numbers are class names, numbered in natural order (2 before 10). Without `test`, `split` or
    `test_clients` the rows are split here; with a client column each client's rows are split separately, so that a
    client with wrong labels is evaluated on its own test rows. With a client column `natural` keeps the clients;
    without one, choose another partition.
    """

    kind: Literal["csv"] = "csv"
    path: str = Field(description="file, from the working directory or else inside the data folder")
    name: str | None = Field(None, description="name in results; default: the file's")
    label: str = Field("label", description="column of labels")
    target: Literal["class", "number"] = Field(
        "class", description="what that column holds: a class, or a number to predict (regression, loss: squared)"
    )
    client: str | None = Field(None, description="column that names the client of each row; read as text")
    features: Columns | None = Field(None, description="columns of features; default: all others")
    ignore: Columns = Field((), description="columns that are not features")
    standardise: bool = Field(
        True, description="shift and scale each feature by mean and deviation of the training rows"
    )
    separator: str = Field(",", min_length=1, max_length=1, description="sign between columns")
    encoding: str = Field("utf-8", description="of the file: utf-8, latin-1, cp1252, utf-16, ...")
    decimal: Literal[".", ","] = Field(".", description="sign before the fraction of a number")
    na: Columns = Field(("",), description="cells that hold no value; NA and None are ordinary words unless named here")
    train_fraction: float = Field(0.8, gt=0, lt=1, description="share of rows that train")
    split_seed: int = Field(0, ge=0, description="seed of the split")

    @field_validator("encoding")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            known = codecs.lookup(name)._is_text_encoding  # type: ignore[attr-defined]
        except (LookupError, ValueError):
            known = False
        if not known:
            raise ValueError(f"{name!r} is no encoding of text")
        return name

    @model_validator(mode="after")
    def _agree(self) -> Csv:
        if self.separator == self.decimal or self.separator in '"\r\n\0':
            raise ValueError(f"separator: {self.separator!r} cannot stand between columns here")
        if self.test_clients is not None and self.client is None:
            raise ValueError("test_clients: goes together with client, the column that names them")
        both = sorted({self.label, *self._beside, *self.ignore}.intersection(self.features or ()))
        if both:
            raise ValueError(f"features: {both[0]!r} is something else already")
        return self

    @property
    def _beside(self) -> tuple[str, ...]:
        """The columns of words besides the label."""
        return tuple(name for name in (self.client, self.split) if name is not None)

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the file; see `DataBlock.load`."""
        import torch

        from experiments.core.data import _parts
        from experiments.core.data._files import locate, test_file
        from experiments.core.data.pool import make_pool

        file = locate(self.path, data_dir)
        table = self._table(file)
        if self.test is None:
            parts = _parts.of_one(self, table, file)
        else:
            other = test_file(self.test, data_dir, file)
            parts = _parts.of_two(self, table, file, self._table(other, table.columns), other)
        (y, test_y), classes, label_notes = self._labels(parts, file)
        x, test_x, scaling = self._scaled(parts.train.x, parts.test.x)
        pool = make_pool(
            str(file), (x, y), (test_x, test_y), classes, self.name or file.stem, parts.owner, parts.names,
            test_from=parts.test_from, own_tests=parts.own_tests,
        )  # fmt: skip
        lines, test_lines = torch.from_numpy(parts.train.lines), torch.from_numpy(parts.test.lines)
        return replace(pool, notes=(*scaling, *label_notes), lines=lines, test_lines=test_lines)

    def _dialect(self) -> Dialect:
        from experiments.core.data._table import Dialect

        return Dialect(self.separator, self.encoding, self.decimal, self.na)

    def _table(self, file: Path, columns: tuple[str, ...] | None = None) -> Table:
        """A table with the label as a column of words, or of numbers for a regression.

        `columns`: the features, where another file determines them.
        """
        from experiments.core.data._table import opened

        beside = self._beside if columns is None else ()
        with opened(file, self._dialect()) as reader:
            reader.require((self.label, *(columns or (*beside, *self.ignore, *(self.features or ())))))
            table = self._read(reader, columns or self._features(reader), beside)
        if len(table.lines) < 2 and columns is None:
            raise SpecError(f"{len(table.lines)} rows", str(file), "give at least two rows below the header")
        if columns is None and self.features is None:
            _refuse_counting(table, file)
        return table

    def _features(self, reader: Reader) -> tuple[str, ...]:
        """The columns that are features."""
        taken = {self.label, *self._beside, *self.ignore}
        features = self.features or tuple(name for name in reader.header if name not in taken)
        if not features:
            raise SpecError("no feature columns", str(reader.file), "give columns of numbers besides the label")
        if "" in features:
            what = "a column without a name, as tables written with their row numbers have"
            raise SpecError(what, str(reader.file), "set data.ignore: [''], or data.features to the columns that count")
        return features

    def _read(self, reader: Reader, features: tuple[str, ...], beside: tuple[str, ...]) -> Table:
        """Features, label or target, and the columns beside them."""
        if self.target == "class":
            return reader.read(features, (self.label, *beside))
        table = reader.read((*features, self.label), beside)
        return replace(table, x=table.x[:, :-1], columns=features, target=table.x[:, -1:])

    def _labels(self, parts: Parts, file: Path) -> tuple[tuple[np.ndarray, ...], int, tuple[str, ...]]:
        """Labels or targets of both parts, the number of outputs, and notes for the user."""
        from experiments.core.data._parts import classes

        if parts.train.target is not None and parts.test.target is not None:
            return (parts.train.target, parts.test.target), 1, ()
        labels = classes(self, parts, file)
        few = ", ".join(f"{k} = {name}" for k, name in enumerate(labels.names[:10]))
        notes = (f"labels by name: {few}{', ...' * (len(labels.names) > 10)}",) if few else ()
        return labels.parts, labels.classes, notes

    def _scaled(self, x: np.ndarray, test_x: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """The features of both parts, standardised if the block says so, and notes for the user."""
        import numpy as np

        if not self.standardise:
            return x, test_x, ()
        constant = x.max(0) == x.min(0)  # its deviation is not exactly zero in floating point
        mean, scale = np.where(constant, x[0], x.mean(0)), np.where(constant, 1.0, x.std(0))
        note = "each feature is shifted and scaled by mean and deviation of the training rows (data.standardise)"
        return (x - mean) / scale, (test_x - mean) / scale, (note,)


def _refuse_counting(table: Table, file: Path) -> None:
    """Raise SpecError where a column that was not listed as a feature only numbers the rows."""
    import numpy as np

    n = len(table.lines)
    for name, column in zip(table.columns, table.x.T, strict=True):
        ordered = np.sort(column)
        counts = n > 2 and any(np.array_equal(ordered, np.arange(start, start + n)) for start in (0, 1))
        if counts or name.startswith("Unnamed: "):
            fault = "counts the rows" if counts else "has a name that stands for none, as in tables with row numbers"
            todo = f"set data.ignore: [{name!r}], or list it in data.features if it is meant"
            raise SpecError(f"column {name!r} {fault}", str(file), todo)
