"""Table 1: the formulas number by number, the bytes measured exactly, the grid walked axis by axis."""

import pytest
import torch

from experiments.core.estimators.numerics.fed_influence import fisher_recursion
from experiments.core.sweep.cell import Context
from experiments.influence import cost
from experiments.influence.spec import CostSpec
from tests.toys import federated as tiny

SPEC = CostSpec(paper="influence", name="t", scale="smoke", p=(60, 30), K=(4, 6), m=(2, 3), Ns=(5, 8), samples=12,
                repeats=1)  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return cost.compute(SPEC, 0, Context(tmp_path_factory.mktemp("cost")))


def pick(rows, method, metric, subject):
    (found,) = [r["value"] for r in rows if (r["method"], r["metric"], r["subject"]) == (method, metric, subject)]
    return found


def test_the_formulas_of_table_1():
    """Xue et al. 2021, Table 1, at p = 7, K = 3, m = 2, Ns = 5, n = 11."""
    point = (7, 3, 2, 5, 11)
    found = {way: {what: f(*point) for what, f in each.items()} for way, each in cost.FORMULAS.items()}
    assert found == {
        "naive 1": {"server": 9 * 49, "client": 2 * (11 * 49 + 343), "upload": 49},
        "naive 2": {"server": 9 * 2 * 49, "client": 2 * 11 * 49, "upload": 2 * 49},
        "ours": {"server": 9 * 2 * 5 * 7, "client": 0, "upload": 2 * 5 * 7},
    }


def test_the_grid_varies_one_axis_at_a_time(rows):
    points = cost._grid(SPEC)
    assert len(points) == 8
    first = {"p": 60, "K": 4, "m": 2, "Ns": 5}
    for axis, point in points:
        assert {k for k in first if point[k] != first[k]} <= {axis}
    assert len(rows) == 8 * 3 * 3 * 2  # points, ways, costs, formula and measurement
    assert {r["subject"] for r in rows} == {"p=60", "p=30", "K=4", "K=6", "m=2", "m=3", "Ns=5", "Ns=8"}


@pytest.mark.parametrize(("subject", "p", "m", "Ns"), [("p=60", 60, 2, 5), ("p=30", 30, 2, 5), ("K=6", 60, 2, 5),
                                                       ("m=3", 60, 3, 5), ("Ns=8", 60, 2, 8)])  # fmt: skip
def test_measured_bytes_are_exact(rows, subject, p, m, Ns):
    numbers = {"naive 1": p * p, "naive 2": m * p * p, "ours": m * Ns * p}
    for method, count in numbers.items():
        assert pick(rows, method, "measured_upload", subject) == 4 * count  # float32
        assert pick(rows, method, "formula_upload", subject) == count


def test_seconds_were_measured(rows):
    for row in rows:
        if row["metric"] in ("measured_server", "measured_client"):
            assert (row["value"] > 0) == ((row["method"], row["metric"]) != ("ours", "measured_client"))
            assert row["unit"] == "seconds"


def test_the_server_s_work_that_is_timed_is_the_estimator_s_update():
    """sum_k share_kc (prod_i (I - eta F_i^k)) e_c, with explicit matrices."""
    case = cost._case(p=30, K=3, m=2, Ns=4, n=6, seed=0)
    g = torch.Generator().manual_seed(0)
    drawn = [0.5 * torch.randn(4, case.p, generator=g) for _ in range(2)]
    found = cost._server(drawn, case)
    transfer = torch.eye(case.p)
    for gradients in drawn:
        transfer = (torch.eye(case.p) - cost.LR / 4 * gradients.T @ gradients) @ transfer
    expected = sum(share * (transfer @ case.change) for share in case.shares)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    lost = torch.empty_like(case.change)
    fisher_recursion(torch.cat(drawn), [4, 4], case.change, cost.LR, lost)
    torch.testing.assert_close(case.change - lost, transfer @ case.change, rtol=1e-4, atol=1e-5)


def test_the_command(tmp_path, monkeypatch):
    from experiments.core.report import artefacts
    from fedlab_cli.main import main

    monkeypatch.setattr(artefacts, "png_bytes", lambda *given: b"")
    small = [f"--set={k}" for k in ("p=[30, 20]", "K=[3]", "m=[1]", "Ns=[2]", "samples=5", "repeats=1")]
    line = ["influence", "--setting", "table1", "--scale", "smoke", "--out", str(tmp_path), "--quiet", *small]
    assert main(line) == 0
    assert tiny.value(tiny.metrics(tmp_path), method="naive 1", metric="measured_upload", subject="p=20") == 1600
