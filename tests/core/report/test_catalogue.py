"""Which tables and figures a setting has, and what they are called."""

import pandas as pd
import pytest

from experiments.core.report.artefacts import Artefact
from experiments.core.report.catalogue import catalogue

METRICS = pd.DataFrame({"setting": ["b", "table1_mnist", "table1"], "value": [1.0, 2.0, 3.0]}, index=[7, 8, 9])


def table(rows, name):
    return Artefact(name, rows)


def made_of(joint: str) -> dict[str, float]:
    makers = [("table1", table), ("none", lambda rows, name: None)]
    artefacts = catalogue(
        METRICS, [], lambda rows, setting: makers, lambda rows: rows.assign(value=10 * rows["value"]), joint
    )
    return {artefact.name: float(artefact.frame.loc[0, "value"]) for artefact in artefacts}


@pytest.mark.parametrize(("joint", "mnist"), [("", "table1-table1_mnist"), ("_", "table1_mnist")])
def test_a_table_is_called_after_its_setting_and_made_of_its_parsed_rows(joint, mnist):
    assert made_of(joint) == {"table1-b": 10.0, "table1": 30.0, mnist: 20.0}


def test_clients_with_names_of_their_own_close_a_setting(tmp_path):
    (tmp_path / "cell.json").write_text('{"setting": "b"}')
    (tmp_path / "clients.csv").write_text("number,name,samples\n0,north,5\n")
    (artefact,) = catalogue(METRICS, [tmp_path], lambda rows, setting: [], lambda rows: rows)
    assert artefact.name == "clients-b" and artefact.frame["name"].tolist() == ["north"]
