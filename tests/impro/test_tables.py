"""Tables of Tang et al. 2024 from hand-made rows with known answers."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments.impro import printed
from experiments.impro.figures import report
from experiments.impro.reading import parse
from experiments.impro.targets import first_round, median, to_targets
from tests.impro import synthetic
from tests.impro.test_figures import SETTINGS, drawn, made


def row(frame, **wanted):
    """The one row of `frame` with these values."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    (found,) = frame.to_dict("records")
    return found


def test_table1_has_best_last_and_last_ten_beside_the_papers():
    frame = made("table1")["table1"].frame
    told = row(frame, data="FMNIST", fl="a 0.05, E 1, M 10", algorithm="FedImpro")
    values = [[synthetic.accuracy("fedimpro", "a0.05_E1_M10", s, t, 20, 1.0) for t in range(1, 21)] for s in (0, 1, 2)]
    assert told["best"] == pytest.approx(np.mean([max(one) for one in values]))
    assert told["sd"] == pytest.approx(1.0)
    assert told["last"] == pytest.approx(np.mean([one[-1] for one in values]))
    assert told["last ten"] == pytest.approx(np.mean([one[-10:] for one in values]))
    assert (told["paper"], told["paper sd"], told["model"]) == (86.42, 0.71, "LeNet")
    assert told["difference"] == pytest.approx(told["best"] - 86.42)
    assert (told["seeds"], told["diverged"]) == (3, 0)


def test_the_average_is_over_the_four_settings_and_beside_the_papers():
    frame = made("table1")["table1"].frame
    told = row(frame, data="CIFAR-10", fl="average", algorithm="FedDyn")
    each = frame[(frame["data"] == "CIFAR-10") & (frame["algorithm"] == "FedDyn") & (frame["fl"] != "average")]
    assert told["best"] == pytest.approx(each["best"].mean()) and told["paper"] == 80.96
    assert told["settings"] == 4 and len(each) == 4


def test_the_average_leaves_out_a_setting_that_an_algorithm_has_not_finished():
    metrics = synthetic.metrics("table1", seeds=(0,), rounds=3)
    unfinished = metrics["subject"].str.contains("lenet_fmnist fl=a0.1_E1_M100 algorithm=feddyn", regex=False)
    frame = {a.name: a for a in report(metrics[~unfinished], [])}["table1"].frame
    told = row(frame, data="FMNIST", fl="average", algorithm="FedAvg")
    fls = ["a 0.1, E 1, M 10", "a 0.05, E 1, M 10", "a 0.1, E 5, M 10"]
    each = [row(frame, data="FMNIST", fl=fl, algorithm="FedAvg")["best"] for fl in fls]
    assert told["settings"] == 3 and told["best"] == pytest.approx(np.mean(each)) and math.isnan(told["paper"])


def test_a_diverged_run_is_counted_and_keeps_its_best():
    told = row(made("residual", diverged=("scaffold",))["accuracy-residual"].frame, data="FMNIST", algorithm="SCAFFOLD")
    best = [synthetic.accuracy("scaffold", "", s, 5, 20, 1.0) for s in (0, 1, 2)]
    assert told["best"] == pytest.approx(np.mean(best))
    assert told["diverged"] == 3 and math.isnan(told["last"]) and told["seeds"] == 3


def test_a_seed_that_diverged_in_one_setting_has_no_last_accuracy_on_average():
    metrics = synthetic.metrics("table1", seeds=(0, 1), rounds=3)
    at = metrics["subject"].str.contains("lenet_fmnist fl=a0.1_E5_M10 algorithm=scaffold", regex=False)
    at &= metrics["seed"] == 1
    metrics.loc[at & (metrics["metric"] == "last_accuracy"), "value"] = math.nan
    metrics.loc[at & (metrics["metric"] == "diverged"), "value"] = 2.0
    frame = {a.name: a for a in report(metrics, [])}["table1"].frame
    told = row(frame, data="FMNIST", fl="average", algorithm="SCAFFOLD")
    each = frame[(frame["data"] == "FMNIST") & (frame["algorithm"] == "SCAFFOLD") & (frame["fl"] != "average")]
    whole = each[each["fl"] != "a 0.1, E 5, M 10"]["last"]  # means of seeds 0 and 1, which are a point apart
    alone = row(each, fl="a 0.1, E 5, M 10")["last"]  # of seed 0
    assert told["diverged"] == 1 and told["last"] == pytest.approx((sum(whole - 0.5) + alone) / 4)


