"""Figure 1: how scaled scores are distributed, by epsilon and by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.core.report import panels
from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import outer_labels
from experiments.core.report.style import PALETTE, look
from experiments.core.report.tables import about
from experiments.core.subject import words
from experiments.vog.figure_parts import words_of_place
from experiments.vog.pairs import ALL
from experiments.vog.reading import NONE, epsilon, label_of, named, ordered, without
from experiments.vog.stored_scores import Scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 25
_QUANTILES = {"q5": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
_COLUMNS = ["place", "eps", "method", "class", "bin", "share", "skewness", *_QUANTILES, "n"]
_CAPTION = (
    "How scores are distributed, scaled within each class, all seeds together: at the left by privacy over all "
    "classes, at the right by class (median, quartiles, and 5 to 95 % of the samples), at the privacy that the panel "
    "names. Higher is more atypical, says the paper, whose Figure 1 is of ResNet-18 on PPPD at eps 4."
)


def shares(cells: Sequence[Scored], method: str = "vog") -> pd.DataFrame:
    """The share of samples in each bin of [0, 1] (of all that occur, where scores are scaled otherwise).

    Returns:
        place, eps (of the point), method, class ("all" or a label), bin (its middle), share, skewness and quantiles of
        the class, n (samples of all seeds).
    """
    held = [one for one in cells if method in one.methods]
    known = [one.scaled[method][np.isfinite(one.scaled[method])] for one in held]
    if not sum(len(values) for values in known):
        return pd.DataFrame(columns=_COLUMNS)
    every = np.concatenate(known)
    edges = np.linspace(min(0.0, every.min()), max(1.0, every.max()), _BINS + 1)
    by_point: dict[str, list[Scored]] = {}
    for one in held:
        by_point.setdefault(one.point, []).append(one)
    lines = [line for point, ones in by_point.items() for line in _of_point(point, ones, method, edges)]
    return pd.DataFrame(lines, columns=_COLUMNS)


def _of_point(point: str, ones: list[Scored], method: str, edges: np.ndarray) -> list[dict[str, Any]]:
    place = {"place": without(point, "eps"), "eps": words(point).get("eps", ""), "method": method}
    lines: list[dict[str, Any]] = []
    for label in (None, *ones[0].classes):
        values = np.concatenate([one.scaled[method][one.of_class(label)] for one in ones])
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        counts = np.histogram(values, edges)[0]
        told = {**place, "class": ALL if label is None else str(label), "n": len(values), "skewness": _skewness(values)}
        told |= {name: float(np.quantile(values, share)) for name, share in _QUANTILES.items()}
        middles = (edges[:-1] + edges[1:]) / 2
        lines += [{**told, "bin": b, "share": c / len(values)} for b, c in zip(middles, counts, strict=True)]
    return lines


def _skewness(values: np.ndarray) -> float:
    """The mean cube of the standardised values; 0 for constant ones."""
    spread = float(values.std())
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread else 0.0


def figure1(cells: Sequence[Scored], rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 1 of one setting; of its first method where it has no VoG, None without stored scores."""
    kinds = [method for one in cells for method in one.methods]
    if not kinds:
        return None
    frame = shares(cells, "vog" if "vog" in kinds else kinds[0])
    if frame.empty:
        return None
    told = frame.assign(**about(rows))[[*about(rows), *frame.columns]]
    return Artefact(name, told, lambda: _draw(frame), _CAPTION)


def shown_epsilon(values: Sequence[str]) -> str:
    """Of which privacy the classes are drawn: 4 as in the paper, else the largest epsilon, else none."""
    private = [value for value in values if value not in ("", NONE)]
    return "4" if "4" in private else max(private, key=epsilon, default=next(iter(values), ""))


def _draw(frame: pd.DataFrame) -> Figure:
    places = list(frame["place"].unique())[: panels.PANELS // 2]
    figure, axes, _ = panels.grid(2 * len(places), 2, 2.4)
    for i, place in enumerate(places):
        of_place = frame[frame["place"] == place]
        every, shown = ordered(of_place["eps"].unique()), shown_epsilon(of_place["eps"].unique())
        left, right = axes[2 * i], axes[2 * i + 1]
        _steps(left, of_place[of_place["class"] == ALL], every)
        of_class = of_place[(of_place["class"] != ALL) & (of_place["eps"] == shown)]
        _boxes(right, of_class)
        left.set_title(words_of_place(place) or "all classes")
        right.set_title("by class" + (f", {named('eps', shown)}" if shown else ""))
    scaled = f"scaled {label_of(str(frame['method'].iloc[0]))}"
    outer_labels(axes[::2], 1, scaled, "share of samples [%]")
    outer_labels(axes[1::2], 1, "class", scaled)
    return figure


def _steps(ax: Axes, part: pd.DataFrame, values: Sequence[str]) -> None:
    for i, value in enumerate(values):
        told = part[part["eps"] == value]
        shape = {key: v for key, v in look(i).items() if key != "marker"}
        label = named("eps", value) if value else "all"
        ax.step(told["bin"], 100 * told["share"], where="mid", label=label, **shape)
    if len(values) > 1:
        ax.legend(fontsize=6)


def _boxes(ax: Axes, part: pd.DataFrame) -> None:
    """Median, quartiles and 5 to 95 % of each class."""
    firsts = part.drop_duplicates("class").set_index("class")
    classes = ordered(firsts.index)
    keys = {"whislo": "q5", "q1": "q25", "med": "q50", "q3": "q75", "whishi": "q95"}
    boxes = [{key: float(firsts.loc[label, column]) for key, column in keys.items()} for label in classes]
    if boxes:
        ax.bxp(boxes, positions=range(len(boxes)), showfliers=False, widths=0.6, medianprops={"color": PALETTE[1]})
        ax.set_xticks(range(len(boxes)), classes)
    ax.grid(axis="x", visible=False)
