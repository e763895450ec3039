"""The picture nobody draws: an input, the clients ranked for its prediction, their scores, and what they hold."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.core.names import is_number
from experiments.core.report.artefacts import Artefact
from experiments.core.report.style import PALETTE, RC
from experiments.core.report.tables import about
from experiments.core.subject import words as words_of
from experiments.trace.reading import axes, point_words, points
from experiments.trace.traced import Traced, load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INPUTS = 6  # rows of a figure
_LOST = 2  # of them traced to a wrong client
_CLIENTS = 6  # ranked clients of a row
_NAME = 14  # letters of a client's name
_RIGHT, _OTHER, _MARK = PALETTE[0], "0.72", PALETTE[1]

Chosen = tuple[Traced, int]
"""A cell's predictions, and which of them."""


def traced_inputs(rows: pd.DataFrame, folders: Sequence[Path], name: str) -> Artefact | None:
    """Chosen predictions of the first seed, each with its ranked clients, their scores and label histograms.

    Raises:
        MissingError: a cell's inputs cannot be read.
    """
    seed, setting = int(rows["seed"].min()), str(rows["setting"].iloc[0])
    cells = load(folders, setting, seed)
    shown = chosen([cells[point] for point in points(rows) if point in cells])
    if not shown:
        return None
    caption = (
        "Predictions of the last traced round and the clients ranked for them by TraceFL. Bars: the normalised score; "
        "T, the contribution above the participants' mean; and the truth, by how much the predicted logit falls when "
        "the client is left out of the round. Blue: clients that may be named, since they hold the label (of a "
        "misprediction: since they are faulty). Right: the labels each client trained on, the predicted one framed, "
        "the true one dashed where it is another; beside it, how many samples of the predicted label it has. One "
        "seed; inputs that are traced to a wrong client are among them where there are any."
    )
    head = about(rows) | {"seed": seed}
    frame = pd.DataFrame([line for number, one in enumerate(shown) for line in _lines(one, number, head, axes(rows))])
    return Artefact(name, frame, lambda: _draw(shown, seed), caption)


def chosen(cells: Sequence[Traced]) -> list[Chosen]:
    """Up to six inputs, one of each cell in turn: at least two of them traced to a wrong client, if there are any.

    Mispredictions, which a setting with faulty clients is about, come first; labels differ as far as they can; of texts
    the longest are shown, which tell most.
    """
    every = [[(cell, i) for i in range(len(cell.scope))] for cell in cells]
    lost = _in_turn([[one for one in inputs if not one[0].names_right(one[1])] for inputs in every], set())[:_LOST]
    labels = {int(cell.label[i]) for cell, i in lost}
    every.sort(key=lambda inputs: any(inputs[0][0] is cell for cell, _ in lost))  # absent cells come first
    right = _in_turn([[one for one in inputs if one[0].names_right(one[1])] for inputs in every], labels)
    return [*right[: _INPUTS - len(lost)], *lost]


def _in_turn(queues: list[list[Chosen]], labels: set[int]) -> list[Chosen]:
    """All of `queues`, one of each in turn: mispredictions first, then labels that are not yet among `labels`."""
    queues, seen, taken = [list(queue) for queue in queues], set(labels), list[Chosen]()
    while any(queues):
        for queue in filter(None, queues):
            best = min(queue, key=lambda one: _place(one, seen))
            queue[:] = [one for one in queue if one is not best]
            seen.add(int(best[0].label[best[1]]))
            taken.append(best)
    return taken


def _place(one: Chosen, seen: set[int]) -> tuple[bool, bool, int]:
    cell, i = one
    return cell.scope[i] != "wrong", int(cell.label[i]) in seen, 0 if cell.texts is None else -len(str(cell.texts[i]))


def _lines(one: Chosen, number: int, about: dict[str, Any], grid: list[str]) -> list[dict[str, Any]]:
    """A row a participant, best first."""
    cell, i = one
    point = words_of(cell.point)
    head = about | {key: point.get(key, "") for key in grid}
    head |= {"input": number + 1, "round": cell.round, "scope": str(cell.scope[i])}
    head |= {"label": int(cell.label[i]), "predicted": int(cell.predicted[i])}
    if cell.texts is not None:
        head["text"] = _short(str(cell.texts[i]), 200)
    return [
        head | {
            "rank": rank + 1, "client": int(cell.clients[k]), "name": str(cell.names[k]),
            "faulty": bool(cell.faulty[k]), "score": float(cell.scores[i, k]), "raw": float(cell.raw[i, k]),
            "truth": float("nan") if cell.truth is None else float(cell.truth[i, k]), "samples": int(cell.sizes[k]),
            "samples_of_predicted": int(cell.histogram[k, cell.predicted[i]]),
            "labels": " ".join(f"{c}:{int(v)}" for c, v in enumerate(cell.histogram[k]) if v),
        }
        for rank, k in enumerate(cell.ranking(i))
    ]  # fmt: skip


def _draw(shown: list[Chosen], seed: int) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.2, 1.55 * len(shown) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    texts = any(cell.texts is not None for cell, _ in shown)
    truths = any(cell.truth is not None for cell, _ in shown)
    widths = [1.9 if texts else 1.15, 1.0, 1.0, *([1.0] if truths else []), 1.9]
    panels = figure.subplots(len(shown), len(widths), squeeze=False, width_ratios=widths)
    for number, one in enumerate(shown):
        _row(panels[number], *one, first=number == 0)
    figure.suptitle(f"who is responsible for a prediction: ranked clients, their scores and labels (seed {seed})")
    return figure


