"""Tables of Usynin et al. 2023 from rows with known answers: values against hand computation, the paper's beside."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments.vog import against, printed, removed, tables, tables_more
from experiments.vog.reading import epsilon, methods, named, names_of, ordered, parse, point_words
from tests.vog import synthetic


def only(frame, **wanted):
    found = frame[(frame[list(wanted)] == list(wanted.values())).all(axis=1)]
    assert len(found) == 1, found
    return found.iloc[0]


@pytest.fixture(scope="module")
def table1():
    return parse(synthetic.metrics("table1"))


def test_table1_is_a_mean_over_seeds_with_its_range(table1):
    frame = tables.table1(table1, "table1").frame
    line = only(frame, model="LeNet", eps="4", score="VoG", pick="highest")
    each = [synthetic.accuracy("vog", "4", seed) for seed in (0, 1, 2)]
    assert (line["accuracy"], line["low"], line["high"], line["seeds"]) == (np.mean(each), min(each), max(each), 3)
    assert line["share"] == "0.25" and line["on what is left"] == np.mean(each) + 5
    assert only(frame, model="LeNet", eps="4", score="VoG", pick="lowest")["accuracy"] == 56


def test_controls_stand_beside_and_differences_are_paired_by_seed(table1):
    frame = removed.table(table1)
    where = {"point": "task=lenet_cifar10 eps=8"}
    random = only(frame, **where, method="random")
    assert random["accuracy"] == pytest.approx(np.mean([47 + seed + 9.1 for seed in (0, 1, 2)]))  # draws 0, 1, 2
    line = only(frame, **where, method="plis", pick="highest")
    assert line["minus random"] == pytest.approx(1.0 - 9.1) and line["minus none"] == pytest.approx(1.0 - 12)
    assert (line["random low"], line["random high"]) == pytest.approx((-8.1, -8.1))  # the same in every seed
    assert math.isnan(random["minus random"]) and random["minus none"] == pytest.approx(9.1 - 12)


def test_an_interval_over_seeds_is_students():
    rows = [
        {**synthetic.row(method, "removal_accuracy", value, f"pick={pick} draw=0 share=0.25"), "seed": seed}
        for seed, value in enumerate((50.0, 53.0))
        for method, pick, value in (("vog", "highest", value), ("random", "random", 60.0))
    ]
    line = only(removed.table(parse(synthetic.frame(rows))), method="vog")
    reach = 12.706204736432095 * np.std([50, 53], ddof=1) / math.sqrt(2)
    assert (line["random low"], line["random high"]) == pytest.approx((-8.5 - reach, -8.5 + reach))


def test_the_papers_numbers_stand_where_net_data_and_epsilon_are_its_own(table1):
    point = "task=resnet18_cifar10 eps=4"
    assert printed.removal(point, "vog") == 58.8 and printed.removal(point, "plis") == 55.6
    assert math.isnan(printed.removal("task=lenet_cifar10 eps=4", "vog"))
    assert math.isnan(printed.removal("task=resnet18_cifar10 eps=none", "vog"))
    assert printed.removal("eps=4 task=resnet18_cifar10", "el2n") != printed.removal(point, "vog")
    rows = parse(
        synthetic.frame([synthetic.row("vog", "removal_accuracy", 60.0, f"{point} pick=highest draw=0 share=0.25")])
    )
    line = removed.table(rows).iloc[0]
    assert (line["paper"], line["difference"]) == pytest.approx((58.8, 1.2))
    assert removed.table(table1)["paper"].isna().all()


def test_printed_numbers_of_text_and_figures():
    assert printed.top_of("loss", "4", "none") == 0.09 and math.isnan(printed.top_of("loss", "1", "none"))
    assert printed.figure("figure7.pppd.resnet18.vog.eps1_vs_eps8") == {"ssim": 0.722, "bd": 0.074}
    assert printed.figure("nothing") == {}


def test_accuracies_stand_beside_the_guarantee(table1):
    frame = tables.accuracy(table1, "accuracy").frame
    line = only(frame, model="LeNet", eps="4")
    assert (line["test accuracy %"], line["low"], line["high"]) == (46, 45, 47)  # of round 3, seeds 0 to 2
    assert line["epsilon"] == pytest.approx(3.99) and line["noise"] == 1
    assert math.isnan(only(frame, model="LeNet", eps="none")["epsilon"])
    assert list(frame[frame["model"] == "LeNet"]["eps"]) == ["1", "4", "8", "none"]


def test_configuration_and_cost(table1):
    frame = tables.configuration(table1, "configuration").frame
    assert set(frame["batch_size"]) == {64} and len(frame) == 8
    cost = tables.cost(table1, "cost").frame
    line = only(cost, model="LeNet", eps="1", score="PLIS")
    assert line["seconds"] == 0.5 * (1 + synthetic.SCORES.index("plis")) and line["samples a second"] == 250


def test_difficulty_by_score_and_privacy():
    frame = tables_more.difficulty(parse(synthetic.metrics("difficulty")), "difficulty").frame
    line = only(frame, eps="1", score="PLIS", against="held-out loss")
    assert (line["value"], line["low"], line["high"]) == pytest.approx((0.51, 0.50, 0.52))
    planted = only(frame, eps="1", score="PLIS", against="planted labels (AUROC)")
    assert planted["value"] == pytest.approx(0.5 + 0.51 / 4)


def test_one_seed_has_the_interval_of_its_samples():
    rows = parse(synthetic.metrics("difficulty", seeds=(0,)))
    line = only(against.difficulty(rows), eps="1", method="plis", against="held_out_loss")
    assert (line["value"], line["low"], line["high"], line["seeds"]) == pytest.approx((0.5, 0.4, 0.6, 1))


def test_truth_has_its_ceiling_and_its_floor():
    frame = against.truth(parse(synthetic.metrics("truth")))
    line = only(frame, point="task=digits", method="loss", truth="group", size="10")
    assert line["value"] == pytest.approx(-0.19) and line["n"] == 120
    assert line["ceiling"] == pytest.approx(0.61) and line["null"] == pytest.approx(1e-3)


def test_the_audit_has_both_epsilons():
    frame = tables_more.audit(parse(synthetic.metrics("audit")), "audit").frame
    assert list(frame["stated_epsilon"]) == [1, 4] and list(frame["audit_epsilon"]) == [0.5, 2]
    assert set(frame["runs"]) == {200}


def test_a_private_release_by_its_epsilon():
    rows = [
        synthetic.row("vog", f"release_{metric}{end}", value, f"eps=4 release={eps}", n=100)
        for eps, value in (("1", 0.2), ("8", 0.7))
        for metric in ("spearman", "overlap")
        for end in ("", "_low", "_high")
    ]
    rows.append(synthetic.row("privacy", "release_epsilon", 12.0, "eps=4 release=8"))
    frame = tables_more.release(parse(synthetic.frame(rows)), "release").frame
    assert list(frame["release"]) == ["1", "8"]
    line = only(frame, release="8")
    assert (line["spearman"], line["low"], line["same of 25"], line["total epsilon"]) == (0.7, 0.7, 0.7, 12)


def test_nothing_is_made_of_nothing():
    rows = parse(synthetic.frame([synthetic.row("train", "test_loss", 1.0, t=1)]))
    made = [tables.table1, tables.configuration, tables.cost, tables_more.difficulty, tables_more.truth]
    assert [make(rows, "x") for make in [*made, tables_more.audit, tables_more.release]] == [None] * 7


def test_order_and_words():
    assert ordered(["none", "8", "1", "4"]) == ["1", "4", "8", "none"] and epsilon("none") == math.inf
    assert ordered(["resnet8_cifar10", "lenet_fmnist", "lenet_cifar10"]) == [
        "lenet_cifar10", "resnet8_cifar10", "lenet_fmnist",
    ]  # fmt: skip
    assert methods(["random", "mine", "plis", "loss", "none"]) == ["loss", "plis", "mine", "none", "random"]
    assert names_of({"task": "resnet18_cifar10"}) == ("resnet18", "cifar10")
    assert names_of({"task": "cifar10", "model_": "wrn50"}) == ("wrn50", "cifar10")
    assert names_of({}, "lenet", "fashionmnist") == ("lenet", "fmnist")
    assert point_words("task=lenet_cifar10 eps=none") == "LeNet, CIFAR-10, no DP" and named("eps", "4") == "eps 4"


def test_own_axes_are_columns():
    rows = [
        synthetic.row(m, "removal_accuracy", 50.0, f"lr={lr} pick={p} draw=0 share=0.25")
        for lr in ("0.1", "0.5")
        for m, p in (("vog", "highest"), ("none", "none"))
    ]
    frame = tables.table1(parse(pd.DataFrame(synthetic.frame(rows))), "removal-mine").frame
    assert set(frame["lr"]) == {"0.1", "0.5"} and len(frame) == 4
