"""Every point of a grid and every seed is a cell."""

import pytest

from experiments.core.paper import Paper
from experiments.core.study.cells import cells_of
from experiments.core.study.price import Price
from experiments.core.sweep.cell import Context
from tests.toys import fragility as tiny

PAPER = Paper("toy", "A toy", "", 3, "tiny", "", "", "")
GRID = {"model.activation": ["tanh", "relu"], "weight_decay": [0.1, 0.2]}


def compute(spec, point, seed, context):
    return [{"metric": point, "subject": spec.model.activation, "value": spec.weight_decay, "n": seed}]


def test_one_cell_for_every_point_and_seed_with_the_spec_at_that_point(tmp_path):
    spec = tiny.spec(grid=GRID, seeds=[4, 5])
    made = cells_of(PAPER, spec, lambda own: Price(own.weight_decay, 7, 9), compute, spec.grid, ("wd", "activation"),
                    {"weight_decay": "wd"})  # fmt: skip
    assert [(c.method, c.seed, c.work) for c in made] == [
        (f"wd={wd} activation={activation}", seed, wd)
        for activation in ("tanh", "relu") for wd in (0.1, 0.2) for seed in (4, 5)
    ]  # fmt: skip
    assert {(c.paper, c.setting, c.version, c.worlds, c.memory) for c in made} == {("toy", "tiny", 3, 7, 9)}
    assert len({c.id for c in made}) == 8
    (row,) = made[-1].compute(Context(tmp_path))
    assert row == {"metric": "wd=0.2 activation=relu", "subject": "relu", "value": 0.2, "n": 5}


@pytest.mark.parametrize("setting", [None, "other"])
def test_without_a_grid_the_cell_is_called_after_its_paper(setting):
    (cell,) = cells_of(PAPER, tiny.spec(), lambda own: Price(), compute, setting=setting)
    assert (cell.method, cell.setting) == ("toy", setting or "tiny")
