"""What the README says is so: its commands run or parse, its recipes work, its links and targets are there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from experiments.core.report import site
from experiments.core.spec.fields import DataSpec
from fedlab_cli.main import main

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [
    line.split(" #")[0].strip() for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines()
]
INLINE = [" ".join(code.split()) for code in re.findall(r"`(fedlab [^`]+)`", TEXT)]
CHEAP = ("list", "show", "doctor", "data", "validate")
"""Commands that only look."""


def files(language):
    """Name -> content of the README's blocks of `language` that open with the name of a file."""
    blocks = re.findall(rf"```{language}\n(# (\S+\.\w+).*?)```", TEXT, re.S)
    return {name.rstrip(":"): text for text, name in blocks}


RECIPES = files("python")
SPEC, SAMPLES = (files("yaml")[name] for name in ("mine.yaml", "samples.yaml"))
COMMANDS = [line for line in LINES if line.startswith("fedlab ") and ".yaml" not in line]
RECORDED = [line for line in COMMANDS if "--run " in line]
OWN = [line for line in LINES if "mine.yaml" in line]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)


def test_what_is_tested_was_found():
    assert len(COMMANDS) >= 10
    assert len(OWN) == 2
    assert len(INLINE) >= 8
    assert set(RECIPES) == {"nets.py", "score.py"} | {
        f"experiments/core/{name}.py" for name in ("estimators/direct", "data/rings", "models/wide")
    }


@pytest.mark.parametrize("command", [line for line in COMMANDS if line not in RECORDED])
def test_the_commands_of_the_first_steps(command, tmp_path):
    runs = "--scale smoke" in command
    cheap = runs or "--dry-run" in command or command.split()[1] in CHEAP
    assert main([*shlex.split(command)[1:], *([] if cheap else ["--dry-run"])]) == 0
    assert bool(list(tmp_path.glob("results/runs/*/*-smoke/metrics.csv"))) == runs
    assert bool(list(tmp_path.glob("results/runs/reports/*/*/*.png"))) == runs


def test_a_recorded_run_is_traced(capsys):
    (record,) = (line for line in COMMANDS if "--record" in line)
    (trace,) = RECORDED
    assert main(shlex.split(record)[1:]) == 0
    assert main(shlex.split(trace)[1:]) == 0
    assert "most responsible of round" in capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(set(INLINE)))
def test_commands_and_options_named_in_the_text_exist(command, capsys):
    words = [word for word in shlex.split(command)[1:] if not word.startswith("<")]
    if not words:
        return
    assert main([words[0], "--help"]) == 0
    shown = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--")):
        assert option in shown


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", TEXT))))
def test_make_targets_exist(target):
    target += "influence" if target.endswith("-") else ""  # make reproduce-<word>
    subprocess.run(["make", "-n", target, "PYTHON=python"], cwd=ROOT, check=True, capture_output=True)


def test_other_commands_of_the_shell_are_make():
    assert {line.split()[0] for line in LINES if line and not line.startswith("fedlab ")} == {"make"}


def test_the_spec_and_the_model_of_ones_own(tmp_path):
    (tmp_path / "mine.yaml").write_text(SPEC)
    (tmp_path / "nets.py").write_text(RECIPES["nets.py"])
    rows = [f"{i % 7},{(i * 5) % 11},{i % 2},site{i % 8}" for i in range(160)]
    (tmp_path / "measurements.csv").write_text("\n".join(["a,b,outcome,site", *rows]) + "\n")
    for command in OWN:
        assert main([*shlex.split(command)[1:], "--set", "rounds=10"]) == 0
    plain, own = (Path(folder) / "influence/mine-small/metrics.csv" for folder in ("results/runs", "mine"))
    assert all(",exact,fil,client:site7," in path.read_text() for path in (plain, own))
    assert ",custom," in own.read_text()


def test_the_spec_of_ones_own_samples(tmp_path):
    (tmp_path / "samples.yaml").write_text(SAMPLES)
    rows = [f"{i % 7},{(i * 5) % 11},{(i * i) % 3 % 2}" for i in range(160)]
    (tmp_path / "measurements.csv").write_text("\n".join(["a,b,outcome", *rows]) + "\n")
    (line,) = [line for line in LINES if "samples.yaml" in line]
    assert main(shlex.split(line)[1:]) == 0
    written = Path("results/runs/fragility/samples-small/metrics.csv").read_text()
    assert ",exact,spearman,test=max set=top," in written
    assert ",ekfac,spearman_exact,test=p50," in written


def test_the_same_spec_trains(tmp_path):
    lines = [line for line in SPEC.splitlines() if not line.startswith("variants")]
    (tmp_path / "mine.yaml").write_text("\n".join(lines).replace("paper: influence", "paper: train"))
    (tmp_path / "measurements.csv").write_text("a,b,outcome,site\n1,2,0,x\n")  # a plan asks only whether it is there
    assert main(["train", "--config", "mine.yaml", "--dry-run"]) == 0


def test_the_blocks_of_data_are_accepted():
    blocks = re.findall(r"^\| `({kind: .*?})` \|", TEXT, re.M)
    assert {TypeAdapter(DataSpec).validate_python(yaml.safe_load(block)).kind for block in blocks} == {
        "csv",
        "image_npz",
        "image_folder",
        "leaf_json",
        "text_csv",
    }


@pytest.mark.slow
def test_the_recipes_work_in_a_copy_of_the_house(tmp_path):
    """Estimator, data set and model: found by their place alone, and they compute."""
    for folder in ("experiments", "fedlab_cli", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in RECIPES.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)
    spec = SPEC.replace(re.search(r"data: .*", SPEC)[0], "data: {kind: rings}").replace(
        "paper: influence", "paper: train"
    )
    spec = re.sub(r"variants.*\n", "", re.sub(r"model: .*", "model: {kind: wide}", spec))
    (tmp_path / "rings.yaml").write_text(spec)
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def python(*arguments):
        done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run = "from fedlab_cli.main import run; run()"
    python("-c", run, "train", "--config", "rings.yaml")
    metrics = (tmp_path / "results/runs/train/rings-small/metrics.csv").read_text()
    assert ",rings,natural,wide," in metrics
    assert float(re.search(r"value=([-\d.]+)", python("score.py"))[1]) > 0.8


@pytest.mark.parametrize("name", [name for name in RECIPES if "/" in name])
def test_recipes_pass_the_linter(name):
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    if not Path(ruff).is_file():
        pytest.skip("no ruff")
    for command in (["check"], ["format", "--check"]):
        arguments = [ruff, *command, "--no-cache", "--stdin-filename", name, "-"]
        done = subprocess.run(arguments, cwd=ROOT, input=RECIPES[name], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_table_of_results_can_be_put_in(tmp_path):
    (tmp_path / "README.md").write_text(TEXT)
    site.embed(tmp_path / "README.md", tmp_path / "nothing")
    head, tail = TEXT.split(site.BEGIN)[0], TEXT.split(site.END)[1]
    after = (tmp_path / "README.md").read_text()
    assert after.startswith(head)
    assert after.endswith(tail)
    assert "paper's" in after[len(head) : -len(tail)]


def test_exit_codes_are_those_of_the_errors():
    from experiments.core import errors

    told = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.M)}
    raised = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert told == {0, 130} | raised


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        if not link.startswith("http"):
            assert (ROOT / link).exists() or link.startswith("results/"), link


def test_the_changelog_has_this_version():
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
