import pytest

from experiments.core.errors import SpecError
from experiments.core.spec.load import load


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
    spec = load("setting3", data_override="digits", overrides=["data.copies=3"]).spec
    assert spec.data.copies == 3


def test_faults():
    with pytest.raises(SpecError, match="did you mean 'digits'"):
        load("setting3", data_override="digit")
    with pytest.raises(SpecError, match="uses no data"):
        load("table1", data_override="digits")
