import pytest

from experiments.core.errors import SpecError
from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides


@pytest.mark.parametrize(("setting", "clients"), [("setting2", 50), ("setting3", 100)])
def test_digits_stand_in_for_femnist(setting, clients):
    own, other = load(setting).spec, load(setting, data_override="digits").spec
    assert (other.name, other.data.kind) == (f"{setting}-standin", "sklearn_digits")
    assert "stand-in" in other.title
    assert other.known_clients == clients
    kept = set(type(own).model_fields) - {"name", "title", "data", "partition"}
    assert own.model_dump(include=kept) == other.model_dump(include=kept)
    assert own.partition.kind == other.partition.kind


def test_the_settings_own_data_are_no_stand_in():
    assert load("setting1", data_override="leaf_synthetic").spec == load("setting1").spec


def test_set_changes_the_stand_in():
    spec = load("setting3", data_override="digits", overrides=read_overrides(["data.copies=3"])).spec
    assert spec.data.copies == 3


def test_asked_for_or_for_missing_data_it_is_the_same():
    for name in ("setting2", "setting3"):
        assert load(name, stand_in=True).spec == load(name, data_override="digits").spec


def test_a_file_of_ones_own_says_what_stands_in_with_all_that_changes(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text(
        "extends: influence/setting3\ndata: {kind: leaf_json, path: mine}\n"
        "stand_in: {data: {kind: sklearn_digits}, rounds: 7}\n"
        "scales: {smoke: {stand_in: {rounds: 6}}}\n"
    )
    assert load(own).stand_in == "sklearn_digits"
    found = load(own, scale="smoke", stand_in=True).spec
    assert (found.name, found.data.kind, found.rounds) == ("mine-standin", "sklearn_digits", 6)
    assert load(own, scale="smoke").spec.rounds == 5


def test_what_extends_a_setting_does_not_inherit_its_stand_in(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text("extends: influence/setting3\ndata: {kind: leaf_json, path: my_hospitals}\n")
    assert load("influence/setting3").stand_in == "sklearn_digits"
    for scale in ("smoke", "small", "paper"):
        assert load(own, scale=scale).stand_in == ""
        assert load(own, scale=scale, stand_in=True).spec.name == "mine"


@pytest.mark.parametrize("wrong", ["5", "[1]", "{rounds: 3}", "{data: digits}"])
def test_a_stand_in_names_its_data(tmp_path, wrong):
    own = tmp_path / "mine.yaml"
    own.write_text(f"extends: influence/setting3\nstand_in: {wrong}\n")
    with pytest.raises(SpecError, match=r"stand_in: should be a mapping with a data block"):
        load(own)


def test_faults_of_a_stand_in_have_their_line(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text("extends: influence/setting3\nstand_in:\n  data: {kind: sklearn_digits}\n  rownds: 3\n")
    with pytest.raises(SpecError) as caught:
        load(own, stand_in=True)
    assert "mine.yaml:4" in str(caught.value)
    assert "did you mean 'rounds'" in str(caught.value)


def test_faults():
    with pytest.raises(SpecError, match="did you mean 'digits'"):
        load("setting3", data_override="digit")
    with pytest.raises(SpecError, match="uses no data"):
        load("influence/table1", data_override="digits")
