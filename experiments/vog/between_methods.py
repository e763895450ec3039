"""Whether two methods tell the same of the samples of one training (section 4.5: PLIS against VoG; Fig. 9)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import about, over_seeds
from experiments.core.subject import words
from experiments.vog.agreement import EXTREMES
from experiments.vog.likeness import GRID, METRICS, Side, both, grids
from experiments.vog.reading import METHODS, PAPERS, label_of, methods, ordered, pick
from experiments.vog.stored_scores import Scored

BY = ["point", "first", "second", "part", "metric"]
PARTS = {"all": "all", "extremes": "extremes", "highest": "highest", "lowest": "lowest"}
_COLUMNS = ["point", "seed", "first", "second", "part", "metric", "n", "value"]
_CAPTION = (
    "Two methods on the samples of the same training, scaled scores, means and range over seeds. extremes: of the "
    f"samples that either ranks among its {EXTREMES} highest or lowest, at most a tenth of all each; same of {GRID}, "
    f"SSIM, BD: of the grids of the {GRID} highest (lowest). The paper (section 4.5) prints for PLIS and VoG r = 0.57 "
    "and 0.55 over all, 0.33 and 0.34 for large or small scores, without saying of which training each is; for the "
    "lowest of ResNet-18 at eps 1 (Fig. 9) SSIM 0.215, BD 0.886."
)


def lines(cells: Sequence[Scored], rows: pd.DataFrame) -> pd.DataFrame:
    """A line a cell, pair of methods, part and number: point, seed, first, second, part, metric, n, value.

    Args:
        cells: for the grids that both pick. rows: as `reading.parse` makes them, for the correlations.
    """
    grid_lines = pd.DataFrame([line for one in cells for line in _of_cell(one)], columns=_COLUMNS)
    told = pick(rows, [f"scores_{metric}" for metric in ("pearson", "spearman")])
    pairs = [methods(pair) for pair in zip(told["method"], told["against"], strict=True)]
    told = told.assign(
        first=[pair[0] for pair in pairs], second=[pair[-1] for pair in pairs], part=told["pick"],
        metric=told["metric"].str.removeprefix("scores_"),
    )  # fmt: skip
    return pd.concat([told[_COLUMNS], grid_lines], ignore_index=True)


def _of_cell(one: Scored) -> Iterator[dict[str, Any]]:
    for first, second in combinations(methods(one.methods), 2):
        a, b = Side(one, first), Side(one, second)
        about = {"point": one.point, "seed": one.seed, "first": first, "second": second, "n": len(both(a, b, None)[0])}
        for part in ("highest", "lowest"):
            numbers = grids(a, b, None, lowest=part == "lowest", images={first, second} <= set(PAPERS))
            known = {metric: value for metric, value in numbers.items() if not math.isnan(value)}
            yield from ({**about, "part": part, "metric": metric, "value": value} for metric, value in known.items())


def agreement(told: pd.DataFrame, rows: pd.DataFrame, name: str) -> Artefact | None:
    """The table of one setting; None without two methods.

    Args:
        told: as `lines` makes them. rows: the setting's, for its name.
    """
    if told.empty:
        return None
    told = told.assign(n=told.groupby(BY)["n"].transform("min"))
    frame = over_seeds(told, [*BY, "n"]).rename(columns={"mean": "value"})
    axes = list(dict.fromkeys(key for point in frame["point"] for key in words(point)))
    frame = frame.assign(**{axis: [words(point).get(axis, "") for point in frame["point"]] for axis in axes})
    frame = _arranged(frame, axes)
    columns = [*axes, "first", "second", "part", "metric", "n", "value", "low", "high", "seeds"]
    whole = frame[columns].assign(**about(rows))[[*about(rows), *columns]]
    return Artefact(name, whole, None, _CAPTION, table_md=True, excerpt=_excerpt(frame, axes))


def _arranged(frame: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    orders = {"first": list(METHODS), "second": list(METHODS), "part": list(PARTS), "metric": list(METRICS)}
    known = {
        key: [*(v for v in order if v in set(frame[key])), *sorted(set(frame[key]) - set(order))]
        for key, order in orders.items()
    }
    ranks = {key: {v: i for i, v in enumerate(known.get(key) or ordered(frame[key]))} for key in [*axes, *orders]}
    return frame.sort_values(
        [*axes, *orders], key=lambda c: c.map(ranks[str(c.name)]), kind="stable", ignore_index=True
    )


def _excerpt(frame: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """PLIS and VoG with each other and with the paper's other scores: a line a point and pair."""
    shown = frame[frame["first"].isin(PAPERS) & frame["second"].isin(PAPERS)]
    shown = shown if len(shown) else frame
    label = shown["metric"].map(METRICS) + ", " + shown["part"].map(PARTS)
    wide = shown.assign(label=label.str.removesuffix(", all"))
    wide = wide.pivot_table("value", [*axes, "first", "second"], "label", "first", sort=False).reset_index()
    named = {column: wide[column].map(label_of) for column in ("first", "second")}
    return wide.rename_axis(columns=None).assign(**named)
