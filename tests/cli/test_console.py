import json

import pytest

from experiments.core.errors import FedlabError, SpecError
from fedlab_cli import console


@pytest.fixture(autouse=True)
def fresh_screen():
    console.setup(color=False)
    yield
    console.setup(color=True)


def test_an_error_is_three_lines(capsys):
    console.failure(FedlabError("it broke [here]", "f.yaml:3", "mend it"))
    assert capsys.readouterr().err == "error: it broke [here]\n  at:  f.yaml:3\n  fix: mend it\n"


def test_several_faults_have_a_line_each(capsys):
    console.failure(SpecError("2 faults", "f.yaml", "mend them", ("a", "b")))
    assert capsys.readouterr().err.splitlines() == [
        "error: 2 faults",
        "  at:  f.yaml",
        "  at:  a",
        "  at:  b",
        "  fix: mend them",
    ]


def test_json_has_no_nan(capsys):
    console.dump({"a": float("nan"), "b": [1.5, float("inf")], 3: ("x", None)})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "3": ["x", None]}


def test_a_table_shows_every_value(capsys):
    console.table("t", [{"a": 0.123456, "b": "[x]"}, {"a": 2.0, "b": None}])
    out = capsys.readouterr().out
    assert "0.1235" in out
    assert "[x]" in out


def test_quiet_silences_notes_not_results(capsys):
    console.setup(quiet=True)
    console.note("no")
    console.say("yes")
    assert capsys.readouterr() == ("yes\n", "")


def test_without_a_terminal_progress_is_a_line_every_half_minute(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.meter(2) as meter:
        for step in range(7):
            now[0] = 10.0 * step
            meter.update("round", step, 7)
            meter.status(f"base loss {step}")  # of the round before, in the next line
        meter.cell("a", "done")
        now[0] = 100.0
        meter.update("round", 1, 7)
    assert capsys.readouterr().err.splitlines() == [
        "cell 1 of 2: round 3 of 7; base loss 2", "cell 1 of 2: round 6 of 7; base loss 5", "cell 2 of 2: round 1 of 7",
    ]  # fmt: skip


@pytest.mark.parametrize(("seconds", "words"), [(3.2, "3 s"), (600, "10 min"), (7200, "2.0 h")])
def test_spans(seconds, words):
    assert console.span(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(10, "10 B"), (1500, "2 kB"), (3e9, "3 GB"), (5e12, "5.0 TB")])
def test_sizes(count, words):
    assert console.size(count) == words


def test_what_others_wrote_is_shown_and_not_obeyed(capsys):
    bad = "\x1b[2J\x9b\u202e\nerror: forged"
    console.say(bad)
    console.note(bad)
    console.table(bad, [{bad: bad}])
    console.failure(SpecError(bad, bad, bad, (bad, bad)))
    console.trace(ValueError(bad))
    console.dump({"a": bad})
    told = capsys.readouterr()
    assert all(c == "\n" or c.isprintable() for c in told.out + told.err)
    assert "\\x1b[2J\\x9b\\u202e\\nerror: forged" in told.out
