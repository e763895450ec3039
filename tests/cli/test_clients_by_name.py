"""Clients with names of their own, of all sorts: what options take, and what results say."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.core.report import artefacts
from experiments.core.subject import subject
from tests.toys import federated as tiny

NAMES = ["2", "Berlin, Mitte", "a:b/label:1", "site 2", "site 10", "x" * 200, "\u00fcn\u00ef/c\u00f8d\u00e9 = $1$"]
"""In their natural order; "2" is not at position 2."""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A table of seven sites of unequal sizes, and the truth of all of them by `fedlab influence`."""
    folder = tmp_path_factory.mktemp("sites")
    rng = np.random.default_rng(0)
    with (folder / "sites.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["site", "age", "dose", "label"])
        for k in (5, 2, 6, 0, 4, 1, 3):  # not in the order of names
            for _ in range(10 + k):
                age, dose = rng.normal(size=2)
                rows.writerow([f" {NAMES[k]} ", age, dose, int(age + dose + k / 7 > 0)])
    own = {"data": {"kind": "csv", "path": str(folder / "sites.csv"), "client": "site"}, "model": {"kind": "logreg"},
           "clients_per_round": 5, "partition": {"kind": "natural"}}  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(artefacts, "png_bytes", lambda *given: b"")
        assert tiny.command("influence", tiny.write(folder, **own, cleansing=None), folder / "influence") == 0
    return folder, tiny.write(folder, "plain", "train", **own)


def truth(folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(next((folder / "influence").rglob("metrics.csv")), dtype={"round": "Int64", "subject": str})
    return frame[frame["round"] == 6]


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        (["2"], ["2"]), (["#2"], ["a:b/label:1"]), (["site 2"], ["site 2"]), (['"Berlin, Mitte"'], ["Berlin, Mitte"]),
        (["a:b/label:1"], ["a:b/label:1"]), (["x" * 200], ["x" * 200]), ([NAMES[6]], [NAMES[6]]),
    ],
)  # fmt: skip
def test_the_one_left_out_is_the_one_named(house, tmp_path, monkeypatch, given, gone):
    """The plain path without the client against the truth of the client of that name."""
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    folder, config = house
    options = [word for name in given for word in ("--exclude-clients", name)]
    assert tiny.command("train", config, tmp_path, *options) == 0
    frame, known = tiny.metrics(tmp_path), truth(folder)
    assert set(frame["method"]) == {f"without:{'+'.join(gone)}", "base_model"}
    change = tiny.value(known, method="exact", metric="fil", subject=subject(client=gone[0]))
    expected = tiny.value(known, method="base", metric="loss") + change
    assert abs(change) > 1e-6
    assert tiny.value(frame, metric="loss", round=6) == pytest.approx(expected, rel=1e-9)


def test_several_by_name_and_position_in_folders_of_their_own(house, tmp_path, monkeypatch):
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    _, config = house
    for more in (['"Berlin, Mitte",site 2'], ["site 2", "#1"], ["2"], ["#2"]):
        options = [word for name in more for word in ("--exclude-clients", name)]
        assert tiny.command("train", config, tmp_path, *options) == 0
    folders = sorted(f.name for f in (tmp_path / "train").iterdir())
    assert len(folders) == 4 and folders[0] == "plain.without.2-smoke"
    methods = {method for f in tmp_path.rglob("metrics.csv") for method in pd.read_csv(f)["method"]}
    assert methods == {"base_model", "without:Berlin, Mitte+site 2", "without:2", "without:a:b/label:1"}


def test_an_unknown_name_is_told_in_one_line_with_one_near_it(house, tmp_path, capsys):
    assert tiny.command("train", house[1], tmp_path, "--exclude-clients", "site 22") == 2
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "error: unknown client 'site 22'", "  at:  exclude_clients",
        f"  fix: did you mean 'site 2'? clients are '2' to {NAMES[6]!r}, or by position #0 to #6",
    ]  # fmt: skip
    assert not list(tmp_path.rglob("*.work"))


def test_rows_and_tables_say_names(house):
    folder, _ = house
    assert list(dict.fromkeys(truth(folder).query("metric == 'fil'")["subject"])) == [subject(client=n) for n in NAMES]
    (figure,) = (folder / "influence").rglob("figure3-clients-tiny.csv")
    assert list(dict.fromkeys(pd.read_csv(figure, dtype=str)["client"])) == NAMES
    held = pd.read_csv(next((folder / "influence").rglob("figure5-tiny.csv")), dtype={"client": str})
    sizes = held[held["metric"] == "client_size"].set_index("client")["samples"]
    counted = held[held["metric"] == "label_count"].groupby("client")["samples"].sum()
    assert sizes.to_dict() == counted.to_dict() == {n: int(0.8 * (10 + k) + 1e-9) for k, n in enumerate(NAMES)}


def test_the_tracked_client_is_named_too(house, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    folder, _ = house
    tracked = ("--set", "tracked_client=2")
    assert tiny.command("influence", folder / "tiny.yaml", tmp_path, *tracked) == 0
    frame = tiny.metrics(tmp_path)
    (row,) = frame[frame["metric"] == "tracked_client"].to_dict("records")
    assert (row["subject"], row["value"]) == ("client=2", 0)
    assert tiny.command("influence", folder / "tiny.yaml", tmp_path / "b", "--set", "tracked_client=7") == 2
    assert "unknown client '7'" in capsys.readouterr().err


def test_every_cell_keeps_its_clients_and_named_ones_are_published(house, tmp_path, monkeypatch):
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    folder, config = house
    assert tiny.command("train", config, tmp_path) == 0
    told = [*(folder / "influence").rglob("clients*.csv"), *tmp_path.rglob("clients*.csv")]
    assert sorted(path.name for path in told) == ["clients-tiny.csv"] + ["clients.csv"] * 3
    for path in told:
        frame = pd.read_csv(path, dtype={"name": str})
        assert frame["name"].tolist() == NAMES and frame["number"].tolist() == list(range(7))
        assert frame["size"].tolist() == [int(0.8 * (10 + k) + 1e-9) for k in range(7)]
        assert (frame["label_0"] + frame["label_1"]).tolist() == frame["size"].tolist()
    numbered = tiny.write(folder, "dealt", "train", data={"kind": "leaf_synthetic", "clients": 20, "max_samples": 40})
    assert tiny.command("train", numbered, tmp_path / "dealt") == 0
    assert [path.parent.parent.name for path in (tmp_path / "dealt").rglob("clients.csv")] == ["dealt-smoke"]


@pytest.mark.slow
def test_influence_ends_in_the_clients_ranked_by_name(house, capsys):
    folder, _ = house
    capsys.readouterr()
    assert tiny.command("influence", folder / "tiny.yaml", folder / "influence") == 0
    screen = capsys.readouterr().out
    known, table = truth(folder), screen[screen.index("ranking-tiny") :]
    exact = {n: tiny.value(known, method="exact", metric="fil", subject=subject(client=n)) for n in NAMES}
    ranked = pd.read_csv(next((folder / "influence").rglob("ranking-tiny.csv")), dtype={"client": str})
    assert ranked["client"].tolist() == sorted(NAMES, key=exact.get, reverse=True)
    places = [table.index(name) for name in ranked["client"] if name.isascii() and len(name) < 40 and len(name) > 1]
    assert places == sorted(places) and "positive change of loss means that it helped" in table
    assert screen.index("base_model-tiny") < screen.index("correlations-tiny") < screen.index("ranking-tiny")
