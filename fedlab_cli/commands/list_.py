"""`fedlab list`: papers, their settings, what each reproduces, what it costs, what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.core.errors import SpecError
from experiments.core.spec.faults import suggestion
from experiments.core.spec.find import owners, settings
from experiments.core.spec.load import load
from fedlab_cli import console
from fedlab_cli import options as o

Kinds = Annotated[bool, typer.Option("--kinds", help="The kinds of data, partitions and models a spec can name.")]


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
        _print("kinds", kind_rows())
        return
    if paper is not None and paper not in owners():
        raise SpecError(f"no paper {paper!r}", "fedlab list", suggestion(paper, owners()))
    rows = [_row(path, owner, scale.value, out) for owner, paths in settings(paper).items() for path in paths]
    _print(f"settings at --scale {scale.value}", rows)


def _row(path: Path, owner: str, scale: str, out: Path) -> dict[str, Any]:
    spec = load(path, owner, scale).spec
    stored = out / owner / f"{spec.name}-{scale}"
    cells = len(list(stored.glob("*/DONE")))
    told = {"paper": owner, "setting": spec.name, "title": spec.title, "reproduces": spec.reproduces, "cost": spec.cost}
    return {**told, "stored": f"{cells} cells" if cells else "-"}


def kind_rows() -> list[dict[str, Any]]:
    """One row per kind of data, partition and model: where it goes, its name, its fields."""
    from experiments.core.data import kinds as data_kinds
    from experiments.core.data import partitions
    from experiments.core.models import kinds as model_kinds

    families: dict[str, dict[str, Any]] = {"data": data_kinds(), "partition": partitions(), "model": model_kinds()}
    return [
        {
            "block": family,
            "kind": name,
            "what": (block.__doc__ or "").strip().splitlines()[0],
            "fields": ", ".join(key for key in block.model_fields if key != "kind"),
        }
        for family, members in families.items()
        for name, block in members.items()
    ]


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    if console.screen.as_json:
        console.dump(rows)
    else:
        console.table(title, rows)
