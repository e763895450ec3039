"""`fedlab data`: what is there, what is missing, how to get it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.paths import data_dir as resolved_dir
from fedlab_cli import console
from fedlab_cli import options as o

Download = Annotated[
    list[str] | None, typer.Option("--download", metavar="NAME", help="Fetch this data set; repeatable.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Check checksums too (reads every file).")]


def data(
    download: Download = None,
    data_dir: o.DataDir = None,
    verify: Verify = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Data sets: there or missing, licence, and how to get them. Downloads only what --download names."""
    from experiments.core.data import fetch

    console.setup(as_json, quiet)
    folder = resolved_dir(data_dir)
    fetched: list[Path] = []
    for name in download or ():
        with console.meter(1) as meter:
            fetched += fetch.download(name, folder, meter.update)
        console.note(f"{name}: there, {fetch.checked(name)}")
    known = fetch.catalogue()
    rows = [
        {"name": s.name, "state": s.state, "what": s.what, "licence": known[s.name].licence, "detail": s.detail}
        for s in fetch.status(folder, verify)
    ]
    if as_json:
        console.dump({"data_dir": str(folder) if folder else None, "data": rows, "fetched": fetched})
        return
    console.table(f"data in {folder}" if folder else "data (no --data-dir, no FEDLAB_DATA_DIR)", rows)
