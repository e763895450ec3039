"""Subjects are read back as they were written, whatever their values hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.errors import SpecError
from experiments.core.subject import subject, words

KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)


@given(st.dictionaries(KEYS, st.text() | st.text("% =250/:,"), max_size=4))
def test_any_values_are_read_back(values):
    assert words(subject(**values)) == values and list(words(subject(**values))) == list(values)


def test_ordinary_values_stay_readable():
    assert subject(client=3, label=2) == "client=3 label=2"
    assert subject(removed=f"{0.3:g}") == "removed=0.3" and subject() == ""
    assert subject(client="Berlin, Mitte") == "client=Berlin,%20Mitte"


@pytest.mark.parametrize("text", ["client:3", "a=1 and more", "a=1 a=2", "=1", "a=1 ", " "])
def test_text_of_another_form_is_rejected(text):
    with pytest.raises(SpecError, match=r"not key=value words; metrics\.csv; an earlier version"):
        words(text)
