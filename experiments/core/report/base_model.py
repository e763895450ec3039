"""The base model beside the majority class: the table that says whether a setting's other numbers mean anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.core.report.artefacts import Artefact

if TYPE_CHECKING:
    import pandas as pd

_CAPTION = (
    "The trained model on the test set beside what one gets without looking at an input: always the class with most "
    "training samples (majority accuracy), always the classes' frequencies in training (frequency loss; under the "
    "squared loss their mean). Means over seeds; `no better`: seeds whose accuracy is not above the majority's, or "
    "whose loss is above the frequencies'. Of such a model correlations and rankings mean nothing."
)
_COLUMNS = {
    "base_loss": "loss", "majority_loss": "frequency loss", "base_accuracy": "accuracy %",
    "majority_accuracy": "majority accuracy %",
}  # fmt: skip


def base_model(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """One line a data set, model and point of the grid; None for rows stored before these were."""
    rows = metrics[metrics["method"] == "base_model"]
    if rows.empty:
        return None
    import pandas as pd

    by = ["setting", "scale", "subject", "dataset", "model"]
    lines = [
        {**dict(zip(by, key, strict=True)), **_line(point_rows)} for key, point_rows in rows.groupby(by, sort=False)
    ]
    frame = pd.DataFrame(lines).rename(columns={"subject": "point"})
    return Artefact(name, frame, caption=_CAPTION, table_md=True)


def _line(rows: pd.DataFrame) -> dict[str, Any]:
    """Means over seeds, and how many seeds are no better."""
    of = {metric: rows[rows["metric"] == metric]["value"] for metric in (*_COLUMNS, "majority_class", "no_better")}
    classes = sorted({int(label) for label in of["majority_class"]})
    return {
        **{label: float(of[metric].mean()) for metric, label in _COLUMNS.items()},
        "majority class": " ".join(map(str, classes)),
        "seeds": len(of["no_better"]),
        "no better": int(of["no_better"].sum()),
    }
