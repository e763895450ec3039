"""The results of a cell as rows of metrics.csv."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from experiments.core.subject import subject
from experiments.core.sweep.cell import Row


@dataclass
class Rows:
    """Rows whose subjects all begin with the cell's point of the grid.

    Attributes:
        point: of the grid. finite: a value that is not finite gets no row; else NaN stands for "never". rows: so far.
    """

    point: str
    finite: bool = False
    rows: list[Row] = field(default_factory=list)

    def add(
        self,
        method: str,
        metric: str,
        value: float,
        unit: str = "",
        *,
        t: int | None = None,
        n: int | None = None,
        **words: object,
    ) -> None:
        """One number of round t; `words` complete the subject."""
        if self.finite and not math.isfinite(value):
            return
        about = " ".join(filter(None, [self.point, subject(**words)]))
        row: Row = {"method": method, "metric": metric, "subject": about, "value": float(value)}
        optional = {"unit": unit or None, "round": t, "n": n}
        self.rows.append({**row, **{key: value for key, value in optional.items() if value is not None}})
