"""Figures 4, 5 and 7: what the clients are worth to each other's model, what they hold, and how their ranks settle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.names import shortened
from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import stars
from experiments.core.report.style import look, new_figure
from experiments.core.report.subjects import clients, have_names
from experiments.core.report.tables import KEYS
from experiments.core.subject import subject, words
from experiments.influence.figure_parts import band, line
from experiments.influence.reading import cleansing, only, pick, printed, ranking_round, ranks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = {
    "loss": (("lowest FIL", "lowest FIL (least valuable)"), ("highest FIL", "highest FIL (most valuable)")),
    "accuracy": (("highest FIA", "highest FIA (least valuable)"), ("lowest FIA", "lowest FIA (most valuable)")),
}
_MOST_NAMES = 40  # that fit below a picture
_UNITS = {"loss": "test loss (nats)", "accuracy": "test accuracy (points)"}


def cleansing_curves(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 4: the final loss by FIL and the final accuracy by FIA, over the share of clients removed at round x."""
    rows = cleansing(metrics)
    shown = {(what, order) for what, orders in _PANELS.items() for order in (*dict(orders), "random")}
    rows = rows[[pair in shown for pair in zip(rows["metric"], rows["order"], strict=True)]]
    return Artefact(name, rows, lambda: _draw_cleansing(rows, ranking_round(metrics))) if len(rows) else None


def _draw_cleansing(rows: pd.DataFrame, x: int) -> Figure:
    figure, axes = new_figure(1, 2, height=3.2)
    setting = only(rows, "setting")
    for ax, (what, orders) in zip(axes, _PANELS.items(), strict=True):
        of_metric = rows[rows["metric"] == what].assign(percent=100 * rows["share"])
        for index, (order, label) in enumerate((*orders, ("random", "random"))):
            line(ax, of_metric[of_metric["order"] == order], "percent", label, "change", **look(index))
        before = of_metric.drop_duplicates("seed")["before"]
        spread = f" ({before.min():.4g} to {before.max():.4g})" if len(before) > 1 else ""
        ax.set_title(f"nobody removed: {before.mean():.4g}{spread}")
        ax.axhline(0, color="0.4", linewidth=0.8, zorder=0)
        ax.set_xlabel(f"clients removed after round {x} (%)")
        ax.set_ylabel(f"change of {_UNITS[what]}")
        if what == "accuracy":
            _paper(ax, setting)
        handles = [*ax.get_legend_handles_labels()[0], *band(len(before))]
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def _paper(ax: Axes, setting: str) -> None:
    wanted = ("removed_share", "accuracy_before", "accuracy_after")
    share, before, after = (printed(setting, f"figure4.{{}}.{name}") for name in wanted)
    stars(ax, [share], [after - before], f"paper: {before:.2f} to {after:.2f} %")


