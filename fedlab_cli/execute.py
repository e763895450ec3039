"""From specs to stored cells to a table on the screen: the one body behind `train`, the papers and `reproduce`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core.errors import BusyError, FedlabError
from experiments.core.memory import LOWER
from experiments.core.paper import Paper
from experiments.core.spec.load import Loaded, load
from experiments.core.spec.role import SHARED, keys
from experiments.paths import data_dir
from fedlab_cli import console
from fedlab_cli.opening import Setting, instead, opening, settled
from fedlab_cli.options import Request

if TYPE_CHECKING:
    from experiments.core.report.artefacts import Artefact
    from experiments.core.sweep.cell import Cell
    from experiments.core.sweep.plan import Plan
    from experiments.core.sweep.run import Options, Outcome

_WORTH_TELLING = 10.0  # seconds of a plan
_SHOWN = 40  # rows of a table on the screen; the whole is in its CSV


@dataclass
class Ended:
    """What became of one command: exit code and what --json prints."""

    code: int = 0
    settings: list[dict[str, Any]] = field(default_factory=list)

    def worse(self, code: int) -> None:
        """Keep the first code that is not 0."""
        self.code = self.code or code


def read_specs(paper: Paper, sources: Sequence[str | Path], request: Request, optional: bool = False) -> list[Setting]:
    """Every spec that was asked for, validated before anything runs, on stand-ins where data are missing.

    With `optional` (--all) --data and --model pass by the settings that have no data set.

    Raises:
        SpecError: with the faults of the first spec that has any.
    """

    def read(source: str | Path, stand_in: bool = False) -> Loaded:
        if optional and (request.data or request.model):
            plain = load(source, paper.name, request.scale, request.overrides)
            if not hasattr(plain.spec, "data"):
                return plain
        given = (request.model, request.data)
        return load(source, paper.name, request.scale, request.overrides, *given, stand_in=stand_in)

    folder = data_dir(request.data_dir)
    return [settled(lambda stand_in, s=source: read(s, stand_in), folder, request.stand_in) for source in sources]  # type: ignore[misc]


def execute(
    paper: Paper, sources: Sequence[str | Path], request: Request, optional: bool = False, bare: bool = False
) -> Ended:
    """Run the settings `sources` one after another, or print their plan.

    With `optional` (--all) a setting whose data are missing is skipped with a line, and an error ends only its setting.
    `bare`: the user named no setting, which the first line then says.

    Raises:
        FedlabError: what ended a setting that was asked for by name.
    """
    settings, ended = read_specs(paper, sources, request, optional), Ended()
    blocked = [setting.blocked for setting in settings if setting.blocked]
    if blocked and not optional:
        raise blocked[0]
    ready = _skip_lacking(settings, ended)
    if request.dry_run:
        _plan(paper, ready, request, ended)
        return ended
    resumes = "repeat the command to resume from the last checkpoint"
    again = resumes if request.resume else "without --no-resume it goes on"
    console.screen.after_interrupt = (again,)
    device = ""
    for setting in ready:
        for line in opening(setting, bare):
            console.note(line)
        device = device or _device(request.device)  # after the first line: this is where torch is loaded
        try:
            _run(paper, setting, replace(request, device=device), ended)
        except FedlabError as fault:
            if not optional:
                raise
            _past(setting.loaded, fault, ended)
            if ended.code and request.fail_fast:
                break
    if console.screen.as_json:
        console.dump({"paper": paper.name, "scale": request.scale, "settings": ended.settings})
    return ended


def spec_dump(spec: Any, given: bool = False) -> dict[str, Any]:
    """The resolved spec as plain JSON, without the words about its cost; `given`: only what is not at its default."""
    return spec.model_dump(mode="json", exclude={"cost"}, exclude_defaults=given)


def cells_of(paper: Paper, item: Loaded) -> list[Cell]:
    """The cells of a spec."""
    return list(paper.resolve("cells")(item.spec))


def _run(paper: Paper, setting: Setting, request: Request, ended: Ended) -> None:
    from experiments.core.sweep.plan import plan
    from experiments.core.sweep.run import run_cells

    cells = cells_of(paper, setting.loaded)
    console.note(_to_do(plan(cells, request.out)))
    with console.meter(len(cells), {cell.id: cell.work for cell in cells}) as meter:
        outcome = run_cells(
            cells, spec_dump(setting.loaded.spec), request.out, _options(request, meter),
            spec_dump(setting.loaded.spec, given=True), keys(type(setting.loaded.spec), *SHARED),
        )  # fmt: skip
    _reported(paper, setting, outcome, request, ended)


def _to_do(cells_plan: Plan) -> str:
    """How many cells, and how long those will take that are not done."""
    cells, done = len(cells_plan.lines), sum(line.state == "done" for line in cells_plan.lines)
    stored = f", {done} of them stored" if done else ""
    time = f"; about {console.span(cells_plan.seconds)} on 2 CPU cores" if cells_plan.seconds >= _WORTH_TELLING else ""
    return f"{cells} cell{'s' * (cells != 1)}{stored}{time}"


def _device(name: str) -> str:
    """What `name` (auto, cuda, ...) means here; looked up before anything runs."""
    from experiments.core.engine.device import resolve_device

    return str(resolve_device(name))


def _options(request: Request, meter: console.Meter) -> Options:
    from experiments.core.sweep.run import Options

    return Options(
        device=request.device,
        threads=request.jobs or (1 if request.device.startswith("cuda") else os.cpu_count()) or 1,
        data_dir=data_dir(request.data_dir),
        resume=request.resume,
        overwrite=request.overwrite,
        fail_fast=request.fail_fast,
        progress=meter.update,
        status=meter.status,
        log=console.detail,
        tell=console.note,
        warn=lambda cell, line: console.note(f"warning: {cell.method}, seed {cell.seed}: {line}"),
        event=lambda cell, what: meter.cell(cell.id, what),
    )


def _skip_lacking(settings: list[Setting], ended: Ended) -> list[Setting]:
    """The settings that can run; a line about each of the others."""
    for setting in settings:
        if setting.blocked:
            name, fault = setting.loaded.spec.name, setting.blocked
            console.note(f"skipped {name}: {fault.what}; {fault.todo}")
            ended.settings.append({"setting": name, "status": "skipped", "reason": fault.what})
    return [setting for setting in settings if not setting.blocked]


def _past(item: Loaded, fault: FedlabError, ended: Ended) -> None:
    """Tell the error of one setting among many."""
    console.failure(fault)
    status = "busy" if isinstance(fault, BusyError) else "failed"
    ended.settings.append({"setting": item.spec.name, "status": status, "reason": fault.what})
    ended.worse(fault.exit_code)


def _reported(paper: Paper, setting: Setting, outcome: Outcome, request: Request, ended: Ended) -> None:
    """Tables on stdout, what failed and where everything lies on stderr."""
    item = setting.loaded
    for failure in outcome.failed:
        _failure(failure.cell.id, failure.error, failure.note)
    if outcome.failed:
        ended.worse(1)
    for cell in outcome.busy:
        console.note(f"busy: another process is computing {cell.id}; repeat the command when it is done")
    if outcome.busy:
        ended.worse(BusyError.exit_code)
    busy = f", {len(outcome.busy)} busy" if outcome.busy else ""
    console.note(f"{len(outcome.done)} done, {len(outcome.skipped)} already there, {len(outcome.failed)} failed{busy}")
    report: dict[str, Any] = {
        "setting": item.spec.name, "status": "failed" if outcome.failed else "busy" if outcome.busy else "done",
        "done": len(outcome.done), "skipped": len(outcome.skipped), "busy": len(outcome.busy),
        "failed": len(outcome.failed), "metrics": str(outcome.metrics),
        **({"stand_in": item.stand_in} if setting.lacks else {}),
    }  # fmt: skip
    if outcome.metrics.is_file():
        tables, paths = _published(paper, item, outcome.metrics, request)
        report |= {
            "tables": {made.name: made.frame.to_dict("records") for made in tables},
            "files": [str(path) for path in paths],
        }
        if not console.screen.as_json:
            _shown(tables, paths, outcome.metrics, item.spec.scale)
    ended.settings.append(report)


def _failure(cell: str, error: Exception, note: Path | None) -> None:
    if isinstance(error, FedlabError):
        console.failure(error)
    else:
        first = (str(error).splitlines() or [""])[0]
        console.failure(FedlabError(f"{type(error).__name__}: {first}", cell, f"see {note}" if note else ""))
    if console.screen.verbose:
        console.trace(error)


def _published(paper: Paper, item: Loaded, metrics: Path, request: Request) -> tuple[list[Artefact], list[Path]]:
    """Write this setting's tables and plots beside the runs; returns the tables, and the files."""
    from experiments.core.report.artefacts import publish
    from experiments.core.report.report import artefacts_of

    artefacts = artefacts_of(paper, [metrics.parent], lambda line: console.note(f"warning: {line}"))
    folder = request.out / "reports" / paper.name / metrics.parent.name
    return [a for a in artefacts if a.table_md], publish(artefacts, folder, item.spec.scale)


