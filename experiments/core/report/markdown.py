"""Tables in Markdown whose columns line up in the source too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from experiments.core import clean
from experiments.core.report.numbers import number

if TYPE_CHECKING:
    import pandas as pd


def markdown(frame: pd.DataFrame, digits: int = 4) -> str:
    """`frame` as a Markdown table: numbers to `digits` significant digits and right-aligned, missing values empty."""
    names = [_text(name, digits) for name in frame.columns]
    body = [[_text(value, digits) for value in row] for row in frame.itertuples(index=False, name=None)]
    right = [_all_numbers(frame.iloc[:, i].tolist()) for i in range(len(names))]
    widths = [max(3, *(len(row[i]) for row in [names, *body])) for i in range(len(names))]
    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    return "\n".join(_line(row, widths, right) for row in [names, rule, *body]) + "\n"


def _line(row: list[str], widths: list[int], right: list[bool]) -> str:
    cells = (t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right, strict=True))
    return "| " + " | ".join(cells) + " |"


def _all_numbers(values: list[Any]) -> bool:
    return bool(values) and all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values)


def _text(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return number(value, digits)
    return clean.markdown(str(value))
