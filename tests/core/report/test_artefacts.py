"""What is published is the same bytes for the same content, whole, and stamped where it is not the paper's."""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from experiments.core.errors import MissingError, SpecError
from experiments.core.report.artefacts import Artefact, csv_bytes, publish, stamp, stand_in_of
from experiments.core.report.parts import line
from experiments.core.report.style import new_figure

FRAME = pd.DataFrame(
    {"method": ["b", "a", "a", "a"], "round": [1, 10, 9, 9], "seed": [0, 0, 0, 1], "value": [1 / 3, 2e-9, 3.0, 5.0]}
)


def draw():
    figure, (ax,) = new_figure()
    line(ax, FRAME, "round", "both", color="black")
    ax.set_xlabel("round")
    ax.legend()
    return figure


def artefact(**more):
    return Artefact("figure9", FRAME, draw, "Error over rounds.", table_md=True, **more)


def chunks(png):
    """Names of the chunks of a PNG file, read by its specification."""
    at, names = 8, []
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        names.append(png[at + 4 : at + 8].decode())
        assert (
            zlib.crc32(png[at + 4 : at + 8 + length]) == struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0]
        )
        at += 12 + length
    return names


def test_a_rerun_gives_equal_bytes_whatever_the_users_style_and_order(tmp_path):
    first = publish([artefact()], tmp_path / "a", "paper")
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 30}):
        shuffled = Artefact("figure9", FRAME.sample(frac=1, random_state=1), draw, "Error over rounds.")
        second = publish([shuffled], tmp_path / "b", "paper")
        assert mpl.rcParams["font.size"] == 20
    assert [p.name for p in first] == ["figure9.csv", "figure9.png", "figure9.md"]
    for path in second:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
    assert not {"tEXt", "iTXt", "zTXt", "tIME"} & set(chunks(first[1].read_bytes()))


def test_csv_is_sorted_short_and_read_back():
    text = csv_bytes(FRAME).decode()
    assert text == "method,round,seed,value\na,9,0,3\na,9,1,5\na,10,0,2e-09\nb,1,0,0.333333\n"


def test_a_column_of_text_and_numbers_is_sorted_too():
    assert csv_bytes(pd.DataFrame({"x": [2.0, "", 1 / 3]}, dtype=object)) == b'x\n""\n0.333333\n2\n'


def test_a_stamp_changes_the_picture_and_heads_the_table(tmp_path):
    plain, _ = publish([artefact()], tmp_path / "a", "paper")[1:]
    marked, table = publish([artefact()], tmp_path / "b", "smoke")[1:]
    assert not np.array_equal(imread(io.BytesIO(plain.read_bytes())), imread(io.BytesIO(marked.read_bytes())))
    assert table.read_text().startswith("**SMOKE RUN**\n\nError over rounds.\n\n| method |")


@pytest.mark.parametrize(
    ("settings", "given", "scale", "words"),
    [
        (["setting2"], "", "paper", ""),
        (["setting2"], "", "smoke", "SMOKE RUN"),
        (["setting1", "setting2-digits"], "", "small", "stand-in data: digits"),
        (["setting2-standin"], "", "smoke", "SMOKE RUN · stand-in data"),
        (["setting2"], "other writers", "small", "other writers"),
        (["my-clients"], "", "small", ""),
    ],
)
def test_stamps(settings, given, scale, words):
    assert stamp(Artefact("a", pd.DataFrame({"setting": settings}), stand_in=given), scale) == words


def test_only_the_known_endings_mean_a_stand_in():
    assert [bool(stand_in_of(s)) for s in ("a-digits", "a-standin", "digits", "a-b")] == [True, True, False, False]


@pytest.mark.parametrize("folder", ["results/paper/influence", "results/small/influence", "results/small"])
def test_smoke_is_never_published(tmp_path, folder):
    with pytest.raises(SpecError, match="smoke"):
        publish([artefact()], tmp_path / folder, "smoke")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_files(tmp_path, monkeypatch):
    old = {p: p.read_bytes() for p in publish([artefact()], tmp_path, "small")}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(MissingError, match="disk full"):
        publish([Artefact("figure9", FRAME.head(1), draw, "New.", table_md=True)], tmp_path, "small")
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == old
