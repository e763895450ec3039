"""`fedlab compare`: every number a paper prints beside ours."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.core.errors import MissingError
from experiments.core.paper import printed
from fedlab_cli import console
from fedlab_cli import options as o
from fedlab_cli.commands.reproduce import picked

Names = Annotated[list[str] | None, typer.Argument(help="Papers; default: all that have results.")]
Setup = Annotated[bool, typer.Option("--setup", help="Also the authors' choices of set-up (Table 2 and the like).")]


def compare(
    names: Names = None,
    scale: o.ScaleOption = o.Scale.small,
    out: o.Out = o.RUNS,
    setup: Setup = False,
    as_json: o.Json = False,
) -> None:
    """Ours, its spread over seeds, the paper's, the difference and the status; writes nothing."""
    from experiments.core.report.report import compare_paper
    from experiments.core.report.stored import settings_of
    from fedlab_cli.commands.report import not_at_smoke, summary

    console.setup(as_json)
    not_at_smoke(scale, "fedlab compare")
    frames = {
        name: compare_paper(printed()[name], out, scale.value, lambda line: console.note(f"warning: {line}"))
        for name in picked(names)
        if settings_of(out, printed()[name], scale.value)
    }
    if not frames:
        todo = f"run `fedlab reproduce --scale {scale.value}` first"
        raise MissingError(f"no results of scale {scale.value}", str(out), todo)
    if as_json:
        console.dump({name: frame.to_dict("records") for name, frame in frames.items()})
        return
    for name, frame in frames.items():
        if frame.empty:
            console.note(f"{name}: no printed numbers to compare with (experiments/{name}/reference.csv)")
            continue
        chosen_rows = frame.assign(kind="") if setup else frame
        console.table(f"{name}, scale {scale.value}", summary(chosen_rows))
