"""The numbers a paper prints: experiments/<paper>/reference.csv, one a row. All columns are text; empty means "none".

key         name of the number, e.g. fed_influence.figure3.setting1.pearson. A key `<other>#K` is one exponent of the
            formula printed under the key `<other>`, which is then judged by its exponents
label       what results/README.md calls the number, beside its paper and its setting
kind        result (a finding; the only kind that `report --check` judges) | setup (a choice the authors made)
            | formula (judged by its `#` rows) | exponent (such a row)
setting     the fedlab setting it belongs to. A run of `<setting>-digits` or `<setting>-standin` uses other data in
            place of the paper's: its numbers stand beside the paper's, marked, and `report --check` does not judge them
metric      column `metric` of metrics.csv, or `spec:<dotted key>` for a value of the resolved spec
method, subject   the columns of metrics.csv; empty does not filter
round       a number, `last` (the last round of each seed that has the metric), or empty (does not filter)
            In metric, method and subject `a|b` means a where there is any, else b
            A subject `K=*` takes the rows with subjects `K=10`, `K=20`, ... of each seed; ours is then the slope of
            log value over log K, that is the measured power of K
            A metric `mean:m`, `sd:m`, `highest:m` or `lowest:m` is that of all of a seed's rows of m whose subject
            matches, `*` in the subject standing for any text; `n:m` is their column n
value       as printed: a number, or text; ours reads `NaN` where no seed has a number
unit        of value. With `%`, ours is multiplied by 100 unless its own unit is `%`
rule        empty: |ours - paper's|; log10: |log10 ours - log10 paper's|; for what is known by order of magnitude only;
            below: ours - paper's where that is positive, else 0; for an upper bound
tolerance_reproduced, tolerance_close   the largest such distance that still counts as reproduced, as close. Without
            them only equality is `reproduced`, all else `differs`, and `report --check` does not judge the row
same_as     for text: what ours must read to count as the same (`a|b`: either); empty: the value itself
            A number printed for a spec key that holds a list is reproduced when the list has it
source      table, figure or section. note: free
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import experiments
from experiments.core.errors import SpecError


@dataclass(frozen=True)
class Reference:
    """One row of a reference.csv; the module's docstring says what each column means."""

    key: str
    label: str
    kind: str
    setting: str
    metric: str
    method: str
    subject: str
    round: str
    value: str
    unit: str
    rule: str
    tolerance_reproduced: str
    tolerance_close: str
    same_as: str
    source: str
    note: str

    @property
    def number(self) -> float | None:
        """The printed value when it is a number; "NaN" is none: it stands for what was never reached."""
        try:
            value = float(self.value)
        except ValueError:
            return None
        return None if math.isnan(value) else value


COLUMNS = tuple(f.name for f in fields(Reference))


def of_paper(paper: str) -> list[Reference]:
    """The printed numbers of `paper`; none where its folder has no reference.csv.

    Raises:
        SpecError: as `load`.
    """
    path = Path(experiments.__file__).parent / paper / "reference.csv"
    return load(path) if path.is_file() else []


def load(path: Path) -> list[Reference]:
    """Read a reference.csv.

    Raises:
        SpecError: on other columns, an unknown kind or rule, a repeated key, a row without label or source; all faults
            at once.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise SpecError(f"columns must be {','.join(COLUMNS)}", f"{path.parent.name}/{path.name}:1")
        rows = [(reader.line_num, Reference(**row)) for row in reader]
    faults: list[str] = []
    seen: set[str] = set()
    for line, row in rows:
        faults += [f"{path.parent.name}/{path.name}:{line}: {row.key}: {fault}" for fault in _faults(row, seen)]
        seen.add(row.key)
    if faults:
        raise SpecError(faults[0], todo=f"{len(faults)} fault(s) in all", faults=tuple(faults))
    return [row for _, row in rows]


class Printed:
    """The numbers that one paper prints, by key.

    Attributes:
        path: the paper's reference.csv, read when the first number is asked for. prefix: the first word of its keys.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self.path, self.prefix = path, prefix

    @cached_property
    def rows(self) -> dict[str, Reference]:
        """Key -> its row, in the order of the file."""
        return {row.key: row for row in load(self.path)}

    def number(self, key: str) -> float:
        """The number `<prefix>.<key>`; NaN where the paper has none."""
        row = self.rows.get(f"{self.prefix}.{key}")
        return math.nan if row is None or row.number is None else row.number

    def text(self, key: str) -> str:
        """`<prefix>.<key>` as it stands in print; "" where the paper has none."""
        row = self.rows.get(f"{self.prefix}.{key}")
        return "" if row is None else row.value


_OVER = ("", "spec", "mean", "sd", "highest", "lowest", "n")


def _over(metric: str) -> str:
    """What stands before the colon of a metric; the first such that is unknown among alternatives."""
    words = [one.rpartition(":")[0] for one in metric.split("|")]
    return next((word for word in words if word not in _OVER), words[0])


def _faults(row: Reference, seen: set[str]) -> list[str]:
    checks = {
        "the key is there twice": row.key in seen,
        f"unknown kind {row.kind!r}": row.kind not in ("result", "setup", "formula", "exponent"),
        f"unknown rule {row.rule!r}": row.rule not in ("", "log10", "below"),
        "no label": not row.label.strip(),
        "no value": not row.value,
        "no source": not row.source,
        "no metric": not row.metric and row.kind != "formula",
        "one tolerance without the other": bool(row.tolerance_reproduced) != bool(row.tolerance_close),
        f"unknown {_over(row.metric)!r} before the metric": _over(row.metric) not in _OVER,
        "a tolerance needs a number": bool(row.tolerance_close) and row.number is None,
    }
    faults = [fault for fault, is_so in checks.items() if is_so]
    if row.tolerance_close and not faults and not 0 <= float(row.tolerance_reproduced) <= float(row.tolerance_close):
        faults.append("tolerance_reproduced must lie between 0 and tolerance_close")
    return faults
