"""Consistency of selection (sections 4.1 to 4.4): means over pairs of cells, beside pairs of seeds without a change."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.numbers import number
from experiments.core.report.tables import about
from experiments.core.subject import words
from experiments.vog.likeness import GRID, METRICS, TOP, chance
from experiments.vog.pairs import ALL, SEED, of_seeds
from experiments.vog.reading import NONE, by_place, label_of, methods, named, ordered

BY = ["between", "where", "first", "second", "first_point", "second_point", "seeds", "pick", "class", "method"]
"""What one line of the table is of."""

OF_CLASS = ("pearson", "spearman", "overlap", "ssim", "bd")
CAPTION = (
    "How alike two trainings pick samples. Correlations are of scores scaled within classes; of the top "
    f"{TOP}: the mean of r over the {TOP} highest of the one and over those of the other. Same of {GRID}: samples in "
    f"both lists of the {GRID} highest (lowest) scores; SSIM and BD: structural similarity and Bhattacharyya distance "
    "of the two 5 x 5 grids, grey, in the order of the scores. value, low, high: mean and range over pairs of cells; "
    "seeds: same (both begin alike and see the same batches) or different. ceiling: pairs of seeds without privacy and "
    "without any change; here: pairs of seeds of the two points themselves; chance: two random picks (SSIM, BD: of "
    "stored images of the class)."
)
BLANKS = {
    **dict.fromkeys(("value", "low", "high"), "constant scores, or no images"),
    **dict.fromkeys(("ceiling", "ceiling_low", "ceiling_high"), "no two seeds without privacy"),
    "here": "no two seeds", "chance": "none is known", "first": "two seeds", "second": "two seeds",
}  # fmt: skip


def averaged(lines: pd.DataFrame, floors: pd.DataFrame | None = None) -> pd.DataFrame:
    """Mean and range over pairs, a line for each number, with the pairs of seeds beside.

    Args:
        lines: as `pairs.measured` makes them.
        floors: columns class, metric, value: what random images of a class have (see `likeness.floor`).

    Returns:
        BY, metric, n (samples), pairs, value, low, high, ceiling, ceiling_low, ceiling_high, here, chance.
    """
    if lines.empty:
        return pd.DataFrame(columns=[*BY, "metric", "n", "pairs", "value", "low", "high"])
    long = lines.melt([*BY, "n"], list(METRICS), "metric", "value")
    long = long[(long["class"] == ALL) | long["metric"].isin(OF_CLASS)].dropna(subset="value")
    grouped = long.groupby([*BY, "metric", "n"], sort=False)["value"]
    frame = grouped.agg(value="mean", low="min", high="max", pairs="size").reset_index()
    base = _base(long)
    told = [_beside(line, base) for line in frame.to_dict("records")]
    frame = frame.assign(**{key: [one[key] for one in told] for key in told[0]}) if told else frame
    return frame.assign(chance=_chances(frame, floors))


def _base(long: pd.DataFrame) -> dict[tuple[str, ...], pd.Series]:
    """(point, pick, class, method, metric) -> the values of its pairs of seeds."""
    keys = ["first_point", "pick", "class", "method", "metric"]
    seeds = long[long["between"] == SEED]
    return {key: values for key, values in seeds.groupby(keys, sort=False)["value"]}


def plain(point: str) -> str:
    """The point without privacy: itself where the grid has no axis of epsilons."""
    told = {key: NONE if key == "eps" else value for key, value in words(point).items()}
    return " ".join(f"{key}={value}" for key, value in told.items())


def _beside(line: dict[str, Any], base: dict[tuple[str, ...], pd.Series]) -> dict[str, float]:
    rest = tuple(line[key] for key in ("pick", "class", "method", "metric"))
    ends = list(dict.fromkeys([line["first_point"], line["second_point"]]))
    without = [base[key] for p in dict.fromkeys(map(plain, ends)) if (key := (p, *rest)) in base]
    here = [base[key] for p in ends if (key := (p, *rest)) in base]
    joined = pd.concat(without) if without else pd.Series([math.nan])
    return {
        "ceiling": float(joined.mean()), "ceiling_low": float(joined.min()), "ceiling_high": float(joined.max()),
        "here": float(pd.concat(here).mean()) if here else math.nan,
    }  # fmt: skip


def _chances(frame: pd.DataFrame, floors: pd.DataFrame | None) -> list[float]:
    known: dict[tuple[str, str], float] = {}
    if floors is not None and len(floors):
        known = {(str(f["class"]), str(f["metric"])): float(f["value"]) for f in floors.to_dict("records")}
    none = dict.fromkeys(("pearson_top", "pearson", "spearman"), 0.0)
    return [
        chance(int(n)) if metric == "overlap" else none.get(metric, known.get((label, metric), math.nan))
        for n, metric, label in zip(frame["n"], frame["metric"], frame["class"], strict=True)
    ]


def consistency(lines: pd.DataFrame, floors: pd.DataFrame, rows: pd.DataFrame, name: str) -> Artefact | None:
    """The table of one setting; None without two cells to compare.

    Args:
        lines: as `pairs.measured` makes them. floors: see `averaged`. rows: the setting's, for its name.
    """
    frame = averaged(lines, floors)
    if frame.empty:
        return None
    frame = arranged(frame)
    told = frame.drop(columns=["first_point", "second_point"])
    whole = told.assign(**about(rows))[[*about(rows), *told.columns]]
    return Artefact(name, whole, None, CAPTION, table_md=True, excerpt=excerpt(frame), blanks=BLANKS)


def arranged(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` by what is compared where, the paper's methods first, all classes before single ones."""
    orders = {
        "method": methods(frame["method"]), "metric": list(METRICS), "class": [ALL, *ordered(set(frame["class"]) - {ALL})],
        "between": ordered(set(frame["between"]) - {SEED}) + [SEED],
    }  # fmt: skip
    keys = ["between", "where", "first", "second", "seeds", "pick", "class", "method", "metric"]
    ranks = {key: {v: i for i, v in enumerate(orders.get(key) or ordered(frame[key].unique()))} for key in keys}
    return frame.sort_values(keys, key=lambda c: c.map(ranks[str(c.name)]), kind="stable", ignore_index=True)


