"""A table whose clients and classes are named by somebody who means harm, through real runs to every output."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fedlab_cli.main import main
from tests.toys import federated as tiny

CLIENTS = [
    "=HYPERLINK(1)",
    "\x1b[31mred\u202e",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))|`",
    r"$\frac$",
]
CLASSES = ["-2+3", "\x9b2J\u200b"]


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    with Path("cases.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["site", "x", "y", "outcome"])
        for k, (x, y) in enumerate(draw.normal(size=(100, 2))):
            rows.writerow([CLIENTS[k % 5], f"{x:.3f}", f"{y:.3f}", CLASSES[int(x + y > 0)]])
    data = {"kind": "csv", "path": "cases.csv", "label": "outcome", "client": "site"}
    return tiny.write(tmp_path, data=data, clients_per_round=3, formulation="looped", cleansing=None)


def shown(text: str) -> bool:
    """Whether nothing in a text steers whoever prints it."""
    return all(c == "\n" or c.isprintable() for c in text)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph")
def test_every_output_of_a_run_shows_names_and_obeys_none(config, tmp_path, capsys):
    arguments = ["influence", "-c", str(config), "--scale", "smoke", "--device", "cpu", "--jobs", "1", "--out", "runs"]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert shown(told.out) and shown(told.err)
    made = [path for path in (tmp_path / "runs").rglob("*") if path.suffix in (".csv", ".md", ".txt", ".html")]
    assert any(path.suffix == ".md" for path in made)
    assert any("\\x1b[31mred\\u202e" in path.read_text() for path in made)
    for path in made:
        text = path.read_text(encoding="utf-8")
        assert shown(text), path
        if path.suffix == ".md":
            assert "<img" not in text and "](javascript" not in text.replace("\\](", "")
        if path.suffix == ".csv":
            cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
            assert not any(cell.startswith(("=", "@")) for cell in cells), path
    assert main([*arguments, "--json"]) == 0
    told = capsys.readouterr().out
    assert shown(told) and json.loads(told)


def test_messages_show_names_and_obey_none(config, capsys):
    for more in (["--exclude-clients", "\x1b[2J"], ["--set", "title=\x1b"], ["--set", "\x1b[2J.x=1", "-v"]):
        assert main(["train", "-c", str(config), "--out", "runs", *more]) == 2
        assert shown(capsys.readouterr().err)
    assert main(["validate", "a\x1b[31m\udcff.yaml"]) == 2
    assert shown(capsys.readouterr().out)


@pytest.mark.parametrize("command", [["compare"], ["report", "--check"]])
def test_smoke_numbers_are_not_judged(command, capsys):
    assert main([*command, "--scale", "smoke"]) == 2
    told = capsys.readouterr()
    assert not told.out and "a smoke run only shows that the code runs" in told.err
