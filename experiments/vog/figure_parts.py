"""What the figures share: the look of a score, and titles of panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.core.report.style import look
from experiments.core.subject import words
from experiments.vog.reading import DATA, MODELS, look_of, named, names_of

if TYPE_CHECKING:
    import pandas as pd

CONTROL: dict[str, dict[str, Any]] = {
    "none": {"color": "black", "linestyle": "-"},
    "random": {"color": "0.5", "linestyle": "--"},
}
"""The lines of the controls."""


def style(method: str) -> dict[str, Any]:
    """Colour, dash and mark of a score, the same in every figure."""
    return look(look_of(method))


def title_of(rows: pd.DataFrame, place: str) -> str:
    """The title of a panel for the rest `place` of a point: model and data, subsets and further axes said."""
    first = rows.iloc[0]
    head = [MODELS.get(str(first["net"]), str(first["net"])), DATA.get(str(first["data"]), str(first["data"]))]
    head[1] += " (subset)" if "subset" in str(first.get("dataset", "")) else ""
    rest = [named(key, value) for key, value in words(place).items() if key not in ("task", "model_", "data")]
    return "\n".join(filter(None, [", ".join(filter(None, head)), ", ".join(rest)]))


def words_of_place(place: str) -> str:
    """The same without rows: of a point's words alone."""
    net, data = names_of(words(place))
    rest = [named(key, value) for key, value in words(place).items() if key not in ("task", "model_", "data")]
    return ", ".join(filter(None, [MODELS.get(net, net), DATA.get(data, data), *rest]))
