"""Rows of estimate against truth."""

import math

import numpy as np
import pytest

from experiments.core.scores.rows import agreement

X, Y = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 4.0, 9.0, 16.0, 20.0]


def test_both_correlations_under_the_names_asked_for():
    rows = {metric: (value, n) for metric, value, n in agreement(X, Y, "{}_fil")}
    assert rows == {"pearson_fil": (pytest.approx(np.corrcoef(X, Y)[0, 1]), 5), "spearman_fil": (pytest.approx(1.0), 5)}


def test_intervals_stand_around_their_score():
    rows = {metric: value for metric, value, _ in agreement(X, [1.0, 4.0, 2.0, 16.0, 20.0], interval=True)}
    assert list(rows) == [f"{s}{end}" for s in ("pearson", "spearman") for end in ("", "_low", "_high")]
    assert all(rows[f"{s}_low"] < rows[s] < rows[f"{s}_high"] for s in ("pearson", "spearman"))


def test_a_constant_has_no_correlation_and_two_pairs_no_row():
    assert all(math.isnan(value) for _, value, _ in agreement(X, [1.0] * 5))
    assert list(agreement(X[:2], Y[:2])) == []
