"""How numbers are written."""

import pytest

from experiments.core.report.numbers import number, signed, with_unit


def test_number():
    given = [0.98574, 3.0, 1e11, float("nan"), float("inf"), -0.5]
    assert [number(v) for v in given] == ["0.9857", "3", "1e+11", "", "inf", "-0.5"]


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [("81.23456", "%", "81.23 %"), ("81.23456", "nats", "81.23"), ("8 x 8", "", "8 x 8"), ("", "%", "")],
)
def test_only_per_cent_is_written(value, unit, written):
    assert with_unit(value, unit) == written


def test_a_difference_has_its_sign():
    assert [signed(value) for value in ("0.12345", "-0.5", "0", "")] == ["+0.123", "-0.5", "0", ""]
