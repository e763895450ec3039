"""Along one axis of a grid: alpha (Fig. 3), clients (Table III), participants of a round, noise (Fig. 4)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import hide, line, outer_labels
from experiments.core.report.style import formula, look, new_figure
from experiments.core.report.tables import KEYS
from experiments.trace.figure_parts import (
    LABELS,
    SERIES,
    chance_line,
    legend,
    percent,
    placed,
    places_of,
    seeds_note,
    star,
)
from experiments.trace.reading import (
    axes,
    ordered,
    panel_words,
    pick,
    point_words,
    printed,
    scopes,
    split_noise,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WORDS = {
    "alpha": "Dirichlet parameter " + formula(r"\alpha"),
    "clients": "clients",
    "per_round": "clients in a round",
    "dp": "noise multiplier",
}
_PLAIN: dict[str, Any] = {"color": "0.2", "linewidth": 1, "linestyle": (0, (5, 2))}
_HOW = {"accuracy": "max", "localization": "mean", "chance": "mean"}
_PANELS = 12


def numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a seed, point and scope: the model's best accuracy; means over rounds of localization accuracy and chance.

    Of TraceFL and FedDebug; columns of `reading.tidy` and `point`.
    """
    measured = pd.concat([
        pick(rows, "accuracy", method="global"), pick(rows, "localization", method=["tracefl", "feddebug"]),
        pick(rows, "chance"),
    ])  # fmt: skip
    by = list(dict.fromkeys([*KEYS, *axes(rows), "point", "dataset", "model", "method", "metric", "scope"]))
    parts = [
        of_metric.groupby(by, sort=False)["value"].agg(_HOW[str(metric)])
        for metric, of_metric in measured.groupby("metric", sort=False)
    ]
    return pd.concat(parts).reset_index() if parts else pd.DataFrame(columns=[*by, "value"])


def over(rows: pd.DataFrame, name: str, axis: str) -> Artefact | None:
    """Figure 3: accuracy and localization over `axis`, a panel for each combination of the other axes."""
    measured = numbers(rows)
    if measured.empty or axis not in axes(rows) or measured[axis].nunique() < 2:
        return None
    left = len(_panels(measured, axis)) - _PANELS
    caption = (
        f"Accuracy of the global model in its best round, localization accuracy averaged over the rounds and chance "
        f"(naming a participant at random), in %, over {axis}; stars: the paper's, where it or the authors' result "
        f"files have them.{f' {left} more panels are in the CSV.' if left > 0 else ''}"
    )
    return Artefact(name, tidy(measured), lambda: draw(measured, axis), caption)


def _panels(measured: pd.DataFrame, axis: str) -> dict[str, pd.DataFrame]:
    """What stands fixed in a panel, as a point -> its rows."""
    others = [key for key in axes(measured) if key != axis]
    fixed = measured["point"].map(lambda p: " ".join(w for w in p.split(" ") if not w.startswith(f"{axis}=")))
    places = {key: ordered(measured[key].unique()) for key in others}
    order = measured.assign(fixed=fixed).drop_duplicates("fixed")
    order = order.sort_values(others, key=lambda c: c.map(places[str(c.name)].index)) if others else order
    return {str(panel): measured[fixed == panel] for panel in order["fixed"]}


def draw(measured: pd.DataFrame, axis: str) -> Figure:
    """The panels of `over`."""
    parts = dict(list(_panels(measured, axis).items())[:_PANELS])
    columns = min(3, len(parts))
    lines = -(-len(parts) // columns)
    figure, panels = new_figure(lines, columns, sharey=True)
    figure.set_size_inches(max(2.7 * columns, 4.6), 1.9 * lines + (0.9 if lines > 1 else 1.5))
    places = ordered(measured[axis].unique())
    for ax, (fixed, part) in zip(panels, parts.items(), strict=False):
        _panel(ax, part, axis, places)
        ax.set_title(panel_words(part, fixed))
        percent(ax, "")
        places_of(ax, places, "")
    outer_labels(panels[: len(parts)], columns, _WORDS.get(axis, axis), "%")
    hide(panels, len(parts))
    legend(figure, panels, seeds_note(measured["seed"].nunique(), "dots: seeds, marks: their mean"))
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, axis: str, places: list[str]) -> None:
    setting = str(rows["setting"].iloc[0])
    subjects = {str(value): str(point) for value, point in rows.groupby(axis)["point"].first().items()}
    present = [value for value in places if value in subjects]
    at = [places.index(value) for value in present]
    placed(ax, rows[rows["metric"] == "accuracy"], places, axis, LABELS["accuracy"], SERIES["accuracy"])
    theirs = [printed(setting, "highest:accuracy", "global", subjects[p]) for p in present]
    star(ax, at, theirs, SERIES["accuracy"])
    for scope in scopes(rows):
        of_scope = rows[rows["scope"] == scope]
        chance = of_scope[of_scope["metric"] == "chance"]
        chance_line(ax, chance.assign(place=chance[axis].map(places.index)), "place", scope)
        for method in ("tracefl", "feddebug"):
            series = of_scope[(of_scope["method"] == method) & (of_scope["metric"] == "localization")]
            key = scope if method == "tracefl" else method
            if len(series):
                placed(ax, series, places, axis, LABELS.get(key, key), SERIES.get(key, 4))
                word = f"scope={scope}"
                theirs = [printed(setting, "mean:localization", method, f"{subjects[p]} {word}") for p in present]
                star(ax, at, theirs, SERIES.get(key, 4))


