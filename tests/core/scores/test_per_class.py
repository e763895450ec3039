import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.scores.per_class import scaled

LABELS = [0, 1, 0, 1, 0, 1]


def test_both_ways_by_hand():
    scores = [1.0, 10.0, 3.0, 30.0, 2.0, 50.0]
    low, faults = scaled(scores, LABELS, "minmax")
    assert low.tolist() == [0, 0, 1, 0.5, 0.5, 1] and not faults
    z, faults = scaled(scores, LABELS, "zscore")
    assert z[::2] == pytest.approx((np.array([1, 3, 2]) - 2) / np.sqrt(2 / 3)) and not faults
    assert z[1::2] == pytest.approx((np.array([10, 30, 50]) - 30) / np.sqrt(800 / 3))


@pytest.mark.parametrize("how", ["minmax", "zscore"])
def test_a_class_without_a_scale_is_named_and_has_no_numbers(how):
    values, faults = scaled([1.0, 2.0, 5.0, 7.0, 7.0, np.nan, 1.0], [0, 0, 1, 2, 2, 3, 3], how)
    assert np.isfinite(values).tolist() == [True, True, False, False, False, False, False]
    assert faults == [
        f"class 1 has one sample: {how} is undefined there",
        f"class 2 has 2 equal scores: {how} is undefined there",
        f"class 3 holds scores that are not finite: {how} is undefined there",
    ]


@given(
    st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 3)), min_size=6, max_size=6, unique=True),
    st.floats(0.01, 100),
    st.floats(-50, 50),
)
def test_scale_and_shift_of_a_class_change_nothing(values, factor, shift):
    other = np.array(values)
    other[1::2] = factor * other[1::2] + shift
    for how in ("minmax", "zscore"):
        assert scaled(other, LABELS, how)[0] == pytest.approx(scaled(values, LABELS, how)[0], abs=1e-4)


def test_bad_arguments():
    with pytest.raises(ValueError, match="not both"):
        scaled([1.0, 2.0], [0], "minmax")
    with pytest.raises(ValueError, match="unknown scaling 'rank'; known: minmax, zscore"):
        scaled([1.0, 2.0], [0, 0], "rank")
