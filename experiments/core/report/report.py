"""Every paper's tables, figures and comparison, from the tidy CSVs under the runs folder to the published folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core import clean
from experiments.core.errors import MissingError, SpecError, ToleranceError
from experiments.core.paper import Paper, printed
from experiments.core.report import reference, site
from experiments.core.report.artefacts import Artefact, publish
from experiments.core.report.compare import COLUMNS as COMPARED
from experiments.core.report.compare import compare
from experiments.core.report.stored import Warn, all_of, cells_of, read, settings_of, silent
from experiments.core.report.unfinished import unfinished

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Report:
    """What `report` wrote: files in the order written, and the comparison of all papers together; what it left out."""

    written: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    comparison: pd.DataFrame | None = None


def report(out: Path, scale: str, dest: Path, check: bool = False, names: tuple[str, ...] = ()) -> Report:
    """Publish every paper that has results of `scale` under the runs folder `out`.

    Small and paper scale go to `<dest>/<scale>/<paper>/`, and `<dest>/README.md` is written anew from all that lies
    there; smoke goes to `<out>/smoke-report/<paper>/` and nowhere else. `names` narrows the papers.

    Raises:
        MissingError: no results of this scale; or the disk is full.
        SpecError: an unknown paper; a fault in a reference.csv.
        ToleranceError: with `check`, after everything is written: a number with a tolerance differs from the paper's.
    """
    import pandas as pd

    known = printed()
    if unknown := [name for name in names if name not in known]:
        raise SpecError(f"unknown paper {unknown[0]!r}", todo=f"known: {', '.join(known)}")
    result, frames = Report(), []
    for name, paper in known.items():
        if (not names or name in names) and all_of(out, name, scale):
            frames.append(_one(paper, out, scale, dest, result))
    if not frames:
        todo = f"run `fedlab reproduce --scale {scale}` or one paper's command first"
        raise MissingError(f"no results of scale {scale}", "the runs folder", todo)
    result.comparison = pd.concat(frames, ignore_index=True)
    if scale != "smoke":
        result.written.append(site.write(dest, known))
    if check:
        _check(result.comparison)
    return result


def artefacts_of(paper: Paper, settings: list[Path], warn: Warn = silent) -> list[Artefact]:
    """The tables and figures of `paper` from the settings' folders `settings`."""
    made: list[Artefact] = paper.resolve("report")(read(settings, "metrics.csv"), cells_of(settings, warn))
    return made


def compare_paper(paper: Paper, out: Path, scale: str, warn: Warn = silent) -> pd.DataFrame:
    """The comparison of one paper, see `compare.COLUMNS`; a paper without reference.csv has none (an empty frame)."""
    import pandas as pd

    references = reference.of_paper(paper.name)
    if not references:
        return pd.DataFrame(columns=list(COMPARED))
    folders = settings_of(out, paper, scale, warn)
    metrics, spec = read(folders, "metrics.csv"), read(folders, "spec.csv")
    return compare(references, metrics, spec, paper.name, scale)


def _one(paper: Paper, out: Path, scale: str, dest: Path, result: Report) -> pd.DataFrame:
    folders = settings_of(out, paper, scale, result.skipped.append)
    folder = out / "smoke-report" / paper.name if scale == "smoke" else dest / scale / paper.name
    compared = _keep_published(compare_paper(paper, out, scale), folder / "comparison.csv", folders)
    runs = _keep_published(read(folders, "runs.csv"), folder / "runs.csv", folders)
    made = artefacts_of(paper, folders, result.skipped.append)
    tables = [Artefact("comparison", compared), Artefact("runs", runs)]
    pending = unfinished(out, paper, scale, result.skipped.append)
    pending = _keep_published(pending, folder / "unfinished.csv", all_of(out, paper.name, scale))
    if len(pending) or (folder / "unfinished.csv").exists():
        tables.append(Artefact("unfinished", pending))
    result.written += publish([*made, *tables], folder, scale)
    return compared


def _keep_published(frame: pd.DataFrame, path: Path, folders: list[Path]) -> pd.DataFrame:
    """Rows published earlier stay for the settings without results in this runs folder (a fresh clone has none)."""
    import pandas as pd

    if not path.is_file():
        return frame
    here = {folder.name.rpartition("-")[0] for folder in folders}
    try:
        before = clean.meant_by(pd.read_csv(path, dtype=object, keep_default_na=False))
    except ValueError:
        before = pd.DataFrame()
    if list(before.columns) != list(frame.columns):
        return frame  # damaged, or written by an older fedlab: made anew rather than mixed
    elsewhere = before[~before["setting"].isin(here)]
    if "key" in frame:
        ours = frame[frame["setting"].isin(here) | ~frame["key"].isin(elsewhere[elsewhere["stand_in"] == ""]["key"])]
    else:
        ours = frame
    joined = [part for part in (ours, elsewhere) if len(part)]
    return pd.concat(joined, ignore_index=True).astype(object) if joined else frame


def _check(compared: pd.DataFrame) -> None:
    judged = compared[(compared["kind"] == "result") & (compared["tolerance_close"].astype(str) != "")]
    judged = judged[judged["stand_in"] == ""]
    outside = judged[judged["status"] == "differs"]
    if len(outside):
        named = "; ".join(f"{r.key}: ours {r.ours}, the paper's {r.reference}" for r in outside.itertuples())
        raise ToleranceError(f"{len(outside)} number(s) outside tolerance", named, "see comparison.csv")
