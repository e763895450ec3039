"""`fedlab`: the commands, and the way from errors to exit codes.

0 done; 1 some cells failed; 2 usage or spec error; 3 outside tolerance; 4 data, device or disk space missing;
5 another process is at work on some cells; 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from typing import Annotated

import typer

from experiments.core.errors import FedlabError
from fedlab_cli import console


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            console.say(f"fedlab {version('fedlab-influence')}")
        except PackageNotFoundError:
            console.say("fedlab (not installed; run from its source)")
        raise typer.Exit


def _top(
    no_color: Annotated[bool, typer.Option("--no-color", envvar="NO_COLOR", help="Plain output.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What would the federated model have been without this client, this sample, this label?"""  # noqa: D400
    console.setup(color=not no_color)


def build() -> typer.Typer:
    """The application. Commands of papers come from the papers that are there."""
    from experiments.core.paper import papers
    from fedlab_cli.commands import compare, data, doctor, list_, paper, report, reproduce, show, train, validate

    app = typer.Typer(
        name="fedlab", no_args_is_help=True, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_top)
    runs, look = "Run", "Look"
    app.command("train", rich_help_panel=runs)(train.train)
    for found in papers().values():
        app.command(found.name, rich_help_panel=runs, help=paper.help_of(found))(paper.command(found))
    app.command("reproduce", rich_help_panel=runs)(reproduce.reproduce)
    for name, function in (
        ("compare", compare.compare), ("report", report.report), ("list", list_.list_), ("show", show.show),
        ("validate", validate.validate), ("data", data.data), ("doctor", doctor.doctor),
    ):  # fmt: skip
        app.command(name, rich_help_panel=look)(function)
    return app


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    try:
        build()(args=arguments, prog_name="fedlab")
    except FedlabError as fault:
        console.failure(fault)
        if console.screen.verbose:
            traceback.print_exc()
        return fault.exit_code
    except KeyboardInterrupt:
        console.note("interrupted; the same command goes on from the last checkpoint")
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as fault:
        first = (str(fault).splitlines() or [""])[0]
        unexpected = FedlabError(
            f"unexpected {type(fault).__name__}: {first}", _place(fault), "repeat with -v to see the traceback"
        )
        console.failure(unexpected)
        if console.screen.verbose:
            traceback.print_exc()
        return 1
    return 0


def _place(fault: BaseException) -> str:
    """Module and line of the innermost frame."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"


def run() -> None:
    """The console script."""
    # PyTorch's own forward-mode derivatives still use what it deprecates; a user can do nothing about it.
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
    sys.exit(main())
