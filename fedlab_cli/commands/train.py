"""`fedlab train`: one federated run."""

from __future__ import annotations

import csv
from typing import Annotated

import typer

from experiments.core.errors import SpecError
from experiments.core.spec.override import Override, option
from experiments.train import PAPER
from fedlab_cli import console
from fedlab_cli import options as o
from fedlab_cli.execute import execute

Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-clients",
        metavar="NAMES",
        help="Leave these clients out (one counterfactual world): names with commas between, #3 for a position; "
        "repeatable. A name that holds a comma goes in double quotes: '\"Berlin, Mitte\",s0'.",
    ),
]
Since = Annotated[int | None, typer.Option("--since", min=1, help="First round in which they are left out.")]
Record = Annotated[bool, typer.Option("--record", help="Write global and client models of every round as safetensors.")]


def train(
    config: o.Config = None,
    set_: o.Set = None,
    exclude_clients: Exclude = None,
    since: Since = None,
    record: Record = False,
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
    """One federated run from a YAML file: metrics, curves, the final model."""
    console.setup(as_json, quiet, verbose)
    changes = (*o.overrides(set_, seeds, formulation), *world(exclude_clients, since, record))
    request = o.Request(
        scale.value, changes, device, out, resume, overwrite, jobs, dry_run, fail_fast, data, data_dir, model, stand_in
    )
    ended = execute(PAPER, [config or PAPER.main], request, bare=config is None)
    if ended.code:
        raise typer.Exit(ended.code)


def world(exclude: list[str] | None, since: int | None, record: bool) -> list[Override]:
    """--exclude-clients, --since and --record as overrides.

    Raises:
        SpecError: an empty name, or a quote that is not closed.
    """
    made = []
    if exclude:
        names = [name for given in exclude for name in _names(given)]
        made.append(option("exclude_clients", names, f"--exclude-clients {' '.join(exclude)}"))
    if since is not None:
        made.append(option("since", since, f"--since {since}"))
    return [*made, option("record", True, "--record")] if record else made


def _names(given: str) -> list[str]:
    """The names in one value of --exclude-clients, written as a line of a csv file."""
    try:
        (names,) = csv.reader([given], strict=True, skipinitialspace=True)
        if names and all(name.strip() for name in names):
            return [name.strip() for name in names]
    except (csv.Error, ValueError):
        pass
    todo = "write names with commas between; one that holds a comma in double quotes"
    raise SpecError(f"cannot read the clients {given!r}", "--exclude-clients", todo)
