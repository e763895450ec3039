"""`fedlab <paper>`: one body for every paper.

A paper whose command does something more has a module of its name beside this one with a function `beside`: its options
join the shared ones, and the first of them, when given, calls it in place of the shared body.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable
from inspect import Parameter
from pathlib import Path
from typing import Any, get_args

import typer
from typer.models import OptionInfo

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
    """The command of `paper`: the shared body, joined with the paper's own where it has one."""

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
        stand_in: o.StandIn = True,
        as_json: o.Json = False,
        quiet: o.Quiet = False,
        verbose: o.Verbose = 0,
    ) -> None:
        console.setup(as_json, quiet, verbose)
        request = o.Request(
            scale.value, o.overrides(set_, seeds, formulation), device, out, resume, overwrite, jobs, dry_run,
            fail_fast, data, data_dir, model, stand_in,
        )  # fmt: skip
        bare = not (setting or all_ or config)
        ended = execute(paper, chosen(paper, setting, all_, config), request, optional=all_, bare=bare)
        if ended.code:
            raise typer.Exit(ended.code)

    special = beside(paper.name)
    return run if special is None else joined(paper.name, run, special)


def beside(name: str) -> Callable[..., None] | None:
    """What the module `fedlab_cli.commands.<name>` adds to the command of the paper `name`, None without one."""
    module = f"{__package__}.{name}"
    if importlib.util.find_spec(module) is None:
        return None
    return getattr(importlib.import_module(module), "beside", None)


def joined(name: str, shared: Callable[..., None], special: Callable[..., None]) -> Callable[..., None]:
    """One command of two functions of options: `own` when its first option is given, else `shared`.

    An option that both have is passed to the one that is called; one that only the other has may not be given.
    """
    theirs, mine = (inspect.signature(body, eval_str=True).parameters for body in (shared, special))
    both = {**theirs, **mine}
    switch = next(iter(mine.values()))

    def run(**given: Any) -> None:
        called, body, other = (
            (shared, theirs, mine) if given[switch.name] == switch.default else (special, mine, theirs)
        )
        _refuse(
            (p for p in other.values() if p.name not in body and given[p.name] != p.default),
            name,
            switch,
            called is special,
        )
        called(**{key: given[key] for key in body})

    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=Parameter.KEYWORD_ONLY) for p in both.values()]
    )
    return run


def _refuse(strange: Iterable[Parameter], name: str, switch: Parameter, switched: bool) -> None:
    """Raise SpecError when an option is given that means nothing with, or without, the switch."""
    for option in strange:
        word = "does not go" if switched else "goes"
        todo = f"leave {_flag(option)} out" if switched else f"give {_flag(switch)} too, or leave {_flag(option)} out"
        raise SpecError(f"{_flag(option)} {word} together with {_flag(switch)}", f"fedlab {name}", todo)


def _flag(option: Parameter) -> str:
    """An option as the user types it."""
    info = next(part for part in get_args(option.annotation) if isinstance(part, OptionInfo))
    return str(next(word for word in (info.default, *(info.param_decls or ())) if word is not ...)).partition("/")[0]


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
