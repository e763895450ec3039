import pytest

from experiments.core.errors import SpecError
from experiments.core.paper import papers
from experiments.core.spec.find import find, settings


def test_names_numbers_and_paths(tmp_path):
    built_in = find("setting1", "influence")
    assert built_in.name == "setting1.yaml"
    for name in ("1", "setting1.yaml", "influence/setting1", "configs/influence/setting1.yaml"):
        assert find(name, "influence").resolve() == built_in.resolve()
    mine = tmp_path / "mine.yaml"
    mine.write_text("a: 1")
    assert find(mine) == mine


def test_unknown_names():
    with pytest.raises(SpecError, match="did you mean 'setting1'"):
        find("seting1", "influence")
    with pytest.raises(SpecError, match="no file"):
        find("somewhere/none.yaml")


def test_named_folders_come_first(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDLAB_CONFIGS", str(tmp_path))
    (tmp_path / "influence").mkdir()
    (tmp_path / "train").mkdir()
    (tmp_path / "influence" / "setting1.yaml").write_text("extends: influence/setting1")
    (tmp_path / "influence" / "twice.yaml").write_text("")
    (tmp_path / "train" / "twice.yaml").write_text("")
    assert find("setting1") == tmp_path / "influence" / "setting1.yaml"
    assert [p.stem for p in settings()["influence"]].count("setting1") == 1
    with pytest.raises(SpecError, match="more than one"):
        find("twice")


def test_every_owner_has_settings():
    assert set(settings()) == set(papers())
    assert all(paper.main in {p.stem for p in settings()[name]} for name, paper in papers().items())
