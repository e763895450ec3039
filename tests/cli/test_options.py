import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.errors import SpecError
from experiments.core.spec.override import Override, overridden
from experiments.core.spec.reader import Tree
from fedlab_cli.commands.train import world
from fedlab_cli.options import overrides, parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (3,)), ("0-4", (0, 1, 2, 3, 4)), ("0, 2,2-3", (0, 2, 3)), ("7-7", (7,))]
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1,", "1.5"])
def test_bad_seeds(text):
    with pytest.raises(SpecError, match="seeds"):
        parse_seeds(text)


def test_options_become_overrides():
    assert overrides(["a=1"], "1-2", "dense") == (
        Override(("a",), 1, "--set a=1"),
        Override(("seeds",), [1, 2], "--seeds 1-2"),
        Override(("formulation",), "dense", "--formulation dense"),
    )
    assert world(["7, 9"], 100, True) == [
        Override(("exclude_clients",), ["7", "9"], "--exclude-clients 7, 9"),
        Override(("since",), 100, "--since 100"),
        Override(("record",), True, "--record"),
    ]
    assert world(None, None, False) == []


# No command line can hold a NUL or half a character.
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@given(st.lists(st.text(LETTERS, min_size=1).map(str.strip).filter(bool), min_size=1, max_size=4))
def test_any_name_can_be_given(names):
    """Written as a line of a csv file, or one option a name: the spec gets the same names back."""
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(names)
    each = [f'"{doubled}"' for doubled in (name.replace('"', '""') for name in names)]
    for given_so in ([line.getvalue()], each):
        (override,) = world(given_so, None, False)
        assert overridden(Tree(), [override]).value["exclude_clients"] == names


@pytest.mark.parametrize("text", ["", "7,", ",7", "7,,9", '"7', '"7"x', " "])
def test_bad_names(text):
    with pytest.raises(SpecError, match="cannot read the clients"):
        world([text], None, False)
