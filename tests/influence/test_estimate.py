"""Seconds, worlds and bytes told before a run."""

from dataclasses import replace

from experiments.influence.cells import cells
from experiments.influence.estimate import estimate
from tests.toys import federated as tiny


def test_it_counts_worlds_and_grows_with_what_is_asked(tmp_path):
    spec = tiny.loaded(tiny.write(tmp_path))
    seconds, worlds, memory = estimate(spec)
    assert worlds == 20 + 1 + 3 * 5  # share 0 is the base world
    assert 0 < seconds < 60 and memory > 8 * 305 * worlds
    for change in ("rounds=12", "clients_per_round=12", "local.steps=4"):
        assert estimate(tiny.loaded(tiny.write(tmp_path), "smoke", change))[0] > seconds
    fewer = spec.model_copy(update={"counted": 5, "cleansing": None})
    assert estimate(fewer)[1] == 6 and estimate(fewer)[0] < seconds and estimate(fewer)[2] < memory


def test_it_says_nothing_of_data_it_has_not_seen(tmp_path):
    spec = tiny.loaded(tiny.write(tmp_path, data={"kind": "csv", "path": "no.csv"}))
    assert estimate(spec)[::2] == (0.0, 0)


def test_estimate_is_kept_by_the_cell(tmp_path):
    spec = tiny.loaded(tiny.write(tmp_path))
    (cell,) = cells(spec)
    assert (cell.work, cell.worlds, cell.memory) == estimate(spec)
    assert replace(cell, work=0.0) == cell
