"""The results of a cell as rows of metrics.csv."""

from __future__ import annotations

from dataclasses import dataclass, field

from experiments.core.subject import subject
from experiments.core.sweep.cell import Row


@dataclass
class Rows:
    """Rows whose subjects all begin with the cell's point of the grid."""

    point: str
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
        """One number of round t; `words` complete the subject. NaN stands for what does not exist ("never")."""
        about = " ".join(filter(None, [self.point, subject(**words)]))
        row: Row = {"method": method, "metric": metric, "subject": about, "value": float(value)}
        optional = {"unit": unit or None, "round": t, "n": n}
        self.rows.append({**row, **{key: value for key, value in optional.items() if value is not None}})
