"""`fedlab init PAPER`: a commented spec to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.core.errors import SpecError, unknown
from experiments.core.paper import papers
from experiments.core.spec.load import load
from experiments.core.spec.override import option
from experiments.core.spec.template import template
from fedlab_cli import console

Name = Annotated[str, typer.Argument(metavar="PAPER", help="train, or the paper to write a spec for.")]
To = Annotated[
    Path | None, typer.Option("--out", "-o", help="File to write; default: PAPER.yaml here.", dir_okay=False)
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]


def init(paper: Name, out: To = None, force: Force = False) -> None:
    """Write a commented spec that runs as it is: every field, what it means, its default."""
    known = papers()
    if paper not in known:
        raise unknown("paper", paper, known, "fedlab init")
    path = out or Path(f"{paper}.yaml")
    main = known[paper].main
    bare = (option("grid", {}, "fedlab init"),) if _has_grid(main, paper) else ()
    small, smoke = (load(main, paper, scale, bare, stand_in=True) for scale in ("small", "smoke"))
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(template(small, smoke))
    except FileExistsError:
        raise SpecError("the file already exists", str(path), "name another with --out, or use --force") from None
    console.say(str(path))
    console.note(f"change it, then: fedlab {paper} --config {path} (in seconds: --scale smoke)")


def _has_grid(setting: str, paper: str) -> bool:
    return "grid" in type(load(setting, paper).spec).model_fields
