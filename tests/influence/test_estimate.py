"""Seconds, worlds and bytes told before a run."""

from dataclasses import replace

from experiments.core.study.price import Price
from experiments.influence.cells import cells
from experiments.influence.estimate import estimate
from tests.toys import federated as tiny


def test_it_counts_worlds_and_grows_with_what_is_asked(tmp_path):
    spec = tiny.loaded(tiny.write(tmp_path))
    price = estimate(spec)
    assert price.worlds == 20 + 1 + 3 * 5  # share 0 is the base world
    assert 0 < price.seconds < 60 and price.memory > 8 * 305 * price.worlds
    for change in ("rounds=12", "clients_per_round=12", "local.steps=4"):
        assert estimate(tiny.loaded(tiny.write(tmp_path), "smoke", change)).seconds > price.seconds
    fewer = estimate(spec.model_copy(update={"counted": 5, "cleansing": None}))
    assert fewer.worlds == 6 and fewer.seconds < price.seconds and fewer.memory < price.memory


def test_it_says_nothing_of_data_it_has_not_seen(tmp_path):
    spec = tiny.loaded(tiny.write(tmp_path, data={"kind": "csv", "path": "no.csv"}))
    assert (estimate(spec).seconds, estimate(spec).memory) == (0.0, 0)


def test_estimate_is_kept_by_the_cell(tmp_path):
    spec = tiny.loaded(tiny.write(tmp_path))
    (cell,) = cells(spec)
    assert Price(cell.work, cell.worlds, cell.memory) == estimate(spec)
    assert replace(cell, work=0.0) == cell
