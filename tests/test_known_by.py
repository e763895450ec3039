"""The commands that the project is known by, as written, in a fresh folder: no data, no configuration, nothing set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedlab_cli.main import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [key for key in os.environ if key.startswith("FEDLAB_")]:
        monkeypatch.delenv(name)


@pytest.mark.slow
def test_train_as_written():
    """A real process with an empty environment; what it chose stands in the first line."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(Path.cwd())}
    command = [sys.executable, "-c", "from fedlab_cli.main import run; run()", "train", "--scale", "smoke"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(
        "nothing is named, so train starts digits_cnn at scale smoke: CNN 2 on scikit-learn's"
    )
    assert "accuracy" in done.stdout
    assert Path("results/runs/train/digits_cnn-smoke/metrics.csv").is_file()


@pytest.mark.slow
def test_setting_3_runs_on_its_stand_in_and_every_output_says_so(capsys):
    assert main(["influence", "--setting", "3", "--scale", "smoke", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    first, second, *_ = err.splitlines()
    assert first.startswith("influence setting3-standin at scale smoke: ") and "stand-in: sklearn_digits" in first
    assert "fedlab data --download femnist" in second
    titles = [line for line in out.splitlines() if "setting3" in line]
    assert titles and all("-standin" in line and "stand-in data" in line for line in titles)
    folder = Path("results/runs/reports/influence/setting3-standin-smoke")
    assert all("stand-in data" in path.read_text() for path in folder.glob("*.md"))
    stored = {path.parent.name for path in Path("results/runs/influence").glob("*/spec.yaml")}
    assert stored == {"setting3-standin-smoke"}
    paths = [
        line.split(": ", 1)[1].strip() for line in err.splitlines() if line.startswith(("all ", "numbers", "plot"))
    ]
    assert len(paths) > 5 and all(Path(path).is_file() for path in paths)


@pytest.mark.parametrize(
    "command",
    [["train"], ["influence"], ["influence", "--setting", "3"], ["trace"], ["fragility"], ["reproduce"]],
    ids=" ".join,
)
def test_as_written_there_is_a_plan(command, capsys):
    assert main([*command, "--dry-run"]) == 0
    assert "to do: " in capsys.readouterr().out


def test_a_bare_paper_says_what_starts_what_it_costs_and_what_is_shorter(monkeypatch, capsys):
    monkeypatch.setattr("fedlab_cli.execute._run", lambda *given: None)
    assert main(["influence"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nothing is named, so influence starts setting1 at scale small: ")
    assert "3 seeds; a few minutes on 2 CPU cores; shorter: --seeds 0, --scale smoke (seconds)" in line


def test_a_smoke_run_advises_nothing_smaller(monkeypatch, capsys):
    monkeypatch.setattr("fedlab_cli.execute._run", lambda *given: None)
    assert main(["influence", "--scale", "smoke", "--seeds", "0"]) == 0
    assert "shorter" not in capsys.readouterr().err


def test_the_first_line_stands_before_torch_is_loaded():
    code = """
import sys
from fedlab_cli import execute
from fedlab_cli.main import main
execute._device = lambda name: print('LOADED', sorted({'torch', 'numpy', 'pandas'} & set(sys.modules))) or 1 / 0
main(['influence'])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "LOADED []\n"
    assert done.stderr.startswith("nothing is named, so influence starts setting1")


def test_the_readme_names_them():
    assert "fedlab train  " in README
    assert "fedlab influence --setting 3" in README
    assert "make reproduce-all" in README
