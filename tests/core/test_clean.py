import csv
import io
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core import clean
from experiments.core.report.artefacts import csv_bytes
from experiments.core.sweep.rows import from_csv, to_csv

HOSTILE = "\x1b[2J\x1b]0;t\x07\x9b31m‮​⁦\r\n\t\x00\ud800é 日本"


def test_a_line_shows_what_is_not_seen():
    shown = clean.line(HOSTILE)
    assert shown.startswith("\\x1b[2J\\x1b]0;t\\x07\\x9b31m\\u202e\\u200b\\u2066\\r\\n\\t\\x00\\ud800")
    assert shown.endswith("é 日本")
    assert clean.line("plain é\xa0text") == "plain é\xa0text"


@given(st.text())
def test_a_line_is_one_line_of_seen_characters(text):
    shown = clean.line(text)
    assert shown == clean.line(shown) and len(shown.splitlines()) <= 1 and "\x1b" not in shown


@pytest.mark.parametrize(
    "bad",
    ["<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "![x](http://a)", "a|b", "`c`", "a\\|b",
     "<javascript:alert(1)>", "x\n\n# head", "&#x3c;b>"],
)  # fmt: skip
def test_markdown_is_text(bad):
    shown = clean.markdown(bad)
    assert "\n" not in shown and "<" not in shown and ">" not in shown
    bare = shown.replace("\\\\", "")
    for character in "|`[]":
        assert bare.count(character) == bare.count(f"\\{character}")
    assert "&#x3c" not in shown.replace("&amp;", "AND")


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "'=x", "''@x", "-", "plain", "'quoted'"]
)
def test_a_cell_is_no_formula_and_reads_back(text):
    shown = clean.cell(text)
    assert shown[:1] not in "=+-@" and clean.meant(shown) == text


@pytest.mark.parametrize("number", ["-1.5", "+3", "-inf", "1e-3", "-0.0", ""])
def test_numbers_stay_as_they_are(number):
    assert clean.cell(number) == number


@given(st.text())
def test_every_cell_reads_back_as_it_is_shown(text):
    assert clean.meant(clean.cell(text)) == clean.line(text)


def test_tables_of_cells_read_back():
    rows = [{"a": "=1+1", "b": "-2"}, {"a": "x\ty", "b": "@z"}]
    text = to_csv(rows, ("a", "b"))
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ["'=1+1", "-2"], ["x\\ty", "'@z"]]
    assert from_csv(text) == [{"a": "=1+1", "b": "-2"}, {"a": "x\\ty", "b": "@z"}]


def test_published_tables_guard_texts_and_not_numbers():
    frame = pd.DataFrame({"name": ["=cmd()", "b"], "value": [-1.5, 2.0], "mixed": ["-3", -4.0]})
    assert csv_bytes(frame).decode().splitlines() == ["name,value,mixed", "'=cmd(),-1.5,-3", "b,2,-4"]
    read = clean.meant_by(pd.read_csv(io.BytesIO(csv_bytes(frame)), dtype=str))
    assert read["name"].tolist() == ["=cmd()", "b"]


def test_json_keeps_values_and_shows_no_control_character():
    text = json.dumps({"a": HOSTILE, "b": "\U000e0041"}, ensure_ascii=False, indent=2)
    safe = clean.json_text(text)
    assert json.loads(safe) == {"a": HOSTILE, "b": "\U000e0041"}
    assert all(c == "\n" or c.isprintable() for c in safe)
