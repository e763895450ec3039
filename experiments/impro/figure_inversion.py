"""Model inversion: original images and what was found from features, means and noised means (Fig. 11 to 13)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.core.names import natural
from experiments.core.report.artefacts import Artefact
from experiments.core.report.style import new_figure
from experiments.core.report.tables import ABOUT, over_seeds
from experiments.impro.reading import axes, pick, point_words, without
from experiments.impro.stored_images import Inverted, load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_IMAGES = 10  # columns of the picture
_PANELS = 3
_LEVELS = 3  # noise levels shown
_METRICS = {
    "ssim": "SSIM", "best_ssim": "best SSIM", "psnr": "PSNR [dB]", "best_psnr": "best PSNR [dB]",
    "feature_residual": "features missed",
}  # fmt: skip
_SOURCES = {
    "features": "raw features", "mean": "class mean of features", "noised_mean": "noised class mean",
    "class_mean": "(no inversion: mean image of the class)",
}  # fmt: skip


def pictures(rows: pd.DataFrame, folders: Sequence[Path], name: str) -> Artefact | None:
    """Figures 11 to 13: the first image of each class, and what was found for it, of the first seed.

    Raises:
        MissingError: a cell's images cannot be read.
    """
    seed, setting = int(rows["seed"].min()), str(rows["setting"].iloc[0])
    shown = sorted(load(folders, setting, seed), key=lambda one: natural(one.point))[:_PANELS]
    if not shown:
        return None
    caption = (
        "Model inversion after the last round: training images, images found from the features of each, mean images "
        "of their classes, and images found from the class means of features without and with Gaussian noise (its "
        f"standard deviation at the left). Seed {seed}; the first image of each class. A mean has no original: it is "
        "to be compared with the mean image of its class."
    )
    return Artefact(name, _frame(rows, seed), lambda: _draw(shown), caption)


def _frame(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    told = pick(rows, list(_METRICS))
    told = told[told["seed"] == seed]
    told = told.assign(point=[without(point, "noise") for point in told["point"]])
    return told[[*ABOUT, "seed", "point", "source", "noise", "metric", "n", "value"]].reset_index(drop=True)


def _draw(shown: list[Inverted]) -> Figure:
    figure, panels = new_figure(len(shown), 1)
    drawn = [_montage(one) for one in shown]
    height = sum(5.2 * image.shape[0] / image.shape[1] for image, _ in drawn)
    figure.set_size_inches(6.6, height + 0.4 * len(shown))
    figure.set_layout_engine("compressed")  # for panels that keep their shape
    for ax, one, (image, labels) in zip(panels, shown, drawn, strict=True):
        _panel(ax, image, labels)
        ax.set_title(point_words(one.point))
    return figure


def _panel(ax: Axes, image: np.ndarray, labels: list[str]) -> None:
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    row = image.shape[0] / len(labels)
    ax.set_yticks([(i + 0.5) * row - 0.5 for i in range(len(labels))], labels, fontsize=6.5)
    ax.set_xticks([])
    ax.tick_params(length=0)


def _montage(one: Inverted) -> tuple[np.ndarray, list[str]]:
    """All rows of images in one, [H, W] or [H, W, 3] bytes with white between, and what each row is."""
    firsts = [int(np.flatnonzero(one.labels == label)[0]) for label in one.classes][:_IMAGES]
    count = len(firsts)
    levels = _spread(len(one.noise), _LEVELS)
    lines = {
        "original": one.original[firsts], "from its features": one.features[firsts],
        "mean image of class": one.class_mean[:count], "from mean features": one.mean[:count],
        **{f"noise {one.noise[i]:g}": one.noised_mean[i, :count] for i in levels},
    }  # fmt: skip
    return np.concatenate([_line(images) for images in lines.values()]), list(lines)


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` of 0..count-1, first and last among them."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(most, count)).round()}) if count else []


def _line(images: np.ndarray) -> np.ndarray:
    """Images [n, C, h, w] side by side, with a white margin."""
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=255)
    row = np.concatenate(list(framed), axis=2)
    return row[0] if len(row) == 1 else np.moveaxis(row[:3], 0, 2)


def scores(rows: pd.DataFrame, name: str) -> Artefact | None:
    """A line a point, source and noise level: likeness to the training images, mean over seeds."""
    told = pick(rows, list(_METRICS))
    if told.empty:
        return None
    grid = [axis for axis in axes(told) if axis != "noise"]
    by = [*ABOUT, *grid, "source", "noise"]
    wide = over_seeds(told, [*by, "metric"]).set_index([*by, "metric"])["mean"].unstack("metric").reset_index()
    order = list(_SOURCES)
    wide = wide.assign(rank=wide["source"].map(order.index), level=pd.to_numeric(wide["noise"]).fillna(0))
    wide = wide.sort_values([*grid, "rank", "level"], kind="stable", ignore_index=True)
    frame = wide.assign(source=wide["source"].map(_SOURCES), seeds=told["seed"].nunique())
    kept: dict[str, Any] = {metric: label for metric, label in _METRICS.items() if metric in frame}
    frame = frame[[*by, *kept, "seeds"]].rename(columns=kept).rename_axis(columns=None)
    caption = (
        "Likeness of reconstructed images to training images. Raw features: to the image whose features they were. "
        "Means: to images of the class, on average and to the most alike. A mean gives an image away only where it "
        "is more like one than the mean image of its class is."
    )
    blank = "an image found from its own features has one original, a mean image no features to reach"
    return Artefact(name, frame, None, caption, table_md=True, blanks=dict.fromkeys(kept.values(), blank))
