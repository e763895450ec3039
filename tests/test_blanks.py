"""Every empty cell of a published table of these papers is explained on the screen."""

import csv
from pathlib import Path

import pytest

import experiments
from experiments.fragility import blanks as fragility
from experiments.influence import blanks as influence

RESULTS = Path(experiments.__file__).parent.parent / "results"
TABLES = {
    ("influence", "correlations"): influence.CORRELATIONS, ("influence", "cleansing"): influence.CLEANSING,
    ("influence", "table2"): influence.CONFIGURATION, ("influence", "table1"): influence.COST,
    ("fragility", "correlations"): fragility.CORRELATIONS, ("fragility", "methods"): fragility.METHODS,
    ("fragility", "decay"): fragility.DECAY, ("fragility", "several"): fragility.DECAY,
    ("fragility", "decline"): fragility.DECLINE, ("fragility", "optimizers"): fragility.OPTIMIZERS,
}  # fmt: skip


@pytest.mark.parametrize(("paper", "table"), list(TABLES))
def test_empty_cells_of_published_tables(paper, table):
    found = [p for p in RESULTS.glob(f"*/{paper}/{table}*.csv") if p.with_suffix(".md").is_file()]
    assert found
    for path in found:
        with path.open(newline="") as opened:
            empty = {key for row in csv.DictReader(opened) for key, text in row.items() if text == ""}
        assert empty <= set(TABLES[paper, table]), path