def holdings(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 5: how many training samples clients hold, and of which labels (the first seed's, if seeds differ)."""
    rows = pick(metrics, ["client_size", "label_count"])
    rows = rows[rows["seed"] == rows["seed"].min()]
    if rows.empty:
        return None
    labels = [words(text).get("label") for text in rows["subject"]]
    frame = rows[[*KEYS, "metric"]].assign(samples=rows["value"])
    frame["client"] = clients(rows["subject"])
    frame["label"] = pd.array([None if label is None else int(label) for label in labels], dtype="Int64")
    return Artefact(name, frame, lambda: _draw_holdings(frame))


def _draw_holdings(frame: pd.DataFrame) -> Figure:
    from matplotlib.ticker import LogLocator

    figure, (left, right) = new_figure(1, 2, height=2.8)
    sizes = frame[frame["metric"] == "client_size"]["samples"].to_numpy()
    wide = sizes.max() > 20 * max(1, sizes.min())
    left.hist(sizes, bins=edges(sizes, wide).tolist(), color=look(0)["color"], edgecolor="white", linewidth=0.4)
    if wide:
        left.set_xscale("log")
        left.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        left.xaxis.set_major_formatter("{x:g}")
    else:
        left.set_xlim(0)
    left.set_xlabel("training samples of a client")
    left.set_ylabel("clients")
    left.set_title(f"{len(sizes)} clients, median {np.median(sizes):g}, {sizes.min():g} to {sizes.max():g}")
    mix = label_mix(frame)
    if mix.empty:  # numbers are predicted
        figure.delaxes(right)
        return figure
    shown = right.imshow(mix, aspect="auto", interpolation="nearest", cmap="cividis", vmin=0)
    right.grid(False)
    right.set_xlabel("clients, sorted by their commonest label")
    if have_names(frame["client"]) and mix.shape[1] <= _MOST_NAMES:
        right.set_xticks(range(mix.shape[1]), [shortened(str(name)) for name in mix.columns], rotation=90, fontsize=6)
    right.set_ylabel("label")
    step = max(1, len(mix) // 10)
    right.set_yticks(range(0, len(mix), step), mix.index[::step])
    right.set_title("share of each label in a client's samples")
    figure.colorbar(shown, ax=right, fraction=0.05)
    return figure


def edges(sizes: np.ndarray, wide: bool) -> np.ndarray:
    """Edges of about twenty bins halfway between whole numbers: in equal steps, or growing by a factor when `wide`."""
    low, high = float(sizes.min()), float(sizes.max()) + 1
    steps = np.geomspace(low, high, 21) if wide else np.linspace(low, high, min(21, int(high - low) + 1))
    return np.unique(np.round(steps)) - 0.5


def label_mix(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of each label (rows) in each client's samples (columns), clients sorted by commonest label, its share."""
    counts = frame[frame["metric"] == "label_count"]
    mix = counts.pivot_table(index="label", columns="client", values="samples", fill_value=0.0, observed=True)
    mix = mix / mix.sum()
    order = sorted(mix.columns, key=lambda c: (mix[c].idxmax(), -mix[c].max()))  # ties stay in the order of clients
    return mix[order]


def rank_paths(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 7: ranks by estimated FIL, over the whole run, of the clients that stood first and last at round x."""
    if not (metrics["metric"] == "fil").any():
        return None
    x = ranking_round(metrics)
    configured = metrics[(metrics["metric"] == "config") & (metrics["subject"] == subject(key="ranking_share"))][
        "value"
    ]
    share = float(configured.iloc[0]) if len(configured) else 0.05
    rows = ranks(metrics, x, share)
    return Artefact(name, rows, lambda: _draw_ranks(rows, x, share)) if len(rows) else None


def _draw_ranks(rows: pd.DataFrame, x: int, share: float) -> Figure:
    figure, axes = new_figure(1, 2, height=2.9, sharey=True)
    rounds = sorted(rows["round"].unique())
    width = 0.6 * (min(np.diff(rounds)) if len(rounds) > 1 else 1)
    for ax, (group, title), index in zip(axes, {"top": "highest", "bottom": "lowest"}.items(), (0, 1), strict=False):
        ranked = rows[rows["group"] == group]
        boxes = [ranked[ranked["round"] == t]["rank"].to_numpy() for t in rounds]
        color = look(index)["color"]
        ax.boxplot(
            boxes, positions=rounds, widths=width, manage_ticks=False, patch_artist=True,
            boxprops={"facecolor": color, "alpha": 0.35, "linewidth": 0.7}, whiskerprops={"linewidth": 0.7},
            medianprops={"color": color, "linewidth": 1.4}, capprops={"linewidth": 0.7},
            flierprops={"marker": ".", "markersize": 2.5, "markeredgecolor": "0.4"},
        )  # fmt: skip
        ax.axvline(x, color="0.4", linewidth=0.8, linestyle="--", zorder=0)
        ax.set_title(f"the {100 * share:g} % with the {title} FIL at round {x}")
        ax.set_xlabel("round")
    ticks = [t for t in axes[0].get_yticks() if 0 < t <= rows["clients"].max()]
    axes[0].set_yticks([1, *ticks])
    axes[0].set_ylabel("rank by estimated FIL (1 = highest)")
    axes[0].set_ylim(rows["clients"].max() * 1.03, 1 - rows["clients"].max() * 0.03)
    return figure
