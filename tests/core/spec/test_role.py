"""Which keys change no number: said on the field, and true of the cells of every paper."""

import warnings

import pytest

from experiments.core.paper import papers
from experiments.core.spec.find import settings
from experiments.core.spec.load import load
from experiments.core.spec.role import NO_NUMBER, SHARED, Role, keys, role
from experiments.core.sweep.cell import Cell, parameters

SPECS = {
    type(spec): spec
    for paper in papers()
    for spec in (load(path, paper, "smoke", stand_in=True).spec for path in settings(paper).get(paper, ()))
}


def id_of(spec) -> str:
    """The cell id that the parameters of `spec` make."""
    with warnings.catch_warnings(action="ignore"):  # pydantic remarks on a value of another type
        given = parameters(spec, seed=0)
    return Cell("p", "s", "small", 0, "m", **given, version=1, compute=lambda context: []).id


FIELDS = [pytest.param(cls, key, id=f"{cls.__name__}.{key}") for cls in SPECS for key in cls.model_fields]


@pytest.mark.parametrize(("cls", "key"), FIELDS)
def test_a_field_changes_the_cell_unless_it_says_that_it_changes_no_number(cls, key):
    spec = SPECS[cls]
    other = spec.model_copy(update={key: "something else"})
    assert (id_of(other) == id_of(spec)) == (role(cls, key) in NO_NUMBER)


@pytest.mark.parametrize("cls", SPECS, ids=lambda cls: cls.__name__)
def test_what_changes_no_number(cls):
    """The keys themselves: a role taken away, or given to a value, is seen here."""
    words = {"title", "reproduces", "cost"}
    possible = words | {"seeds", "checkpoint_seconds", "formulation", "grid"}
    assert keys(cls, *NO_NUMBER) == possible & set(cls.model_fields)
    assert keys(cls, *SHARED) == (words | {"seeds", "checkpoint_seconds"}) & set(cls.model_fields)
    assert keys(cls, Role.IDENTITY) == {"paper", "name", "scale"}


def test_the_order_of_keys_does_not_change_a_cell():
    def cell(params):
        return Cell("p", "s", "small", 0, "m", params, 1, compute=lambda context: [])

    one, two = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert cell(one).id == cell(two).id != cell({**one, "a": 2}).id
