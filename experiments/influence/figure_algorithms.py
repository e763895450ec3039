"""Beyond the paper: do two algorithms rank the clients alike, beside what another seed does and what rounding does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.core.report import parts, subjects
from experiments.core.report.artefacts import Artefact
from experiments.core.report.style import look, new_figure
from experiments.core.report.tables import ABOUT, about
from experiments.core.scores.correlation import spearman
from experiments.influence.spec import AXIS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "fedavg": "FedAvg", "fedprox": "FedProx", "scaffold": "SCAFFOLD", "fednova": "FedNova", "feddyn": "FedDyn",
    "fedimpro": "FedImpro",
}  # fmt: skip
"""Algorithms in the order of the figure; name -> label. Others follow by name."""

COMPARED = {
    "rounding": "itself, initial weights one rounding away",
    "algorithms": "another algorithm, same seed",
    "seeds": "itself, another seed",
}
"""What an algorithm's truth is compared with; word -> label."""

COLUMNS = [*ABOUT, "compared", "algorithm_a", "algorithm_b", "seed", "seed_b", "spearman", "top3_overlap", "clients",
           "round"]  # fmt: skip
_TOP = 3
_SHIFT = 0.24

Ranked = dict[tuple[str, str, int], "pd.Series[float]"]
"""(method, algorithm, seed) -> exact influence on the loss, by client."""


def are_compared(metrics: pd.DataFrame) -> bool:
    """Whether these are rows of a setting that compares algorithms."""
    return bool(metrics["subject"].fillna("").str.startswith(f"{AXIS}=").any())


