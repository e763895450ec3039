"""A sealed note comes back as it was written, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.sealed import remove, seal, set_aside, unseal

CONTENT = {"formulation": "dense", "device": "cpu", "seconds": {"dense": 0.25, "looped": float("inf")}}
PLAIN = st.dictionaries(
    st.text().filter(lambda key: key != "sha256"), st.none() | st.integers() | st.floats(allow_nan=False) | st.text()
)


@given(PLAIN)
def test_there_and_back(content):
    assert unseal(seal(content)) == content


def test_one_flipped_bit_anywhere_or_a_cut_is_noticed_or_changes_nothing():
    whole = seal(CONTENT).encode()
    noticed = 0
    spoilt = [whole[:k] for k in range(len(whole))]
    for k in range(len(whole) * 8):
        spoilt.append(whole[: k // 8] + bytes([whole[k // 8] ^ 1 << k % 8]) + whole[k // 8 + 1 :])
    for text in spoilt:
        try:
            assert unseal(text) == CONTENT
        except ValueError:
            noticed += 1
    assert noticed > len(spoilt) * 0.9


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"sha256": 1}', "[" * 100_000, b"\xff", '{"a": 1e999}'])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"."):
        unseal(text)


@pytest.mark.parametrize("make", ["file", "folder"])
@pytest.mark.parametrize("before", ["file", "folder", "nothing"])
def test_setting_aside_takes_the_place_of_what_was_there(tmp_path, make, before):
    def put(path, kind, text):
        if kind == "folder":
            path.mkdir()
        if kind != "nothing":
            (path / "x" if kind == "folder" else path).write_text(text)

    put(tmp_path / "a.damaged", before, "old")
    put(tmp_path / "a", make, "new")
    assert set_aside(tmp_path / "a") == "a.damaged"
    aside = tmp_path / "a.damaged"
    assert (aside / "x" if make == "folder" else aside).read_text() == "new"
    assert list(tmp_path.iterdir()) == [aside]
    remove(aside)
    remove(aside)
    assert not list(tmp_path.iterdir())
