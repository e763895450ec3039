"""Over the rounds: accuracy of the global model, localization accuracy of TraceFL, and chance (Figs. 2 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import hide, line, outer_labels
from experiments.core.report.style import look, new_figure
from experiments.trace.figure_parts import LABELS, SERIES, chance_line, legend, percent, seeds_note, star
from experiments.trace.reading import at, panel_words, pick, points, printed, scopes, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = 12


def by_round(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figures 2 and 5: a panel a point of the grid, in % over the rounds."""
    accuracy = pick(rows, "accuracy", method="global")
    measured = pd.concat([
        accuracy, pick(rows, "localization", method="tracefl"), pick(rows, "chance"), pick(rows, "inputs"),
    ])  # fmt: skip
    if accuracy.empty or accuracy["round"].nunique() < 2:
        return None
    shown = points(measured)[:_PANELS]
    left = measured["point"].nunique() - len(shown)
    caption = (
        "Accuracy of the global model, localization accuracy of TraceFL and chance (naming a participant at random) "
        "over the rounds, in %; stars at the right end: the paper's best accuracy and mean localization accuracy, "
        "where it or the authors' result files have them. Rounds without any prediction to trace are marked at the "
        f"bottom.{f' {left} more panels are in the CSV.' if left else ''}"
    )
    return Artefact(name, tidy(measured, "round", "n"), lambda: _draw(measured, shown), caption)


def _draw(measured: pd.DataFrame, shown: list[str]) -> Figure:
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure, panels = new_figure(lines, columns, sharey=True)
    figure.set_size_inches((6.4, 3.2) if len(shown) == 1 else (max(2.5 * columns, 4.8), 1.8 * lines + 0.9))
    for ax, point in zip(panels, shown, strict=False):
        of_point = at(measured, point)
        _panel(ax, of_point, point)
        ax.set_title(panel_words(of_point, point))
        percent(ax, "")
        ax.locator_params(axis="x", integer=True)
    outer_labels(panels[: len(shown)], columns, "round", "%")
    hide(panels, len(shown))
    legend(figure, panels, seeds_note(measured["seed"].nunique(), "mean and range"))
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, point: str) -> None:
    setting, last = str(rows["setting"].iloc[0]), float(rows["round"].max())
    line(ax, pick(rows, "accuracy"), "round", LABELS["accuracy"], **look(SERIES["accuracy"]))
    right = 1.03 * last
    star(ax, [right], [printed(setting, "highest:accuracy", "global", point)], SERIES["accuracy"])
    for scope in scopes(rows):
        of_scope, index = at(rows, point, scope), SERIES.get(scope, 4)
        line(ax, pick(of_scope, "localization"), "round", LABELS.get(scope, scope), **look(index))
        chance_line(ax, pick(of_scope, "chance"), "round", scope)
        star(ax, [right], [printed(setting, "mean:localization", "tracefl", f"{point} scope={scope}".strip())], index)
    counts = pick(rows, "inputs").groupby("round")["value"].min()
    none = counts[counts == 0].index
    if len(none):
        ax.plot(none, [2.0] * len(none), linestyle="", marker="|", color="0.3", markersize=6, label="nothing to trace")
    ax.set_xlim(min(1.0, float(rows["round"].min())) - 0.02 * last, 1.05 * last)
