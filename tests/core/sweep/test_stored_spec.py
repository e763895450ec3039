"""Which specs may share a folder."""

from __future__ import annotations

import dataclasses

import pytest
import sweep_toy as toy
import yaml

from experiments.core.errors import MissingError, SpecError
from experiments.core.sweep.run import Options, run_cells
from experiments.core.sweep.stored_spec import differences, flatten


def test_only_leaves_that_change_numbers_differ():
    a = {"seeds": [0], "title": "a", "data": {"kind": "x", "clients": 3}, "fractions": (0.1, 0.2)}
    assert differences(a, {**a, "seeds": [1, 2], "title": "b", "fractions": [0.1, 0.2]}) == ()
    assert differences(a, {**a, "data": {"kind": "x", "clients": 4}}) == ("data.clients: stored 3, now 4",)
    assert differences(a, {**a, "data": {"kind": "y"}}) == (
        "data.clients: stored 3, now (absent)",
        'data.kind: stored "x", now "y"',
    )


def test_an_empty_block_is_a_leaf():
    assert flatten({"a": {}, "b": {"c": None}}) == {"a": "{}", "b.c": "null"}


def test_a_folder_without_cells_is_free_to_take(tmp_path):
    run_cells(toy.cells(fault="x"), toy.spec(), tmp_path)
    for work in tmp_path.rglob("*.work"):
        work.rename(tmp_path / "elsewhere")
    run_cells(toy.cells(6), toy.spec(6), tmp_path)
    stored = yaml.safe_load((tmp_path / "toy/setting1-small/spec.yaml").read_text())
    assert stored == toy.spec(6)


def test_a_spec_that_cannot_be_read_is_refused_unless_overwritten(tmp_path):
    run_cells(toy.cells(), toy.spec(), tmp_path)
    (tmp_path / "toy/setting1-small/spec.yaml").write_text("a: [")
    with pytest.raises(SpecError, match="cannot be read"):
        run_cells(toy.cells(), toy.spec(), tmp_path)
    again = run_cells(toy.cells(), toy.spec(), tmp_path, Options(overwrite=True))
    assert len(again.skipped) == 1


def test_a_run_that_computed_nothing_leaves_no_spec(tmp_path):
    def without_data(context):
        raise MissingError("no data")

    only = dataclasses.replace(toy.cells()[0], compute=without_data)
    with pytest.raises(MissingError):
        run_cells([only], toy.spec(), tmp_path)
    assert not list(tmp_path.rglob("spec.yaml"))