def test_table3_puts_the_papers_stages_beside_ours_of_a_net_with_four():
    frame = made("table3")["table3"].frame
    assert frame["split"].tolist() == ["layer1", "layer2", "layer3", "layer4"]
    assert frame["paper"].tolist() == [87.64, 88.45, 87.86, 84.08]
    metrics = synthetic.metrics("table3")
    shallow = {a.name: a for a in report(metrics[~metrics["subject"].str.contains("layer4")], [])}["table3"].frame
    assert shallow["seeds"].tolist().count(0) == 4 and len(shallow) == 7
    assert shallow[shallow["seeds"] > 0]["paper"].isna().all()


def test_table7_lists_noises_that_were_not_run():
    frame = made("table7")["table7"].frame
    assert frame["noise"].tolist() == ["0", "0.001", "0.005", "0.01", "0.05", "0.1", "0.5"]
    assert row(frame, noise="0.1")["paper"] == 88.11 and row(frame, noise="0.001")["note"] == "not run"


def test_table9_has_rounds_to_its_target():
    frame = made("table9")["table9"].frame
    told = row(frame, algorithm="FedImpro")
    assert (told["paper"], told["paper rounds"], told["target"], told["reached"]) == (84.52, "426", 50, 3)
    assert told["rounds"] == median(pd.Series([_reaching("fedimpro", s) for s in (0, 1, 2)]))
    assert math.isnan(row(frame, algorithm="FedAvg")["rounds"])
    assert made("table8")["table8"].frame.set_index("algorithm")["paper rounds"].to_dict() == {
        "FedAvg": "82", "FedProx": "never", "FedNova": "never", "FedImpro": "45",
    }  # fmt: skip


def _reaching(method, seed):
    return next((t for t in range(1, 21) if synthetic.accuracy(method, "", seed, t, 20, 1.0) >= 50), math.nan)


def test_table10_says_what_is_quoted_and_what_was_not_run():
    frame = made("table10")["table10"].frame
    fedspeed = row(frame, algorithm="FedSpeed", fl="a 0.3, M 100, R 1400")
    assert fedspeed["note"] == "the paper's is quoted" and fedspeed["paper"] == 82.68 and fedspeed["seeds"] == 3
    ccvr = row(frame, algorithm="CCVR")
    assert ccvr["note"] == "not run; the paper's is quoted" and math.isnan(ccvr["best"]) and ccvr["seeds"] == 0
    assert row(frame, algorithm="FedDF")["paper"] == 38.6
    assert set(frame["data"]) == {"CIFAR-10"}  # of our data set only, if the paper has it
    assert row(frame, algorithm="FedImpro", fl="a 0.1, M 10, R 100")["note"] == ""


def test_table11_is_by_clients_selected():
    frame = made("table11")["table11"].frame
    told = row(frame, fl="a 0.1, E 1, M 10", per_round="10", algorithm="FedAvg")
    assert (told["paper"], told["paper sd"]) == (86.65, 1.26)
    assert told["best"] == pytest.approx(30.5 + 1 + 2)
    (ax,) = drawn(made("table11")["table11"]).axes  # cells that were not run have no panel
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["5", "10"]


def test_stars_of_algorithms_that_were_not_run_have_their_names():
    """Others are written beside their stars: the legend has no mark of them."""
    (ax,) = drawn(made("table10")["table10"]).axes
    stars = [y for one in ax.lines if one.get_marker() == "*" for y in one.get_ydata()]
    assert sorted(stars) == [38.6, 62.68, 68.29, 77.33, 82.68, 82.76, 85.14]
    assert sorted(text.get_text() for text in ax.texts) == ["CCVR", "FedDF", "FedDyn"]


