"""Markdown tables line up and survive odd content."""

from __future__ import annotations

import pandas as pd

from experiments.core.report.markdown import markdown


def test_columns_line_up_and_numbers_stand_right():
    text = markdown(pd.DataFrame({"name": ["a", "longer"], "x": [1.5, 1234.56789], "n": [1, None]}))
    assert text == (
        "| name   |    x |   n |\n"
        "| ------ | ---: | --: |\n"
        "| a      |  1.5 |   1 |\n"
        "| longer | 1235 |     |\n"
    )  # fmt: skip


def test_bars_and_line_breaks_cannot_break_the_table():
    lines = markdown(pd.DataFrame({"a": ["x|y\nz"]})).splitlines()
    assert len(lines) == 3 and "x\\|y z" in lines[2]


def test_an_empty_table_is_its_head():
    assert markdown(pd.DataFrame(columns=["a", "b"])).count("\n") == 2