def between(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Matrix of rank correlations of leave-one-out truths: between algorithms, and on the diagonal between seeds."""
    frame = agreements(metrics)
    if frame.empty:
        return None
    caption = (
        "Does the algorithm change who matters? Spearman correlation over clients of the exact change of the final "
        "test loss when a client is left out. Left: mean over seeds and range; off the diagonal of two algorithms in "
        "the same seed, on it of one algorithm in two seeds, and of one algorithm with itself trained from initial "
        "weights moved by one unit in the last place (rounding). Right: every pair, a bar at the mean. Clients are the "
        "same in all runs; initial weights and participants are the seed's, whatever the algorithm."
    )
    return Artefact(name, frame, lambda: _draw(frame), caption, blanks={"spearman": "all changes of one are equal"})


def agreements(metrics: pd.DataFrame) -> pd.DataFrame:
    """Every pair of truths: algorithms within a seed, seeds within an algorithm, truth and its rounded twin.

    Returns:
        COLUMNS: `top3_overlap` is the share of the three clients of highest influence that both have in common,
        `seed_b` the second truth's seed. Pairs with fewer than three common clients are left out.
    """
    truths, last = _truths(metrics)
    rows = []
    for compared, (one, a), (other, b) in _pairs(truths):
        x, y = a.align(b, join="inner")
        if len(x) >= _TOP:
            common = len(set(_top(x)) & set(_top(y))) / _TOP
            values = (compared, one[1], other[1], one[2], other[2], spearman(x, y).value, common, len(x), last)
            rows.append({**about(metrics), **dict(zip(COLUMNS[len(ABOUT) :], values, strict=True))})
    return pd.DataFrame(rows, columns=COLUMNS)


def _truths(metrics: pd.DataFrame) -> tuple[Ranked, int]:
    """The truths after the last round, algorithms in order, and that round."""
    rows = subjects.pick(subjects.parse(metrics, (AXIS,), ("client",)), "fil")
    rows = rows[(rows[AXIS] != "") & (rows["client"] != "")]
    if rows.empty:
        return {}, 0
    last = rows["round"].max()
    by = rows[rows["round"] == last].groupby(["method", AXIS, "seed"])
    found = {(str(m), str(a), int(s)): part.set_index("client")["value"] for (m, a, s), part in by}
    return dict(sorted(found.items(), key=lambda item: (*_place(item[0][1]), item[0]))), int(last)


def _place(algorithm: str) -> tuple[int, str]:
    return (list(LABELS).index(algorithm) if algorithm in LABELS else len(LABELS), algorithm)


def _pairs(truths: Ranked) -> Iterator[tuple[str, Any, Any]]:
    """(what is compared, (key, truth), (key, truth))."""
    exact = [item for item in truths.items() if item[0][0] == "exact"]
    for (one, a), (other, b) in combinations(exact, 2):
        if one[2] == other[2] or one[1] == other[1]:
            yield ("algorithms" if one[1] != other[1] else "seeds"), (one, a), (other, b)
    for key, truth in exact:
        twin = ("rounding", *key[1:])
        if twin in truths:
            yield "rounding", (key, truth), (twin, truths[twin])


def _top(influence: pd.Series[float]) -> list[str]:
    """The clients of highest influence; of equal ones the first by name."""
    ordered = influence.sort_index().sort_values(ascending=False, kind="stable")
    return [str(client) for client in ordered.index[:_TOP]]


def _draw(frame: pd.DataFrame) -> Figure:
    names = sorted({*frame["algorithm_a"], *frame["algorithm_b"]}, key=_place)
    figure, (left, right) = new_figure(1, 2, width_ratios=(1.25, 1))
    figure.set_size_inches(1.05 * len(names) + 4.2, 0.72 * len(names) + 1.6)
    _matrix(figure, left, frame, names)
    _strips(right, frame, names)
    parts.legend_below(figure, parts.entries([right]), 3, "an algorithm compared with")
    return figure


def _matrix(figure: Figure, ax: Axes, frame: pd.DataFrame, names: list[str]) -> None:
    """The lower triangle and the diagonal, each cell's colour its mean."""
    means = np.full((len(names), len(names)), np.nan)
    for i, one in enumerate(names):
        for j, other in enumerate(names[: i + 1]):
            of = _of(frame, "seeds" if i == j else "algorithms", one, other)
            means[i, j] = of.mean()
            twin = _of(frame, "rounding", one, one) if i == j else of.head(0)
            _write(ax, i, j, of, twin)
        ax.plot(*_frame(i), color="black", linewidth=1)
    drawn = ax.imshow(np.ma.masked_invalid(means), cmap="PuOr", vmin=-1, vmax=1)
    figure.colorbar(drawn, ax=ax, label="Spearman correlation, mean over seeds", shrink=0.8)
    labels = [LABELS.get(name, name) for name in names]
    ax.set_xticks(range(len(names)), labels, rotation=30, ha="right")
    ax.set_yticks(range(len(names)), labels)
    ax.grid(visible=False)
    ax.set_title("two algorithms in one seed (framed: one algorithm in two seeds)")


def _frame(i: int) -> tuple[list[float], list[float]]:
    """The corners of the i-th cell of the diagonal, x and y."""
    low, high = i - 0.46, i + 0.46
    return [low, high, high, low, low], [low, low, high, high, low]


def _of(frame: pd.DataFrame, compared: str, one: str, other: str) -> pd.Series[float]:
    """The correlations of a pair of algorithms, in either order, that are defined."""
    a, b = frame["algorithm_a"], frame["algorithm_b"]
    pair = ((a == one) & (b == other)) | ((a == other) & (b == one))
    return frame[(frame["compared"] == compared) & pair]["spearman"].dropna()


def _write(ax: Axes, i: int, j: int, values: pd.Series[float], twin: pd.Series[float]) -> None:
    """Mean and range in a cell; on the diagonal the agreement under rounding as well."""
    lines = [f"{values.mean():.2f}"] if len(values) else []
    lines += [f"{values.min():.2f} to {values.max():.2f}"] if len(values) > 1 else []
    lines += [f"rounding {twin.mean():.2f}"] if len(twin) else []
    dark = len(values) and abs(values.mean()) > 0.65
    ax.text(j, i, "\n".join(lines), ha="center", va="center", fontsize=5.5, color="white" if dark else "black")


def _strips(ax: Axes, frame: pd.DataFrame, names: list[str]) -> None:
    """A row an algorithm: a dot for every pair it is in, a bar at the mean of each kind."""
    for index, (compared, label) in enumerate(COMPARED.items()):
        style, shift = look(index), _SHIFT * (index - 1)
        for i, name in enumerate(names):
            in_pair = (frame["algorithm_a"] == name) | (frame["algorithm_b"] == name)
            values = frame[in_pair & (frame["compared"] == compared)]["spearman"].dropna()
            if len(values):
                dots = {"marker": style["marker"], "linestyle": "", "alpha": 0.5, "markeredgewidth": 0}
                known = label in parts.entries([ax])
                ax.plot(values, [i + shift] * len(values), color=style["color"], label=None if known else label, **dots)
                ax.plot([values.mean()] * 2, [i + shift - 0.1, i + shift + 0.1], color=style["color"], linewidth=2)
    ax.axvline(0, color="0.4", linewidth=0.8, zorder=0)
    ax.set_xlim(min(-0.05, float(frame["spearman"].min()) - 0.05), 1.05)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_yticks(range(len(names)), [LABELS.get(name, name) for name in names])
    ax.set_xlabel("Spearman correlation of exact influence over clients")
    ax.grid(axis="y", visible=False)
