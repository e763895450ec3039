"""The two theorems against measurement: what decoupling leaves of gradient variance, and distance and contribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.core.report import panels as shared
from experiments.core.report.artefacts import Artefact
from experiments.core.report.effects import rank_correlation
from experiments.core.report.parts import line, outer_labels
from experiments.core.report.style import PALETTE, look
from experiments.impro.reading import label_of, pick, point_words, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WAYS = {
    "shared": "the same features for all (the premise)", "balanced": "own draws, classes alike",
    "local": "own draws, own statistics (released)", "labels": "own draws, own labels (Algorithm 1)",
}  # fmt: skip
_OVER = {"clients": "between clients' mean gradients", "samples": "over samples (Definition 4.2)"}
_SUM = "both losses added (Eq. 5), shared"
_BOUND = "Theorem 4.2"


def variance_left(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Theorem 4.2: by round, the share of the high part's gradient variance that decoupling leaves."""
    left = pick(rows, "variance_ratio", part="high")
    bound = pick(rows, "variance_bound")
    if left.empty:
        return None
    caption = (
        "Variance of client gradients above the split after decoupling, as a share of the variance before, by the way "
        "in which clients come by sampled features, at the global model before local training. Theorem 4.2 states the "
        "share for features that are the same for all clients. With both losses added (Eq. 5), in place of their "
        "weighted mean as in the proof, nothing shrinks."
    )
    shown = pd.concat([left, bound])
    more = ("part", "objective", "sampled", "over", "round", "n")
    return Artefact(name, tidy(shown, *more), lambda: _draw_left(left, bound), caption)


def _draw_left(left: pd.DataFrame, bound: pd.DataFrame) -> Figure:
    points, overs = list(left["point"].unique()), [over for over in _OVER if over in set(left["over"])]
    figure, panels, columns = shared.grid(len(points) * len(overs), len(points), 2.2, sharey=True, sharex=True)
    for ax, (over, point) in zip(panels, [(o, p) for o in overs for p in points], strict=True):
        here = left[(left["point"] == point) & (left["over"] == over)]
        for index, (way, label) in enumerate(_WAYS.items()):
            of_way = here[(here["sampled"] == way) & (here["objective"] == "decoupled")]
            line(ax, of_way, "round", label, **look(index))
        line(ax, pick(here, "variance_ratio", sampled="shared", objective="summed"), "round", _SUM, **look(4))
        of_bound = bound[bound["point"] == point]
        line(ax, of_bound, "round", _BOUND, color="black", linestyle="--", linewidth=1.6, zorder=4)
        ax.set_yscale("log")
        _plain_numbers(ax)
        ax.set_title(f"{point_words(point)}\n{_OVER[over]}" if point else _OVER[over])
    outer_labels(panels, columns, "round", "share of the variance left")
    seeds = left["seed"].nunique()
    shared.legend(figure, panels, shared.seeds_note(seeds, "mean and range"), columns=3)
    return figure


def _plain_numbers(ax: Axes) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    low, high = ax.get_ylim()
    marks = [v for v in (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20) if low <= v <= high]
    ax.yaxis.set_major_locator(FixedLocator(marks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


_KINDS = {
    ("labels", "discrete"): "labels alone", ("input", "gaussian"): "inputs, Gaussian",
    ("features", "gaussian"): "features, Gaussian", ("features", "excess"): "features, exact above chance",
}  # fmt: skip


def contribution(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Theorem 4.1: each client's distance from the others and by how much its training lowers their loss."""
    both = joined(rows)
    if both.empty:
        return None
    caption = (
        "Each client's conditional Wasserstein distance from the others (Definition 4.1) and by how much its local "
        "training lowers the mean loss on the others' data (below 0: raises it), one mark a client and measured round; "
        "at the left the distance of the label distributions alone. "
        "Theorem 4.1's own quantity, the distance to the nearest input of another class, cannot be computed for a "
        "network; the loss stands in for it. In the titles: the rank correlation over the clients of a round, mean "
        "over rounds and seeds; the theorem lets a large distance go with a small contribution, so below 0."
    )
    columns = ["setting", "scale", "seed", "point", "method", "round", "client", "space", "how", "distance"]
    return Artefact(name, both[[*columns, "contribution"]], lambda: _draw_scatter(both), caption)


def joined(rows: pd.DataFrame) -> pd.DataFrame:
    """A line a client, round and kind of distance: `distance`, and the client's `contribution` [nats]."""
    on = ["setting", "scale", "seed", "point", "method", "round", "client"]
    distances = pick(rows, "wasserstein").rename(columns={"value": "distance"})
    contributions = pick(rows, "contribution").rename(columns={"value": "contribution"})
    return distances[[*on, "space", "how", "distance"]].merge(contributions[[*on, "contribution"]], on=on)


def _draw_scatter(both: pd.DataFrame) -> Figure:
    kinds = [kind for kind in _KINDS if kind in set(zip(both["space"], both["how"], strict=True))]
    points = list(both["point"].unique())
    figure, panels, columns = shared.grid(len(points) * len(kinds), len(kinds), 2.1, sharey="row")
    for ax, (point, (space, how)) in zip(panels, [(p, k) for p in points for k in kinds], strict=True):
        here = both[(both["point"] == point) & (both["space"] == space) & (both["how"] == how)]
        rounds = sorted(here["round"].unique())
        for place, t in enumerate(rounds):
            of_round = here[here["round"] == t]
            dots: dict[str, Any] = {"linestyle": "", "marker": "osD^vPX"[place % 7], "markersize": 3.2, "alpha": 0.75}
            color = PALETTE[place % len(PALETTE)]
            ax.plot(of_round["distance"], of_round["contribution"], color=color, label=f"round {t:g}", **dots)
        ax.axhline(0, color="0.4", linewidth=0.8, zorder=0)
        method = label_of(str(here["method"].iloc[0]))
        ax.set_title(f"{method}: {_KINDS[space, how]}\n{_correlation_words(here)}", fontsize=7)
    outer_labels(panels, columns, "distance of the client from the others", "contribution [nats]")
    shared.legend(figure, panels, columns=8)
    return figure


def _correlation_words(here: pd.DataFrame) -> str:
    each = [
        rank_correlation(of["distance"], of["contribution"]) for _, of in here.groupby(["seed", "round"], dropna=False)
    ]
    known = pd.Series(each).dropna()
    if known.empty:
        return "no rank correlation"
    clients = here["client"].nunique()
    return f"rank correlation {known.mean():.2f} ({clients} clients, {len(known)} rounds)".replace("-", "\u2212")
