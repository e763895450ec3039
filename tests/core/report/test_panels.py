"""Figures of several panels: their number, and one legend with the paper's entry last."""

import pytest

from experiments.core.report.panels import STARRED, grid, legend, seeds_note
from experiments.core.report.style import styled


@pytest.mark.parametrize(("count", "columns", "lines"), [(1, 1, 1), (3, 3, 1), (4, 4, 1), (5, 4, 2)])
def test_as_many_panels_as_asked_for(count, columns, lines):
    figure, panels, found = grid(count)
    assert (len(panels), found, len(figure.axes)) == (count, columns, columns * lines)
    assert all(ax.axison for ax in panels) and not any(ax.axison for ax in figure.axes[count:])


def test_each_entry_stands_once_and_the_papers_last():
    with styled():
        figure, panels, _ = grid(2)
        for ax in panels:
            ax.plot([0, 1], [0, 1], label=STARRED)
            ax.plot([0, 1], [1, 0], label="ours")
        legend(figure, panels, seeds_note(3, "mean and range"))
    (one,) = figure.legends
    assert [text.get_text() for text in one.get_texts()] == ["ours", STARRED]
    assert one.get_title().get_text() == "mean and range, 3 seeds" and seeds_note(1, "mean") == ""
