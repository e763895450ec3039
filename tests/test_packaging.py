"""What the wheel must hold, and that a checkout's own files win."""

import ast
import re
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


@pytest.mark.slow
def test_every_package_that_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {name: [re.split(r"[><=!~ \[]", line)[0].lower() for line in lines] for name, lines in
             {"": project["dependencies"], **project["optional-dependencies"]}.items()}  # fmt: skip
    named = {"yaml": "pyyaml", "PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image", "ot": "pot"}

    def imported(*folders):
        trees = [ast.parse(path.read_text()) for folder in folders for path in (ROOT / folder).rglob("*.py")]
        nodes = [node for tree in trees for node in ast.walk(tree)]
        dotted = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        dotted |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
        tops = {name.partition(".")[0] for name in dotted} - set(sys.stdlib_module_names)
        return {named.get(top, top) for top in tops} - {"experiments", "fedlab_cli"}

    code = imported("experiments", "fedlab_cli")
    assert len(code) >= 10
    assert code <= {*asked[""], *asked["parquet"], *asked["text"]}
    assert set(asked[""]) <= code
    texts = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    written = set(re.findall(r'"(\w+)(?:\.py"|" / "__init__)', texts))  # modules that a test writes for itself
    stood_in = {"flwr"}  # a test brings its own where it is not installed
    assert {"pytest", "hypothesis"} <= imported("tests")
    assert imported("tests") <= {*asked[""], *asked["dev"], *written, *stood_in, "tests"}


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
    folders = (ROOT / "experiments", ROOT / "fedlab_cli")
    sources = {p.relative_to(ROOT).as_posix() for folder in folders for p in folder.rglob("*.*") if p.suffix != ".pyc"}
    assert {f"experiments/_configs/{s}" for s in specs} | sources <= names
    assert {Path(s).suffix for s in sources} >= {".py", ".cpp", ".h", ".csv"}
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
