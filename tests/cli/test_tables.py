"""Tables at the widths of real screens: every published table of every paper, each number whole and in its row."""

import csv
import re
from pathlib import Path

import pytest

from fedlab_cli import console
from fedlab_cli.commands.list_ import kind_rows

ROOT = Path(__file__).resolve().parents[2]
CSV = sorted((ROOT / "results").glob("*/*/*.csv"))
PUBLISHED = [path for path in CSV if path.with_suffix(".md").is_file() or path.stem == "comparison"]
WIDTHS = (60, 80, 120, 180)


def value(text):
    try:
        return float(text) if text else None
    except ValueError:
        return text


def published(path, most=40):
    with path.open(newline="") as opened:
        rows = [{key: value(text) for key, text in row.items()} for row in csv.DictReader(opened)]
    return console.compact(rows[:most]) if rows else []


@pytest.fixture(autouse=True)
def fresh_screen():
    console.setup(color=False)
    yield
    console.setup(color=True)


def printed(rows, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    console.table("title", rows)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def numbers(rows):
    return sorted(console.shown(v) for row in rows for v in row.values() if isinstance(v, float) and v == v)


def test_tables_were_found():
    assert {path.parent.name for path in PUBLISHED} >= {"influence", "fragility", "trace"}
    assert len(PUBLISHED) > 20


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_every_number_of_every_published_table_is_whole(width, capsys, monkeypatch):
    for path in PUBLISHED:
        if not (rows := published(path)):
            continue
        lines = printed(rows, width, capsys, monkeypatch)
        words = [word for line in lines for word in line.split()]
        for number in set(numbers(rows)):
            assert words.count(number) >= numbers(rows).count(number), (path, number)
        assert max(len(line) for line in lines if " " in line.strip()) <= max(width, longest_pair(rows)), path


def longest_pair(rows):
    """A name and its value stay together, however long."""
    return max(len(f"  {name} {console.shown(v)}") for row in rows for name, v in row.items())


def test_a_narrow_screen_keeps_each_row_together(capsys, monkeypatch):
    rows = [
        {"variant": "LWET", "score": "pearson FIL", "value": 0.9006, "sd": 0.01663, "clients": 200, "paper": 0.9857},
        {"variant": "basic", "score": "spearman FIL", "value": 0.9983, "sd": None, "clients": 200, "paper": None},
    ]
    assert printed(rows, 40, capsys, monkeypatch) == [
        "title",
        "variant LWET · score pearson FIL",
        "  value 0.9006 · sd 0.01663",
        "  clients 200 · paper 0.9857",
        "variant basic · score spearman FIL",
        "  value 0.9983 · clients 200",
    ]


def test_texts_fold_between_words_and_numbers_do_not(capsys, monkeypatch):
    said = "one two three four five six seven"
    lines = printed([{"what": said, "value": -0.000123, "spread": "0.98 ± 0.01"}], 40, capsys, monkeypatch)
    (line,) = [line for line in lines if "-0.000123" in line]
    assert "0.98 ± 0.01" in line
    assert [word for word in re.findall("[a-z]+", " ".join(lines[3:])) if word in said.split()] == said.split()


@pytest.mark.parametrize("width", WIDTHS)
def test_every_word_is_there(width, capsys, monkeypatch):
    rows = kind_rows()
    text = " ".join(printed(rows, width, capsys, monkeypatch))
    for row in rows:
        for part in row.values():
            assert all(word in text for word in str(part).split())
