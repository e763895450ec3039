"""A spec to start from: sound, running as it is, saying of every field what the classes say."""

from pathlib import Path

import pytest

from experiments.core.paper import papers
from experiments.core.report import artefacts
from experiments.core.spec.describe import fields
from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides
from experiments.core.spec.tree import SCALES
from fedlab_cli.main import main


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("paper", sorted(papers()))
def test_it_is_sound_and_runs_at_smoke_as_it_is(paper, capsys):
    assert main(["init", paper]) == 0
    assert capsys.readouterr().out == f"{paper}.yaml\n"
    assert main(["validate", f"{paper}.yaml"]) == 0
    run = [paper, "--config", f"{paper}.yaml", "--scale", "smoke", "--device", "cpu", "--jobs", "1", "--quiet"]
    assert main(run) == 0


@pytest.mark.parametrize("paper", sorted(papers()))
def test_it_says_what_the_setting_is_and_what_every_field_means(paper):
    assert main(["init", paper, "--out", "mine.yaml"]) == 0
    text = Path("mine.yaml").read_text()
    more = read_overrides(["grid={}"] if "grid:" in text else [])
    for scale in SCALES[:2]:
        mine = load("mine.yaml", paper, scale).spec.model_dump(exclude={"name", "title", "reproduces", "cost"})
        main_setting = load(papers()[paper].main, paper, scale, more, stand_in=True).spec
        assert mine == main_setting.model_dump(exclude={"name", "title", "reproduces", "cost"})
    unwrapped = " ".join(line.strip().removeprefix("# ") for line in text.splitlines())
    for field in fields(type(load("mine.yaml").spec)):
        if field.name not in ("paper", "name", "scale", "title", "reproduces", "cost"):
            assert field.what in unwrapped and f"{field.name}:" in text


def test_a_default_whose_mark_is_taken_away_is_that_default():
    assert main(["init", "train"]) == 0
    text = Path("train.yaml").read_text()
    Path("open.yaml").write_text(text.replace("# evaluate_every: 10", "evaluate_every: 10").replace("# dtype", "dtype"))
    assert load("open.yaml", scale="smoke").spec.dtype == load("train.yaml", scale="smoke").spec.dtype


def test_a_file_that_is_there_stays(capsys):
    Path("train.yaml").write_text("mine")
    assert main(["init", "train"]) == 2
    assert "already" in capsys.readouterr().err and Path("train.yaml").read_text() == "mine"
    assert main(["init", "train", "--force"]) == 0
    assert load("train.yaml").spec.paper == "train"


def test_an_unknown_paper(capsys):
    assert main(["init", "influense"]) == 2
    assert "did you mean 'influence'" in capsys.readouterr().err
