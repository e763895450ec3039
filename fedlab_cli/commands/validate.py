"""`fedlab validate`: every spec at every scale, all faults at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from experiments.core.errors import SpecError
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
    checked = {name: faults(source) for name, source in _sources(paths)}
    if as_json:
        console.dump([{"spec": name, "faults": found} for name, found in checked.items()])
    else:
        for name, found in checked.items():
            console.listing(found or [f"{name}: ok at {', '.join(SCALES)}"])
    wrong = sum(bool(found) for found in checked.values())
    if wrong:
        console.note(f"{wrong} of {len(checked)} specs have faults")
        raise typer.Exit(2)


def faults(source: str | Path) -> list[str]:
    """The faults of a spec at all scales, each once, as `file:line: key: message`."""
    found: dict[str, None] = {}
    for scale in SCALES:
        try:
            load(source, None, scale)
        except SpecError as error:
            parts = error.faults or (": ".join(p for p in (error.where, error.what) if p) + f"; {error.todo}",)
            found.update(dict.fromkeys(parts))
    return list(found)


def _sources(paths: list[str] | None) -> list[tuple[str, str | Path]]:
    """(name to print, what to load) of every spec asked for.

    Raises:
        SpecError: on a folder without YAML files.
    """
    if not paths:
        return [(shown(path), path) for found in settings().values() for path in found]
    sources: list[tuple[str, str | Path]] = []
    for name in paths:
        folder = expanded(name)
        if not os.path.isdir(folder):  # noqa: PTH112  (Path's own raises on a name that is too long)
            sources.append((name, name))
            continue
        inside = [p for p in sorted(folder.rglob("*.yaml")) if p.name != "base.yaml"]
        if not inside:
            raise SpecError("no YAML files", name, "name a file or a folder of specs")
        sources += [(shown(path), path) for path in inside]
    return sources