def excerpt(frame: pd.DataFrame) -> pd.DataFrame:
    """The highest scores of all classes, a line a pair and method, a column a metric: `value of ceiling`."""
    shown = frame[(frame["class"] == ALL) & (frame["pick"] == "highest")]
    shown = shown[(shown["seeds"] == "same") | (shown["between"] == SEED)]
    cells = [_cell(line) for line in shown.to_dict("records")]
    by = [key for key in BY if key not in ("first_point", "second_point", "pick", "class")]
    wide = shown.assign(cell=cells).pivot_table("cell", by, "metric", "first", sort=False).reset_index()
    wide = wide.rename_axis(columns=None).assign(
        pair=[pair_words(*each) for each in zip(wide["between"], wide["first"], wide["second"], strict=True)],
        method=wide["method"].map(label_of),
        where=wide["where"].map(where_words),
    )
    known = {metric: text for metric, text in METRICS.items() if metric in wide}
    return wide[["where", "pair", "method", *known]].rename(columns=known)


def _cell(line: dict[str, Any]) -> str:
    """`0.85 (0.91)`: the mean over pairs, and the ceiling."""
    value, ceiling = number(float(line["value"]), 3), number(float(line["ceiling"]), 3)
    return f"{value} ({ceiling})" if ceiling and line["between"] != SEED else value


def pair_words(between: str, first: str, second: str) -> str:
    """What is compared: "eps 4 and no DP", "two seeds"."""
    return "two seeds" if between == SEED else f"{named(between, first)} and {named(between, second)}"


def where_words(where: str) -> str:
    """The rest of the point in words."""
    return ", ".join(named(key, value) for key, value in words(where).items())


def seed_pairs(lines: pd.DataFrame, point: str) -> pd.DataFrame:
    """The lines of pairs of seeds at one point."""
    seeds = of_seeds(lines)
    return seeds[seeds["first_point"] == point]
