"""Limits and words of a plot of estimated against exact values."""

import numpy as np
import pandas as pd
import pytest

from experiments.core.report.scatter import cloud, limits
from experiments.core.report.style import new_figure, styled

EXACT = np.linspace(0, 1, 50)


def test_a_far_estimate_does_not_set_the_limits():
    assert limits(EXACT, EXACT) == pytest.approx((-0.05, 1.05))
    far = np.where(np.arange(50) == 3, 1e6, EXACT)
    assert limits(EXACT, far)[1] < 2


def test_what_lies_outside_is_told():
    far = np.where(np.arange(50) == 3, 1e6, EXACT)
    with styled():
        _, (ax,) = new_figure()
        cloud(ax, pd.DataFrame({"seed": 0, "exact": EXACT, "estimated": far}), {0: 0}, 1.0)
    assert any("1 of 50 points outside" in text.get_text() for text in ax.texts)
