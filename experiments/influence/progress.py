"""What an unfinished cell reports: the summary scores of the last evaluated round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.core.report.progress import Progress, of_rounds
from experiments.core.subject import subject

if TYPE_CHECKING:
    import pandas as pd

_SUMMARY = (subject(clients="counted"), subject(data="test"))


def _of(rows: pd.DataFrame) -> pd.DataFrame:
    """The scores over all counted clients, and the base model's on the test set."""
    total = rows[(rows["metric"] == "config") & (rows["subject"] == subject(key="rounds"))]["value"]
    reached = of_rounds(rows, total)
    return reached[reached["subject"].isin(_SUMMARY)]


PROGRESS = Progress(_of, ("pearson_fil", "spearman_fil", "accuracy"))
