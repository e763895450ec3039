"""`fedlab reproduce`: every setting of every paper, then the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.core.errors import FedlabError, MissingError, unknown
from experiments.core.paper import printed
from experiments.core.spec.find import settings
from fedlab_cli import console
from fedlab_cli import options as o
from fedlab_cli.commands.report import DEST, Dest, publish
from fedlab_cli.execute import execute

Names = Annotated[list[str] | None, typer.Argument(help="Papers; default: all.")]


def reproduce(
    names: Names = None,
    scale: o.ScaleOption = o.Scale.small,
    device: o.Device = "auto",
    out: o.Out = o.RUNS,
    dest: Dest = DEST,
    resume: o.Resume = True,
    overwrite: o.Overwrite = False,
    jobs: o.Jobs = None,
    dry_run: o.DryRun = False,
    fail_fast: o.FailFast = False,
    data_dir: o.DataDir = None,
    stand_in: o.StandIn = True,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Run every setting of every paper, continue past failures, then write tables, plots and results/README.md."""
    console.setup(quiet=quiet, verbose=verbose)
    request = o.Request(
        scale.value, (), device, out, resume, overwrite, jobs, dry_run, fail_fast, data_dir=data_dir, stand_in=stand_in
    )
    wanted = picked(names)
    code = 0
    for name in wanted:
        code = max(code, _paper(name, request))
        if code and fail_fast:
            raise typer.Exit(code)
    if not dry_run:
        code = max(code, _report(out, scale.value, dest, tuple(wanted)))
    if code:
        raise typer.Exit(code)


def picked(names: list[str] | None) -> list[str]:
    """The papers asked for, all by default.

    Raises:
        SpecError: on an unknown one.
    """
    known = printed()
    for name in names or ():
        if name not in known:
            raise unknown("paper", name, known, "PAPER")
    return list(names or known)


def _paper(name: str, request: o.Request) -> int:
    sources: list[str | Path] = list(settings(name).get(name, []))
    try:
        return execute(printed()[name], sources, request, optional=True).code
    except FedlabError as fault:
        console.failure(fault)
        return fault.exit_code


def _report(out: Path, scale: str, dest: Path, names: tuple[str, ...]) -> int:
    try:
        publish(out, scale, dest, False, names)
    except MissingError as fault:  # nothing ran, e.g. every setting lacks its data
        console.failure(fault)
        return fault.exit_code
    return 0
