"""Consistency of selection (sections 4.1 to 4.4): means over pairs of cells, beside pairs of seeds without a change."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.numbers import number
from experiments.core.report.tables import about
from experiments.core.subject import words
from experiments.vog.likeness import GRID, METRICS, TOP, chance
from experiments.vog.pairs import ALL, SEED, data_of, of_seeds
from experiments.vog.reading import DATA, NONE, label_of, methods, named, ordered

BY = ["between", "where", "first", "second", "first_point", "second_point", "seeds", "pick", "class", "method"]
"""What one line of the table is of."""

OF_CLASS = ("pearson", "overlap", "ssim", "bd")
"""What is told of single classes."""
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
        floors: data, class, metric, value: what random images of a class have (see `likeness.floor`).

    Returns:
        BY, metric, n (samples, the fewest of any pair), pairs, value, low, high, ceiling, ceiling_low, ceiling_high,
        here, chance.
    """
    if lines.empty:
        return pd.DataFrame(columns=[*BY, "metric", "n", "pairs", "value", "low", "high"])
    long = lines.melt([*BY, "n"], list(METRICS), "metric", "value")
    long = long[(long["class"] == ALL) | long["metric"].isin(OF_CLASS)].dropna(subset="value")
    # One seed may have fewer scores than another, as where a class has none that differ: one line, of the fewest.
    long["n"] = long.groupby([*BY, "metric"], sort=False)["n"].transform("min")
    grouped = long.groupby([*BY, "metric", "n"], sort=False)["value"]
    frame = grouped.agg(value="mean", low="min", high="max", pairs="size").reset_index()
    base = _base(long)
    told = [_beside(line, base) for line in frame.to_dict("records")]
    frame = frame.assign(**{key: [one[key] for one in told] for key in told[0]}) if told else frame
    return frame.assign(chance=_chances(frame, floors))


def _base(long: pd.DataFrame) -> dict[tuple[str, ...], list[float]]:
    """(point, pick, class, method, metric) -> the numbers of its pairs of seeds."""
    seeds = long[long["between"] == SEED]
    found: dict[tuple[str, ...], list[float]] = {}
    columns = [seeds[key] for key in ("first_point", "pick", "class", "method", "metric", "value")]
    for *key, value in zip(*columns, strict=True):
        found.setdefault(tuple(map(str, key)), []).append(float(value))
    return found


def plain(point: str) -> str:
    """The point without privacy: itself where the grid has no axis of epsilons."""
    told = {key: NONE if key == "eps" else value for key, value in words(point).items()}
    return " ".join(f"{key}={value}" for key, value in told.items())


def _beside(line: dict[str, Any], base: dict[tuple[str, ...], list[float]]) -> dict[str, float]:
    rest = tuple(line[key] for key in ("pick", "class", "method", "metric"))
    ends = dict.fromkeys([line["first_point"], line["second_point"]])
    without = [value for point in dict.fromkeys(map(plain, ends)) for value in base.get((point, *rest), [])]
    here = [value for point in ends for value in base.get((point, *rest), [])]
    mean, low, high = (f(without) if without else math.nan for f in (fmean, min, max))
    return {"ceiling": mean, "ceiling_low": low, "ceiling_high": high, "here": fmean(here) if here else math.nan}


def _chances(frame: pd.DataFrame, floors: pd.DataFrame | None) -> list[float]:
    known: dict[tuple[str, ...], float] = {}
    if floors is not None:
        keys = [floors[key] for key in ("data", "class", "metric")]
        known = dict(zip(zip(*keys, strict=True), floors["value"], strict=True))
    columns = [frame[key] for key in ("metric", "n", "first_point", "class")]
    return [_chance(metric, int(n), (data_of(point), label, metric), known)
            for metric, n, point, label in zip(*columns, strict=True)]  # fmt: skip


def _chance(metric: str, n: int, where: tuple[str, str, str], floors: dict[tuple[str, ...], float]) -> float:
    if metric == "overlap":
        return chance(n)
    return floors.get(where, math.nan) if metric in ("ssim", "bd") else 0.0


def consistency(lines: pd.DataFrame, floors: pd.DataFrame, rows: pd.DataFrame, name: str) -> Artefact | None:
    """The table of one setting; None without two cells to compare.

    Args:
        lines: as `pairs.measured` makes them. floors: see `averaged`. rows: the setting's, for its name.
    """
    frame = averaged(lines, floors)
    if frame.empty:
        return None
    frame = arranged(frame)
    told = frame.drop(columns=["first_point", "second_point"]).round(5)
    told = told.assign(
        between=told["between"].str.removesuffix("_"), where=told["where"].str.replace("model_=", "model=")
    )
    whole = told.assign(**about(rows))[[*about(rows), *told.columns]]
    return Artefact(name, whole, None, CAPTION, table_md=True, excerpt=excerpt(frame), blanks=BLANKS)


def arranged(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` by what is compared where, the paper's methods first, all classes before single ones."""
    orders = {
        "method": methods(frame["method"]), "metric": list(METRICS),
        "class": [ALL, *ordered(set(frame["class"]) - {ALL})],
        "between": [*ordered(set(frame["between"]) - {SEED}), SEED],
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
        where=wide["where"].map(place_words),
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


def place_words(where: str) -> str:
    """The rest of the point in words: model and data, then further axes."""
    told = words(where)
    data = {"data": DATA.get(told["data"], told["data"])} if "data" in told else {}
    rest = {key: named(key, value) for key, value in told.items() if key not in data}
    return ", ".join([*data.values(), *rest.values()])


def seed_pairs(lines: pd.DataFrame, point: str) -> pd.DataFrame:
    """The lines of pairs of seeds at one point."""
    seeds = of_seeds(lines)
    return seeds[seeds["first_point"] == point]
