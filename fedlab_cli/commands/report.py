"""`fedlab report`: tables, plots and results/README.md from the stored numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.core.errors import SpecError
from fedlab_cli import console
from fedlab_cli import options as o

DEST = Path("results")
Dest = Annotated[Path, typer.Option("--dest", help="Folder to publish in.", file_okay=False)]
Check = Annotated[bool, typer.Option("--check", help="Exit with 3 when a number is outside its tolerance.")]
Readme = Annotated[
    Path | None,
    typer.Option("--readme", help="Also write one row per paper between the marks of this file.", dir_okay=False),
]
Names = Annotated[list[str] | None, typer.Argument(help="Papers; default: all that have results.")]


def report(
    names: Names = None,
    scale: o.ScaleOption = o.Scale.small,
    out: o.Out = o.RUNS,
    dest: Dest = DEST,
    check: Check = False,
    readme: Readme = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Write every table and plot, the comparison with the papers, and results/README.md."""
    console.setup(as_json, quiet, verbose)
    if check:
        not_at_smoke(scale, "fedlab report --check")
    publish(out, scale.value, dest, check, tuple(names or ()))
    if readme is not None:
        from experiments.core.paper import printed
        from experiments.core.report import site

        site.embed(readme, dest, printed())
        console.note(f"table of papers written to {readme}")


def not_at_smoke(scale: o.Scale, where: str) -> None:
    """Reject smoke numbers in a comparison with a paper.

    Raises:
        SpecError: the scale is smoke.
    """
    if scale is o.Scale.smoke:
        what = "a smoke run only shows that the code runs; its numbers are not compared with a paper's"
        raise SpecError(what, where, "use --scale small or paper")


def publish(out: Path, scale: str, dest: Path, check: bool, names: tuple[str, ...]) -> None:
    """Write the report and print what stands where.

    Raises:
        MissingError: when there are no results. ToleranceError: with `check`, see `report.report`.
    """
    from experiments.core.report.report import report as write

    done = write(out, scale, dest, check, names)
    for line in done.skipped:
        console.note(f"warning: {line}")
    rows = [] if scale == o.Scale.smoke.value else summary(done.comparison)
    if console.screen.as_json:
        console.dump({"comparison": rows, "files": [str(path) for path in done.written]})
        return
    if rows:
        console.table(f"ours and the papers', scale {scale}", rows)
    for path in done.written:
        console.detail(str(path))
    console.note(
        f"{len(done.written)} files written, the last {done.written[-1]}" if done.written else "nothing to write"
    )


def summary(comparison: object) -> list[dict[str, object]]:
    """The rows of a comparison that fit on a screen, without the authors' choices of set-up."""
    import pandas as pd

    if not isinstance(comparison, pd.DataFrame) or comparison.empty:
        return []
    shown = ["key", "setting", "ours", "sd", "seeds", "reference", "unit", "difference", "status", "source"]
    shown_rows = comparison.loc[comparison["kind"] != "setup", shown]
    return [{str(key): value for key, value in row.items()} for row in shown_rows.to_dict("records")]
