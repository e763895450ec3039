"""Localization accuracy, chance and ranks, by hand and against SciPy."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from experiments.core.scores.localization import chance, localized, rank

SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [float("nan"), 1.0, 0.0]])
RIGHT = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 1, 0], [1, 1, 1]], dtype=torch.bool)


def test_the_top_client_counts_and_of_equal_ones_the_first():
    assert localized(SCORES, RIGHT).tolist() == [True, False, True, False]


def test_chance_is_the_share_of_right_clients():
    assert chance(RIGHT).tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3, 1])


def test_random_scores_reach_chance():
    g = torch.Generator().manual_seed(0)
    right = torch.rand(20_000, 10, generator=g) < 0.3
    found = localized(torch.rand(20_000, 10, generator=g), right).double().mean()
    assert float(found) == pytest.approx(float(chance(right).mean()), abs=0.01)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        localized(SCORES, RIGHT[:2])


def test_rank_of_a_row_with_nan_is_nan():
    ranks = rank(SCORES, torch.tensor([0, 1, 0, 1]))
    assert ranks[:3].tolist() == [3, 1.5, 3] and ranks[3].isnan()


@given(st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=6), st.integers(0, 4))
def test_rank_is_scipys_with_mean_ties(rows, client):
    scores = torch.tensor(rows, dtype=torch.float64)
    expected = [rankdata([-v for v in row])[client] for row in rows]
    assert rank(scores, torch.full((len(rows),), client)).tolist() == expected
