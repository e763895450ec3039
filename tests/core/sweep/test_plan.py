"""A plan tells the state of every cell and changes nothing."""

from __future__ import annotations

import dataclasses

import pytest

from experiments.core.sweep.plan import plan
from experiments.core.sweep.run import Options, run_cells
from tests.toys import cells as toy


def test_a_plan_before_anything_is_stored(tmp_path):
    cells = [dataclasses.replace(c, work=3.0, worlds=5, memory=10**i) for i, c in enumerate(toy.cells(seeds=(0, 1)))]
    told = plan(cells, tmp_path / "not" / "there")
    assert [line.state for line in told.lines] == ["to do", "to do"]
    assert (told.seconds, told.worlds, told.memory) == (6.0, 10, 10) and told.free_disk > 0
    assert not list(tmp_path.iterdir())


def test_the_states_of_cells(tmp_path):
    def stop(what, done, total):
        raise KeyboardInterrupt

    cells = toy.cells(seeds=(0, 1, 2, 3))
    run_cells([cells[0]], toy.spec(), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_cells([cells[1]], toy.spec(), tmp_path, Options(progress=stop))
    bad = dataclasses.replace(cells[2], compute=lambda context: [{}["x"]])
    run_cells([bad], toy.spec(), tmp_path)
    told = plan(cells, tmp_path)
    assert [line.state for line in told.lines] == ["done", "resume", "failed", "to do"]
    assert told.lines[0].disk > 500 and told.lines[3].disk == 0
    assert told.lines[0].table()["state"] == "done" and told.worlds == 3
