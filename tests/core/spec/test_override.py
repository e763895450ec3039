import pytest

from experiments.core.errors import SpecError
from experiments.core.spec.override import Override, option, overridden, read_overrides
from experiments.core.spec.tree import merge, planted
from experiments.core.spec.values import Tree


def tree(value, name="f"):
    made = Tree()
    for key, part in value.items():
        made = merge(made, planted((key,), part, name))
    return made


def test_a_value_that_is_given_is_not_read_again():
    """An option's value goes in as it is: it may look like YAML, hold a dot or an equals sign."""
    names = ["[1, 2]", "a=b.c", "null", "7", "#3"]
    out = overridden(Tree(), [option("block.names", names, "--names")])
    assert out.value == {"block": {"names": names}}
    assert out.origins["block", "names"] == "--names"


def test_set_is_read_once():
    assert read_overrides(["a.b=[1, x]"]) == (Override(("a", "b"), [1, "x"], "--set a.b=[1, x]"),)


def test_a_long_option_is_quoted_in_short():
    origin = option("a", 1, f"--long {'x' * 500}").origin
    assert origin.startswith("--long 'xxx") and len(origin) < 80


def test_overrides_choose_kinds_first():
    start = tree({"data": {"kind": "x", "p": 1}, "r": 1})
    out = overridden(start, read_overrides(["data.q=[1, 2]", "data.kind=y", "r=1e-3", "new.deep.key=a=b"]))
    assert out.value == {"data": {"kind": "y", "q": [1, 2]}, "r": 0.001, "new": {"deep": {"key": "a=b"}}}
    assert out.origins["r",] == "--set r=1e-3"


def test_overrides_reach_every_point_of_a_grid():
    """Whoever sets a key wants it everywhere: a choice that says something else gives way, what varies inside stays."""
    grid = {
        "task": {"a": {}, "b": {"data": {"kind": "y", "p": 2}, "r": 5}, "c": None, "d": {"data.p": 3}},
        "m.depth": [1, 2],
        "s": [1, 2],
    }
    start = tree({"data": {"kind": "x", "p": 1}, "r": 1, "s": 0, "m": {"depth": 0}, "grid": grid})
    found = overridden(start, read_overrides(["data.p=7", "r=9", "s=4", "m={width: 3}"])).value
    assert found["grid"]["task"] == {
        "a": {}, "b": {"data": {"kind": "y", "p": 7}, "r": 9}, "c": None, "d": {"data.p": 7}
    }  # fmt: skip
    assert found["grid"]["s"] == [4] and found["grid"]["m.depth"] == [1, 2]
    whole = overridden(start, read_overrides(["data={kind: z}"])).value
    assert whole["grid"]["task"]["b"] == {"data": {"kind": "z"}, "r": 5}
    own = overridden(start, read_overrides(["grid.s=[8]"])).value
    assert own["grid"]["s"] == [8] and own["s"] == 0


@pytest.mark.parametrize("text", ["r", "=3", "a..b=1", "r=[1", ".".join("a" * 40) + "=1"])
def test_a_bad_override_is_told_with_the_option(text):
    with pytest.raises(SpecError, match=r"--set ['ra=.]"):
        read_overrides([text])
