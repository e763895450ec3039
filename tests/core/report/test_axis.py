"""Numbers of several seeds at equal distances along an axis: read back from the axes they are drawn on."""

import math

import pandas as pd
import pytest

from experiments.core.report import axis
from experiments.core.report.style import look, new_figure

ROWS = pd.DataFrame({"depth": ["10", "2", "10", "10", "7"], "value": [1.0, 5.0, 2.0, 6.0, 9.0]}, index=[3, 1, 4, 0, 2])


def test_values_stand_in_their_order_and_others_nowhere():
    at = axis.positions(ROWS["depth"], ["2", "10"], shift=0.25)
    assert at.tolist()[:4] == [1.25, 0.25, 1.25, 1.25] and math.isnan(at.iloc[4])


@pytest.mark.parametrize(("middle", "expected"), [("mean", [5.0, 3.0]), ("median", [5.0, 2.0])])
def test_a_swarm_shows_every_number_and_the_middle_of_each_position(middle, expected):
    _, (ax,) = new_figure()
    axis.swarm(ax, ROWS, axis.positions(ROWS["depth"], ["2", "10"]), "name", look(0), middle)
    dots, marks = ax.lines
    drawn = sorted(zip(dots.get_xdata().tolist(), dots.get_ydata().tolist(), strict=True))
    assert drawn == [(0, 5.0), (1, 1.0), (1, 2.0), (1, 6.0)]
    assert (marks.get_xdata().tolist(), marks.get_ydata().tolist(), marks.get_label()) == ([0, 1], expected, "name")


def test_dots_can_be_left_out():
    _, (ax,) = new_figure()
    axis.swarm(ax, ROWS, axis.positions(ROWS["depth"], ["2", "10"]), "name", look(0), "mean", dots=False)
    assert len(ax.lines) == 1


def test_all_positions_are_named_and_shown():
    _, (ax,) = new_figure()
    axis.name_positions(ax, ["2", "10"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "10"] and ax.get_xlim() == (-0.5, 1.5)
