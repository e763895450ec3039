"""`fedlab list`: papers, their settings, what each reproduces, what it costs, what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.core.errors import SpecError, unknown
from experiments.core.paper import papers
from experiments.core.spec.find import settings
from experiments.core.spec.load import load
from fedlab_cli import console
from fedlab_cli import options as o

Kinds = Annotated[
    bool, typer.Option("--kinds", help="Kinds of data, models, algorithms, methods and so on: their fields.")
]


def list_(
    paper: Annotated[str | None, typer.Argument(help="Only this paper (or train).")] = None,
    scale: o.ScaleOption = o.Scale.small,
    out: o.Out = o.RUNS,
    kinds: Kinds = False,
    as_json: o.Json = False,
) -> None:
    """Papers and settings: what each reproduces, its cost, and what is stored."""
    console.setup(as_json)
    if kinds:
        rows = kind_rows()
        if as_json:
            console.dump(rows)
        else:
            console.listing(line for row in rows for line in _kind_lines(row))
        return
    if paper is not None and paper not in papers():
        raise unknown("paper", paper, papers(), "fedlab list")
    rows = [_row(path, owner, scale.value, out) for owner, paths in settings(paper).items() for path in paths]
    _print(f"settings at --scale {scale.value}", rows)


def _row(path: Path, owner: str, scale: str, out: Path) -> dict[str, Any]:
    try:
        spec = load(path, owner, scale).spec
    except SpecError as fault:
        row = {
            "paper": owner,
            "setting": path.stem,
            "title": f"cannot be read: {fault.what}",
            "reproduces": "",
            "cost": "",
        }
        return {**row, "stored": "-"}
    stored = out / owner / f"{spec.name}-{scale}"
    cells = len(list(stored.glob("*/DONE")))
    row = {"paper": owner, "setting": spec.name, "title": spec.title, "reproduces": spec.reproduces, "cost": spec.cost}
    return {**row, "stored": f"{cells} cells" if cells else "-"}


def kind_rows() -> list[dict[str, Any]]:
    """One row per kind of data, partition, model, algorithm and method: where it goes, its name, its fields."""
    from experiments.core.algorithms import kinds as algorithm_kinds
    from experiments.core.data import kinds as data_kinds
    from experiments.core.data import partitions
    from experiments.core.estimators.method import families as method_families
    from experiments.core.models import kinds as model_kinds
    from experiments.core.spec.describe import doc, fields

    families: dict[str, dict[str, Any]] = {
        "data": data_kinds(), "partition": partitions(), "model": model_kinds(), "algorithm": algorithm_kinds(),
        **method_families(),
    }  # fmt: skip
    return [
        {"block": family, "kind": name, "what": doc(block), "fields": [asdict(field) for field in fields(block)]}
        for family, members in families.items()
        for name, block in members.items()
    ]


def _kind_lines(row: dict[str, Any]) -> Iterator[str]:
    """A kind and its fields as lines that a narrow screen folds without loss."""
    yield f"{row['block']}: {{kind: {row['kind']}}}  {row['what']}"
    for field in row["fields"]:
        default = f"default {field['default']}" if field["default"] else "required"
        yield f"    {field['name']}: {field['type']}, {default}; {field['what']}"


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    if console.screen.as_json:
        console.dump(rows)
    else:
        console.table(title, rows)
