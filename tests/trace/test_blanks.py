"""Every cell that may be empty is explained: in made-up settings, and in the tables that are published."""

from pathlib import Path

import pandas as pd
import pytest

import experiments
from experiments.core.report.artefacts import Artefact
from experiments.trace.figures import report
from fedlab_cli import execute
from tests.trace import synthetic

PUBLISHED = Path(experiments.__file__).parent.parent / "results/small/trace"


def tables(setting, **how):
    return [made for made in report(synthetic.metrics(setting, **how), []) if made.table_md]


def unexplained(made, frame):
    """Columns with an empty cell that no reason is given for."""
    return {c for c in frame.columns if (frame[c].isna() | (frame[c] == "")).any()} - set(made.blanks)


@pytest.mark.parametrize("setting", [*synthetic.GRIDS, "mine"])
@pytest.mark.parametrize("empty", [(), tuple(range(1, 81))])
def test_empty_cells_of_made_up_settings(setting, empty):
    """With predictions to trace, and without any."""
    for made in tables(setting, seeds=(0,), empty=empty):
        assert unexplained(made, made.frame) == set(), made.name


@pytest.mark.parametrize("setting", synthetic.GRIDS)
def test_empty_cells_of_published_tables(setting):
    found = [made for made in tables(setting, seeds=(0,)) if (PUBLISHED / f"{made.name}.md").is_file()]
    assert len(found) >= 3
    for made in found:
        rows = [line for line in (PUBLISHED / f"{made.name}.md").read_text().splitlines() if line.startswith("|")]
        head, _, *body = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
        assert unexplained(made, pd.DataFrame(body, columns=head)) == set(), made.name


def test_the_screen_explains_the_empty_cells_it_shows(capsys, tmp_path):
    """Columns of one reason in one line; nothing of columns that are full, or not shown."""
    frame = pd.DataFrame({"a": [1.0, None], "b": ["", "x"], "c": [1, 2], "d": [None, 3.0]})
    blanks = {"a": "none there", "b": "none there", "c": "never", "d": "too early", "e": "not a column"}
    made = Artefact("methods", frame, table_md=True, blanks=blanks)
    execute._shown([made, Artefact("full", frame[["c"]], table_md=True, blanks=blanks)], [], tmp_path / "metrics.csv")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("blank")]
    assert told == ["blank under a, b: none there", "blank under d: too early"]