def test_table2_counts_rounds_to_both_targets():
    frame = made("table1")["table2-table1"].frame
    fixed = row(frame, data="FMNIST", fl="a 0.05, E 1, M 10", kind="fixed", algorithm="SCAFFOLD")
    assert (fixed["paper"], fixed["paper target"], fixed["target"]) == ("never", 81.0, 50.0)
    own = row(frame, data="FMNIST", fl="a 0.05, E 1, M 10", kind="best of our FedAvg", algorithm="FedAvg")
    assert (own["rounds"], own["reached"], own["paper"]) == (19, 3, "")
    assert own["target"] == pytest.approx(30.5 + 1 + 1)


def test_of_several_fixed_targets_the_papers_for_the_cell_counts():
    metrics = synthetic.metrics("table1", seeds=(0,), rounds=3)
    told = metrics[metrics["metric"] == "rounds_to_target"]
    more = [told.assign(subject=told["subject"].str.replace("target=50", f"target={t}")) for t in (87, 81)]
    found = to_targets(parse(pd.concat([metrics, *more], ignore_index=True)))
    fixed = found[(found["kind"] == "fixed") & (found["data"] == "fmnist")]
    assert fixed.groupby("fl")["goal"].agg(set).to_dict() == {
        "a0.1_E1_M10": {"87"}, "a0.05_E1_M10": {"81"}, "a0.1_E5_M10": {"87"}, "a0.1_E1_M100": {"50", "87", "81"},
    }  # fmt: skip


def test_a_run_that_diverged_is_censored_at_the_length_of_its_neighbours():
    found = to_targets(parse(synthetic.metrics("residual", seeds=(0,), diverged=("scaffold",))))
    assert set(found["run"]) == {20} and found[found["method"] == "scaffold"]["rounds"].isna().all()


@pytest.mark.parametrize(("rounds", "middle"), [
    ([3, 5, math.nan], 5), ([3, math.nan, math.nan], math.nan), ([4, 8], 6), ([4, math.nan], math.nan), ([], math.nan),
])  # fmt: skip
def test_the_median_counts_never_as_later_than_any(rounds, middle):
    assert median(pd.Series(rounds, dtype=float)) == pytest.approx(middle, nan_ok=True)


def test_the_first_round_that_reaches_a_target():
    rounds, accuracy = pd.Series([10, 20, 30, 40]), pd.Series([50.0, 70, 60, 80])
    assert first_round(rounds, accuracy, 70) == 20 and math.isnan(first_round(rounds, accuracy, 80.1))


def test_table5_has_the_rates_as_run_and_the_papers():
    frame = made("table1", seeds=(0,), rounds=3)["table5-table1"].frame
    told = row(frame, data="FMNIST", fl="a 0.05, E 1, M 10", algorithm="SCAFFOLD")
    assert (told["learning rate"], told["paper"]) == (0.1, 0.001)
    assert math.isnan(row(frame, data="FMNIST", fl="a 0.05, E 1, M 10", algorithm="FedDyn")["paper"])


def test_overheads_are_beside_fedavg_and_the_papers_two_numbers():
    told = row(made("residual")["overhead-residual"].frame, data="FMNIST", algorithm="FedImpro")
    assert (told["more upload"], told["more download"]) == (1e4, 0)
    assert told["more seconds %"] == pytest.approx(100 * (0.5 + 0.1 * 5) / 0.5 - 100)
    assert told["paper: more upload"] == 4000 and told["paper: more seconds %"] == pytest.approx(
        100 * 37952 / 31932 - 100
    )


def test_presets_are_less_the_released_one_of_the_same_seed():
    frame = made("presets")["presets"].frame
    assert frame["variant"].tolist() == ["released", "clipped", "momentum", "paper"]
    told = row(frame, variant="paper")
    assert [told[c] for c in ("difference", "low", "high", "seeds")] == pytest.approx([-4, -4, -4, 3])
    without = synthetic.metrics("presets")
    without = without[~without["subject"].str.contains("released")]
    assert "presets" not in {a.name for a in report(without, [])}


