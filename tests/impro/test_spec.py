"""What a setting may say: tunings by algorithm and federation, targets, and what is wrong with others."""

import pytest
from pydantic import ValidationError

from experiments.core.errors import SpecError
from experiments.core.spec.grid import at, points
from experiments.core.spec.load import load
from experiments.impro.spec import ORDER, WORDS
from tests.toys import impro
from tests.toys.impro import SPEC

LOCAL = {**SPEC["local"], "lr": 0.1}
SCAFFOLD = {"algorithm": {"kind": "scaffold"}}


def spec(**more):
    return impro.spec(**{"local": LOCAL, **more})


def rates(own):
    """Learning rate of each point of the grid."""
    found = {}
    for point, keys in points(own.grid, ORDER, WORDS):
        tuned = (at(own, keys) if keys else own).tuned()
        found[tuple(point.values())] = tuned.local.lr
        assert not tuned.tuning and not tuned.grid
    return found


def test_a_tuning_counts_where_all_that_it_names_is_so():
    grid = {
        "fl": {
            "few": {},
            "many": {"partition.clients": 20},
            "skewed": {"partition.alpha": 0.1},
            "long": {"local.epochs": 5},
        },
        "algorithm": {"fedavg": {}, "scaffold": SCAFFOLD},
    }
    tuning = [
        {"algorithm": "scaffold", "keys": {"local.lr": 0.01}},
        {"algorithm": "scaffold", "clients": 20, "keys": {"local.lr": 0.02}},
        {"algorithm": "scaffold", "alpha": 0.1, "epochs": 2, "keys": {"local.lr": 0.03}},
        {"algorithm": "fedavg", "epochs": 5, "keys": {"local.lr": 0.04}},
    ]
    assert rates(spec(grid=grid, tuning=tuning)) == {
        ("few", "fedavg"): 0.1, ("few", "scaffold"): 0.01, ("many", "fedavg"): 0.1, ("many", "scaffold"): 0.02,
        ("skewed", "fedavg"): 0.1, ("skewed", "scaffold"): 0.03, ("long", "fedavg"): 0.04, ("long", "scaffold"): 0.01,
    }  # fmt: skip


def test_a_tuning_sets_any_key_and_of_two_the_later_counts():
    both = [
        {"algorithm": "fedavg", "keys": {"local.lr": 0.2, "rounds": 7}},
        {"algorithm": "fedavg", "keys": {"rounds": 9}},
    ]
    tuned = spec(tuning=both).tuned()
    assert (tuned.local.lr, tuned.rounds, tuned.local.epochs) == (0.2, 9, 2)
    assert spec().tuned() == spec()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tuning": [{"algorithm": "fedavgg", "keys": {"rounds": 2}}]}, "tuning: no algorithm 'fedavgg'; known are"),
        ({"tuning": [{"algorithm": "fedavg", "keys": {"round": 2}}]}, "tuning: unknown key 'round'"),
        ({"tuning": [{"algorithm": "fedavg", "keys": {"local.lr": -1}}]}, "tuning: local.lr"),
        ({"tuning": [{"algorithm": "fedavg", "keys": {}}]}, "keys"),
        ({"layers_of": ["nobody"]}, "layers_of: no algorithm 'nobody'"),
        ({"target": [101]}, "target"),
        ({"loss": "squared"}, "loss: accuracy is that of a classifier"),
        ({"grid": {"rounds": [0]}}, "grid: rounds=0"),
        (
            {"algorithm": {"kind": "scaffold"}, "local": {**SPEC["local"], "momentum": 0.9}},
            "scaffold's control variates",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(more, said):
    with pytest.raises(ValidationError, match=said.replace("(", r"\(")):
        spec(**more)


def test_a_tuning_is_checked_at_every_point_of_the_grid():
    """It fits one algorithm of the grid alone, whose point it spoils."""
    with pytest.raises(ValidationError, match=r"algorithm=scaffold: tuning: .*control variates"):
        spec(
            grid={"algorithm": {"fedavg": {}, "scaffold": SCAFFOLD}},
            tuning=[{"algorithm": "scaffold", "keys": {"local.momentum": 0.9}}],
        )


def test_table_5():
    """The learning rates at paper scale, by hand from the paper's Table 5: all others are 0.1."""
    other = {
        ("resnet18_cifar10", "a0.05_E1_M10", "scaffold"): 0.01, ("resnet18_cifar10", "a0.1_E1_M100", "scaffold"): 0.01,
        ("resnet18_fmnist", "a0.05_E1_M10", "scaffold"): 0.001, ("resnet18_fmnist", "a0.1_E1_M100", "scaffold"): 0.01,
        ("resnet18_svhn", "a0.1_E1_M10", "scaffold"): 0.01, ("resnet18_svhn", "a0.05_E1_M10", "scaffold"): 0.01,
        ("resnet18_svhn", "a0.1_E5_M10", "scaffold"): 0.01, ("resnet18_svhn", "a0.1_E1_M100", "scaffold"): 0.001,
        ("resnet18_svhn", "a0.1_E5_M10", "fedprox"): 0.01, ("resnet18_svhn", "a0.1_E5_M10", "fednova"): 0.01,
    }  # fmt: skip
    found = rates(load("table1", "impro", "paper").spec)
    assert len(found) == 4 * 4 * 6 and {point: lr for point, lr in found.items() if lr != 0.1} == other


def test_the_federations_of_the_paper():
    own = load("table1", "impro", "paper").spec
    asked = {
        "a0.1_E1_M10": (0.1, 1, 10, 5, 1000), "a0.05_E1_M10": (0.05, 1, 10, 5, 1000),
        "a0.1_E5_M10": (0.1, 5, 10, 5, 400), "a0.1_E1_M100": (0.1, 1, 100, 10, 1000),
    }  # fmt: skip
    for point, keys in points(own.grid, ORDER, WORDS):
        one = at(own, keys).tuned()
        federation = (one.partition.alpha, one.local.epochs, one.partition.clients, one.clients_per_round, one.rounds)
        assert federation == asked[point["fl"]], point
        assert (one.local.batch_size, one.local.weight_decay, one.local.momentum) == (128, 1e-4, 0)
        assert one.model.depth == (50 if "cifar100" in point["task"] else 18)
        assert one.partition.min_size == (100 if "cifar100" in point["task"] else 10) and one.partition.cap
        assert one.algorithm.kind == point["algorithm"]
        if one.algorithm.kind == "fedimpro":
            assert one.algorithm.until == one.rounds * one.local.epochs / 2


def test_a_split_that_the_model_lacks_is_refused_before_anything_is_trained(tmp_path):
    from experiments.core.sweep.cell import Context
    from experiments.impro.cells import compute

    own = spec(algorithm={"kind": "fedimpro", "split": "layer2"})
    with pytest.raises(SpecError, match="no block 'layer2'") as fault:
        compute(own, "", 0, Context(tmp_path))
    assert "fc1" in fault.value.todo
