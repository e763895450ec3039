"""How good the model is whose worlds are compared: beside it, what one gets without looking at an input."""

from __future__ import annotations

import math

from experiments.core.engine.federation import Federation
from experiments.core.engine.net import Net
from experiments.core.scores.baseline import Baseline, baseline
from experiments.core.sweep.cell import Context, Row

METHOD = "base_model"
"""The rows' method."""


def quality(
    net: Net, federation: Federation, loss: float, accuracy: float, context: Context, point: str = ""
) -> list[Row]:
    """Rows of a trained model's quality, and a warning where it is no better than the majority class.

    Args:
        net: for its loss. federation: what it was trained and tested on.
        loss, accuracy: of the model on the test set, accuracy in [0, 1]. point: of the setting's grid.
    """
    floor, unit = baseline(net, federation), "nats" if net.loss == "cross_entropy" else ""
    no_better = floor.beats(loss, accuracy)
    if no_better:
        context.warn(_warning(floor, loss, accuracy, no_better))
    numbers = [
        ("base_loss", loss, unit),
        ("majority_loss", floor.loss, unit),
        ("no_better", float(bool(no_better)), ""),
    ]
    if not math.isnan(floor.accuracy):
        numbers += [
            ("base_accuracy", 100 * accuracy, "%"),
            ("majority_accuracy", 100 * floor.accuracy, "%"),
            ("majority_class", float(floor.label), ""),
        ]
    common = {"method": METHOD, "subject": point, "n": len(federation.test_y)}
    return [{**common, "metric": metric, "value": value, "unit": unit} for metric, value, unit in numbers]


def _warning(floor: Baseline, loss: float, accuracy: float, no_better: list[str]) -> str:
    losses = f"loss {loss:.4g} against {floor.loss:.4g} of one answer to every input"
    if not math.isnan(floor.accuracy):
        majority = f"{100 * floor.accuracy:.1f} % of class {floor.label} always"
        losses = f"accuracy {100 * accuracy:.1f} % against {majority}, {losses}"
    return (
        f"in {' and '.join(no_better)} the base model is no better than the majority ({losses}): correlations and "
        "rankings say little of a model that has learned"
    )


def status(loss: float, accuracy: float) -> str:
    """What the progress line says of the base model; accuracy in [0, 1], NaN of numbers to predict."""
    line = f"base loss {loss:.4g}"
    return line if math.isnan(accuracy) else f"{line}, accuracy {100 * accuracy:.1f} %"