def test_the_configuration_has_a_line_for_what_ran_alike():
    frame = made("residual", seeds=(0,), rounds=3)["configuration-residual"].frame
    assert frame["task"].tolist() == ["resnet8_cifar10", "resnet8_fmnist"] and set(frame["rounds"]) == {3}


@pytest.mark.parametrize(("table", "lines"), [
    ("table1", 120), ("table2", 112), ("table3", 4), ("table5", 80), ("table6", 64), ("table7", 7), ("table8", 8),
    ("table9", 10), ("table10", 9), ("table11", 16),
])  # fmt: skip
def test_every_number_of_the_papers_tables_is_read(table, lines):
    """The counts are those of the tables in print."""
    frame = printed.table(table)
    keys = [c for c in frame.columns if not c.startswith("paper")]
    assert len(frame) == lines and not frame[keys].duplicated().any()


def test_the_paper_prints_deviations_in_two_tables():
    spread = {name: int(printed.table(name)["paper sd"].notna().sum()) for name in ("table1", "table6", "table11")}
    assert spread == {"table1": 96, "table6": 0, "table11": 16}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_empty_cells_are_explained(setting, seeds):
    for artefact in made(setting, seeds=seeds, rounds=3, diverged=("scaffold",)).values():
        if artefact.table_md:
            frame = artefact.frame
            empty = {c for c in frame.columns if (frame[c].isna() | (frame[c] == "")).any()}
            assert empty <= set(artefact.blanks), artefact.name


def test_a_part_of_a_table_has_its_own_name_and_the_papers_numbers_of_its_part():
    metrics = synthetic.metrics("table11", seeds=(0,), rounds=3).assign(setting="table11_m100")
    for old, new in (
        ("a0.1_E1_M10", "a0.1_E1_M100"),
        ("per_round=10", "per_round=20"),
        ("per_round=5", "per_round=10"),
    ):
        metrics["subject"] = metrics["subject"].str.replace(old, new)
    found = {a.name: a for a in report(metrics, [])}
    assert found["table11_m100"].frame["paper"].tolist() == [73.42, 77.56, 77.82, 85.39]
    assert "IM11" in set(found["claims-table11_m100"].frame["claim"])


def test_the_papers_numbers_of_other_data_have_panels_beside_ours():
    metrics = synthetic.metrics("table11", seeds=(0,), rounds=3).assign(dataset="fashion_mnist")
    artefact = {a.name: a for a in report(metrics, [])}["table11"]
    titles = [ax.get_title() for ax in drawn(artefact).axes]
    assert titles == ["resnet, FMNIST", "CIFAR-10, the paper's"]
    assert artefact.frame[artefact.frame["data"] == "FMNIST"]["seeds"].tolist() == [1] * 4


def test_long_runs_and_central_training_stand_beside_the_papers():
    metrics = synthetic.metrics("long", seeds=(0,), rounds=3)
    long = {a.name: a for a in report(metrics, [])}["long"].frame
    assert row(long, schedule="decayed")["paper"] == 82.65 and row(long, schedule="fixed")["paper"] == 88.5
    central = synthetic.metrics("mine", seeds=(0,), rounds=3).assign(setting="centralized", dataset="cifar10")
    (told,) = {a.name: a for a in report(central, [])}["centralized"].frame.to_dict("records")
    assert told["paper"] == 92.53


def test_a_setting_of_ones_own_is_drawn_along_its_own_axis():
    metrics = synthetic.metrics("table7", seeds=(0,), rounds=3).assign(setting="own")
    metrics["subject"] = metrics["subject"].str.replace("noise=", "decay=")
    artefact = {a.name: a for a in report(metrics, [])}["accuracy-own"]
    (ax,) = drawn(artefact).axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.01", "0.1", "0.5"]
