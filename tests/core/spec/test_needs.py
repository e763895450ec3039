"""Every setting without data: it runs on a stand-in, or one line says what gets its data."""

import subprocess
import sys

import pytest

from experiments.core.errors import MissingDataError
from experiments.core.spec.find import settings
from experiments.core.spec.load import load
from experiments.core.spec.needs import missing
from experiments.core.spec.tree import SCALES

ALL = [(owner, path) for owner, paths in settings().items() for path in paths]
NEED_TEXTS = {("trace", name) for name in ("clients", "per_round", "rounds", "privacy")}
OTHERS = {("influence", "setting2-digits"), ("influence", "setting3-digits"), ("fragility", "imagenet")}
"""Stand-ins themselves, and a folder of images of the user's own."""


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("owner", "path"), ALL, ids=[f"{owner}/{path.stem}" for owner, path in ALL])
def test_a_fresh_machine(owner, path, scale):
    own = load(path, owner, scale)
    lacks = missing(own.spec, None)
    if lacks is None:
        return
    if (owner, path.stem) in NEED_TEXTS | OTHERS:
        assert not own.stand_in
        assert lacks.todo.endswith((" --data-dir DIR` gets it", " --data-dir DIR` gets them", "or FEDLAB_DATA_DIR"))
        return
    other = load(path, owner, scale, stand_in=True)
    assert other.spec.name == f"{path.stem}-standin"
    assert other.spec.title.endswith(f"(stand-in: {own.stand_in})")
    assert missing(other.spec, None) is None


@pytest.mark.parametrize(
    ("setting", "scale", "todo"),
    [
        ("influence/setting3", "small", "`--data digits` runs at once on a stand-in; "
         "`fedlab data --download femnist --data-dir DIR` gets it"),
        ("influence/setting3-digits", "small", "`--data digits` runs at once on a stand-in; "
         "`fedlab data --download mnist_by_writer --data-dir DIR` gets it"),
        ("fragility/groups", "small", "correct data.path; `fedlab data --download mnist --data-dir DIR` gets it"),
        ("fragility/cifar100", "paper", "correct data.path; `fedlab data --download cifar100 --data-dir DIR` gets it"),
        ("trace/clients", "paper", "`fedlab data --download dbpedia --download gpt --data-dir DIR` gets them"),
        ("fragility/imagenet", "small", "correct data.path; no download of it is known: name what you have with "
         "--data-dir or FEDLAB_DATA_DIR"),
    ],
)  # fmt: skip
def test_the_line_ends_with_what_gets_the_data(setting, scale, todo):
    assert missing(load(setting, None, scale).spec, None).todo == todo


def test_a_grid_needs_what_all_its_points_need():
    fault = missing(load("trace/localization", None, "paper").spec, None)
    assert isinstance(fault, MissingDataError)
    assert set(fault.downloads) == {
        "mnist", "cifar10", "pathmnist", "organamnist", "dbpedia", "yahoo_answers", "bert", "gpt",
    }  # fmt: skip


def test_the_command_names_the_folder_that_is_used(tmp_path, monkeypatch):
    spec = load("influence/setting3").spec
    assert f"--download femnist --data-dir {tmp_path}`" in missing(spec, tmp_path).todo
    monkeypatch.setenv("FEDLAB_DATA_DIR", str(tmp_path))
    assert "--download femnist`" in missing(spec, tmp_path).todo


def test_it_is_looked_for_without_torch():
    code = (
        "import sys; from experiments.core.spec.load import load; from experiments.core.spec.needs import missing\n"
        "for name in ('trace/localization', 'fragility/groups', 'influence/setting3', 'trace/clients'):\n"
        "    assert missing(load(name).spec, None)\n"
        "print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