def noise(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 4: accuracy and localization over the noise of differential privacy, and accuracy by round.

    Where the names of the axis do not tell noise and clipping norm, as `over`.
    """
    measured, rounds = numbers(rows), pick(rows, "accuracy", method="global")
    if "dp" not in axes(rows) or measured["dp"].nunique() < 2:
        return None
    levels = {dp: split_noise(dp) for dp in measured["dp"].unique()}
    if all(math.isnan(clip) for _, clip in levels.values()):
        return over(rows, name, "dp")
    noise_and_clip = {
        "noise": [levels[dp][0] for dp in measured["dp"]],
        "clip": [levels[dp][1] for dp in measured["dp"]],
    }
    measured = measured.assign(**noise_and_clip)
    caption = (
        "Under differential privacy: accuracy of the global model in its best round and localization accuracy of "
        "TraceFL over the noise multiplier, by clipping norm (stars: the paper's), and accuracy over the rounds. The "
        "paper's settings of clipping norm 50 have alpha 0.2, the others 0.3."
    )
    frame = pd.concat([tidy(measured), tidy(rounds, "round")], ignore_index=True)
    return Artefact(name, frame, lambda: _draw_noise(measured, rounds), caption)


def _draw_noise(measured: pd.DataFrame, rounds: pd.DataFrame) -> Figure:
    figure, panels = new_figure(1, 3, sharey=True)
    figure.set_size_inches(9.2, 3.6)
    known = measured[measured["noise"].notna() & measured["clip"].notna()]
    places = [f"{value:g}" for value in sorted(known["noise"].unique())]
    for ax, (metric, method) in zip(panels, (("accuracy", "global"), ("localization", "tracefl")), strict=False):
        _over_noise(ax, known, metric, method, places)
        plain = pick(measured, metric, method=method, dp="none")["value"]
        if len(plain):
            ax.axhline(plain.mean(), label="no privacy", **_PLAIN)
    chance = known[known["metric"] == "chance"]
    chance = chance.assign(place=chance["noise"].map(lambda v: places.index(f"{v:g}")))
    chance_line(panels[1], chance, "place", "correct")
    panels[0].set_title("accuracy of the global model, best round")
    panels[1].set_title("localization accuracy of TraceFL")
    _noisy_rounds(panels[2], rounds)
    for ax in panels:
        percent(ax, "%" if ax is panels[0] else "")
    note = seeds_note(measured["seed"].nunique(), "dots: seeds, marks: their mean; bands: their range")
    legend(figure, panels, note, columns=6)
    return figure


def _over_noise(ax: Axes, known: pd.DataFrame, metric: str, method: str, places: list[str]) -> None:
    of = ("highest:accuracy", "") if metric == "accuracy" else ("mean:localization", " scope=correct")
    for index, (clip, of_clip) in enumerate(known.groupby("clip")):
        of_clip = of_clip.assign(place=of_clip["noise"].map("{:g}".format))
        series = of_clip[(of_clip["metric"] == metric) & (of_clip["method"] == method)]
        placed(ax, series, places, "place", f"clipping norm {clip:g}", index)
        firsts = of_clip.drop_duplicates("point")
        values = [printed(str(r["setting"]), of[0], method, f"{r['point']}{of[1]}") for _, r in firsts.iterrows()]
        star(ax, [places.index(p) for p in firsts["place"]], values, index, "the paper")
    places_of(ax, places, _WORDS["dp"])
    ax.tick_params(axis="x", rotation=45)


def _noisy_rounds(ax: Axes, rounds: pd.DataFrame) -> None:
    """Accuracy by round, darker with more noise in proportion to the clipping norm."""
    from matplotlib import colormaps

    def strength(dp: str) -> float:
        multiplier, clip = split_noise(dp)
        return 0.0 if math.isnan(clip) else multiplier * clip

    names = sorted(rounds["dp"].unique(), key=strength)
    for i, dp in enumerate(names):
        color = colormaps["viridis_r"](0.1 + 0.9 * i / max(1, len(names) - 1))
        style = {"color": color, "linestyle": look(i)["linestyle"], "linewidth": 1.1}
        style = style if dp != "none" else _PLAIN
        line(ax, rounds[rounds["dp"] == dp], "round", point_words(f"dp={dp}"), **style)
    ax.locator_params(axis="x", integer=True)
    ax.set_xlabel("round")
    ax.set_title("accuracy over the rounds")
