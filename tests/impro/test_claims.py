"""The numbers behind the claims IM1 to IM13, from hand-made rows with known answers."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments.core.report.effects import rank_correlation
from experiments.core.subject import words
from experiments.impro import claims, claims_measures, claims_rounds
from experiments.impro.claims_table import claims as table_of
from experiments.impro.reading import finals, parse
from tests.impro import synthetic


def told(lines, **wanted):
    """The one line whose words are `wanted`, others aside."""
    found = [one for one in lines if wanted.items() <= words(one["what"]).items()]
    assert len(found) == 1, [one["what"] for one in found]
    return found[0]


def of(setting, make, **how):
    rows = parse(synthetic.metrics(setting, **how))
    return list(make(finals(rows) if make.__module__ == claims.__name__ else rows))


def runs(values, metric="best_accuracy", cell="fl=a0.1_E1_M10"):
    """Rows of final accuracies: {algorithm: [a number a seed]}."""
    parts = [
        synthetic.frame([{"method": method, "metric": metric, "value": value, "subject": f"{cell} algorithm={method}"}],
                        "table1", seed)
        for method, each in values.items() for seed, value in enumerate(each)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_im1_is_paired_with_the_best_other_of_the_same_seeds():
    rows = finals(parse(runs({"fedimpro": [80, 84], "fedavg": [70, 78], "feddyn": [79, 71, 99], "scaffold": [10, 10]})))
    lines = list(claims.ahead(rows))
    best = told(lines, best_other="yes")
    assert words(best["what"])["minus"] == "feddyn"  # 75 over seeds 0 and 1; FedAvg 74
    reach = 12.706204736432095 * np.std([1, 13], ddof=1) / math.sqrt(2)
    assert (best["value"], best["low"], best["high"], best["n"]) == pytest.approx((7, 7 - reach, 7 + reach, 2))
    assert told(lines, minus="scaffold")["value"] == 72
    assert told(lines, where="fedimpro_is_first") | {"low": 0, "high": 0} == {
        "claim": "IM1", "what": "share=cells metric=best_accuracy where=fedimpro_is_first", "value": 100, "low": 0,
        "high": 0, "n": 1, "unit": "%",
    }  # fmt: skip


def test_im1_is_silent_without_fedimpro_or_without_others():
    for values in ({"fedavg": [70.0]}, {"fedimpro": [70.0]}, {"fedimpro": [math.nan], "fedavg": [70.0]}):
        assert list(claims.ahead(finals(parse(runs(values))))) == []


def test_im2_is_the_difference_of_the_gains():
    mild = runs({"fedimpro": [80, 82], "fedavg": [75, 76], "feddyn": [79, 79]})
    severe = runs({"fedimpro": [70, 75], "fedavg": [60, 62], "feddyn": [58, 58]}, cell="fl=a0.05_E1_M10")
    lines = list(claims.heterogeneity(finals(parse(pd.concat([mild, severe], ignore_index=True)))))
    assert told(lines, gain_over="fedavg")["value"] == pytest.approx(np.mean([10 - 5, 13 - 6]))
    assert told(lines, gain_over="best_other")["value"] == pytest.approx(np.mean([10 - 1, 13 - 3]))
    assert list(claims.heterogeneity(finals(parse(severe)))) == []


def test_im3_counts_a_run_that_never_arrives_with_its_length():
    rows = [
        {"method": method, "metric": metric, "value": value, "n": 20, "subject": f"algorithm={method} {more}".strip()}
        for method, rounds in (("fedimpro", 6), ("fedavg", 10), ("scaffold", math.nan))
        for metric, value, more in (("rounds_to_target", rounds, "target=80"), ("best_accuracy", 50, ""))
    ]
    lines = list(claims_rounds.speed(parse(synthetic.frame(rows))))
    assert (
        told(lines, minus="fedavg")["value"] == -4 and words(told(lines, minus="fedavg")["what"])["best_other"] == "yes"
    )
    assert told(lines, minus="scaffold")["value"] == 6 - 20
    assert (told(lines, reached="scaffold")["value"], told(lines, reached="fedimpro")["n"]) == (0, 1)
    assert told(lines, sooner_than="scaffold")["value"] == 100


def test_im3_asks_who_came_first_only_where_somebody_arrived():
    rows = [
        synthetic.frame([
            {"method": method, "metric": metric, "value": value, "n": 20, "subject": f"algorithm={method}{more}"}
            for method, rounds in (("fedimpro", ours), ("fedavg", theirs))
            for metric, value, more in (("rounds_to_target", rounds, " target=80"), ("best_accuracy", 50, ""))
        ], seed=seed)
        for seed, (ours, theirs) in enumerate([(5, math.nan), (9, 9), (math.nan, math.nan), (7, 3)])
    ]  # fmt: skip
    line = told(claims_rounds.speed(parse(pd.concat(rows))), sooner_than="fedavg")
    assert line["n"] == 3 and line["value"] == pytest.approx(100 / 3)


def test_im4_is_scaffold_less_fedavg_with_the_runs_that_left():
    lines = of("residual", claims.scaffold, diverged=("scaffold",))
    best = told(lines, task="resnet8_fmnist", metric="best_accuracy")
    theirs = [
        synthetic.accuracy("scaffold", "", s, 5, 20, 1.0) - synthetic.level("fedavg", "", s, 1.0) for s in (0, 1, 2)
    ]
    assert best["value"] == pytest.approx(np.mean(theirs))
    assert told(lines, task="resnet8_fmnist", metric="diverged")["value"] == 3


def test_phases_are_thirds_of_the_rounds():
    curve = pd.DataFrame({"round": range(1, 10), "value": 0.0})
    assert claims_rounds.phases(curve)["phase"].tolist() == ["first"] * 3 + ["middle"] * 3 + ["last"] * 3
    assert claims_rounds.phases(curve.iloc[[0, 8]])["phase"].tolist() == ["first", "last"]


def test_im5_is_paired_by_seed_and_phase():
    lines = of("mine", claims_rounds.divergence)
    assert lines == []  # FedAvg alone
    lines = [one for one in of("table9", claims_rounds.divergence, rounds=30) if one["unit"] == "L2"]
    means = {phase: np.mean([0.5 - t / 30 for t in range(first, first + 10)])
             for phase, first in (("first", 1), ("middle", 11), ("last", 21))}  # fmt: skip
    for phase, mean in means.items():
        line = told(lines, phase=phase, minus="fedavg")
        assert line["value"] == pytest.approx(mean) and line["low"] == pytest.approx(mean)
    assert means["first"] > 0 > means["last"]


def test_im6_compares_every_split_with_the_last_one():
    lines = of("table3", claims.depth)
    assert told(lines, split="layer2", minus="split_layer4")["value"] == pytest.approx(5)
    assert {words(one["what"])["split"] for one in lines} == {"layer1", "layer2", "layer3"}


def test_im6_compares_with_fedavg_where_a_setting_has_it():
    extra = runs({"fedavg": [20, 21, 22]}, cell="split=none")
    both = pd.concat([synthetic.metrics("table3"), extra.assign(setting="table3")], ignore_index=True)
    lines = list(claims.depth(finals(parse(both))))
    assert told(lines, split="layer4", minus="fedavg")["value"] == pytest.approx(30.5 + 26.25 + 1 - 3 - 20)


def test_im7_is_the_slope_over_the_noise():
    lines = of("table7", claims.noise)
    assert told(lines, slope="noise")["value"] == pytest.approx(-2)
    assert told(lines, noise="0.5", minus="noise_0")["value"] == pytest.approx(-1)


def test_im8_is_the_rank_correlation_of_depth_and_shrinking():
    lines = of("mine", claims_rounds.by_depth, rounds=30)
    assert told(lines, rank_correlation="depth_and_slope")["value"] == pytest.approx(1)
    assert words(told(lines, rank_correlation="depth_and_slope")["what"])["tensors"] == "4"
    assert told([one for one in lines if "minus" not in one["what"]], slope="lowest")["value"] == pytest.approx(-8)
    assert told(lines, slope="lowest", minus="highest")["value"] == pytest.approx(-6)


def measured(rows, seeds=(0, 1)):
    return parse(pd.concat([synthetic.frame([{**row, "value": row["value"] + 0.1 * s} for row in rows], "theory", s)
                            for s in seeds], ignore_index=True))  # fmt: skip


def test_im9_is_the_ratio_less_the_bound():
    what = "objective=decoupled sampled=shared over=clients"
    rows = [
        {"method": "fedavg", "metric": "variance_ratio", "value": 0.4, "round": 1, "subject": f"part=high {what}"},
        {"method": "fedavg", "metric": "variance_ratio", "value": 0.6, "round": 5, "subject": f"part=high {what}"},
        {"method": "fedavg", "metric": "variance_ratio", "value": 1.0, "round": 1, "subject": f"part=low {what}"},
        {"method": "fedavg", "metric": "variance_bound", "value": 0.25, "round": 1, "subject": "part=high"},
    ]
    lines = list(claims_measures.variance(measured(rows)))
    high = [one for one in lines if words(one["what"])["part"] == "high"]
    assert told([one for one in high if "minus" not in one["what"]], variance="ratio")["value"] == pytest.approx(0.55)
    assert told(high, minus="bound")["value"] == pytest.approx(0.25)
    assert told(lines, part="low")["value"] == pytest.approx(1.05)


def test_im10_correlates_over_the_clients_of_a_round():
    rows = [
        {"method": "fedavg", "metric": metric, "value": value, "round": t, "subject": f"client={k}{more}"}
        for t, sign in ((1, -1), (2, -1), (3, 1))
        for k in range(4)
        for metric, value, more in (
            ("wasserstein", k + 10 * t, " space=features how=gaussian"), ("contribution", sign * k - 100 * t, ""),
        )
    ]  # fmt: skip
    line = told(claims_measures.generalisation(measured(rows)), rank_correlation="distance_and_contribution")
    assert line["value"] == pytest.approx(-1 / 3) and line["n"] == 2 and words(line["what"])["clients"] == "4"


def test_im11_is_of_its_tables_only_and_knows_the_papers_order():
    lines = of("table9", claims.order)
    assert {one["claim"] for one in lines} == {"IM11"} and of("residual", claims.order) == []
    line = told(lines, rank_correlation="with_the_paper")
    paper = [82.58, 82.92, 82.43, 82.91, 84.52]  # ours rise in this order
    assert line["value"] == pytest.approx(rank_correlation(range(5), paper)) and line["n"] == 5


def test_im12_is_beside_an_image_of_the_class_mean():
    rows = [
        {"method": "fedimpro", "metric": "ssim", "value": value, "subject": subject}
        for value, subject in (
            (0.9, "source=features"), (0.2, "source=mean"), (0.15, "source=noised_mean noise=0.1"),
            (0.3, "source=class_mean"),
        )
    ]  # fmt: skip
    lines = list(claims_measures.inversion(measured(rows)))
    assert told(lines, source="features", minus="class_mean")["value"] == pytest.approx(0.6)
    assert told(lines, source="noised_mean", noise="0.1", minus="class_mean")["value"] == pytest.approx(-0.15)


def test_im13_is_bytes_and_seconds_beside_fedavg():
    lines = of("residual", claims_measures.cost)
    assert told(lines, task="resnet8_fmnist", metric="upload_bytes")["value"] == 1e4
    assert told(lines, task="resnet8_fmnist", metric="train_seconds")["value"] == pytest.approx(100)


def test_the_table_shows_what_is_read_and_keeps_every_line():
    artefact = table_of(parse(synthetic.metrics("table9")), "claims-table9")
    shown = [words(what).get("minus", "") for what in artefact.shown["what"]]
    assert len(artefact.frame) > len(artefact.shown) and "fedavg" in shown
    assert list(artefact.frame) == ["setting", "scale", "claim", "what", "value", "low", "high", "n", "unit"]
    assert {"IM1", "IM3", "IM4", "IM5", "IM8", "IM11", "IM13"} == set(artefact.frame["claim"])
    assert table_of(parse(synthetic.frame([{"metric": "loss", "method": "fedavg", "value": 1.0}])), "x") is None
