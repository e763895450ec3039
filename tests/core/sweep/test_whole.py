"""Damage of any kind to stored cells is told in a line and computed again; it never stops the other cells."""

from __future__ import annotations

import io
import json
import random

import numpy as np
import pytest

from experiments.core.sweep import files
from experiments.core.sweep.rows import to_csv
from experiments.core.sweep.run import Options, run_cells
from experiments.core.sweep.whole import fault, is_whole
from tests.toys import cells as toy

BOTH = toy.cells(seeds=(0, 1))
ROOT = "toy/setting1-small"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """The undisturbed table."""
    return run_cells(BOTH, toy.spec(), tmp_path_factory.mktemp("quiet")).metrics.read_bytes()


@pytest.fixture
def stored(tmp_path):
    """The folder of the first of two finished cells."""
    run_cells(BOTH, toy.spec(), tmp_path)
    return tmp_path / ROOT / BOTH[0].id


def seal_again(folder):
    """Write DONE anew, so that it vouches for the folder as it is now."""
    names = json.loads((folder / "DONE").read_text())
    (folder / "DONE").write_text(json.dumps({name: files.sha256(folder / name) for name in names}))


def again(out, cells=BOTH):
    said = []
    outcome = run_cells(cells, toy.spec(), out, Options(warn=lambda cell, line: said.append((cell, line))))
    assert not outcome.failed
    return outcome, said


HEAD = to_csv([])
HARMS = {
    "rows.csv": [b"", b"\xff\xfe", b"metric,value\nx,1\n", HEAD.encode() + b"1,2\n", b"a" * 200_000,
                 HEAD.encode() + b"toy,setting1,small,0,,,,walk,x,,0,many,1,\n",
                 HEAD.encode() + b"toy,setting1,small,0,,,,walk,x,,0,1,1,,more\n", HEAD.encode() + b"\0" * 50],
    "provenance.json": [b"", b"[]", b"null", b"3", b'"x"', b"\xff", b"[" * 100_000],
    "cell.json": [b"", b"[]", b"{}", b'{"version": 1}', b"1e999"],
}  # fmt: skip


@pytest.mark.parametrize("vouched", [True, False])
@pytest.mark.parametrize("name", HARMS)
def test_a_damaged_cell_is_set_aside_with_a_line_and_computed_again(tmp_path, stored, quiet, name, vouched):
    for harm in HARMS[name]:
        (stored / name).write_bytes(harm)
        if vouched:
            seal_again(stored)
        assert name in fault(stored)
        outcome, said = again(tmp_path)
        assert outcome.done == [BOTH[0]] and outcome.skipped == [BOTH[1]]
        assert outcome.metrics.read_bytes() == quiet and is_whole(stored)
        assert len(said) == 1 and said[0][0] == BOTH[0] and name in said[0][1] and ".damaged" in said[0][1]
        assert not list(tmp_path.rglob("*.damaged"))  # nothing is left of it once the cell is whole again


@pytest.mark.parametrize("harm", [b"", b"{}", b"[1]", b'{"rows.csv": 3, "cell.json": 1, "provenance.json": []}'])
def test_so_it_is_with_a_damaged_list_of_hashes(tmp_path, stored, quiet, harm):
    (stored / "DONE").write_bytes(harm)
    outcome, said = again(tmp_path)
    assert outcome.done == [BOTH[0]] and outcome.metrics.read_bytes() == quiet and len(said) == 1


def test_a_damaged_archive_does_not_count(stored):
    held = io.BytesIO()
    np.savez_compressed(held, a=np.arange(500))
    whole = held.getvalue()
    hashes = json.loads((stored / "DONE").read_text())
    (stored / "DONE").write_text(json.dumps({**hashes, "traced.npz": ""}))
    for harm in (whole[:-30], whole[:200] + b"\0\0" + whole[202:], b"PK"):
        (stored / "traced.npz").write_bytes(harm)
        seal_again(stored)
        assert fault(stored) == "traced.npz is no sound npz file"
    (stored / "traced.npz").write_bytes(whole)
    seal_again(stored)
    assert is_whole(stored)


def test_a_damaged_cell_of_another_seed_is_left_out_with_a_line(tmp_path, stored):
    (stored / "provenance.json").write_text("[]")
    seal_again(stored)
    outcome, said = again(tmp_path, BOTH[1:])
    assert outcome.skipped == BOTH[1:] and stored.is_dir()
    assert len(said) == 1 and BOTH[0].id in said[0][1] and "left out" in said[0][1]
    assert b"setting1,small,0," not in outcome.metrics.read_bytes()


def half_done(out):
    """A work folder with a checkpoint in it."""

    def stop(what, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(BOTH, toy.spec(), out, Options(progress=stop))
    return out / ROOT / f"{BOTH[0].id}.work"


@pytest.mark.parametrize("name", ["cell.json", "clock.json"])
def test_a_damaged_note_of_a_half_done_cell_is_set_aside(tmp_path, quiet, name):
    chance, lines = random.Random(2), 0
    for trial in range(12):
        out = tmp_path / f"{trial}"
        note = half_done(out) / name
        whole = bytearray(note.read_bytes())
        place = chance.randrange(len(whole))
        whole[place] ^= 1 << chance.randrange(8)
        note.write_bytes([whole, whole[:place], b"[]", b"null"][trial % 4])
        outcome, said = again(out)
        assert outcome.done == BOTH and outcome.metrics.read_bytes() == quiet
        assert len(said) <= 1 and all(name in line and "damaged" in line for _, line in said)
        assert not list(out.rglob("*.damaged"))
        lines += len(said)
    assert lines > 8  # some flips fall between the words


def test_the_cell_goes_on_where_only_the_clock_is_damaged(tmp_path):
    (half_done(tmp_path) / "clock.json").write_text('{"seconds": "many", "starts": null}')
    outcome, _ = again(tmp_path)
    assert "from step 3" in (outcome.metrics.parent / BOTH[0].id / "log.txt").read_text()


def test_overwriting_takes_what_was_set_aside_along(tmp_path, stored):
    stored.rename(stored.with_name("seed9-old.damaged"))
    run_cells(toy.cells(6), toy.spec(6), tmp_path, Options(overwrite=True))
    assert not list(tmp_path.rglob("*.damaged"))
