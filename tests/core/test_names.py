"""Names of clients: their order, what a word means, what a folder is called."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.errors import SpecError
from experiments.core.names import are_numbered, folder_of, is_number, natural, numbered, positions, shortened

SITES = tuple(f"site {k}" for k in range(1, 13))


def test_numbers_inside_names_count_as_numbers():
    names = ["s10", "s9", "S1", "s9b", "s009", "", "s9.5", "s9.10", "10", "9", "ä2", "ä10", "s" + "9" * 6000]
    assert sorted(names, key=natural) == [
        "", "9", "10", "S1", "s009", "s9", "s9.5", "s9.10", "s9b", "s10", "s" + "9" * 6000, "ä2", "ä10",
    ]  # fmt: skip


@given(st.lists(st.text(st.sampled_from("01a9 ٣²-")), max_size=8), st.randoms())
def test_the_order_is_one_whatever_the_names(names, random):
    shuffled = random.sample(names, len(names))
    assert sorted(names, key=natural) == sorted(shuffled, key=natural)


def test_a_name_goes_before_a_position():
    assert positions(["site 2", "#2", "#0"], SITES, "here") == (1, 2, 0)
    assert positions(["2", "12"], [str(k) for k in range(1, 13)], "here") == (1, 11)
    assert positions(["#1", "b"], ["#1", "b"], "here") == (0, 1)
    assert positions([], SITES, "here") == ()


@pytest.mark.parametrize(
    ("words", "names", "what", "todo"),
    [
        (["site 13"], SITES, "unknown client 'site 13'", "did you mean 'site "),
        (["Site 2"], SITES, "unknown client 'Site 2'", "did you mean 'site 2'?"),
        (["2"], SITES, "unknown client '2'", "clients are 'site 1' to 'site 12', or by position #0 to #11"),
        (["#12"], SITES, "unknown client '#12'", "#0 to #11"),
        (["#-1"], SITES, "unknown client '#-1'", "#0 to #11"),
        (["# 1"], SITES, "unknown client '# 1'", "#0 to #11"),
        (["#" + "9" * 5000], SITES, "unknown client '#999", "#0 to #11"),
        (["7"], numbered(5), "unknown client '7'", "clients are 0 to 4"),
        (["-1"], numbered(5), "unknown client '-1'", "clients are 0 to 4"),
        (["site 2", "#1"], SITES, "client 'site 2' is named twice", "leave '#1' out"),
        (["a\nb"], SITES, "unknown client 'a\\nb'", "clients are"),
    ],
)
def test_a_word_for_nobody(words, names, what, todo):
    with pytest.raises(SpecError) as caught:
        positions(words, names, "there")
    assert what in caught.value.what and caught.value.where == "there" and todo in caught.value.todo
    assert len(str(caught.value)) < 250 and "\n" not in str(caught.value)


def test_what_a_number_is():
    assert all(map(is_number, ["0", "7", "123"]))
    assert not any(map(is_number, ["", "07", "-1", "1.0", "1 ", "٣", "²", "1e3", "9" * 30]))
    assert numbered(3) == ("0", "1", "2")
    assert are_numbered(("0", "1")) and not are_numbered(("1", "2")) and not are_numbered(("00", "1"))
    assert shortened("x" * 40) == "x" * 40 and shortened("x" * 41) == "x" * 39 + "\u2026"


NAMES = ["7", "07", "s0", "S0", "a+b", "a b", "a_b", "a,b", "a:b", "a/b", "../a", "a\\b", "a.b", "ä", "a" * 200,
         "a" * 199 + "b", "CON", "con", ".", "..", "-", "日本", "#3"]  # fmt: skip


def test_folders_are_safe_and_tell_all_names_apart():
    assert folder_of(["9", "7", "10"]) == "7+9+10" and folder_of(["s0"]) == "s0"
    worlds = [[name] for name in NAMES] + [["a", "b"], ["a b", "c"], ["a", "b c"], [str(k) for k in range(100)]]
    made = [folder_of(words) for words in worlds]
    assert len({name.lower() for name in made}) == len(worlds)  # some file systems do not see capitals
    assert all(re.fullmatch(r"[A-Za-z0-9_+.-]{1,120}", name) for name in made)
    assert folder_of(["b c", "a"]) == folder_of(["a", "b c"])


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3), st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_other_names_other_folder(some, others):
    assert (folder_of(some).lower() == folder_of(others).lower()) == (sorted(some) == sorted(others))
