"""Whether two methods tell the same of the samples of one training (section 4.5: PLIS against VoG; Fig. 9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.tables import about, over_seeds
from experiments.core.subject import words
from experiments.vog.likeness import GRID, METRICS, Side, both, correlations, grids, pearson_top
from experiments.vog.reading import METHODS, PAPERS, label_of, methods, ordered
from experiments.vog.stored_scores import Scored

EXTREME = 0.1
"""Share of the samples that count as of particularly large, or small, score."""

BY = ["point", "first", "second", "part", "metric"]
PARTS = {"all": "all", "highest": f"highest {EXTREME:.0%}", "lowest": f"lowest {EXTREME:.0%}"}
_CAPTION = (
    "Two methods on the samples of the same training, scaled scores, means and range over seeds. highest, lowest: r "
    f"over the {EXTREME:.0%} of highest (lowest) scores of the one method, and over those of the other, on average; "
    f"same of {GRID}, SSIM, BD: of the grids of the {GRID} highest (lowest). The paper (section 4.5) prints for PLIS "
    "and VoG r = 0.57 and 0.55 over all, 0.33 and 0.34 for large or small scores, without saying of which training "
    "each is; for the lowest of ResNet-18 at eps 1 (Fig. 9) SSIM 0.215, BD 0.886."
)


def lines(cells: Sequence[Scored]) -> pd.DataFrame:
    """A line a cell, pair of methods, part and number: point, seed, first, second, part, metric, n, value."""
    told = [line for one in cells for line in _of_cell(one)]
    return pd.DataFrame(told, columns=["point", "seed", "first", "second", "part", "metric", "n", "value"])


def _of_cell(one: Scored) -> Iterator[dict[str, Any]]:
    for first, second in combinations(methods(one.methods), 2):
        a, b = Side(one, first), Side(one, second)
        about = {"point": one.point, "seed": one.seed, "first": first, "second": second, "n": len(both(a, b, None)[0])}
        for part, numbers in _numbers(a, b).items():
            for metric, value in numbers.items():
                if value == value:
                    yield {**about, "part": part, "metric": metric, "value": value}


def _numbers(a: Side, b: Side) -> dict[str, dict[str, float]]:
    images = {a.method, b.method} <= set(PAPERS)
    whole = {key: value for key, value in correlations(a, b, None).items() if key != "pearson_top"}
    most = round(EXTREME * a.scored.n)
    ends = {
        end: {
            "pearson": pearson_top(a, b, most, lowest=end == "lowest"),
            **grids(a, b, None, lowest=end == "lowest", images=images),
        }
        for end in ("highest", "lowest")
    }
    return {"all": whole, **ends}


def agreement(told: pd.DataFrame, rows: pd.DataFrame, name: str) -> Artefact | None:
    """The table of one setting; None without two methods.

    Args:
        told: as `lines` makes them. rows: the setting's, for its name.
    """
    if told.empty:
        return None
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
