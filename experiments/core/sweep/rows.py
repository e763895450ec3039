"""Rows as CSV: exact in a cell's rows.csv, ten digits and sorted in a setting's metrics.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.core import clean
from experiments.core.names import natural
from experiments.core.sweep.cell import COLUMNS, Cell, Row

_ORDER = ("method", "metric", "subject", "dataset", "partition", "model", "round", "seed", "n", "unit", "value")


def complete_row(cell: Cell, row: Row) -> dict[str, str]:
    """`row` with the cell's own columns, every value as text; `value` keeps all its digits.

    Raises:
        ValueError: on a column that is not in COLUMNS, or without `metric` or a numeric `value`.
    """
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown or "metric" not in row or "value" not in row:
        raise ValueError(f"a row needs 'metric' and 'value' and knows no {unknown}: {row}")
    columns = {"paper": cell.paper, "setting": cell.setting, "scale": cell.scale, "seed": cell.seed}
    for key, value in columns.items():
        if row.get(key, value) != value:
            raise ValueError(f"a row of cell {cell.id} says {key}={row[key]!r}, the cell says {value!r}")
    full = {"method": cell.method, **row, **columns, "value": float(row["value"])}
    return {c: "" if full.get(c) is None else repr(full[c]) if c == "value" else str(full[c]) for c in COLUMNS}


def to_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """CSV text with a header line and LF line ends, every text as `clean.cell` writes it."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: clean.cell(v) if isinstance(v, str) else v for key, v in row.items()} for row in rows)
    return out.getvalue()


def from_csv(text: str) -> list[dict[str, str]]:
    """The rows of a CSV text, all values as text."""
    reader = csv.DictReader(io.StringIO(text))
    return [
        {key: clean.meant(value) if isinstance(value, str) else value for key, value in row.items()} for row in reader
    ]


def tidy(rows: Iterable[dict[str, str]]) -> str:
    """The text of metrics.csv: sorted, values at ten significant digits (%.10g)."""
    ordered = sorted(rows, key=lambda row: tuple(natural(row[column]) for column in _ORDER))
    return to_csv({**row, "value": f"{float(row['value']):.10g}"} for row in ordered)
