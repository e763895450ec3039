"""Options that a paper adds to the shared ones: which body is called, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any

import pytest
import typer

from experiments.core.errors import SpecError
from fedlab_cli.commands import paper
from fedlab_cli.main import main


def shared(
    scale: Annotated[str, typer.Option("--scale")] = "small",
    resume: Annotated[bool, typer.Option("--resume/--no-resume")] = True,
    device: Annotated[str, typer.Option("--device")] = "auto",
) -> None:
    calls.append(("shared", {"scale": scale, "resume": resume, "device": device}))


def own(
    folder: Annotated[str | None, typer.Option("--folder")] = None,
    top: Annotated[int, typer.Option("--top", min=1)] = 5,
    device: Annotated[str, typer.Option("--device", help="The paper's own words.")] = "auto",
) -> None:
    calls.append(("own", {"folder": folder, "top": top, "device": device}))


calls: list[tuple[str, dict[str, Any]]] = []


@pytest.fixture
def run():
    calls.clear()
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(paper.joined("toy", shared, own))
    return lambda *arguments: app(args=list(arguments), standalone_mode=False)


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ([], ("shared", {"scale": "small", "resume": True, "device": "auto"})),
        (["--device", "cpu", "--no-resume"], ("shared", {"scale": "small", "resume": False, "device": "cpu"})),
        (["--folder", "a"], ("own", {"folder": "a", "top": 5, "device": "auto"})),
        (["--top", "2", "--device", "cpu", "--folder", "a"], ("own", {"folder": "a", "top": 2, "device": "cpu"})),
    ],
)
def test_the_first_option_of_its_own_switches(run, arguments, called):
    run(*arguments)
    assert calls == [called]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--top", "2"], "--top goes together with --folder"),
        (["--folder", "a", "--scale", "paper"], "--scale does not go together with --folder"),
        (["--folder", "a", "--no-resume"], "--resume does not go together with --folder"),
    ],
)
def test_options_of_the_other_body_are_refused(run, arguments, said):
    with pytest.raises(SpecError, match=said):
        run(*arguments)
    assert calls == []


def test_only_the_papers_that_say_so_have_options_of_their_own(capsys):
    assert paper.beside("influence") is None and paper.beside("trace") is not None
    assert paper.beside("list_") is None  # a module, but of no paper
    for name, has in (("influence", False), ("trace", True)):
        assert main([name, "--help"]) == 0
        assert ("--inputs" in capsys.readouterr().out) == has


def test_help_of_trace_loads_nothing_heavy():
    code = (
        "import sys\nfrom fedlab_cli.main import main\nmain(['trace', '--help'])\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'transformers', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
