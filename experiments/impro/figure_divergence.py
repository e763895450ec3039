"""How far the local models of a round lie apart: by algorithm (Fig. 2b), and layer by layer of FedAvg (Figs. 3, 9)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.core.names import natural
from experiments.core.report.artefacts import Artefact
from experiments.core.report.panels import PANELS, grid, legend, seeds_note
from experiments.core.report.parts import outer_labels
from experiments.impro.figure_rounds import by_series, looks, panels_of, smooth, smoothed_line
from experiments.impro.reading import BASIC, at_cell, cells, curves, panel_words, pick, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LAYERS = 10
"""As many layers as the paper's Figure 3a shows."""


def by_algorithm(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 2b: weight divergence over the rounds; FedNova in panels of its own, as the paper leaves it out."""
    measured = curves(rows, "weight_divergence")
    if measured.empty or measured["round"].nunique() < 2:
        return None
    caption = (
        "Figure 2b: weight divergence over the rounds, the mean over the participants of the L2 distance of their "
        "local models to their FedAvg mean, parameters only. Thin lines as measured, thick ones smoothed, bands the "
        "range over seeds; what a run does on its way out of the finite numbers may lie above the axis. FedNova, which "
        "the paper leaves out because its divergence is much larger, has the panels below."
    )
    return Artefact(name, tidy(measured, "round"), lambda: _draw_algorithms(by_series(measured)), caption)


def _draw_algorithms(series: pd.DataFrame) -> Figure:
    parts = dict(list(panels_of(series).items())[:PANELS])
    groups = [
        (panel, of_panel)
        for far in (False, True)
        for panel, part in parts.items()
        if len(of_panel := part[(part["method"] == "fednova") == far])
    ]
    figure, panels, columns = grid(len(groups), min(4, len(parts)))
    known = looks(series)
    for ax, (panel, of_panel) in zip(panels, groups, strict=True):
        for value, (label, shape) in known.items():
            smoothed_line(ax, of_panel[of_panel["series"] == value], label, shape)
        ax.set_title(panel_words(of_panel, panel))
        ax.set_ylim(0, _top(ax.get_ylim()[1], of_panel))
        ax.locator_params(axis="x", integer=True)
    outer_labels(panels, columns, "round", "weight divergence (L2)")
    legend(figure, panels, seeds_note(series["seed"].nunique(), "bands: range"))
    return figure


def _top(drawn: float, rows: pd.DataFrame) -> float:
    """The end of the axis: what is drawn, but at most three times the largest of a FedAvg that stayed finite.

    Without one, of the rows' median: a run about to leave the finite numbers would flatten all others.
    """
    steady = rows[rows["method"] == "fedavg"]["value"]
    usual = float(steady.max()) if len(steady) else 2 * float(rows["value"].median())
    return min(drawn, 3 * usual) if 0 < usual < np.inf else drawn


def by_layer(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figures 3 and 9: divergence of chosen layers and of the stages of FedAvg, each by its own maximum."""
    measured = layers(rows)
    if measured.empty or measured["round"].nunique() < 2:
        return None
    basic = measured[measured["fl"] == BASIC]
    shown = basic if len(basic) else measured
    caption = (
        "Figures 3 and 9: layer-wise weight divergence of FedAvg over the rounds, each line smoothed, averaged over "
        f"seeds and divided by its maximum. Above: up to {_LAYERS} weight tensors at equal steps of depth; below: "
        "stages, the root of the summed squares of their tensors. Darker is deeper. Panels are of a 0.1, E 1, M 10 "
        "where a setting has it; the CSV holds all cells' tensors as measured."
    )
    return Artefact(name, tidy(measured, "layer", "depth", "round"), lambda: _draw_layers(shown), caption)


def layers(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of layer-wise divergence of FedAvg with `depth` as a number; another algorithm's where it has none."""
    measured = pick(rows, "layer_divergence")
    if "fedavg" in set(measured["method"]):
        measured = measured[measured["method"] == "fedavg"]
    measured = measured.assign(depth=pd.to_numeric(measured["depth"], errors="coerce"))
    return measured[measured["round"].notna()].reset_index(drop=True)


def is_weight(layer: str) -> bool:
    """Whether a tensor is by its name a weight of a convolution or a dense layer."""
    return layer.endswith("weight") and not re.search(r"(^|\.)(bn\d*|norm\d*|downsample|shortcut)(\.|$)", layer)


def chosen(measured: pd.DataFrame, count: int = _LAYERS) -> list[str]:
    """Up to `count` weight tensors at equal steps of depth, from the lowest to the highest."""
    names = measured.sort_values("depth", kind="stable")["layer"].drop_duplicates()
    weights = [name for name in names if is_weight(name)] or list(names)
    steps = np.unique(np.linspace(0, len(weights) - 1, min(count, len(weights))).round().astype(int))
    return [weights[i] for i in steps]


def stages(measured: pd.DataFrame) -> pd.DataFrame:
    """The divergence of stages, the first words of tensors' names: root of the sum of squares over their tensors.

    Returns:
        cell, seed, round, layer (the stage), depth (its least), value.
    """
    stage = measured["layer"].str.partition(".")[0]
    squared = measured.assign(layer=stage, value=measured["value"] ** 2)
    by = ["cell", "seed", "round", "layer"]
    summed = squared.groupby(by, sort=False).agg(value=("value", "sum"), depth=("depth", "min")).reset_index()
    return summed.assign(value=np.sqrt(summed["value"]))


def normalised(measured: pd.DataFrame) -> pd.DataFrame:
    """Round x layer: smoothed, averaged over seeds, divided by each layer's maximum."""
    wide = measured.pivot_table(index="round", columns=["layer", "seed"], values="value").sort_index()
    smoothed = wide.apply(lambda line: smooth(line.dropna()).reindex(wide.index))
    mean = smoothed.T.groupby(level="layer").mean().T
    return mean / mean.max()


def _draw_layers(measured: pd.DataFrame) -> Figure:
    shown = cells(measured)[: PANELS // 3]
    figure, panels, columns = grid(2 * len(shown), len(shown), 2.1)
    figure.set_size_inches(4.4 * len(shown), 5.0)
    for i, cell in enumerate(shown):
        of_cell = at_cell(measured, cell)
        part = of_cell[of_cell["layer"].isin(chosen(of_cell))]
        _lines(panels[i], part)
        _lines(panels[i + len(shown)], stages(of_cell))
        panels[i].set_title(panel_words(of_cell, cell))
    outer_labels(panels, columns, "round", "divergence / its maximum")
    return figure


def _lines(ax: Axes, part: pd.DataFrame) -> None:
    from matplotlib import colormaps

    lines = normalised(part)
    depth = part.groupby("layer")["depth"].min()
    names = sorted(lines.columns, key=lambda name: (depth[name], natural(str(name))))
    for i, name in enumerate(names):
        color = colormaps["viridis_r"](0.1 + 0.9 * i / max(1, len(names) - 1))
        ax.plot(
            lines.index,
            lines[name],
            color=color,
            linewidth=1.1,
            linestyle=("-", "--", "-.")[i % 3],
            label=str(name).removesuffix(".weight"),
        )
    ax.set_ylim(0, 1.05)
    ax.locator_params(axis="x", integer=True)
    ax.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.8)
