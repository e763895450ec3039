"""`fedlab trace --run`: which client of a recorded round of one's own is responsible for a prediction."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.core.errors import MissingError, SpecError
from fedlab_cli import console
from fedlab_cli import options as o

if TYPE_CHECKING:
    from experiments.trace.own_trace import Traced

PANEL = "A recorded run of your own"
SHOWN = 10
"""Inputs whose ranking is printed; --json and --csv have all."""


class Bias(str, Enum):  # noqa: UP042  (typer prints the plain words of a str enum)
    """What becomes of biases in T_k."""

    all = "all"
    none = "none"
    centred = "centred"


Run = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", help="Folder of a recorded run: trace it, and run no setting.",
                 rich_help_panel=PANEL),
]  # fmt: skip
Inputs = Annotated[
    Path | None,
    typer.Option("--inputs", metavar="FILE", help="Predictions to trace: .npz, .npy or .safetensors; default: DIR's.",
                 rich_help_panel=PANEL),
]  # fmt: skip
Round = Annotated[int | None, typer.Option("--round", help="Round to trace; default: the last.", rich_help_panel=PANEL)]
Top = Annotated[int, typer.Option("--top", min=1, help="Clients printed for each input.", rich_help_panel=PANEL)]
Decay = Annotated[
    float,
    typer.Option("--decay", min=0, max=1, help="Weight of a layer against the next one; 1: all count the same.",
                 rich_help_panel=PANEL),
]  # fmt: skip
Biases = Annotated[
    Bias, typer.Option("--bias", help="Biases: all, none, or less their mean over clients.", rich_help_panel=PANEL)
]
Shares = Annotated[
    bool, typer.Option("--shares", help="Multiply by the client's share of the samples.", rich_help_panel=PANEL)
]
Active = Annotated[
    bool, typer.Option("--active", help="Count only neurons with a positive activation.", rich_help_panel=PANEL)
]
Csv = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="Write one row per input and client to FILE.", rich_help_panel=PANEL),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Your own model, PACKAGE.MODULE:NAME of a module, or a "
                 "callable of (shape, classes) or of none; with --run also a name of torchvision."),
]  # fmt: skip


def beside(
    run: Run = None,
    inputs: Inputs = None,
    round_: Round = None,
    top: Top = 5,
    decay: Decay = 0.9,
    bias: Biases = Bias.all,
    shares: Shares = False,
    active: Active = False,
    csv: Csv = None,
    device: o.Device = "auto",
    data_dir: o.DataDir = None,
    model: Model = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Rank the clients of a recorded round for each prediction."""
    from experiments.core.engine.device import resolve_device
    from experiments.core.recorded.inputs import read_inputs
    from experiments.core.recorded.run import open_round
    from experiments.core.sweep import files
    from experiments.paths import data_dir as resolved_dir
    from experiments.trace import own_report
    from experiments.trace.own_trace import Choices, trace_own

    console.setup(as_json, quiet, verbose)
    if run is None:
        raise SpecError("no run is given", "fedlab trace", "give --run DIR")
    if csv is not None and not csv.parent.is_dir():  # told before the work, not after it
        raise MissingError("no folder to write the table into", str(csv), "make it, or name another file")
    recorded = open_round(run, round_, model, resolved_dir(data_dir))
    given = read_inputs(inputs or recorded.inputs_file, recorded.described.spec)
    choices = Choices(decay, shares, bias.value, active)
    with console.meter(1) as meter:
        traced = trace_own(recorded, given, choices, resolve_device(device), lambda a, b: meter.update("inputs", a, b))
    if csv is not None:
        try:
            files.atomic_write(csv, own_report.as_csv(traced))
        except OSError as fault:
            raise MissingError(f"cannot write the table ({fault.strerror})", str(csv), "name another file") from fault
    for line in own_report.notes(traced):
        console.note(f"note: {line}")
    if as_json:
        console.dump(own_report.as_json(traced))
    else:
        _shown(traced, top, csv)


def _shown(traced: Traced, top: int, csv: Path | None) -> None:
    """A table for each of the first inputs, and who ranks first how often."""
    from experiments.trace import own_report

    count = len(traced.raw)
    for i in range(min(count, SHOWN)):
        console.table(_title(own_report.prediction(traced, i)), own_report.table(traced, i, top))
    console.listing(f"{column}: {meaning}" for column, meaning in own_report.LEGEND.items())
    if count > SHOWN:
        console.note(f"{SHOWN} of {count} inputs are shown; all: --json, or --csv FILE")
    often = ", ".join(f"client {name} for {n}" for name, n in own_report.firsts(traced)[:top])
    where = "" if traced.round.files.index is None else f" of round {traced.round.files.index}"
    console.say(f"most responsible{where}, {count} input{'s' * (count != 1)}: {often}")
    if csv is not None:
        console.note(f"numbers: {csv}")


def _title(traced: dict[str, Any]) -> str:
    """What was predicted, and whether that is right."""
    truth = "" if traced["label"] is None else " (right)" if traced["right"] else f" (wrong: it is {traced['label']})"
    return f"input {traced['input']}: predicted {traced['predicted']}{truth}, logit {traced['logit']:.4g}"
