"""The numbers behind the claims VG1 to VG11, from hand-made scores and rows with known answers."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments.core.subject import words
from experiments.vog import claims_consistency, claims_worth, pairs
from experiments.vog.claims_table import claims as table_of
from experiments.vog.compared import Compared
from experiments.vog.reading import parse
from tests.vog import synthetic
from tests.vog.synthetic import scored


def told(lines, **wanted):
    """The one line whose words are `wanted`, others aside."""
    found = [one for one in lines if wanted.items() <= words(one["what"]).items()]
    assert len(found) == 1, [one["what"] for one in found]
    return found[0]


def bare(lines):
    """Those that are no differences."""
    return [one for one in lines if "minus" not in words(one["what"]) and "slope" not in words(one["what"])]


def student(values):
    """Mean and 95 % interval of three numbers."""
    reach = 4.302652729911275 * np.std(values, ddof=1) / math.sqrt(3)
    return np.mean(values), np.mean(values) - reach, np.mean(values) + reach


@pytest.fixture(scope="module")
def lines():
    return pairs.measured([scored(f"eps={eps}", seed) for eps in ("1", "4", "8", "none") for seed in (0, 1, 2)])


def values_of(lines, first, second, method, metric, **more):
    wanted = {"between": "eps", "seeds": "same", "pick": "highest", "class": "all", "first": first, "second": second}
    wanted |= {"method": method, **more}
    return lines[(lines[list(wanted)] == list(wanted.values())).all(axis=1)].set_index("seed")[metric]


def seeds_of(lines, point, method, metric):
    """Seed -> mean over the two pairs it is in."""
    own = lines[(lines["between"] == "seed") & (lines["first_point"] == point) & (lines["method"] == method)]
    own = own[(own["class"] == "all") & (own["pick"] == "highest")]
    return {
        seed: own[(own["seed"] == seed) | (own["other_seed"] == seed)][metric].mean() for seed in (0, 1, 2)
    }  # fmt: skip


def test_vg1_is_private_against_not_with_the_seeds_beside(lines):
    made = list(claims_consistency.private(lines, "VG1", ("vog", "plis")))
    every = [one for one in bare(made) if "classes" not in words(one["what"])]
    line = told(every, metric="spearman", method="vog", first="4", second="none")
    values = values_of(lines, "4", "none", "vog", "spearman")
    assert (line["value"], line["low"], line["high"]) == pytest.approx(student(values))
    reached = seeds_of(lines, "eps=none", "vog", "spearman")
    assert line["ceiling"] == pytest.approx(np.mean(list(reached.values()))) and line["n"] == 3
    less = [one for one in made if "classes" not in words(one["what"])]
    line = told(less, metric="spearman", method="vog", first="4", second="none", minus="seeds")
    assert line["value"] == pytest.approx(np.mean([values[seed] - reached[seed] for seed in (0, 1, 2)]))
    assert {words(one["what"])["second"] for one in made} == {"none"}


def test_vg1_over_single_classes_is_their_mean(lines):
    made = [one for one in claims_consistency.private(lines, "VG1", ("vog",)) if "classes" in words(one["what"])]
    line = told(bare(made), metric="overlap", first="4", classes="each")
    own = lines[(lines["between"] == "eps") & (lines["first"] == "4") & (lines["second"] == "none")]
    own = own[(own["seeds"] == "same") & (own["class"] != "all") & (own["method"] == "vog")]
    assert line["value"] == pytest.approx(own.groupby("seed")["overlap"].mean().mean())


def test_vg2_is_paired_between_scores(lines):
    line = told(claims_consistency.gap(lines), metric="overlap", method="vog", minus="loss", first="8", second="none")
    a, b = (values_of(lines, "8", "none", method, "overlap") for method in ("vog", "loss"))
    assert (line["value"], line["low"], line["high"]) == pytest.approx(student((a - b).tolist()))
    assert line["value"] > 5  # as the synthetic scores were made


def test_vg3_and_vg8_are_between_epsilons(lines):
    three = {(w["first"], w["second"]) for one in claims_consistency.epsilons(lines) for w in [words(one["what"])]}
    assert three == {("1", "4"), ("1", "8"), ("4", "8")}
    eight = list(claims_consistency.plis(lines))
    line = told(eight, metric="spearman", first="4", second="8", minus="1_and_8")
    a, b = (values_of(lines, first, "8", "plis", "spearman") for first in ("4", "1"))
    assert line["value"] == pytest.approx((a - b).mean()) and {words(one["what"])["method"] for one in eight} == {
        "plis"
    }


def test_vg4_is_between_models_and_by_their_size():
    cells = [scored(f"model_={net} eps=4", seed) for net in ("resnet9", "resnet18") for seed in (0, 1, 2)]
    lines = pairs.measured(cells)
    made = list(claims_consistency.models(lines, {"model_=resnet9 eps=4": 2e6, "model_=resnet18 eps=4": 1.1e7}))
    assert told(made, metric="spearman", first="resnet9", second="resnet18")["n"] == 3
    line = told(made, metric="overlap", model="resnet18", between="seed")
    assert line["value"] == pytest.approx(
        np.mean(list(seeds_of(lines, "model_=resnet18 eps=4", "vog", "overlap").values()))
    )
    assert words(line["what"])["parameters"] == "11000000"
    assert math.isnan(told(bare(made), metric="spearman", first="resnet9")["ceiling"])  # nothing without privacy


def test_vg5_has_a_slope_over_the_size():
    cells = [scored(f"samples={n} eps={eps}", seed, n=n) for n in (100, 1000) for eps in ("4", "8") for seed in (0, 1)]
    lines = pairs.measured(cells)
    made = list(claims_consistency.size(lines))
    small, large = (told(bare(made), metric="overlap", samples=str(n), first="4") for n in (100, 1000))
    assert words(small["what"])["chance"] == "6.25" and words(large["what"])["chance"] == "0.625"
    line = told(made, metric="overlap", slope="log10_samples", first="4")
    assert line["value"] == pytest.approx(large["value"] - small["value"]) and line["n"] == 2
    line = told(bare(made), metric="spearman", samples="100", eps="8", between="seed")
    expected = seeds_of(lines, "samples=100 eps=8", "vog", "spearman")
    assert line["value"] == pytest.approx(expected[0]) and expected[0] == expected[1]


def test_vg6_has_the_interval_of_its_samples_for_one_seed():
    rows = parse(synthetic.metrics("difficulty", seeds=(0,)))
    line = told(claims_worth.difficult(rows), method="vog", against="held_out_loss", eps="1")
    assert (line["value"], line["low"], line["high"], line["n"]) == pytest.approx((0.4, 0.3, 0.5, 1))
    line = told(claims_worth.difficult(rows), method="vog", metric="noise_auroc", eps="1")
    assert line["value"] == pytest.approx(0.6)


def test_vg6_over_seeds_has_students():
    rows = parse(synthetic.metrics("difficulty"))
    line = told(claims_worth.difficult(rows), method="vog", against="held_out_loss", eps="none")
    assert (line["value"], line["low"], line["high"]) == pytest.approx(student([0.2, 0.21, 0.22]))


def test_vg7_is_of_plis_and_vog_alone():
    rows = parse(synthetic.metrics("table1"))
    made = list(claims_worth.plis_and_vog(rows, Compared([], rows).methods))
    line = told(made, metric="scores_pearson", pick="extremes", task="lenet_cifar10", eps="1")
    assert (line["value"], line["low"], line["high"]) == pytest.approx(student([0.3, 0.31, 0.32]))
    assert words(line["what"])["first"] == "vog" and len(made) == 8 * 2 * 2


def test_vg9_is_paired_with_scores_and_controls():
    rows = parse(synthetic.metrics("table1"))
    made = list(claims_worth.removal(rows))
    where = {"task": "lenet_cifar10", "eps": "1"}
    line = told(made, **where, method="vog", minus="loss")
    assert (line["value"], line["low"], line["high"], line["n"]) == pytest.approx((-6, -6, -6, 3))
    assert told(made, **where, method="plis", minus="random", pick="highest")["value"] == pytest.approx(1 - 9.1)
    assert told(made, **where, method="plis", minus="lowest")["value"] == pytest.approx(-9)
    assert told(made, **where, method="none")["value"] == pytest.approx(53)


def test_vg10_is_a_smaller_epsilon_less_a_larger():
    rows = parse(synthetic.metrics("difficulty"))
    line = told(claims_worth.more_private(rows), method="plis", against="held_out_error", eps="1", minus="eps_none")
    assert (line["value"], line["n"]) == pytest.approx((0.2, 3))


def test_vg11_has_another_seed_and_the_null_beside():
    rows = parse(synthetic.metrics("truth"))
    made = list(claims_worth.truth(rows))
    line = told(made, metric="truth_spearman", method="plis", task="iris", truth="group", size="50")
    assert (line["value"], line["ceiling"], line["n"]) == pytest.approx((0.11, 0.61, 3))
    assert told(made, metric="null", task="iris", truth="sample")["value"] == pytest.approx(1e-3)


@pytest.mark.slow
def test_the_table_has_every_claim_that_its_setting_can_tell(tmp_path):
    expected = {
        "table1": {"VG1", "VG2", "VG3", "VG4", "VG7", "VG8", "VG9"}, "difficulty": {"VG1", "VG2", "VG6", "VG7", "VG10"},
        "size": {"VG3", "VG5", "VG7", "VG8"},
    }  # fmt: skip
    for setting, names in expected.items():
        rows = parse(synthetic.metrics(setting, seeds=(0, 1)))
        folders = synthetic.store(tmp_path, setting, (0, 1), 120, ("loss", "vog", "plis"))
        artefact = table_of(Compared(folders, rows), rows, f"claims-{setting}")
        assert set(artefact.frame["claim"]) == names
        assert not artefact.frame.duplicated(["claim", "what"]).any()
        assert 0 < len(artefact.shown) < len(artefact.frame)


def test_no_claims_without_numbers():
    rows = parse(synthetic.frame([synthetic.row("train", "test_loss", 1.0, t=1)]))
    assert table_of(Compared([], rows), rows, "claims-mine") is None
    assert isinstance(Compared([], rows).lines, pd.DataFrame)
