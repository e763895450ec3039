"""`fedlab`: its commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.paths import expanded
from fedlab_cli import console
from fedlab_cli.interrupt import Stopped


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
    from experiments.core.paper import printed
    from fedlab_cli.commands import compare, data, doctor, init, list_, paper, report, reproduce, show, train, validate

    app = typer.Typer(
        name="fedlab", no_args_is_help=True, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_top)

    def add(name: str, function: Callable[..., None], **how: Any) -> None:
        app.command(name, **how)(_stoppable(_at_home(function)))

    runs, look = "Run", "Look"
    add("train", train.train, rich_help_panel=runs)
    for publication in printed().values():
        add(publication.name, paper.command(publication), rich_help_panel=runs, help=paper.help_of(publication))
    add("reproduce", reproduce.reproduce, rich_help_panel=runs)
    for name, function in (
        ("compare", compare.compare), ("report", report.report), ("list", list_.list_), ("show", show.show),
        ("init", init.init), ("validate", validate.validate), ("data", data.data), ("doctor", doctor.doctor),
    ):  # fmt: skip
        add(name, function, rich_help_panel=look)
    return app


def _at_home(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with `~` expanded in every path that it is given."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(**{key: expanded(value) if isinstance(value, Path) else value for key, value in given.items()})

    return run


def _stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, with a Ctrl-C in it passed on as `Stopped`: typer would end without a word."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        try:
            command(**given)
        except KeyboardInterrupt as fault:
            raise Stopped from fault

    return run
