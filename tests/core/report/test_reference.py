"""reference.csv is checked whole, and the papers' own files pass."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import experiments
from experiments.core.errors import SpecError
from experiments.core.report.reference import COLUMNS, Printed, load

HEAD = ",".join(COLUMNS) + "\n"
GOOD = "a.b,b of a,result,setting1,pearson,,,last,0.98,,,0.1,0.2,,Figure 3,\n"


def write(tmp_path, text):
    path = tmp_path / "reference.csv"
    path.write_text(text)
    return path


def test_a_good_row(tmp_path):
    (row,) = load(write(tmp_path, HEAD + GOOD))
    assert (row.key, row.label, row.number, row.tolerance_close, row.source) == (
        "a.b",
        "b of a",
        0.98,
        "0.2",
        "Figure 3",
    )


def test_all_faults_are_told_at_once_with_their_lines(tmp_path):
    text = HEAD + GOOD + GOOD + "c,third,finding,s,m,,,,text,,log2,1,2,,,\n" + "d,fourth,setup,s,m,,,,1,,,0.3,0.2,,T,\n"
    text += "e, ,result,s,n:m|max:m,,,,1,,,,,,T,\n"
    with pytest.raises(SpecError) as caught:
        load(write(tmp_path, text))
    told = [fault.split("/")[-1] for fault in caught.value.faults]
    assert told == [
        "reference.csv:3: a.b: the key is there twice",
        "reference.csv:4: c: unknown kind 'finding'",
        "reference.csv:4: c: unknown rule 'log2'",
        "reference.csv:4: c: no source",
        "reference.csv:4: c: a tolerance needs a number",
        "reference.csv:5: d: tolerance_reproduced must lie between 0 and tolerance_close",
        "reference.csv:6: e: no label",
        "reference.csv:6: e: unknown 'max' before the metric",
    ]


def test_other_columns_are_refused(tmp_path):
    with pytest.raises(SpecError, match="columns must be"):
        load(write(tmp_path, "key,value\na,1\n"))


def test_every_paper_names_where_each_number_stands():
    paths = sorted(Path(experiments.__file__).parent.glob("*/reference.csv"))
    assert paths
    for path in paths:
        assert all(row.source for row in load(path))


def test_the_headline_numbers_of_xue_et_al():
    rows = {row.key: row for row in load(Path(experiments.__file__).parent / "influence" / "reference.csv")}
    found = [rows[f"fed_influence.figure3.setting{i}.pearson"].number for i in (1, 2, 3)]
    assert found == [0.9857, 0.7957, 0.62]
    assert rows["fed_influence.figure4.setting1.accuracy_after"].number == 55.66
    assert (
        len([k for k in rows if ".table2." in k]) == 27
        and len([k for k in rows if ".table1." in k and "#" not in k]) == 9
    )


def test_a_paper_finds_its_printed_numbers_by_key(tmp_path):
    row = {"label": "a of Table 1", "kind": "result", "setting": "s", "metric": "m", "source": "Table 1"}
    rows = [{"key": "mine.a.b", "value": "0.5", **row}, {"key": "mine.words", "value": "8 x 8", **row}]
    path = tmp_path / "reference.csv"
    lines = [",".join(line.get(column, "") for column in COLUMNS) for line in rows]
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    printed = Printed(path, "mine")
    assert (printed.number("a.b"), printed.text("a.b"), printed.text("words")) == (0.5, "0.5", "8 x 8")
    assert math.isnan(printed.number("words")) and math.isnan(printed.number("a")) and printed.text("a") == ""
