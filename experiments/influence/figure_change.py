"""Figures 1, 2 and 6: how far the estimated change of the parameters (FIP) is from the exact one, round by round."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.style import PALETTE, look, new_figure
from experiments.influence.reading import LABELS, VARIANTS, distinct, only, pick, printed, variants

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CNN = ("conv 1", "conv 2", "dense 1", "dense 2")
_WHOLE = ("all", "counted")


def by_tensor(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 1: error and norm of the tracked client's estimated FIP by tensor, without LWET."""
    rows = pick(metrics, ["fip_error", "fip_norm"])
    rows = rows[~rows["subject"].isin(_WHOLE)]
    without = [v for v in variants(rows) if "lwet" not in v] or variants(rows)
    if not without:
        return None
    rows = rows[rows["method"].isin([without[0], "exact"])]
    model = str(metrics["model"].iloc[0])
    return Artefact(name, rows, lambda: _draw_tensors(rows, without[0], tensors(rows["subject"].unique(), model)))


def tensors(names: np.ndarray, model: str = "") -> dict[str, str]:
    """Tensor -> label, in the order of the model: "1 conv 1 kernel" for the paper's CNNs, the bare name for others."""
    ordered = sorted(names, key=lambda n: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", n)][:2] + [n.endswith("bias")])
    if model in ("cnn1", "cnn2") and len(ordered) == 2 * len(_CNN):
        labels = [f"{layer} {kind}" for layer in _CNN for kind in ("kernel", "bias")]
    else:
        labels = ordered
    return {tensor: f"{i} {label}" for i, (tensor, label) in enumerate(zip(ordered, labels, strict=True), start=1)}


def _draw_tensors(rows: pd.DataFrame, variant: str, labels: dict[str, str]) -> Figure:
    figure, (left, right) = new_figure(1, 2, height=3.0, sharex=True)
    seed = rows["seed"].min()
    own = rows[rows["seed"] == seed]
    for ax, metric in ((left, "fip_error"), (right, "fip_norm")):
        for index, (tensor, label) in enumerate(labels.items()):
            line = own[(own["method"] == variant) & (own["metric"] == metric) & (own["subject"] == tensor)]
            # One colour a layer, dashes for its bias: eight colours are not told apart.
            ax.plot(line["round"], line["value"].where(line["value"] > 0), label=label, color=PALETTE[index // 2 % len(PALETTE)],
                    linestyle="--" if tensor.endswith("bias") else "-")  # fmt: skip
        ax.set_yscale("log")
        ax.set_xlabel("round")
    exact = own[(own["method"] == "exact") & (own["metric"] == "fip_norm")]
    whole = np.sqrt((exact.set_index("round")["value"] ** 2).groupby("round").sum())
    right.plot(whole.index, whole.where(whole > 0), color="black", linestyle=":", label="exact FIP, all tensors")
    left.set_ylabel(r"error $\|\epsilon_j - \epsilon^*_j\|_2$")
    right.set_ylabel(r"norm $\|\epsilon_j\|_2$")
    setting = only(rows, "setting")
    _mark(left, printed(setting, "figure2.error_rises_around_round") if setting.startswith("setting2") else np.nan)
    _mark(right, printed(setting, "figure1.norm_rises_around_round") if setting.startswith("setting2") else np.nan)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle(f"Estimated FIP by tensor, variant {LABELS[variant]}; one client (seed {int(seed)})")
    return figure


def _mark(ax: Axes, at: float) -> None:
    """A faint line where the paper's curve takes off."""
    low, high = ax.get_xlim()
    if low <= at <= high:
        ax.axvline(at, color="0.6", linewidth=0.8, zorder=0)
        ax.annotate("paper: rises", (at, 1), xycoords=("data", "axes fraction"), xytext=(-2, -1), textcoords="offset points",
                    rotation=90, ha="right", va="top", fontsize=6, color="0.4")  # fmt: skip


def error(metrics: pd.DataFrame, name: str) -> Artefact | None:
    """Figures 2 and 6: the error of FIP over rounds by variant, of the tracked client and the median client."""
    tracked = pick(metrics, ["fip_error", "fip_norm"], "all")
    median = pick(metrics, ["fip_error_median", "fip_norm_median"], "counted")
    rows = pd.concat([part[(part["method"] == "exact") | ~part["metric"].str.startswith("fip_norm")] for part in (tracked, median)])
    return Artefact(name, rows, lambda: _draw_error(rows)) if variants(rows) else None


def _draw_error(rows: pd.DataFrame) -> Figure:
    figure, axes = new_figure(1, 2, height=2.9, sharey=True)
    labels = distinct(rows, variants(rows))
    for ax, end, title in zip(axes, ("", "_median"), ("tracked client", "median of the counted clients"), strict=True):
        for variant, label in labels.items():
            line = rows[(rows["method"] == variant) & (rows["metric"] == f"fip_error{end}")]
            _line(ax, line, label, **look(VARIANTS.index(variant)))
        _line(ax, rows[(rows["method"] == "exact") & (rows["metric"] == f"fip_norm{end}")], "exact FIP itself: norm", color="0.3", linestyle=":")
        ax.set_yscale("log")
        ax.set_xlabel("round")
        ax.set_title(title)
    axes[0].set_ylabel(r"error of FIP $\|\epsilon - \epsilon^*\|_2$")
    setting = only(rows, "setting")
    if setting.startswith("setting2"):
        _mark(axes[0], printed(setting, "figure2.error_rises_around_round"))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _line(ax: Axes, rows: pd.DataFrame, label: str, **style: object) -> None:
    """Median over seeds, and a band from the least to the greatest; zeros have no place on a logarithmic axis."""
    by = rows[rows["value"] > 0].groupby("round")["value"]
    middle = by.median()
    if middle.empty:
        return
    ax.plot(middle.index, middle, label=label, markevery=max(1, len(middle) // 8), **style)
    if by.size().max() > 1:
        ax.fill_between(middle.index, by.min(), by.max(), color=style["color"], alpha=0.12, linewidth=0)
