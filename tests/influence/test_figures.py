"""Tables and figures of Xue et al. 2021 from hand-made rows with known answers."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments.core.report.artefacts import csv_bytes, png_bytes
from experiments.core.sweep.cell import COLUMNS
from experiments.influence import figure_change, figure_clients, figure_cost, reading, tables
from experiments.influence.figures import report

CLIENTS = 20
EXACT = np.linspace(-1e-3, 1e-3, CLIENTS)


def frame(rows, setting="setting1", seed=0):
    """Rows given as (method, metric, subject, round, value) or with a unit as the sixth."""
    filled = [dict(zip(("method", "metric", "subject", "round", "value", "unit"), row, strict=False)) for row in rows]
    common = {
        "paper": "influence",
        "setting": setting,
        "scale": "small",
        "seed": seed,
        "dataset": "d",
        "partition": "q",
    }
    told = pd.DataFrame([{**common, "model": "cnn1", "unit": "", "n": 3, **row} for row in filled])
    return told.reindex(columns=list(COLUMNS)).astype({"round": float, "value": float})


def influence_rows(seed=0):
    """A run of 20 rounds: lwet_fisher ranks all clients, basic equals lwet; cleansing gains seed + 1 points."""
    rows = [("base", "accuracy", "data=test", 20, 50.0)]
    for t in (10, 14, 20):
        for c, value in enumerate(EXACT):
            sign = 1 if t >= 14 else -1  # before round 14 the order is the other way round
            rows.append(("exact", "fil", f"client={c}", t, value))
            rows.append(("lwet_fisher", "fil", f"client={c}", t, sign * 2 * value))
            if c < 15:
                rows += [(v, "fil", f"client={c}", t, value) for v in ("basic", "lwet")]
    for t in (10, 20):
        for variant, value in (("basic", 0.9), ("lwet", 0.9), ("lwet_fisher", 0.5 + seed / 10)):
            rows += [(variant, f"{s}_fil", "clients=counted", t, value) for s in ("pearson", "spearman")]
            rows += [
                (variant, "fip_error", s, t, 1e-3 * t) for s in ("tensors=all", "tensor=0.weight", "tensor=0.bias")
            ]
            rows += [(variant, "fip_norm", s, t, 1e-3) for s in ("tensors=all", "tensor=0.weight", "tensor=0.bias")]
            rows.append((variant, "fip_error_median", "clients=counted", t, 0.0))
        rows += [("exact", "fip_norm", s, t, 2e-3) for s in ("tensors=all", "tensor=0.weight", "tensor=0.bias")]
    for variant in ("basic", "lwet", "lwet_fisher"):
        rows += [
            (variant, "pearson_fil_low", "clients=counted", 20, 0.1),
            (variant, "pearson_fil_high", "clients=counted", 20, 0.95),
        ]
    for order in reading.ORDERS:
        gain = 0.0 if order == "random" else 1.0 + seed
        for share, times in ((0, 0), (0.1, 2), (0.3, 1)):
            rows.append((order, "cleansing_accuracy", f"removed={share:g}", 20, 50.0 + seed + times * gain))
            rows.append((order, "cleansing_loss", f"removed={share:g}", 20, 1.0 - times * gain / 10))
    rows += [("influence", "client_size", f"client={c}", math.nan, 4 + c) for c in range(CLIENTS)]
    rows += [("influence", "label_count", f"client={c} label={c % 2}", math.nan, 3 + c) for c in range(CLIENTS)]
    rows += [("influence", "label_count", f"client={c} label=2", math.nan, 1) for c in range(CLIENTS)]
    rows += [
        ("influence", "config", "key=lr", math.nan, 0.003),
        ("influence", "config", "key=clients", math.nan, CLIENTS),
    ]
    return rows


def influence(setting="setting1", seeds=(0, 1), **how):
    return pd.concat([frame(influence_rows(seed, **how), setting, seed) for seed in seeds], ignore_index=True)


def cost_rows():
    """Around p=100, K=4, m=2, Ns=5: seconds are 1e-6 of the formula, uploads grow with p^1.5."""
    base, rows = {"p": 100, "K": 4, "m": 2, "Ns": 5}, []
    for axis, sizes in {"p": (100, 50, 400), "K": (4, 8), "m": (2, 1), "Ns": (5, 20)}.items():
        for size in sizes:
            at = {**base, axis: size}
            server = at["K"] ** 2 * at["m"] * at["Ns"] * at["p"]
            for metric, value, unit in (
                ("formula_server", server, "operations"), ("measured_server", 1e-6 * server, "seconds"),
                ("formula_client", 0, "operations"), ("measured_client", 0, "seconds"),
                ("formula_upload", at["p"], "numbers"), ("measured_upload", at["p"] ** 1.5, "bytes"),
            ):  # fmt: skip
                rows.append(("ours", metric, f"{axis}={size}", math.nan, value, unit))
                rows.append(("naive 1", metric, f"{axis}={size}", math.nan, value, unit))
                rows.append(("naive 2", metric, f"{axis}={size}", math.nan, value, unit))
    return rows


def names(artefacts):
    return {artefact.name for artefact in artefacts}


@pytest.mark.parametrize("power", [0, 1, 2, 2.75])
def test_the_exponent_of_a_power_law_is_its_power(power):
    x = [3, 1, 7, 20]
    assert reading.exponent(x, [5 * v**power for v in x]) == pytest.approx(power, abs=1e-9)


def test_no_exponent_from_one_size_or_from_nothing():
    assert math.isnan(reading.exponent([2, 2], [1, 2]))
    assert math.isnan(reading.exponent([1, 2], [0, 0]))


def test_table1_fits_measured_growth_beside_the_formulas():
    table = tables.table1(frame(cost_rows(), "table1"), "table1").frame.set_index(["way", "cost"])
    server = table.loc[("ours", "server")]
    assert [server[a] for a in ("p", "K", "m", "Ns")] == [1, 2, 1, 1]
    assert server["measured"] == pytest.approx(1e-6 * 16 * 2 * 5 * 100)
    assert server["at"] == "p=100 K=4 m=2 Ns=5"
    assert server["formula"] == "K^2*m*Ns*p"
    upload = table.loc[("ours", "upload")]
    assert (upload["p"], upload["p (formula)"], upload["K"]) == (1.5, 1, 0)
    assert math.isnan(table.loc[("ours", "client")]["p"])


def test_ranks_follow_the_clients_chosen_at_x():
    rows = reading.ranks(influence(seeds=(0,)), x=14, share=0.1)
    ranks = rows.pivot_table(index=["group", "client"], columns="round", values="rank")
    assert ranks.loc["top", 14].to_dict() == {18: 2, 19: 1}
    assert ranks.loc["top", 10].to_dict() == {18: 19, 19: 20}  # the other way round before
    assert ranks.loc["bottom", 20].to_dict() == {0: 20, 1: 19}


def test_equal_influence_shares_the_mean_rank():
    rows = [("fisher", "fil", f"client={c}", 5, value) for c, value in enumerate((0.0, 0.0, 0.0, 1.0))]
    ranks = reading.ranks(frame(rows), x=5, share=0.25)
    assert ranks.set_index(["group", "client"])["rank"].to_dict() == {("top", 3): 1, ("bottom", 0): 3}


def test_the_ranking_round_is_told_or_at_the_papers_share_of_the_run_or_the_last():
    assert reading.ranking_round(influence("setting1")) == 14  # 700 of 1000, as in the paper
    assert reading.ranking_round(influence("mine")) == 20
    told = pd.concat([influence("mine"), frame([("influence", "config", "key=cleansing_round", math.nan, 10)], "mine")])
    assert reading.ranking_round(told) == 10


def test_cleansing_changes_are_taken_within_a_seed():
    rows = reading.cleansing(influence())
    own = rows[(rows["order"] == "highest FIA") & (rows["metric"] == "accuracy")].set_index(["seed", "share"])
    assert own["before"].groupby("seed").first().to_dict() == {0: 50, 1: 51}
    assert own["change"].to_dict() == pytest.approx(
        {(0, 0): 0, (0, 0.1): 2, (0, 0.3): 1, (1, 0): 0, (1, 0.1): 4, (1, 0.3): 2}
    )


def test_the_cleansing_table_has_the_papers_share_and_our_best_per_seed_and_mean():
    table = tables.cleansed(influence(), "cleansing").frame.set_index(["removed", "share", "seed"])
    assert table.loc[("highest FIA", "paper's", "mean")]["change"] == 1.5
    assert table.loc[("highest FIA", "best of ours", "mean")][["removed %", "after"]].tolist() == [10, 53.5]
    assert table.loc[("lowest FIL", "paper's", "1")][["before", "after", "paper before"]].tolist() == [51, 53, 53.86]
    assert math.isnan(table.loc[("random", "paper's", "mean")]["paper after"])


def test_a_setting_of_ones_own_has_no_papers_share():
    assert set(tables.cleansed(influence("mine"), "cleansing").frame["share"]) == {"best of ours"}


def test_correlations_have_every_seed_its_interval_the_mean_and_the_papers():
    table = tables.correlations(influence(), "correlations").frame.set_index(["variant", "score", "seed"])
    mean = table.loc[("LWET + Hessian approx.", "pearson FIL", "mean")]
    assert (mean["value"], mean["sd"], mean["paper"]) == pytest.approx((0.55, math.sqrt(0.005), 0.9857))
    one = table.loc[("LWET + Hessian approx.", "pearson FIL", "1")]
    assert (one["value"], one["low"], one["high"], one["round"]) == (0.6, 0.1, 0.95, 20)
    assert math.isnan(table.loc[("basic", "pearson FIL", "mean")]["paper"])


def test_an_undefined_seed_leaves_the_mean_undefined():
    metrics = influence()
    metrics.loc[(metrics["seed"] == 1) & (metrics["metric"] == "pearson_fil"), "value"] = math.nan
    table = tables.correlations(metrics, "correlations").frame.set_index(["variant", "score", "seed"])
    assert math.isnan(table.loc[("basic", "pearson FIL", "mean")]["value"])
    assert table.loc[("basic", "pearson FIL", "0")]["value"] == 0.9


def test_table2_sets_the_run_beside_the_paper():
    table = tables.table2(influence("setting1"), "table2").frame.set_index("name")
    assert table.loc["lr"][["as run", "paper"]].tolist() == ["0.003", "0.003"]
    assert table.loc["clients"][["as run", "paper"]].tolist() == ["20", "1000"]
    assert tables.table2(influence("mine"), "table2").frame["paper"].tolist() == [""] * 5


def test_variants_with_equal_numbers_share_one_label():
    rows = reading.pick(influence(), "pearson_fil")
    assert reading.distinct(rows, reading.variants(rows)) == {
        "basic": "basic = LWET", "lwet_fisher": "LWET + Hessian approx.",
    }  # fmt: skip


def test_scatter_sets_counted_clients_estimates_beside_the_truth():
    points = reading.scatter(influence(seeds=(0,)))
    assert points.groupby("method").size().to_dict() == {"basic": 15, "lwet": 15, "lwet_fisher": 20}
    assert set(points["round"]) == {20}
    ours = points[points["method"] == "lwet_fisher"].set_index("client")
    assert ours.loc[7, "estimated"] == pytest.approx(2 * EXACT[7]) and ours.loc[7, "exact"] == EXACT[7]


def test_tensors_are_named_in_the_order_of_the_model():
    cnn = np.array([f"{i}.{kind}" for i in (10, 0, 2, 7) for kind in ("bias", "weight")])
    labels = figure_change.tensors(cnn, "cnn1")
    assert list(labels) == [f"{i}.{kind}" for i in (0, 2, 7, 10) for kind in ("weight", "bias")]
    assert labels["7.weight"] == "5 dense 1 kernel"  # the paper's layer 5
    assert list(figure_change.tensors(cnn[:2]).values()) == ["1 10.weight", "2 10.bias"]


def test_the_label_mix_sums_to_one_and_sorts_clients_by_commonest_label():
    mix = figure_clients.label_mix(figure_clients.holdings(influence(), "figure5").frame)
    assert np.allclose(mix.sum(), 1)
    assert mix.columns.tolist() == [*range(18, -1, -2), *range(19, 0, -2)]
    assert mix.loc[0, 4] == pytest.approx(7 / 8)


@pytest.mark.parametrize(("sizes", "wide"), [((50, 50), False), ((3, 600), True), ((5, 30), False), ((1, 2, 40), True)])
def test_every_size_falls_into_a_bin(sizes, wide):
    edges = figure_clients.edges(np.array(sizes), wide)
    assert np.histogram(sizes, edges)[0].sum() == len(sizes)
    assert len(edges) == len(set(edges))


def test_the_same_plot_is_figure_2_or_6_by_setting_and_stand_ins_follow_their_setting():
    plots = {
        "setting1": {"figure6-setting1"}, "setting2": {"figure1-setting2", "figure2-setting2"},
        "setting3-digits": {"figure6-setting3-digits"}, "mine": {"figure1-mine", "figure2-mine"},
    }  # fmt: skip
    for setting, expected in plots.items():
        made = names(report(influence(setting), []))
        assert {n for n in made if n.startswith(("figure1", "figure2", "figure6"))} == expected
        assert {
            f"{n}-{setting}" for n in ("table2", "correlations", "cleansing", "figure4", "figure5", "figure7")
        } < made


def test_artefacts_appear_only_where_their_rows_are():
    assert names(report(frame(cost_rows(), "table1"), [])) == {"table1"}
    without = influence("setting2")
    without = without[~without["metric"].str.startswith("cleansing") & (without["metric"] != "fil")]
    left = {"table2", "correlations", "figure1", "figure2", "figure3-rounds", "figure5"}
    assert names(report(without, [])) == {f"{n}-setting2" for n in left}


def test_settings_are_reported_one_by_one():
    both = pd.concat([influence("setting1"), influence("setting2-digits"), frame(cost_rows(), "table1")])
    for artefact in report(both, []):
        assert artefact.frame["setting"].nunique() == 1
    assert {"table1", "figure4-setting1", "figure4-setting2-digits"} < names(report(both, []))


@pytest.mark.slow
@pytest.mark.parametrize("metrics", [influence("setting1"), influence("mine", seeds=(0,)), frame(cost_rows())])
def test_every_figure_can_be_drawn(metrics):
    made = [artefact for artefact in report(metrics, []) if artefact.figure is not None]
    assert made
    for artefact in made:
        assert png_bytes(artefact.figure)[:4] == b"\x89PNG"


def named(metrics):
    """The same rows with names of their own in place of the numbers."""
    told = metrics["subject"].str.replace(
        r"^client=(\d+)", lambda number: f"client=s/label:{number[1]},%20$x$", regex=True
    )
    return metrics.assign(subject=told)


def test_clients_with_names_have_the_same_figures_in_the_order_of_their_names():
    numbered, others = ({a.name: a for a in report(some, [])} for some in (influence(), named(influence())))
    assert set(numbered) == set(others)
    for name in ("figure3-clients-setting1", "figure5-setting1", "figure7-setting1", "ranking-setting1"):
        told = [csv_bytes(made[name].frame).decode() for made in (numbered, others)]
        assert told[1].replace('"', "").replace("s/label:", "").replace(", $x$", "") == told[0]
        assert others[name].figure is None or png_bytes(others[name].figure)[:4] == b"\x89PNG"


def words(figure):
    return {text.get_text() for ax in figure.axes for text in (*ax.texts, *ax.get_xticklabels())}


def test_pictures_say_the_names_of_clients_that_have_some():
    numbered, others = ({a.name: a for a in report(some, [])} for some in (influence(), named(influence())))
    for name, last in (("figure3-clients-setting1", CLIENTS - 1), ("figure5-setting1", 0)):
        said, bare = words(others[name].figure()), words(numbered[name].figure())
        assert f"s/label:{last}, $x$" in said and len({w for w in said if "label:" in w}) > 3
        assert not any("label:" in word for word in bare)


def test_numbers_to_predict_have_no_mix_of_labels(recwarn):
    metrics = influence()
    made = {a.name: a for a in report(metrics[metrics["metric"] != "label_count"], [])}["figure5-setting1"]
    assert len(made.figure().axes) == 1 and not recwarn.list


def test_measured_costs_stand_beside_the_formula_of_the_same_point():
    grid = figure_cost.growth(frame(cost_rows(), "table1"))
    own = grid[(grid["method"] == "ours") & (grid["cost"] == "server")]
    assert np.allclose(own["measured"], 1e-6 * own["formula"])
    assert len(own) == 9
