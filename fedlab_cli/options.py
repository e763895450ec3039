"""The options that commands share, and what they mean together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from experiments.core.errors import SpecError
from experiments.core.spec.grid import MOST_CELLS
from experiments.core.spec.override import Override, option, read_overrides
from experiments.core.spec.values import brief


class Scale(str, Enum):  # noqa: UP042  (typer prints the plain words of a str enum)
    """How large a run is."""

    smoke = "smoke"
    small = "small"
    paper = "paper"


def _completed(incomplete: str) -> list[str]:
    from experiments.core.spec.find import settings

    return sorted({p.stem for paths in settings().values() for p in paths if p.stem.startswith(incomplete)})


Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--setting", "-s", help="Setting by name or number (3 = setting3); repeatable.", autocompletion=_completed
    ),
]
All = Annotated[bool, typer.Option("--all", help="Every setting of the paper.")]
Config = Annotated[str | None, typer.Option("--config", "-c", help="A YAML file, or the name of a built-in one.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value; repeatable.")]
ScaleOption = Annotated[Scale, typer.Option("--scale", help="smoke: seconds; small: minutes; paper: as printed.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Seeds = Annotated[str | None, typer.Option("--seeds", "--seed", help="0,1,2 or 0-4; default: the setting's.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of runs.")]
Resume = Annotated[bool, typer.Option("--resume/--no-resume", help="Skip finished cells and resume from checkpoints.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace stored results of another spec.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="CPU threads that worlds are spread over; default: all cores.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, and stop.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failing cell.")]
Formulation = Annotated[
    str | None, typer.Option("--formulation", help="How local steps are computed; default: timed calibration.")
]
Data = Annotated[
    str | None, typer.Option("--data", metavar="KIND", help="Other data in the same setting, e.g. digits (no file).")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of data sets; default: $FEDLAB_DATA_DIR.", file_okay=False)
]
StandIn = Annotated[
    bool, typer.Option("--stand-in/--no-stand-in", help="If a setting's data are missing, run it on its stand-in.")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="PACKAGE.MODULE:NAME",
        help="Your own model: a module, or a callable of (shape, classes) or none.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="More notes; tracebacks.")]

RUNS = Path("results/runs")


@dataclass(frozen=True)
class Request:
    """What the user asks of a run, besides which settings."""

    scale: str = "small"
    overrides: tuple[Override, ...] = ()
    device: str = "auto"
    out: Path = RUNS
    resume: bool = True
    overwrite: bool = False
    jobs: int | None = None
    dry_run: bool = False
    fail_fast: bool = False
    data: str | None = None
    data_dir: Path | None = None
    model: str | None = None
    stand_in: bool = True


def overrides(given: list[str] | None, seeds: str | None, formulation: str | None) -> tuple[Override, ...]:
    """--set, --seeds and --formulation as one list of overrides."""
    made = [*read_overrides(given or ())]
    if seeds is not None:
        made.append(option("seeds", list(parse_seeds(seeds)), f"--seeds {seeds}"))
    if formulation is not None:
        made.append(option("formulation", formulation, f"--formulation {formulation}"))
    return tuple(made)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from "0,1,2", "0-4" or a mix.

    Raises:
        SpecError: on anything else.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise SpecError(f"cannot read the seeds {brief(text)}", "--seeds", "write 0,1,2 or 0-4")
        named = range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(seeds) + len(named) > MOST_CELLS:
            raise SpecError(f"more than {MOST_CELLS} seeds", "--seeds", "give fewer")
        seeds += named
    return tuple(dict.fromkeys(seeds))
