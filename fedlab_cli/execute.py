"""From specs to stored cells to a table on the screen: the one body behind `train`, the papers and `reproduce`."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core.errors import BusyError, FedlabError, MissingError
from experiments.core.paper import Paper
from experiments.core.spec.load import Loaded, load
from experiments.paths import data_dir
from fedlab_cli import console
from fedlab_cli.options import Request

if TYPE_CHECKING:
    from experiments.core.sweep.cell import Cell
    from experiments.core.sweep.run import Options, Outcome

LONG = 600.0
"""Seconds from which a run announces its length."""

_SHOWN = 40  # rows of a table on the screen; the whole is in its CSV


@dataclass
class Ended:
    """What became of one command: exit code and what --json prints."""

    code: int = 0
    settings: list[dict[str, Any]] = field(default_factory=list)

    def worse(self, code: int) -> None:
        """Keep the first code that is not 0."""
        self.code = self.code or code


def read_specs(paper: Paper, sources: Sequence[str | Path], request: Request, optional: bool = False) -> list[Loaded]:
    """Every spec that was asked for, validated before anything runs.

    With `optional` (--all) --data and --model pass by the settings that have no data set.

    Raises:
        SpecError: with the faults of the first spec that has any.
    """

    def read(source: str | Path) -> Loaded:
        if optional and (request.data or request.model):
            plain = load(source, paper.name, request.scale, request.overrides)
            if not hasattr(plain.spec, "data"):
                return plain
        return load(source, paper.name, request.scale, request.overrides, request.model, request.data)

    return [read(source) for source in sources]


def execute(paper: Paper, sources: Sequence[str | Path], request: Request, optional: bool = False) -> Ended:
    """Run the settings `sources` one after another, or print their plan.

    With `optional` (--all) a setting whose data are missing is skipped with a line, and an error ends only its setting.

    Raises:
        FedlabError: what ended a setting that was asked for by name.
    """
    loaded, ended = read_specs(paper, sources, request, optional), Ended()
    if request.dry_run:
        _plan(paper, loaded, request, ended)
        return ended
    request = replace(request, device=_device(request.device))
    for item in loaded:
        try:
            _run(paper, item, request, ended)
        except FedlabError as fault:
            if not optional:
                raise
            _past(item, fault, request, ended)
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


def _run(paper: Paper, item: Loaded, request: Request, ended: Ended) -> None:
    from experiments.core.sweep.plan import plan
    from experiments.core.sweep.run import run_cells

    name = f"{paper.name} {item.spec.name} at {item.spec.scale}"
    cells = cells_of(paper, item)
    seconds = plan(cells, request.out).seconds
    console.note(f"{name}: {len(cells)} cell{'s' * (len(cells) != 1)}")
    if seconds > LONG:
        console.note(f"about {console.span(seconds)} on 2 CPU cores; smaller: --scale smoke or small, --seeds 0")
    with console.meter(len(cells)) as meter:
        outcome = run_cells(
            cells, spec_dump(item.spec), request.out, _options(request, meter), spec_dump(item.spec, given=True)
        )
    _told(paper, item, outcome, request, ended)


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
        log=console.detail,
        tell=console.note,
        warn=lambda cell, line: console.note(f"warning: {cell.method}, seed {cell.seed}: {line}"),
        event=lambda cell, what: meter.cell(cell.id, what),
    )


def _past(item: Loaded, fault: FedlabError, request: Request, ended: Ended) -> None:
    """Note the error of one setting among many; missing data only skip it."""
    if isinstance(fault, MissingError) and _lacks_data(item, request):
        console.note(f"skipped {item.spec.name}: {fault.what}; {fault.todo}")
        ended.settings.append({"setting": item.spec.name, "status": "skipped", "reason": fault.what})
        return
    console.failure(fault)
    status = "busy" if isinstance(fault, BusyError) else "failed"
    ended.settings.append({"setting": item.spec.name, "status": status, "reason": fault.what})
    ended.worse(fault.exit_code)


def _lacks_data(item: Loaded, request: Request) -> bool:
    """True when it is the data that are missing, and not disk space."""
    try:
        item.spec.data.load(item.spec.seeds[0], data_dir(request.data_dir))
    except MissingError:
        return True
    except (FedlabError, AttributeError):
        return False
    return False


def _told(paper: Paper, item: Loaded, outcome: Outcome, request: Request, ended: Ended) -> None:
    """Tables on stdout, what failed and where everything lies on stderr."""
    for failure in outcome.failed:
        _failure(failure.cell.id, failure.error, failure.note)
    if outcome.failed:
        ended.worse(1)
    for cell in outcome.busy:
        console.note(f"busy: another process is at work on {cell.id}; the same command takes it up once done")
    if outcome.busy:
        ended.worse(BusyError.exit_code)
    busy = f", {len(outcome.busy)} busy" if outcome.busy else ""
    console.note(f"{len(outcome.done)} done, {len(outcome.skipped)} already there, {len(outcome.failed)} failed{busy}")
    told: dict[str, Any] = {
        "setting": item.spec.name, "status": "failed" if outcome.failed else "busy" if outcome.busy else "done",
        "done": len(outcome.done), "skipped": len(outcome.skipped), "busy": len(outcome.busy),
        "failed": len(outcome.failed), "metrics": str(outcome.metrics),
    }  # fmt: skip
    if outcome.metrics.is_file():
        tables, paths = _published(paper, item, outcome.metrics, request)
        told |= {"tables": tables, "files": [str(path) for path in paths]}
        if not console.screen.as_json:
            _shown(tables, paths, outcome.metrics)
    ended.settings.append(told)


def _failure(cell: str, error: Exception, note: Path | None) -> None:
    if isinstance(error, FedlabError):
        console.failure(error)
    else:
        first = (str(error).splitlines() or [""])[0]
        console.failure(FedlabError(f"{type(error).__name__}: {first}", cell, f"see {note}" if note else ""))
    if console.screen.verbose:
        console.note("".join(traceback.format_exception(error)))


def _published(paper: Paper, item: Loaded, metrics: Path, request: Request) -> tuple[dict[str, Any], list[Path]]:
    """Write this setting's tables and plots beside the runs; returns the tables as rows, and the files."""
    from experiments.core.report.artefacts import publish
    from experiments.core.report.report import artefacts_of

    artefacts = artefacts_of(paper, [metrics.parent])
    folder = request.out / "reports" / paper.name / metrics.parent.name
    tables = {a.name: a.frame.to_dict("records") for a in artefacts if a.table_md}
    return tables, publish(artefacts, folder, item.spec.scale)


