"""From runs folder to published folder: what is written, what is judged, what is kept."""

from __future__ import annotations

import types

import pandas as pd
import pytest

from experiments.core.errors import MissingError, SpecError, ToleranceError
from experiments.core.paper import Paper
from experiments.core.report import reference, site, stored
from experiments.core.report import report as module
from experiments.core.report.artefacts import Artefact
from experiments.core.report.parts import line
from experiments.core.report.reference import COLUMNS
from experiments.core.report.style import new_figure
from experiments.core.sweep.cell import Cell
from experiments.core.sweep.run import run_cells

PAPER = Paper("toy", "A Toy", "Nobody 2000", 1, "setting1", "", "", "toypaper:artefacts")


def artefacts(metrics, folders):
    def draw():
        figure, (ax,) = new_figure()
        line(ax, metrics[metrics["metric"] == "pearson"], "round", "pearson", color="black")
        return figure

    best = metrics[["setting", "method", "seed", "value"]].copy()
    return [
        Artefact("figure1", metrics[["setting", "seed", "round", "value"]], draw),
        Artefact("table1", best, table_md=True),
    ]


REFERENCE = [
    "toy.figure3.setting1.pearson,pearson of figure 3.1,result,setting1,pearson,,,last,0.8,,,0.05,0.1,,Figure 3,",
    "toy.figure3.setting2.pearson,figure3 pearson,result,setting2,pearson,,,last,0.7,,,0.05,0.1,,Figure 3,",
    "toy.table2.setting1.lr,table2 lr,setup,setting1,spec:lr,,,,0.1,,,,,,Table 2,",
]


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A paper "toy" with its reference.csv, and nothing run."""
    (tmp_path / "experiments" / "toy").mkdir(parents=True)
    (tmp_path / "experiments" / "toy" / "reference.csv").write_text("\n".join([",".join(COLUMNS), *REFERENCE]) + "\n")
    monkeypatch.setattr(
        reference, "experiments", types.SimpleNamespace(__file__=str(tmp_path / "experiments" / "x.py"))
    )
    monkeypatch.setattr(module, "printed", lambda: {"toy": PAPER})
    monkeypatch.setitem(__import__("sys").modules, "toypaper", types.SimpleNamespace(artefacts=artefacts))
    return tmp_path


def run(house, value, setting="setting1", scale="small", seeds=(0, 1)):
    def compute(context, seed):
        rounds = ((5, 0.1), (10, value + seed * 0.01))
        return [{"metric": "pearson", "round": t, "value": v, "dataset": "d"} for t, v in rounds]

    cells = [
        Cell("toy", setting, scale, s, "m", {"v": value}, 1, compute=lambda context, s=s: compute(context, s))
        for s in seeds
    ]
    run_cells(cells, {"lr": 0.1, "v": value}, house / "runs")


def report(house, scale="small", **more):
    return module.report(house / "runs", scale, house / "results", **more)


def files(folder):
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_everything_is_published_and_a_second_report_gives_the_same_bytes(house):
    run(house, 0.79)
    told = report(house)
    first = files(house / "results")
    assert set(first) == {"README.md"} | {
        f"small/toy/{n}"
        for n in ("figure1.csv", "figure1.png", "table1.csv", "table1.md", "comparison.csv", "runs.csv")
    }
    assert {p.name for p in told.written} == {p.rpartition("/")[2] for p in first}
    report(house)
    assert files(house / "results") == first


def test_the_page_shows_ours_the_papers_status_cost_and_what_is_missing(house):
    run(house, 0.79)
    report(house)
    text = (house / "results/README.md").read_text()
    (row,) = [line for line in text.splitlines() if "setting1" in line and line.startswith("|")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:8] == [
        "toy",
        "setting1",
        "pearson of figure 3.1",
        "0.795 ± 0.0071 (2)",
        "0.8",
        "-0.005",
        "reproduced",
        "small",
    ]
    assert float(cells[8]) < 0.01 and "cores" in cells[9]
    (missing,) = [line for line in text.splitlines() if "setting2" in line]
    assert "not run" in missing and "| 0.7 " in missing
    assert "1 reproduced, 0 close, 0 differ, 1 not run" in text
    assert "figure1: [png](small/toy/figure1.png) · [csv](small/toy/figure1.csv)" in text
    assert "table2" not in text  # the authors' choices are in comparison.csv


def test_a_stand_in_is_marked_and_not_counted(house):
    run(house, 0.2, setting="setting2-digits")
    told = report(house, check=True)  # far off, yet no fault: it is other data
    assert told.comparison["status"].tolist().count("differs") >= 1
    text = (house / "results/README.md").read_text()
    assert "setting2-digits †" in text and "0 reproduced, 0 close, 0 differ, 1 not run" in text
    assert (house / "results/small/toy/table1.md").read_text().startswith("**stand-in data: digits**")


def test_check_fails_only_after_everything_is_written(house):
    run(house, 0.5)
    with pytest.raises(ToleranceError, match=r"setting1\.pearson: ours 0\.505, the paper's 0\.8") as caught:
        report(house, check=True)
    assert caught.value.exit_code == 3
    assert "differs" in (house / "results/README.md").read_text()


def test_smoke_stays_out_of_the_results(house):
    run(house, 0.79, scale="smoke")
    report(house, "smoke")
    assert not (house / "results").exists()
    assert (house / "runs/smoke-report/toy/figure1.png").is_file()


def test_results_of_settings_without_runs_here_are_kept(house):
    run(house, 0.79)
    run(house, 0.71, setting="setting2")
    report(house)
    (house / "runs").rename(house / "other-machine")
    run(house, 0.81)
    told = report(house)
    status = told.comparison.set_index("key")["status"]
    assert status["toy.figure3.setting2.pearson"] == "reproduced" and len(status) == 3
    kept = pd.read_csv(house / "results/small/toy/runs.csv")
    assert sorted(kept["setting"].unique()) == ["setting1", "setting2"] and len(kept) == 4
    first = files(house / "results")
    report(house)
    assert files(house / "results") == first


def test_two_scales_stand_side_by_side(house):
    run(house, 0.79)
    report(house)
    run(house, 0.80, scale="paper")
    report(house, "paper")
    frame = site.table(house / "results")
    assert frame[["setting", "scale"]].to_numpy().tolist() == [
        ["setting1", "paper"],
        ["setting2", ""],
        ["setting1", "small"],
    ]


def test_the_papers_report_gets_the_folders_of_the_cells_behind_the_metrics(house, monkeypatch):
    run(house, 0.79)
    run(house, 0.71, setting="setting2")
    stray = house / "runs/toy/setting1-small/seed7-m-0123456789"
    stray.mkdir()
    (stray / "DONE").write_text("{}")  # of another version, say: not in metrics.csv
    told = []
    toy = types.SimpleNamespace(artefacts=lambda metrics, folders: told.extend(folders) or [])
    monkeypatch.setitem(__import__("sys").modules, "toypaper", toy)
    report(house)
    assert told == sorted(told) and len(told) == 4 and stray not in told
    assert all((folder / "rows.csv").is_file() for folder in told)
    assert [folder.parent.name for folder in told] == ["setting1-small"] * 2 + ["setting2-small"] * 2


def test_nothing_run_is_said_in_one_line(house):
    with pytest.raises(MissingError, match="no results of scale paper"):
        report(house, "paper")
    with pytest.raises(SpecError, match="unknown paper 'tyo'"):
        report(house, names=("tyo",))


def test_a_row_per_paper_is_written_between_the_marks_of_a_readme(house):
    run(house, 0.79)
    report(house)
    readme = house / "README.md"
    readme.write_text(f"# fedlab\n\n{site.BEGIN}\nold\n{site.END}\n\nmore\n")
    site.embed(readme, house / "results", {"toy": PAPER})
    text = readme.read_text()
    assert (
        text.startswith("# fedlab\n")
        and text.endswith("\n\nmore\n")
        and "old" not in text
        and "| Nobody 2000 | `fedlab toy` |  | [1 reproduced, 0 close, 0 differ, 1 not run](results/README.md) |"
        in text
    )
    site.embed(readme, house / "results", {"toy": PAPER})
    assert readme.read_text() == text
    readme.write_text("no marks")
    with pytest.raises(SpecError, match="marks"):
        site.embed(readme, house / "results", {"toy": PAPER})


def test_tables_are_read_with_text_as_text_and_numbers_as_numbers(house):
    run(house, 0.79)
    frame = module.read(stored.settings_of(house / "runs", PAPER, "small"), "metrics.csv")
    assert frame["subject"].tolist() == [""] * 4 and frame["round"].dtype.kind in "if" and frame["n"].isna().all()
