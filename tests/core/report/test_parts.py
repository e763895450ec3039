"""Lines over seeds, the paper's stars, one legend: read back from the axes they are drawn on."""

import math

import pandas as pd
import pytest

from experiments.core.report import parts
from experiments.core.report.style import new_figure

ROWS = pd.DataFrame({"seed": [0, 1, 2, 0], "round": [1, 1, 1, 2], "value": [1.0, 2.0, 6.0, 4.0]})


@pytest.mark.parametrize(("middle", "expected"), [("mean", [3.0, 4.0]), ("median", [2.0, 4.0])])
def test_a_line_is_the_middle_over_seeds_and_its_band_their_range(middle, expected):
    _, (ax,) = new_figure()
    parts.line(ax, ROWS, "round", "name", middle=middle, color="black")
    (line,), (band,) = ax.lines, ax.collections
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([1, 2], expected)
    y = band.get_paths()[0].vertices[:, 1]
    assert (y.min(), y.max()) == (1.0, 6.0)


def test_one_seed_has_no_band_and_no_rows_no_line():
    _, (ax,) = new_figure()
    parts.line(ax, ROWS.iloc[:1], "round", "name", color="black")
    parts.line(ax, ROWS.iloc[:0], "round", "empty", color="black")
    assert len(ax.lines) == 1 and not ax.collections


def test_numbers_that_the_paper_does_not_print_have_no_star():
    _, (ax,) = new_figure()
    assert parts.stars(ax, [1, 2, 3], [0.5, math.nan, 0.7], "the paper")
    assert not parts.stars(ax, [1], [math.nan])
    (line,) = ax.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 3], [0.5, 0.7])


def test_the_legend_names_everything_once():
    figure, panels = new_figure(1, 2)
    for ax in panels:
        ax.plot([0, 1], label="both")
    panels[1].plot([1, 0], label="right only")
    parts.legend_below(figure, parts.entries(panels), 4)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["both", "right only"]


def test_no_legend_without_entries():
    figure, panels = new_figure()
    parts.legend_below(figure, parts.entries(panels), 4)
    assert figure.legends == []


def test_panels_beyond_the_used_ones_are_hidden():
    _, panels = new_figure(1, 3)
    parts.hide(panels, 2)
    assert [ax.axison for ax in panels] == [True, True, False]


def test_only_outer_panels_are_labelled():
    _, panels = new_figure(2, 3)
    parts.outer_labels(panels[:5], 3, "x", "y")
    assert [ax.get_xlabel() for ax in panels] == ["", "", "x", "x", "x", ""]
    assert [ax.get_ylabel() for ax in panels] == ["y", "", "", "y", "", ""]
