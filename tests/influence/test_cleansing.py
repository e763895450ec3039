"""Client cleansing: who is removed in which order, and what is left of them against plain runs."""

import pandas as pd
import pytest
import torch

from experiments.core.engine.simulate_plain import load, simulate_plain
from experiments.core.engine.worlds import BASE, World
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from experiments.influence.cleansing import ORDERS, _order
from tests.influence.test_recorder import clients
from tests.toys import federated as tiny

RANKING = {
    "clients": torch.tensor([2, 0, 1, 4, 3]),
    "fil": torch.tensor([0.3, -0.1, 0.2, 0.2, 0.1]),
    "fia": torch.tensor([0.0, 0.1, 0.0, -0.2, 0.1]),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lowest FIL", [0, 3, 1, 4, 2]),  # 1 and 4 tie: by number
        ("highest FIL", [2, 1, 4, 3, 0]),
        # FIA is a step function: 2 and 1 tie at 0, 0 and 3 at 0.1. A low FIA is a help to the model, as a high FIL is.
        ("lowest FIA", [4, 2, 1, 3, 0]),
        ("highest FIA", [0, 3, 1, 2, 4]),
    ],
)
def test_orders(name, expected):
    assert _order(name, RANKING, 5, 0) == expected


def test_without_ties_highest_is_lowest_backwards():
    ranking = {
        "clients": torch.arange(9),
        "fil": torch.arange(9.0) % 4 + torch.arange(9) / 10,
        "fia": -torch.arange(9.0),
    }
    for what in ("FIL", "FIA"):
        assert _order(f"highest {what}", ranking, 9, 0) == _order(f"lowest {what}", ranking, 9, 0)[::-1]


def test_random_is_a_permutation_drawn_by_the_seed():
    found = _order("random", {}, 30, 1)
    assert sorted(found) == list(range(30)) and found == _order("random", {}, 30, 1) != _order("random", {}, 30, 2)


def test_share_zero_is_the_base_world(run):
    for order in ORDERS:
        for metric in ("loss", "accuracy"):
            found = tiny.value(run[1], method=order, metric=f"cleansing_{metric}", subject="removed=0")
            assert found == tiny.value(run[1], method="base", metric=metric, round=6)


def test_rows_of_every_order_and_share(run):
    rows = run[1][run[1]["metric"].str.startswith("cleansing_")]
    assert set(rows["subject"]) == {"removed=0", "removed=0.1", "removed=0.3"}  # 2 % of 20 clients are nobody
    assert len(rows) == 2 * 3 * len(ORDERS) and set(rows["round"].astype(int)) == {6}


@pytest.fixture(scope="module")
def built(run, tmp_path_factory):
    return build(tiny.loaded(run[0]), 0, Context(tmp_path_factory.mktemp("built")))


def order_from_rows(frame: pd.DataFrame, name: str) -> list[int]:
    end, what = name.split()
    fil, fia = (clients(frame, "lwet_fisher", metric, 4) for metric in ("fil", "fia"))
    table = pd.DataFrame({"FIL": fil, "FIA": fia, "help": -fil, "client": fil.index})
    by = ["FIL", "client"] if what == "FIL" else ["FIA", "help", "client"]
    return table.sort_values(by, ascending=[end == "lowest"] * (len(by) - 1) + [True])["client"].tolist()


@pytest.mark.parametrize("order", ORDERS)
def test_removed_worlds_are_plain_runs_that_lose_those_clients_after_x(run, built, order):
    p, f = built.problem, built.problem.federation
    ranked = _order("random", {}, 20, 0) if order == "random" else order_from_rows(run[1], order)
    for share, count in ((0.1, 2), (0.3, 6)):
        world = World("removed", frozenset(ranked[:count]), since=5)
        *_, (_, state) = simulate_plain(p, world, built.start)
        with torch.no_grad():
            loss = float(torch.nn.functional.cross_entropy(load(p.net, state).eval()(f.test_x), f.test_y))
        found = tiny.value(run[1], method=order, metric="cleansing_loss", subject=f"removed={share}")
        assert found == pytest.approx(loss, rel=1e-9)
    *_, (_, base) = simulate_plain(p, BASE, built.start)
    assert not torch.equal(state, base)
