"""Which specs may share a folder."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from experiments.core.errors import MissingError, SpecError
from experiments.core.paper import papers
from experiments.core.spec.find import settings
from experiments.core.spec.load import load
from experiments.core.sweep.plan import plan
from experiments.core.sweep.run import Options, run_cells
from experiments.core.sweep.stored_spec import differences, flatten
from tests.toys import cells as toy


def test_only_leaves_that_change_numbers_differ():
    a = {"seeds": [0], "title": "a", "data": {"kind": "x", "clients": 3}, "fractions": (0.1, 0.2)}
    shared = frozenset({"seeds", "title"})
    assert differences(a, {**a, "seeds": [1, 2], "title": "b", "fractions": [0.1, 0.2]}, shared=shared) == ()
    assert differences(a, {**a, "title": "b"}) == ('title: stored "a", now "b"',)
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


def dotted(cells):
    return [dataclasses.replace(cell, method="width0.5") for cell in cells]


def newer(cell, **more):
    """The same cell in code that knows more parameters, all at their defaults but those `given`."""
    return dataclasses.replace(cell, params={**cell.params, **more}, given=cell.params)


def test_a_parameter_that_came_later_does_not_part_stored_results_from_their_spec(tmp_path):
    before = run_cells(dotted(toy.cells()), toy.spec(), tmp_path).metrics.read_bytes()
    now = [newer(cell, fresh={"kind": "none", "weight": 1.0}) for cell in dotted(toy.cells())]
    assert now[0].id != dotted(toy.cells())[0].id
    assert [line.state for line in plan(now, tmp_path).lines] == ["done"]
    again = run_cells(now, toy.spec(init="drawn"), tmp_path, given=toy.spec())
    assert len(again.skipped) == 1 and again.metrics.read_bytes() == before


def test_a_parameter_that_came_later_counts_where_it_is_not_at_its_default(tmp_path):
    run_cells(toy.cells(), toy.spec(), tmp_path)
    with pytest.raises(SpecError, match="another spec") as refused:
        run_cells(toy.cells(), toy.spec(init="kept"), tmp_path, given=toy.spec(init="kept"))
    assert refused.value.faults == ('init: stored (absent), now "kept"',)
    cell = dataclasses.replace(newer(toy.cells()[0], init="kept"), given=None)
    assert [line.state for line in plan([cell], tmp_path).lines] == ["to do"]


def test_a_killed_cell_of_older_code_goes_on(tmp_path):
    def stop(what, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(toy.cells(), toy.spec(), tmp_path, Options(progress=stop))
    now = newer(toy.cells()[0], init="drawn")
    run_cells([now], toy.spec(), tmp_path)
    assert "from step 3" in (tmp_path / "toy/setting1-small" / now.id / "log.txt").read_text()


def test_blocks_in_a_list_may_gain_defaults_but_not_members():
    stored, given = {"methods": [{"kind": "cg"}]}, {"methods": [{}]}
    wanted = {"methods": [{"kind": "cg", "damping": 0.0}]}
    assert differences(stored, wanted, given) == ()
    assert differences(stored, {"methods": [*wanted["methods"], {"kind": "cg"}]}, {"methods": [{}, {}]})
    assert differences({"methods": []}, wanted, given) and differences({"block": None}, {"block": {"a": 1}}, {})


def test_every_setting_finds_what_code_without_one_of_its_defaults_has_stored():
    for owner, paths in settings().items():
        for path in paths:
            spec = load(path, owner, "small").spec
            for cell in papers()[owner].resolve("cells")(spec)[:1]:
                told = cell.describe()
                assert cell.is_described_by(told)
                for key in cell.params.keys() - cell.given.keys():
                    older = {k: v for k, v in told["params"].items() if k != key}
                    assert cell.is_described_by({**told, "params": older}), (path, key)
                key = next(iter(cell.given))
                changed = {**told["params"], key: "something else"}
                assert not cell.is_described_by({**told, "params": changed}), (path, key)
