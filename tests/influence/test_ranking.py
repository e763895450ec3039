"""The last table of `fedlab influence`: clients by what leaving them out does."""

import numpy as np
import pandas as pd

from experiments.core.report.artefacts import csv_bytes
from experiments.core.subject import subject
from experiments.core.sweep.cell import COLUMNS
from experiments.influence.ranking import ranking

NAMES = ["site 1", "site 2", "site 9", "site 10", "a/label:1"]


def rows(seed, change, names=NAMES, sizes=None, estimated=None, counted=None):
    """Rows of one seed: `change` of loss and the estimates by name, in two rounds of which the first says otherwise."""
    told = []
    for k, name in enumerate(names):
        about = {"seed": seed, "setting": "s", "scale": "small", "subject": subject(client=name)}
        size = (sizes or range(10, 10 + len(names)))[k]
        told.append({**about, "metric": "client_size", "method": "influence", "value": size})
        told.append({**about, "metric": "label_count", "method": "influence", "value": size,
                     "subject": subject(client=name, label=0)})  # fmt: skip
        if counted and name not in counted:
            continue
        for t, sign in ((5, -1), (10, 1)):
            told.append({**about, "metric": "fil", "method": "exact", "round": t, "value": sign * change[k]})
            told.append({**about, "metric": "fia", "method": "exact", "round": t, "value": -10 * sign * change[k]})
            value = (estimated or change)[k]
            told.append({**about, "metric": "fil", "method": "lwet_fisher", "round": t, "value": sign * value})
    return told


def made(*parts):
    frame = pd.DataFrame([row for part in parts for row in part]).reindex(columns=list(COLUMNS))
    return ranking(frame.astype({"round": float, "value": float}), "ranking-s")


def test_the_most_helpful_client_comes_first():
    table = made(rows(0, [0.1, -0.2, 0.3, 0.0, 0.3], estimated=[5.0, 4.0, 3.0, 2.0, 1.0]))
    frame = table.frame
    assert frame["client"].tolist() == ["a/label:1", "site 9", "site 1", "site 10", "site 2"]
    assert frame["rank"].tolist() == [1.5, 1.5, 3, 4, 5] and frame["estimated rank"].tolist() == [5, 3, 1, 4, 2]
    assert frame["change of loss"].tolist() == [0.3, 0.3, 0.1, 0.0, -0.2]
    assert frame["change of accuracy"].tolist() == [-3.0, -3.0, -1.0, 0.0, 2.0]
    assert frame["samples"].tolist() == [14, 12, 10, 13, 11] and table.excerpt is None
    assert "positive change of loss means that it helped" in table.key
    assert [line.split(",")[4] for line in csv_bytes(frame).decode().splitlines()[1:]] == frame["client"].tolist()


def test_seeds_with_the_same_clients_are_averaged_over_those_that_counted_each():
    table = made(rows(0, [0.1, 0.2, 0.3, 0.4, 0.5]), rows(1, [0.3, 0.9, 0.1, 0.0, 9.0], counted=NAMES[:3]))
    frame = table.frame.set_index("client")
    assert set(frame["seed"]) == {"mean"} and frame["seeds"].to_dict() == dict(zip(NAMES, [2, 2, 2, 1, 1], strict=True))
    assert np.allclose(frame.loc[NAMES, "change of loss"], [0.2, 0.55, 0.2, 0.4, 0.5])


def test_seeds_that_deal_other_clients_are_ranked_apart():
    numbers = [str(k) for k in range(12)]
    one = rows(0, list(range(12)), numbers, sizes=[5] * 12)
    other = rows(1, list(range(12, 0, -1)), numbers, sizes=[6] * 12)
    frame = made(one, other).frame
    assert frame["seed"].tolist() == ["0"] * 12 + ["1"] * 12
    assert frame["client"].tolist() == [*range(11, -1, -1), *range(12)]
    assert frame["samples"].tolist() == [5] * 12 + [6] * 12


def test_both_ends_of_many_are_shown_and_all_are_kept():
    names = [f"s{k}" for k in range(40)]
    table = made(rows(0, list(np.linspace(-1, 1, 40)), names))
    assert len(table.frame) == 40 and len(table.excerpt) == 10
    assert table.excerpt["client"].tolist() == [f"s{k}" for k in (39, 38, 37, 36, 35, 4, 3, 2, 1, 0)]
    assert table.shown is table.excerpt and "the CSV has all" in table.caption


def test_a_variant_that_stopped_leaves_its_column_empty_and_no_truth_no_table():
    whole = rows(0, [0.1, 0.2, 0.3, 0.4, 0.5])
    early = [row for row in whole if row["method"] != "lwet_fisher" or row.get("round") == 5]
    assert made(early).frame["estimated rank"].isna().all()
    bare = made([row for row in whole if row["method"] != "lwet_fisher"])
    assert bare.frame["change of loss"].tolist() == [0.5, 0.4, 0.3, 0.2, 0.1] and "No estimate" in bare.caption
    assert made([row for row in whole if row["metric"] == "client_size"]) is None
