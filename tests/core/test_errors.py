"""What errors say."""

import pytest

from experiments.core.errors import unknown


@pytest.mark.parametrize(("given", "todo"), [("smal", "did you mean 'small'?"), ("x", "known: paper, small, smoke")])
def test_an_unknown_word_is_told_with_what_is_known(given, todo):
    fault = unknown("scale", given, ("smoke", "small", "paper"), "--scale")
    assert (fault.what, fault.where, fault.todo) == (f"unknown scale {given!r}", "--scale", todo)
    assert fault.exit_code == 2
    assert len(unknown("scale", "y" * 1000, (), "--scale").what) < 100
