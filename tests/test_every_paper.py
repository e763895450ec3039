"""What every paper promises; papers and their settings are found by their folders, so that a new one is tested, too."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import experiments
from experiments.core.errors import MissingError
from experiments.core.paper import Paper, papers, printed
from experiments.core.report import artefacts, reference, stored
from experiments.core.report.report import report
from experiments.core.spec.find import settings
from experiments.core.spec.load import load
from experiments.core.spec.override import read_overrides
from experiments.core.spec.tree import SCALES
from experiments.core.sweep.cell import COLUMNS
from experiments.core.sweep.run import Options, Outcome, run_cells
from experiments.paths import configs_dir

ROOT = configs_dir().parent
TIMES = ("s", "seconds")
"""Units of rows that say how long something took: no two runs agree on them."""


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)


def test_papers_were_found():
    assert {"train", "influence", "trace", "fragility"} <= set(papers())


@pytest.mark.parametrize("paper", papers())
def test_it_has_the_files_of_a_paper(paper: str):
    folder = Path(experiments.__file__).parent / paper
    assert {"__init__.py", "spec.py", "cells.py"} <= {path.name for path in folder.iterdir()}
    assert list((ROOT / "configs" / paper).glob("*.yaml")) and list((ROOT / "tests" / paper).glob("test_*.py"))
    if papers()[paper].citation:  # numbers are printed somewhere
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert "## Differences" in text
        assert reference.load(folder / "reference.csv")


@pytest.mark.parametrize("paper", papers())
def test_spec_cells_and_report_resolve(paper: str):
    known = papers()[paper]
    assert known.name == paper and known.title and known.version >= 1
    assert known.resolve("spec") and callable(known.resolve("cells")) and callable(known.resolve("report"))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("paper", papers())
def test_every_setting_expands_to_cells_that_say_what_they_cost(paper: str, scale: str):
    for path in settings(paper)[paper]:
        spec = load(path, paper, scale).spec
        cells = papers()[paper].resolve("cells")(spec)
        assert cells and len({cell.id for cell in cells}) == len(cells), path.stem
        for cell in cells:
            assert (cell.paper, cell.setting, cell.scale) == (paper, path.stem, scale)
            assert cell.worlds >= 1 and cell.work >= 0, cell.id
            assert cell.memory > 0 or not (cell.work and hasattr(spec, "data")), f"{cell.id} has a price and no memory"


@pytest.mark.parametrize("paper", papers())
def test_the_main_setting_runs_anywhere_and_its_cost_is_known(paper: str):
    spec = load(papers()[paper].main, paper, "smoke").spec
    spec.data.require(None)
    assert all(cell.work > 0 and cell.memory > 0 for cell in papers()[paper].resolve("cells")(spec))


class Killed(BaseException):
    """Ends a run as Ctrl-C or a kill does: no `except Exception` stops it."""


@functools.cache
def cheapest(paper: str) -> tuple[object, list]:
    """The spec and cells of the setting with the least work at smoke that trains a model and needs no file."""
    candidates = []
    for path in settings(paper)[paper]:
        spec = load(path, paper, "smoke").spec
        try:
            spec.data.require(None)
        except (AttributeError, MissingError):
            continue
        changes = ["checkpoint_seconds=0.000001"] if hasattr(spec, "checkpoint_seconds") else []
        spec = load(path, paper, "smoke", read_overrides(changes)).spec
        cells = papers()[paper].resolve("cells")(spec)
        candidates.append((sum(cell.work for cell in cells), path.stem, spec, cells[:1]))
    return min(candidates)[2:]


def run(paper: str, out: Path, **options: object) -> Outcome:
    spec, cells = cheapest(paper)
    outcome = run_cells(cells, spec.model_dump(mode="json"), out, Options(**options))
    assert not outcome.failed and not outcome.busy
    return outcome


def killing(steps: int) -> Callable[..., None]:
    """A listener to progress that ends the run at the sign of progress number `steps`."""
    signs = itertools.count(1)

    def listen(*_: object) -> None:
        if next(signs) >= steps:
            raise Killed

    return listen


def rows_of(outcome: Outcome) -> pd.DataFrame:
    frame = pd.read_csv(outcome.metrics, dtype=str, keep_default_na=False)
    return frame[~frame["unit"].isin(TIMES)].reset_index(drop=True)


class Once:
    """The first cell of a paper's cheapest setting, run to its end, and how often it told its progress."""

    def __init__(self, paper: str, out: Path) -> None:
        self.paper, self.out, self.steps = paper, out, 0
        self.rows = rows_of(run(paper, out, progress=self._count))

    def _count(self, *_: object) -> None:
        self.steps += 1


@pytest.fixture(scope="module", params=list(papers()))
def once(request, tmp_path_factory) -> Once:
    return Once(request.param, tmp_path_factory.mktemp(request.param) / "runs")


@pytest.mark.slow
def test_rows_are_tidy(once):
    assert list(once.rows.columns) == list(COLUMNS)
    assert set(once.rows["paper"]) == {once.paper}
    assert once.rows["value"].ne("").all() and once.rows["metric"].ne("").all()
    assert once.rows["value"].astype(float).notna().mean() > 0.5


@pytest.mark.slow
def test_killed_again_and_again_and_resumed_it_ends_in_the_same_rows(once, tmp_path):
    """Killed at its first sign of progress, then a third of the whole further on, twice, where it has not ended."""
    out, killed, checkpoints = tmp_path / "runs", 0, 0
    for steps in (1, max(2, once.steps // 3), max(2, once.steps // 3)):
        try:
            run(once.paper, out, progress=killing(steps))
        except Killed:
            killed += 1
            checkpoints += len(list(out.rglob("*.ckpt")))
    assert killed and checkpoints, "no kill left a checkpoint: nothing was resumed"
    pd.testing.assert_frame_equal(rows_of(run(once.paper, out)), once.rows)
    assert not list(out.rglob("*.ckpt")) and not list(out.rglob("*.work"))


def paper_of(once: Once) -> Paper:
    return papers()[once.paper]


@pytest.mark.slow
def test_the_report_of_some_of_the_rows_is_made(once):
    """Rows up to a point, all but one metric, all but one method: whatever a run that ended early has left."""
    (folder,) = stored.all_of(once.out, once.paper, "smoke")
    frame = stored.read([folder], "metrics.csv")
    parts = {f"the first {part} eighths": frame.iloc[: len(frame) * part // 8] for part in (0, 1, 2, 4, 7)}
    parts |= {f"all but {m}": frame[frame["metric"] != m] for m in frame["metric"].unique()}
    parts |= {f"all but method {m}": frame[frame["method"] != m] for m in frame["method"].unique()}
    make, cells = paper_of(once).resolve("report"), stored.cells_of([folder])
    for name, rows in parts.items():
        try:
            make(rows.reset_index(drop=True), cells)
        except Exception as fault:
            raise AssertionError(f"{once.paper}: the report dies on {name} of the rows") from fault
    assert make(frame, cells)


@pytest.mark.slow
def test_a_report_is_published_beside_a_killed_run(once, tmp_path, monkeypatch):
    """One finished run, and one of the same paper that was killed: the report says so and does not die."""
    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    if once.paper not in printed():
        pytest.skip("it has no published page")
    out = tmp_path / "runs"
    with pytest.raises(Killed):
        run(once.paper, out, progress=killing(max(1, once.steps // 2)))
    made = report(out, "smoke", tmp_path / "results", names=(once.paper,))
    assert made.written and not made.skipped
