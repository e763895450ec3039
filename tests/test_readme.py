"""The README's commands do what it says: the cheap ones are run, the others parsed; its spec of one's own runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.S)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
FEDLAB = [line for line in LINES if line.startswith("fedlab ") and "mine.yaml" not in line]
CHEAP = ("list", "show", "doctor", "data", "validate")


def run(command, folder):
    code = "from fedlab_cli.main import run; run()"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    arguments = [sys.executable, "-c", code, *shlex.split(command)[1:]]
    return subprocess.run(arguments, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("command", FEDLAB)
def test_commands(command, tmp_path):
    cheap = "--scale smoke" in command or command.split()[1] in CHEAP
    done = run(command if cheap or "--dry-run" in command else f"{command} --dry-run", tmp_path)
    assert done.returncode == 0, done.stderr
    if "--scale smoke" in command:
        assert list(tmp_path.glob("results/runs/*/*/metrics.csv"))
        assert list(tmp_path.glob("results/runs/reports/*/*/*.png"))


def test_commands_were_found():
    assert len(FEDLAB) >= 8


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", TEXT))))
def test_make_targets_exist(target):
    subprocess.run(["make", "-n", target, "PYTHON=python"], cwd=ROOT, check=True, capture_output=True)


def test_the_spec_of_ones_own(tmp_path):
    (spec,) = re.findall(r"```yaml\n(# mine.yaml.*?)```", TEXT, re.S)
    (tmp_path / "mine.yaml").write_text(spec)
    rows = [f"{i % 7},{(i * 5) % 11},{i % 2},site{i % 8}" for i in range(160)]
    (tmp_path / "measurements.csv").write_text("\n".join(["a,b,outcome,site", *rows]) + "\n")
    done = run("fedlab influence --config mine.yaml --set rounds=10", tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = next(tmp_path.glob("results/runs/influence/mine-small/metrics.csv")).read_text()
    assert ",exact,fil,client:7," in metrics


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        if not link.startswith("http"):
            assert (ROOT / link).exists() or link.startswith("results/"), link
