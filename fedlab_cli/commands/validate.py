"""`fedlab validate`: every spec at every scale, all faults at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from experiments.core.errors import FedlabError, SpecError
from experiments.core.spec.find import settings
from experiments.core.spec.load import load
from experiments.core.spec.reader import shown
from experiments.core.spec.tree import SCALES
from experiments.paths import expanded
from fedlab_cli import console
from fedlab_cli import options as o

Paths = Annotated[
    list[str] | None, typer.Argument(help="YAML files, folders or settings; default: all built-in specs.")
]


def validate(paths: Paths = None, as_json: o.Json = False) -> None:
    """Check specs at every scale; nothing is run."""
    console.setup(as_json)
    checked = {name: faults(source) if source else [f"{name}: no YAML files"] for name, source in _sources(paths)}
    if as_json:
        console.dump([{"spec": name, "faults": spec_faults} for name, spec_faults in checked.items()])
    else:
        for name, spec_faults in checked.items():
            console.listing(spec_faults or [f"{name}: ok at {', '.join(SCALES)}"])
    wrong = sum(bool(spec_faults) for spec_faults in checked.values())
    if wrong:
        console.note(f"{wrong} of {len(checked)} specs have faults")
        raise typer.Exit(2)


def faults(source: str | Path) -> list[str]:
    """The faults of a spec at all scales, each once, as `file:line: key: message`."""
    seen: dict[str, None] = {}
    for scale in SCALES:
        try:
            load(source, None, scale)
        except FedlabError as error:
            parts = getattr(error, "faults", ()) or (_line(error),)
            seen.update(dict.fromkeys(parts))
        except Exception as error:  # a block of one's own that breaks must not silence the other files
            seen[f"{source}: unexpected {type(error).__name__}: {' '.join(str(error).split())}"] = None
    return list(seen)


def _line(error: FedlabError) -> str:
    return ": ".join(part for part in (error.where, error.what) if part) + f"; {error.todo}"


def _sources(paths: list[str] | None) -> list[tuple[str, str | Path | None]]:
    """(name to print, what to load) of every spec asked for; nothing to load for a folder without specs."""
    if not paths:
        return [(shown(path), path) for paths_of_paper in settings().values() for path in paths_of_paper]
    sources: list[tuple[str, str | Path | None]] = []
    for name in paths:
        inside = _inside(name)
        sources += [(name, name)] if inside is None else [(shown(path), path) for path in inside] or [(name, None)]
    return sources


def _inside(name: str) -> list[Path] | None:
    """The specs in the folder `name`; None when it is no folder, and `load` is to say what it is."""
    try:
        folder = expanded(name)
    except SpecError:
        return None
    if not os.path.isdir(folder):  # noqa: PTH112  (Path's own raises on a name that is too long)
        return None
    return [path for path in sorted(folder.rglob("*.yaml")) if path.name != "base.yaml"]
