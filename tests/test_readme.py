"""What the documentation says is true: its commands run or parse, its recipes work, its links and targets exist."""

import csv
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from experiments.core.paper import printed
from experiments.core.report import site
from experiments.core.spec.fields import DataSpec
from fedlab_cli.main import main
from tests.pages import CONFIGS, EXPERIMENTS, PAGES, README, ROOT
from tests.toys import fragility as tiny

CHEAP = ("list", "show", "doctor", "data", "validate", "init")
"""Commands that only look, or write a spec."""
OWN = re.compile(r"(mine|samples)\.yaml|--run ")
"""Marks a command that needs a file or a run of the reader's own."""
GENERAL = [(page.name, line) for page in PAGES for line in page.commands if not OWN.search(line)]
RECORDED = [line for page in PAGES for line in page.commands if "--run " in line]
SPECS, RECIPES, NETS = CONFIGS.files("yaml"), EXPERIMENTS.files("python"), CONFIGS.files("python")
MINE, SAMPLES = SPECS["mine.yaml"], SPECS["samples.yaml"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)


def test_the_pages_were_read():
    assert len(README.text.splitlines()) <= 200
    assert {"configs/README.md", "experiments/README.md", "tests/bench/README.md"} <= {page.name for page in PAGES}
    assert len(GENERAL) >= 30
    assert len(RECORDED) == 3
    assert sum(len(page.inline) for page in PAGES) >= 15
    assert set(NETS) == {"nets.py"}
    assert {"experiments/core/data/rings.py", "experiments/core/models/wide.py"} < set(RECIPES)


RUN = [line for page, line in GENERAL if page == "README.md" and "--scale smoke" in line]


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN)
def test_the_first_steps_at_scale_smoke_run(command, tmp_path):
    assert main(shlex.split(command)[1:]) == 0
    assert list(tmp_path.glob("results/runs/*/*-smoke/metrics.csv"))
    assert list(tmp_path.glob("results/runs/reports/*/*/*.png"))


@pytest.mark.parametrize("command", sorted({line for _, line in GENERAL} - set(RUN)))
def test_the_other_commands_are_planned(command, tmp_path, capsys):
    """A plan stops with 4 where the data are missing, and says how to get them."""
    (tmp_path / "my_images").mkdir()
    looks = "--dry-run" in command or command.split()[1] in CHEAP
    status = main([*shlex.split(command)[1:], *([] if looks else ["--dry-run"])])
    assert status == 0 or (status == 4 and "fedlab data --download" in capsys.readouterr().err)
    assert not list(tmp_path.glob("results/runs/*/*/metrics.csv"))


@pytest.mark.slow
def test_recorded_runs_are_traced(capsys, tmp_path):
    import numpy as np

    record = next(line for line in README.commands if "--record" in line)
    assert main([*shlex.split(record)[1:], "--set", "rounds=7"]) == 0
    shutil.copytree("results/runs/train/digits_cnn-smoke", "my_run")
    np.savez("my_inputs.npz", inputs=np.zeros((2, 1, 28, 28), np.float32))
    for command in RECORDED:
        assert main(shlex.split(command)[1:]) == 0, command
        assert "most responsible of round" in capsys.readouterr().out
    assert (tmp_path / "ranking.csv").is_file()


@pytest.mark.parametrize("command", sorted({command for page in PAGES for command in page.inline}))
def test_commands_and_options_named_in_the_text_exist(command, capsys):
    words = [word for word in shlex.split(command)[1:] if not word.startswith("<")]
    if not words or words[0] == "--help":
        return
    assert main([words[0], "--help"]) == 0
    shown = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--")):
        assert option in shown


@pytest.mark.parametrize(
    "target",
    sorted({target for page in PAGES for target in re.findall(r"\bmake ([a-z-]+)(?=[`\s])", page.text)} - {"a"}),
)
def test_make_targets_exist(target):
    target += "influence" if target.endswith("-") else ""  # make reproduce-<word>
    subprocess.run(["make", "-n", target, "PYTHON=python"], cwd=ROOT, check=True, capture_output=True)


def test_other_commands_of_the_shell_are_make():
    assert {line.split()[0] for page in PAGES for line in page.lines} == {"make", "fedlab"}


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, CONFIGS], ids=lambda page: page.name)
def test_the_spec_and_the_model_of_ones_own(page, tmp_path):
    (tmp_path / "mine.yaml").write_text(page.files("yaml")["mine.yaml"])
    (tmp_path / "nets.py").write_text(NETS["nets.py"])
    rows = [f"{i % 7},{(i * 5) % 11},{i % 2},site{i % 8}" for i in range(160)]
    (tmp_path / "measurements.csv").write_text("\n".join(["a,b,outcome,site", *rows]) + "\n")
    commands = [line for line in page.commands if "mine.yaml" in line]
    for command in commands:
        assert main([*shlex.split(command)[1:], "--set", "rounds=10"]) == 0
        folder = "mine" if "--out mine" in command else "results/runs"
        written = (Path(folder) / "influence/mine-small/metrics.csv").read_text()
        assert ",exact,fil,client=site7," in written
        assert (",custom," in written) == ("--model" in command)
    assert commands


@pytest.mark.slow
def test_the_spec_of_ones_own_samples(tmp_path):
    (tmp_path / "samples.yaml").write_text(SAMPLES)
    rows = [f"{i % 7},{(i * 5) % 11},{(i * i) % 3 % 2}" for i in range(160)]
    (tmp_path / "measurements.csv").write_text("\n".join(["a,b,outcome", *rows]) + "\n")
    (line,) = [line for line in CONFIGS.commands if "samples.yaml" in line]
    assert main(shlex.split(line)[1:]) == 0
    written = Path("results/runs/fragility/samples-small/metrics.csv").read_text()
    assert ",exact,spearman,test=max set=top," in written
    assert ",ekfac,spearman_exact,test=p50," in written