def _shown(tables: dict[str, Any], paths: list[Path], metrics: Path) -> None:
    for name, rows in tables.items():
        if not rows:
            continue
        short = console.compact(rows)[:_SHOWN]
        console.table(name, short)
        if len(rows) > len(short):
            console.note(f"all {len(rows)} rows: {name}.md")
    console.note(f"numbers: {metrics}")
    for path in paths:
        if path.suffix == ".png":
            console.note(f"plot:    {path}")


def _plan(paper: Paper, loaded: list[Loaded], request: Request, ended: Ended) -> None:
    """The plan on stdout: a line per cell, and the sum."""
    from experiments.core.sweep.plan import plan

    found = plan([cell for item in loaded for cell in cells_of(paper, item)], request.out)
    rows = [line.table() for line in found.lines]
    ended.settings = [{"setting": item.spec.name, "status": "planned"} for item in loaded]
    if console.screen.as_json:
        total = {"seconds": found.seconds, "worlds": found.worlds, "memory": found.memory, "free_disk": found.free_disk}
        console.dump({"paper": paper.name, "scale": request.scale, "cells": rows, **total})
        return
    told = [
        {**row, "seconds": console.span(row["seconds"]) if row["seconds"] else "", "memory": _bytes(row["memory"]),
         "disk": _bytes(row["disk"])}
        for row in rows
    ]  # fmt: skip
    console.table(f"{paper.name}: plan", told)
    unknown = any(line.state != "done" and not line.seconds for line in found.lines)
    time = "time not estimated" if unknown else f"about {console.span(found.seconds)} on 2 CPU cores"
    console.say(
        f"to do: {found.worlds} worlds, {time}; "
        f"memory {_bytes(found.memory) or 'not estimated'}, free disk {console.size(found.free_disk)}"
    )


def _bytes(count: int) -> str:
    return console.size(count) if count else ""
