import pytest

from experiments.core.errors import SpecError
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
    assert overrides(["a=1"], "1-2", "dense") == ("a=1", "seeds=[1, 2]", "formulation=dense")
    assert world("7, 9", 100, True) == ["exclude_clients=[7, 9]", "since=100", "record=true"]
    assert world(None, None, False) == []
    with pytest.raises(SpecError, match="clients"):
        world("7,x", None, False)
