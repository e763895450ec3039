"""`fedlab train`: one federated run."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.core.errors import SpecError
from experiments.core.spec.find import TRAIN
from fedlab_cli import console
from fedlab_cli import options as o
from fedlab_cli.execute import execute

Exclude = Annotated[
    str | None,
    typer.Option("--exclude-clients", metavar="7,9", help="Leave these clients out: one counterfactual world."),
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
    ended = execute(TRAIN, [config or TRAIN.main], request, bare=config is None)
    if ended.code:
        raise typer.Exit(ended.code)


def world(exclude: str | None, since: int | None, record: bool) -> list[str]:
    """--exclude-clients, --since and --record as overrides.

    Raises:
        SpecError: when the clients are not numbers.
    """
    found = []
    if exclude is not None:
        parts = [part.strip() for part in exclude.split(",")]
        if not all(part.isdigit() for part in parts):
            raise SpecError(f"cannot read the clients {exclude!r}", "--exclude-clients", "write numbers, e.g. 7,9")
        found.append(f"exclude_clients=[{', '.join(str(int(part)) for part in parts)}]")
    if since is not None:
        found.append(f"since={since}")
    return [*found, "record=true"] if record else found
