"""Imports go one way, modules stay small, a paper knows no other paper (design, sections 2 and 8)."""

import ast
import sys
from pathlib import Path

import pytest

import experiments

ROOT = Path(experiments.__file__).resolve().parent.parent
MODULES = sorted([*ROOT.glob("experiments/**/*.py"), *ROOT.glob("fedlab_cli/**/*.py")])
PAPERS = sorted(p.parent.name for p in ROOT.glob("experiments/*/__init__.py") if p.parent.name != "core")
NATIVE = sorted(p for kind in ("cpp", "h") for p in ROOT.glob(f"experiments/**/*.{kind}"))
MIDDLE = {"estimators", "scores", "algorithms", "data", "models"}
LOWER = {"sweep", "spec"}
UPPER = {"study", "recorded", "report"}
BASE = {"clean", "errors", "discover", "block", "memory", "names", "paper", "sealed", "subject"}
"""Modules of the core that anyone may use."""


def imported(path: Path, top_only: bool = False) -> set[str]:
    """Dotted names of everything a module imports; with `top_only` not what functions and TYPE_CHECKING import."""
    found: set[str] = set()

    def visit(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert node.level == 0, f"relative import in {path}"
                found.update({node.module} | {f"{node.module}.{alias.name}" for alias in node.names})
            elif top_only and (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
            ):
                continue
            else:
                visit(ast.iter_child_nodes(node))

    visit(ast.parse(path.read_text()).body)
    return found


def layer(dotted: str) -> str:
    """cli, a paper's name, core.<package>, base; "" for anything outside."""
    parts = dotted.split(".")
    if parts[0] == "fedlab_cli":
        return "cli"
    if parts[0] != "experiments" or len(parts) < 2:
        return ""
    if parts[1] in PAPERS:
        return parts[1]
    if parts[1] != "core" or len(parts) < 3 or parts[2] in BASE:
        return "base" if len(parts) > 1 else ""
    return f"core.{parts[2]}"


def allowed(source: str) -> set[str]:
    """The layers that a layer may import."""
    middle, lower, upper = ({f"core.{m}" for m in names} for names in (MIDDLE, LOWER, UPPER))
    base, science = {"", "base"}, {"core.engine", *middle}
    blocks = {f"core.{family}" for family in MIDDLE - {"scores"}}  # a spec is made of them (LIGHT below)
    if source == "cli":
        return {*base, *science, *lower, *upper, "cli", *PAPERS}
    if source in PAPERS:
        return {*base, *science, *lower, *upper, source}
    if source == "core.report":
        return {*base, *lower, source}
    if source in upper:
        return {*base, *science, *lower, *upper - {"core.report"}}
    if source == "core.sweep":
        return {*base, "core.spec", source}
    if source == "core.spec":
        return {*base, *blocks, source}
    if source in middle:
        return {*base, *science}
    return {"", "base", source}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_go_one_way(path):
    mine = layer(dotted(path))
    wrong = sorted(name for name in imported(path) if layer(name) not in allowed(mine))
    assert not wrong, f"{dotted(path)} ({mine}) imports {wrong}"


def test_no_modules_import_each_other_in_a_circle():
    names = {dotted(path) for path in MODULES}
    needs = {dotted(path): {name for name in imported(path, top_only=True) if name in names} for path in MODULES}
    while free := {name for name, others in needs.items() if not others - {name}}:
        needs = {name: others - free for name, others in needs.items() if name not in free}
    assert not needs, f"these import each other: {sorted(needs)}"


def test_layers_of_the_design_are_told_apart():
    assert layer("experiments.core.sweep.cell") == "core.sweep"
    assert layer("experiments.core.errors") == "base"
    assert layer("torch.nn") == ""
    assert "core.sweep" not in allowed("core.engine")
    assert "core.report" not in allowed("core.data")
    assert "core.report" not in allowed("core.sweep") and "core.sweep" in allowed("core.report")
    assert not {"core.engine", "core.estimators", "core.scores", "core.study"} & allowed("core.report")
    assert "cli" not in allowed("influence")


@pytest.mark.parametrize("path", [m for m in MODULES if "engine" in m.parts], ids=dotted)
def test_the_engine_knows_torch_and_numpy_only(path):
    tops = {name.partition(".")[0] for name in imported(path)}
    extra = {"opacus"} if path.stem == "accounting" else set()
    assert tops <= {*sys.stdlib_module_names, "experiments", "torch", "numpy", *extra}


LIGHT = [
    m
    for m in MODULES
    if "fedlab_cli" in m.parts
    or m.parent.name == "spec"
    or m.relative_to(ROOT).as_posix().removeprefix("experiments/core/") in {f"{b}.py" for b in BASE}
    or (m.parent.name in PAPERS and m.stem in ("__init__", "spec"))
    or (m.parent.parent.name == "core" and m.parent.name in ("algorithms", "data", "models"))
    or (m.parent.name == "estimators" and (m.stem == "__init__" or not m.stem.startswith("_")))
]


@pytest.mark.parametrize("path", LIGHT, ids=dotted)
def test_specs_and_commands_load_nothing_heavy(path):
    heavy = {"torch", "torchvision", "pandas", "matplotlib", "sklearn", "scipy", "numpy"}
    assert not heavy & {name.partition(".")[0] for name in imported(path, top_only=True)}


@pytest.mark.parametrize("path", [m for m in MODULES if layer(dotted(m)) in ("core.sweep", "core.report")], ids=dotted)
def test_the_store_and_the_report_import_no_torch(path):
    assert "torch" not in {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize(
    "path", [m for m in MODULES if "experiments" in m.parts and "fedlab_cli" not in m.parts], ids=dotted
)
def test_only_the_command_line_prints(path):
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not [n.lineno for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"]


@pytest.mark.parametrize(
    "path",
    [*MODULES, *NATIVE, *sorted(ROOT.glob("tests/**/*.py"))],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_no_module_is_long(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