def train_spec(**blocks):
    """The page's spec for `fedlab influence` as one for `fedlab train`, with other blocks."""
    spec = yaml.safe_load(MINE) | {"paper": "train"} | blocks
    del spec["variants"]
    return yaml.safe_dump(spec)


def test_the_same_spec_trains(tmp_path):
    (tmp_path / "mine.yaml").write_text(train_spec())
    (tmp_path / "measurements.csv").write_text("a,b,outcome,site\n1,2,0,x\n")  # a plan asks only whether it is there
    assert main(["train", "--config", "mine.yaml", "--dry-run"]) == 0


def test_the_blocks_of_data_are_accepted():
    blocks = re.findall(r"^\| `({kind: .*?})` \|", CONFIGS.text, re.M)
    assert {TypeAdapter(DataSpec).validate_python(yaml.safe_load(block)).kind for block in blocks} == {
        "csv",
        "image_npz",
        "image_folder",
        "leaf_json",
        "text_csv",
    }


@pytest.mark.slow
def test_an_added_data_set_and_model_train(checkout):
    for name in ("experiments/core/data/rings.py", "experiments/core/models/wide.py"):
        checkout.add(name, RECIPES[name])
    (checkout.folder / "rings.yaml").write_text(train_spec(data={"kind": "rings"}, model={"kind": "wide"}))
    checkout.fedlab("train", "--config", "rings.yaml")
    assert ",rings,natural,wide," in checkout.metrics("train")


@pytest.mark.slow
def test_an_added_hessian_method_is_compared_with_the_others(checkout):
    name = "experiments/core/estimators/diagonal.py"
    checkout.add(name, RECIPES[name])
    (checkout.folder / "iris.yaml").write_text(
        yaml.safe_dump({**tiny.SPEC, "methods": ["exact", {"kind": "diagonal", "probes": 200}]})
    )
    checkout.fedlab("fragility", "--config", "iris.yaml", "--scale", "smoke")
    assert re.search(r"^.*,diagonal,influence,.*$", checkout.metrics("fragility"), re.M)
    (table,) = checkout.folder.rglob("methods-iris.csv")
    assert ",diagonal," in table.read_text()
    assert "probes: integer, default 30; random vectors of signs" in checkout.fedlab("list", "--kinds")


@pytest.mark.slow
def test_an_added_algorithm_is_not_fedavg(checkout):
    name = "experiments/core/algorithms/damped.py"
    checkout.add(name, RECIPES[name])
    command = ("train", "--config", "synthetic_logreg", "--scale", "smoke", "--out")
    damped = ("--set", "algorithm.kind=damped")
    checkout.fedlab(*command, "fedavg")
    checkout.fedlab(*command, "damped", *damped)
    checkout.fedlab(*command, "whole", *damped, "--set", "algorithm.step=1")
    checkout.fedlab(*command, "without", *damped, "--exclude-clients", "7")

    def losses(folder):
        (path,) = checkout.folder.glob(f"{folder}/train/*/metrics.csv")
        rows = list(csv.DictReader(path.open()))
        return [float(row["value"]) for row in rows if row["metric"] == "loss"]

    assert losses("damped") != pytest.approx(losses("fedavg"), rel=1e-3)
    assert losses("whole") == pytest.approx(losses("fedavg"), rel=1e-5)
    assert losses("without") == pytest.approx(losses("damped"), rel=0.2)


@pytest.mark.slow
def test_an_added_trace_method_is_scored(checkout):
    name = "experiments/core/estimators/peak.py"
    checkout.add(name, RECIPES[name])
    checkout.fedlab("trace", "--setting", "faults", "--scale", "smoke", "--set", "methods=[norm,peak]", "--stand-in")
    assert re.search(r"^.*,peak,.*$", checkout.metrics("trace"), re.M)


@pytest.mark.slow
def test_an_added_estimator_is_scored(checkout):
    checkout.add("experiments/core/estimators/direct.py", RECIPES["experiments/core/estimators/direct.py"])
    (checkout.folder / "score.py").write_text(RECIPES["score.py"])
    assert float(re.search(r"value=([-\d.]+)", checkout.python("score.py"))[1]) > 0.8


@pytest.mark.parametrize("name", [name for name in RECIPES if "/" in name])
def test_recipes_pass_the_linter(name):
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    if not Path(ruff).is_file():
        pytest.skip("no ruff")
    for command in (["check"], ["format", "--check"]):
        arguments = [ruff, *command, "--no-cache", "--stdin-filename", name, "-"]
        done = subprocess.run(arguments, cwd=ROOT, input=RECIPES[name], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_table_of_papers_is_that_of_the_published_results(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(README.text)
    for name in printed():
        (tmp_path / "experiments" / name).mkdir(parents=True)
        (tmp_path / "experiments" / name / "README.md").touch()
    site.embed(copy, ROOT / "results", printed())
    assert copy.read_text() == README.text


def test_exit_codes_are_those_of_the_errors():
    from experiments.core import errors

    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README.text, re.M)}
    raised = {kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")}
    assert listed == {0, 130} | raised


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in page.links:
        assert (ROOT / page.name).parent.joinpath(link).exists() or "results/" in link, link


def test_the_changelog_has_this_version():
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