def _row(line: Any, cell: Traced, i: int, first: bool) -> None:
    """One input: picture, scores, contributions, truth, labels of the clients."""
    places = cell.ranking(i)[:_CLIENTS]
    picture, score, raw, *truth, labels = line
    _picture(picture, cell, i)
    colors = [_RIGHT if right else _OTHER for right in cell.right(i)[places]]
    _bars(score, cell.scores[i, places], colors, "score" if first else "")
    score.set_xlim(0, 1.28)
    score.set_xticks([0, 0.5, 1])
    for y, value in enumerate(cell.scores[i, places]):
        score.text(value + 0.03, y, _score_words(float(value)), va="center", fontsize=6)
    score.set_yticks(range(len(places)), [_client(cell, k) for k in places], fontsize=6)
    for text, k in zip(score.get_yticklabels(), places, strict=True):
        text.set_color(_MARK if cell.faulty[k] else "black")
    _bars(raw, (cell.raw[i] - cell.raw[i].mean())[places], colors, "T above its mean" if first else "")
    for ax in truth:
        if cell.truth is None:
            ax.set_axis_off()
        else:
            _bars(ax, cell.truth[i, places], colors, "truth: fall of the logit" if first else "")
    _labels(labels, cell, i, places, first)


def _score_words(value: float) -> str:
    return f"{value:.2f}" if value >= 0.005 else "0" if value < 1e-12 else f"{value:.0e}"


def _client(cell: Traced, k: int) -> str:
    """A client by name; a long one is cut, and its position tells it from others that begin alike."""
    name = str(cell.names[k])
    words = f"client {name}" if is_number(name) else name
    if len(words) > _NAME:
        words = f"{_short(words, _NAME - 4)} #{cell.clients[k]}"
    words = _drawable(words).replace("$", r"\$")  # else matplotlib takes it for mathematics
    return f"{words} (faulty)" if cell.faulty[k] else words


def _bars(ax: Axes, values: Any, colors: list[str], title: str) -> None:
    ax.barh(range(len(values)), values, color=colors, height=0.68)
    ax.axvline(0, color="0.3", linewidth=0.7)
    ax.set_ylim(len(values) - 0.4, -0.6)
    ax.set_yticks(range(len(values)), [""] * len(values))
    ax.tick_params(axis="x", labelsize=6)
    ax.locator_params(axis="x", nbins=3)
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    ax.xaxis.get_offset_text().set_fontsize(6)
    ax.grid(axis="y", visible=False)
    ax.set_title(title)


def _picture(ax: Axes, cell: Traced, i: int) -> None:
    """The image or the text, the point above it, the labels below it."""
    from matplotlib.ticker import NullLocator

    ax.grid(False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(NullLocator())
    ax.spines[:].set_visible(False)
    ax.set_title("\n".join(textwrap.wrap(point_words(cell.point), 30)), fontsize=7)
    true, said = cell.label[i], cell.predicted[i]
    ax.set_xlabel(f"class {true}, predicted right" if true == said else f"class {true}, predicted {said}", fontsize=7)
    if cell.images is not None:
        ax.imshow(shown_image(cell.images[i]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        text = "no picture" if cell.texts is None else _short(str(cell.texts[i]), 300)
        words = "\n".join(textwrap.wrap(_drawable(text), 46))
        ax.text(0.5, 0.5, words, ha="center", va="center", fontsize=6, transform=ax.transAxes, parse_math=False)


def shown_image(image: Any) -> Any:
    """[H, W] or [H, W, 3] in 0..1 from [channels, H, W] of any range; three equal channels become one."""
    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / max(high - low, 1e-12)
    if len(scaled) == 3 and not (np.allclose(scaled[0], scaled[1]) and np.allclose(scaled[0], scaled[2])):
        return np.moveaxis(scaled, 0, -1)
    return scaled[0]


def _drawable(text: str) -> str:
    """`text` with a box for every character that the figures' font has no glyph for."""
    known = _glyphs()
    return "".join(letter if ord(letter) in known or letter.isspace() else "\u25a1" for letter in text)


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(str(RC["font.family"]))).get_charmap())


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "\u2026"


def _labels(ax: Axes, cell: Traced, i: int, places: Any, first: bool) -> None:
    """Share of each label in each ranked client's samples; the input's label framed."""
    from matplotlib.patches import Rectangle

    counts = cell.histogram[places].astype(float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(shares, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    ax.grid(False)
    classes = counts.shape[1]
    step = -(-classes // 20)
    ax.set_xticks(range(0, classes, step), [str(c) for c in range(0, classes, step)], fontsize=6)
    ax.set_yticks(range(len(places)), [""] * len(places))
    ax.set_title("labels of the client's samples" if first else "")
    true, said = int(cell.label[i]), int(cell.predicted[i])
    for label, style in {true: (0, (2, 1.5)), said: "-"}.items():
        frame: dict[str, Any] = {"fill": False, "edgecolor": _MARK, "linewidth": 1.4, "linestyle": style}
        ax.add_patch(Rectangle((label - 0.5, -0.5), 1, len(places), clip_on=False, **frame))
    for y, k in enumerate(places):
        share = f"{int(cell.histogram[k, said])} of {int(cell.sizes[k])}"
        ax.text(classes - 0.3, y, share, va="center", fontsize=6)
