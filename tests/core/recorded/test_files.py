"""Where a recorded round lies, and which one is meant."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.core.errors import SpecError
from experiments.core.recorded.files import find_round
from tests.toys import recorded as own


def logreg():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3))


def test_the_last_whole_round_is_the_default(tmp_path):
    """A round without round.json, where others have one, was cut short when the run was killed."""
    dicts = own.states(logreg(), 2)
    for t in (3, 11):
        own.save(tmp_path / "rounds" / f"{t:05d}", dicts, counts=[1, 2])
    own.save(tmp_path / "rounds" / "00012", dicts[:2])
    found = find_round(tmp_path)
    assert found.folder.name == "00011" and found.index == 4  # round.json's own word goes before the folder's
    with pytest.raises(SpecError, match="round 12 is not recorded"):
        find_round(tmp_path, 12)
    bare = tmp_path / "bare"
    for t in (3, 11):
        own.save(bare / "rounds" / str(t), dicts)
    assert (find_round(bare).index, find_round(bare, 3).index) == (11, 3)


def test_clients_are_ordered_by_number(tmp_path):
    own.save(tmp_path, own.states(logreg(), 6), ["10", "site 10", "b", "2", "site 9", "a"])
    assert find_round(tmp_path).clients == ("2", "10", "a", "b", "site 9", "site 10")


@pytest.fixture
def run(tmp_path):
    """A run of rounds 3 and 11 with its run.yaml, beside another that holds nothing."""
    for t in (3, 11):
        own.save(tmp_path / "run/rounds" / f"{t:05d}", own.states(logreg(), 2))
    (tmp_path / "run/run.yaml").write_text("classes: 3\n")
    (tmp_path / "other").mkdir()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("named", "index"),
    [(".", 11), ("rounds", 11), ("rounds/00003", 3), ("..", 11), ("rounds/../rounds/00011", 11)],
)
def test_any_folder_of_a_run_names_it(run, named, index, monkeypatch):
    """Also from inside, where the names above stand in no argument."""
    found = find_round(run / named)
    assert (found.index, found.home.resolve()) == (index, run.resolve())
    monkeypatch.chdir(run / named)
    found = find_round(Path())
    assert (found.index, found.home.resolve()) == (index, run.resolve())


def test_numbered_folders_need_no_rounds_above_them(tmp_path):
    for t in (1, 2):
        own.save(tmp_path / "mine" / str(t), own.states(logreg(), 2))
    (tmp_path / "mine/run.yaml").write_text("classes: 3\n")
    assert find_round(tmp_path / "mine").index == 2 and find_round(tmp_path / "mine").home == tmp_path / "mine"
    assert find_round(tmp_path / "mine/1").home == tmp_path / "mine" and find_round(tmp_path / "mine/1").index == 1
    assert find_round(tmp_path / "mine", 1).folder == tmp_path / "mine/1"


def test_a_round_that_lies_flat_is_its_own_run_whatever_its_name(tmp_path):
    folder = own.save(tmp_path / "2024", own.states(logreg(), 2))
    assert find_round(folder).home == folder and find_round(folder).index is None


def test_two_files_of_one_model(tmp_path):
    own.save(tmp_path, own.states(logreg(), 2))
    own.save_arrays(tmp_path, own.states(logreg(), 2)[:1], [])
    with pytest.raises(SpecError, match=r"both global.safetensors and global.npz are there"):
        find_round(tmp_path)


def test_clients_in_npz_files(tmp_path):
    own.save_arrays(tmp_path, own.states(logreg(), 3), [10, "b", 2])
    (tmp_path / "round.json").write_text(json.dumps({"participants": ["b", 10, 2], "sizes": [1, 2, 3]}))
    found = find_round(tmp_path)
    assert [path.name for path in found.models] == ["client_b.npz", "client_10.npz", "client_2.npz"]
