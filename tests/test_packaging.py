"""What the wheel must hold, and that a checkout's own files win."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import experiments
from experiments.paths import configs_dir, data_dir

ROOT = Path(__file__).resolve().parent.parent


def test_the_checkouts_configs_win():
    assert configs_dir() == ROOT / "configs"


def test_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    assert data_dir() is None
    monkeypatch.setenv("FEDLAB_DATA_DIR", str(tmp_path))
    assert data_dir() == tmp_path
    assert data_dir(tmp_path / "other") == tmp_path / "other"


def test_the_command_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["fedlab"].partition(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))
    assert project["name"] == "fedlab-influence" == experiments.OWNER


def test_no_main_module_that_a_foreign_experiments_folder_could_shadow():
    assert not (ROOT / "fedlab_cli" / "__main__.py").exists()


@pytest.mark.slow
def test_a_wheel_holds_code_and_specs_and_works_in_an_empty_folder(tmp_path):
    pytest.importorskip("hatchling")
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        packed.extractall(site)
    specs = {p.relative_to(ROOT / "configs").as_posix() for p in (ROOT / "configs").rglob("*.yaml")}
    sources = {p.relative_to(ROOT).as_posix() for d in ("experiments", "fedlab_cli") for p in (ROOT / d).rglob("*.py")}
    assert {f"experiments/_configs/{s}" for s in specs} | sources <= names
    assert not [n for n in names if n.startswith(("tests/", "results/", "data/"))]
    run = "from fedlab_cli.main import main; raise SystemExit(main(['show', 'setting2-digits', '--scale', 'paper']))"
    done = subprocess.run(
        [sys.executable, "-c", run],
        cwd=empty,
        env={"PYTHONPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "rounds: 500" in done.stdout
