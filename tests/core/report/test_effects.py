"""Effects over seeds: Student's interval, paired differences, slopes, rank correlations."""

import math

import pandas as pd
import pytest

from experiments.core.report.effects import by_seed, count, line, over_seeds, paired, rank_correlation, slope


def test_an_interval_over_seeds_is_students():
    effect = over_seeds([1.0, 2.0, 3.0])
    reach = 4.302652729911275 / math.sqrt(3)  # t of 2 degrees of freedom at 0.975, standard deviation 1
    assert (effect.value, effect.low, effect.high, effect.n) == pytest.approx((2, 2 - reach, 2 + reach, 3))
    alone, none = over_seeds([4.0, math.nan]), over_seeds([math.nan])
    assert (alone.value, alone.n) == (4, 1) and math.isnan(alone.low) and math.isnan(alone.high)
    assert none.n == 0 and math.isnan(none.value)


def test_differences_are_of_the_seeds_that_both_have():
    less = paired(pd.Series({0: 5.0, 1: 7.0, 2: 9.0}), pd.Series({1: 1.0, 2: 4.0, 3: 0.0}))
    assert less.to_dict() == {1: 6.0, 2: 5.0}


def test_slopes_and_rank_correlations():
    assert slope([0, 1, 2, math.nan], [1, 3, 5, 100]) == pytest.approx(2) and math.isnan(slope([1, 1], [2, 3]))
    assert rank_correlation([1, 2, 3, 4], [1, 4, 9, 16]) == 1 and math.isnan(rank_correlation([1, 2], [1, 2]))
    assert math.isnan(rank_correlation([1, 2, 3], [5, 5, 5]))


def test_a_seed_counts_once_however_many_rows_it_has():
    runs = pd.DataFrame({"seed": [0, 0, 1, 2], "value": [1.0, 3.0, 5.0, math.nan]})
    assert by_seed(runs, "value").to_dict() == {0: 2.0, 1: 5.0}


def test_a_line_has_its_words_in_one_subject():
    told = line("VG1", count(40.0, 5), "%", method="vog", minus="", eps=4)
    assert told["what"] == "method=vog eps=4" and (told["value"], told["n"], told["unit"]) == (40, 5, "%")
    assert math.isnan(told["low"]) and math.isnan(told["high"])
