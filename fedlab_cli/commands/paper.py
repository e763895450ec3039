"""`fedlab <paper>`: one body for every paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from experiments.core.errors import SpecError
from experiments.core.paper import Paper
from experiments.core.spec.find import settings
from fedlab_cli import console
from fedlab_cli import options as o
from fedlab_cli.execute import execute


def help_of(paper: Paper) -> str:
    """The line that `fedlab --help` prints."""
    return f"{paper.title} ({paper.citation})."


def command(paper: Paper) -> Callable[..., None]:
    """The command of `paper`."""

    def run(
        setting: o.Setting = None,
        all_: o.All = False,
        config: o.Config = None,
        set_: o.Set = None,
        scale: o.ScaleOption = o.Scale.small,
        device: o.Device = "auto",
        seeds: o.Seeds = None,
        out: o.Out = o.RUNS,
        resume: o.Resume = True,
        overwrite: o.Overwrite = False,
        jobs: o.Jobs = None,
        dry_run: o.DryRun = False,
        fail_fast: o.FailFast = False,
        formulation: o.Formulation = None,
        data: o.Data = None,
        data_dir: o.DataDir = None,
        model: o.Model = None,
        as_json: o.Json = False,
        quiet: o.Quiet = False,
        verbose: o.Verbose = 0,
    ) -> None:
        console.setup(as_json, quiet, verbose)
        request = o.Request(
            scale.value, o.overrides(set_, seeds, formulation), device, out, resume, overwrite, jobs, dry_run,
            fail_fast, data, data_dir, model,
        )  # fmt: skip
        ended = execute(paper, chosen(paper, setting, all_, config), request, optional=all_)
        if ended.code:
            raise typer.Exit(ended.code)

    return run


def chosen(paper: Paper, named: list[str] | None, every: bool, config: str | None) -> list[str | Path]:
    """The specs that --setting, --all and --config ask for; the paper's main setting when none is.

    Raises:
        SpecError: when more than one of them is given.
    """
    if (named is not None) + every + (config is not None) > 1:
        raise SpecError("--setting, --all and --config exclude each other", f"fedlab {paper.name}", "give one of them")
    if every:
        return list(settings(paper.name).get(paper.name, []))
    if config is not None:
        return [config]
    return list(named) if named else [paper.main]
