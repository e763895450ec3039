"""Seconds to localize one input, by data set, TraceFL and FedDebug (Fig. 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.core.report.artefacts import Artefact
from experiments.core.report.style import STAR, look, new_figure
from experiments.core.report.tables import KEYS
from experiments.trace.figure_parts import legend
from experiments.trace.reading import (
    DATA,
    IMAGES,
    METHODS,
    TEXTS,
    axes,
    main_scope,
    named,
    pick,
    references,
    split_task,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = ("tracefl", "feddebug")


def seconds(rows: pd.DataFrame, name: str) -> Artefact | None:
    """Figure 6: bars of seconds per input, averaged over rounds, seeds and all axes but the task."""
    timed = pick(rows, "seconds", method=list(_SHOWN), scope=main_scope(rows))
    if "feddebug" not in set(timed["method"]):
        return None
    timed = timed.assign(data=timed["task"].map(lambda task: named("task", task)).where(timed["task"] != "", "here"))
    by = list(dict.fromkeys([*KEYS, *axes(rows), "dataset", "model", "data", "method"]))
    each = timed.groupby(by, sort=False)["value"].mean().reset_index().rename(columns={"value": "seconds"})
    caption = (
        "Seconds to localize one input (FedDebug: one random input), averaged over rounds, seeds and alpha; stars: "
        "the authors' on an A100. TraceFL's time here is that of one batched pass for all clients."
    )
    return Artefact(name, each, lambda: _draw(each), caption)


def _draw(each: pd.DataFrame) -> Figure:
    names = list(dict.fromkeys(each["data"]))
    figure, (ax,) = new_figure(1, 1)
    figure.set_size_inches(max(3.8, 1.1 * len(names) + 1.2), 3.0)
    for i, method in enumerate(_SHOWN):
        of_method = each[each["method"] == method].groupby("data")["seconds"].mean()
        x = [j + (i - 0.5) * 0.38 for j, name in enumerate(names) if name in of_method.index]
        heights = [float(of_method[name]) for name in names if name in of_method.index]
        hatch: dict[str, Any] = {"hatch": "///" if i else "", "edgecolor": "white", "linewidth": 0.4}
        ax.bar(x, heights, width=0.36, color=look(1 + i)["color"], label=METHODS[method], **hatch)
        for at, height in zip(x, heights, strict=True):
            ax.annotate(f"{height:.2g}", (at, height), (0, 2), textcoords="offset points", ha="center", fontsize=6)
        _stars(ax, each, names, method, (i - 0.5) * 0.38)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(low / 1.5, high * 2)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.grid(axis="x", visible=False)
    ax.set_xticks(range(len(names)), [name.replace(", ", "\n") for name in names])
    ax.set_ylabel("seconds per input")
    legend(figure, [ax])
    return figure


def _stars(ax: Any, each: pd.DataFrame, names: list[str], method: str, shift: float) -> None:
    """The authors' seconds by data set, mean over alpha; the paper's bars have no numbers."""
    for j, name in enumerate(names):
        task = each[each["data"] == name].iloc[0].get("task", "")
        data = split_task(str(task))[1]
        theirs = authors_seconds(data, method)
        if len(theirs):
            ax.plot([j + shift], [np.mean(theirs)], label="the authors' result files", **{**STAR, "markersize": 8})


def authors_seconds(data: str, method: str) -> list[float]:
    """The authors' seconds per input for a data set and method, one a value of alpha."""
    known = data in {**IMAGES, **TEXTS} and data in DATA
    start = f"tracefl.artefact.time.{data}."
    return [r.number for r in references() if known and r.key.startswith(start) and r.method == method and r.number]
