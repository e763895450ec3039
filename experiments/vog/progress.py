"""What an unfinished cell reports: the test accuracy in the last evaluated round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.core.report.progress import Progress, of_rounds

if TYPE_CHECKING:
    import pandas as pd

_BRIEF = ("test_accuracy",)


def _of(rows: pd.DataFrame) -> pd.DataFrame:
    """Each cell under its point of the grid."""
    is_total = (rows["metric"] == "config") & rows["subject"].str.fullmatch(r"(.* )?key=rounds")
    reached = of_rounds(rows, rows[is_total]["value"])
    reached = reached[reached["metric"].isin(_BRIEF)]
    return reached.assign(method=(reached["subject"] + " " + reached["method"]).str.strip())


PROGRESS = Progress(_of, _BRIEF)