def _shown(tables: list[Artefact], paths: list[Path], metrics: Path, scale: str = "") -> None:
    from experiments.core.report.artefacts import stamp

    files = {path.name: path for path in paths}
    for made in tables:
        rows = made.shown.to_dict("records")
        if not rows:
            continue
        short = console.compact(rows)[:_SHOWN]
        console.table(" · ".join(filter(None, (made.name, stamp(made, scale)))), short)
        console.listing(made.why_blank(short))
        if made.key:
            console.say(made.key)
        if len(made.frame) > len(short):
            whole = files[f"{made.name}.{'md' if made.excerpt is None else 'csv'}"]
            console.note(f"all {len(made.frame)} rows: {whole}")
    console.note(f"numbers: {metrics}")
    for path in paths:
        if path.suffix == ".png":
            console.note(f"plot:    {path}")


def _plan(paper: Paper, settings: list[Setting], request: Request, ended: Ended) -> None:
    """The plan on stdout: a line per cell, and the sum."""
    from experiments.core.sweep.plan import plan

    for setting in settings:
        if setting.lacks:
            console.note(instead(setting))
    planned = plan([cell for setting in settings for cell in cells_of(paper, setting.loaded)], request.out)
    rows = [line.table() for line in planned.lines]
    ended.settings += [{"setting": setting.loaded.spec.name, "status": "planned"} for setting in settings]
    if console.screen.as_json:
        total = {
            "seconds": planned.seconds, "worlds": planned.worlds, "memory": planned.memory,
            "free_memory": planned.free_memory, "free_disk": planned.free_disk,
        }  # fmt: skip
        console.dump({"paper": paper.name, "scale": request.scale, "cells": rows, **total})
        return
    lines = [
        {**row, "seconds": console.span(row["seconds"]) if row["seconds"] else "", "memory": _bytes(row["memory"]),
         "disk": _bytes(row["disk"])}
        for row in rows
    ]  # fmt: skip
    console.table(f"{paper.name}: plan", lines)
    unknown = any(line.state != "done" and not line.seconds for line in planned.lines)
    time = "time not estimated" if unknown else f"about {console.span(planned.seconds)} on 2 CPU cores"
    console.say(
        f"to do: {planned.worlds} worlds, {time}; "
        f"memory {_bytes(planned.memory) or 'not estimated'} of {console.size(planned.free_memory)} available, "
        f"free disk {console.size(planned.free_disk)}"
    )
    if planned.memory > planned.free_memory:
        console.say(f"this does not fit into memory and would not start: {LOWER}")


def _bytes(count: int) -> str:
    return console.size(count) if count else ""
