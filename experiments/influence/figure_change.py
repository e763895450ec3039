"""Figures 1, 2 and 6: how far the estimated change of the parameters (FIP) is from the exact one, round by round."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import entries, legend_below
from experiments.core.report.style import PALETTE, formula, look, new_figure
from experiments.influence.figure_parts import legend, line
from experiments.influence.reading import (
    COUNTED,
    LABELS,
    VARIANTS,
    WHOLE,
    distinct,
    family,
    only,
    pick,
    printed,
    variants,
    worded,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CNN = ("conv 1", "conv 2", "dense 1", "dense 2")


def by_tensor(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 1: error and norm of the tracked client's estimated FIP by tensor, without LWET."""
    rows = pick(metrics, ["fip_error", "fip_norm"])
    rows = rows[~rows["subject"].isin([WHOLE, COUNTED])]
    without = [v for v in variants(rows) if "lwet" not in v] or variants(rows)
    if not without:
        return None
    rows = worded(rows[rows["method"].isin([without[0], "exact"])])
    model = str(metrics["model"].iloc[0])
    return Artefact(name, rows, lambda: _draw_tensors(rows, without[0], tensors(rows["subject"].unique(), model)))


def tensors(names: np.ndarray, model: str = "") -> dict[str, str]:
    """Tensor -> label, in the order of the model: "1 conv 1 kernel" for the paper's CNNs, the bare name for others."""
    ordered = sorted(names, key=_place)
    if model in ("cnn1", "cnn2") and len(ordered) == 2 * len(_CNN):
        labels = [f"{layer} {kind}" for layer in _CNN for kind in ("kernel", "bias")]
    else:
        labels = ordered
    return {tensor: f"{i} {label}" for i, (tensor, label) in enumerate(zip(ordered, labels, strict=True), start=1)}


def _place(name: str) -> list[tuple[int, str]]:
    """Numbers in a name in order of size, and the weight before the bias."""
    parts = re.split(r"(\d+)", name.removesuffix("weight").replace("bias", "~"))
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def _draw_tensors(rows: pd.DataFrame, variant: str, labels: dict[str, str]) -> Figure:
    figure, axes = new_figure(1, 2, height=3.1, sharex=True)
    of_seed = rows[rows["seed"] == rows["seed"].min()]
    for ax, metric, what in zip(axes, ("fip_error", "fip_norm"), ("error", "norm"), strict=True):
        for index, (tensor, label) in enumerate(labels.items()):
            one = of_seed[
                (of_seed["method"] == variant) & (of_seed["metric"] == metric) & (of_seed["subject"] == tensor)
            ]
            # One colour a layer, dashes for its bias: eight colours are not told apart.
            color, dash = PALETTE[index // 2 % len(PALETTE)], "--" if tensor.endswith("bias") else "-"
            ax.plot(one["round"], one["value"].where(one["value"] > 0), label=label, color=color, linestyle=dash)
        ax.set_yscale("log")
        ax.set_xlabel("round")
        ax.set_title(f"{what} of the estimate, {LABELS[variant]}; one client", pad=14)
    exact = of_seed[(of_seed["method"] == "exact") & (of_seed["metric"] == "fip_norm")]
    whole = np.sqrt((exact.set_index("round")["value"] ** 2).groupby("round").sum())
    axes[1].plot(whole.index, whole.where(whole > 0), color="black", linestyle=":", label="exact FIP, all tensors")
    axes[0].set_ylabel(formula(r"\|\epsilon_j - \epsilon^*_j\|_2"))
    axes[1].set_ylabel(formula(r"\|\epsilon_j\|_2"))
    for ax, key in zip(axes, ("figure2.error_rises_around_round", "figure1.norm_rises_around_round"), strict=True):
        _mark(ax, only(rows, "setting"), key)
    legend_below(figure, entries(axes[1:]), 5)
    return figure


def _mark(ax: Axes, setting: str, key: str) -> None:
    """A faint line where the paper's curve of setting 2 takes off."""
    at, (low, high) = printed(setting, key), ax.get_xlim()
    if family(setting) == "setting2" and low <= at <= high:
        ax.axvline(at, color="0.6", linewidth=0.8, zorder=0)
        ax.annotate(f"paper: rises about round {at:g}", (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
                    textcoords="offset points", ha="center", va="bottom", fontsize=6, color="0.35")  # fmt: skip


def error(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Figures 2 and 6: the error of FIP over rounds by variant, of the tracked client and the median client."""
    tracked = pick(metrics, ["fip_error", "fip_norm"], WHOLE)
    median = pick(metrics, ["fip_error_median", "fip_norm_median"], COUNTED)
    rows = pd.concat([tracked, median], ignore_index=True)
    rows = rows[(rows["method"] == "exact") | rows["metric"].str.startswith("fip_error")]
    return Artefact(name, worded(rows), lambda: _draw_error(rows)) if variants(rows) else None


def _draw_error(rows: pd.DataFrame) -> Figure:
    figure, axes = new_figure(1, 2, height=2.9, sharex=True, sharey=True)
    labels = distinct(rows, variants(rows))
    shown = rows[rows["value"] > 0]  # zero, while a client has not taken part, has no place on a logarithmic axis
    for ax, end, title in zip(axes, ("", "_median"), ("tracked client", "median of the counted clients"), strict=True):
        for variant, label in labels.items():
            one = shown[(shown["method"] == variant) & (shown["metric"] == f"fip_error{end}")]
            line(ax, one, "round", label, middle="median", **look(VARIANTS.index(variant)))
        exact = shown[(shown["method"] == "exact") & (shown["metric"] == f"fip_norm{end}")]
        line(ax, exact, "round", "norm of the exact FIP", middle="median", color="0.3", linestyle=":")
        ax.set_yscale("log")
        ax.set_xlabel("round")
        ax.set_title(title, pad=14)
    axes[0].set_ylabel("error of FIP, " + formula(r"\|\epsilon - \epsilon^*\|_2"))
    _mark(axes[0], only(rows, "setting"), "figure2.error_rises_around_round")
    legend(figure, axes[0], rows["seed"].nunique(), "median")
    return figure
