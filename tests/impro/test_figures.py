"""Figures of Tang et al. 2024 from hand-made rows with known answers."""

import functools

import numpy as np
import pandas as pd
import pytest

from experiments.core.report.artefacts import png_bytes, publish
from experiments.core.report.style import styled
from experiments.impro import figure_divergence, figure_rounds
from experiments.impro.figures import report
from experiments.impro.reading import parse
from tests.impro import synthetic

EVERY = {"table2", "table5", "configuration", "overhead", "claims"}
SETTINGS = {
    "table1": {"table1", "figure2a", "figure2b", "figure3", "figure4", "figure5", "sampled_weight"},
    "table3": {"table3", "convergence", "sampled_weight"},
    "table6": {"table6", "convergence"},
    "table7": {"table7", "figure8b", "sampled_weight"},
    "table8": {"table8", "figure10", "sampled_weight"},
    "table9": {"table9", "convergence", "sampled_weight"},
    "table10": {"table10", "convergence", "sampled_weight"},
    "table11": {"table11", "convergence", "sampled_weight"},
    "long": {"long", "figure8a"},
    "presets": {"presets", "convergence", "sampled_weight"},
    "residual": {"accuracy", "convergence", "divergence", "layers", "sampled_weight"},
    "mine": {"accuracy", "convergence", "divergence", "layers"},
}


@functools.cache
def made(setting, **how):
    return {a.name: a for a in report(synthetic.metrics(setting, **how), [])}


def drawn(artefact):
    """Lay the figure out, as for its PNG, without writing one; some panel has something in it."""
    if artefact.figure is None:
        return None
    with styled():
        figure = artefact.figure()
        figure.set_dpi(20)
        figure.draw_without_rendering()
    assert any(ax.has_data() for ax in figure.axes)
    return figure


def line(ax, label):
    """{x: y} of the line called `label`."""
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return dict(zip(found.get_xdata(), found.get_ydata(), strict=True))


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_has_its_own_artefacts_and_what_all_have(setting):
    named = {setting} & {"presets", "long"} | ({setting} if setting.startswith("table") else set())
    names = {f"{name}-{setting}" for name in (SETTINGS[setting] | EVERY) - named} | named
    found = made(setting, seeds=(0,), rounds=4)
    assert set(found) == names
    assert all(artefact.caption for artefact in found.values())
    assert all(artefact.frame["setting"].nunique() == 1 for artefact in found.values())


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_figure_can_be_drawn_of_one_seed_and_with_gaps(setting):
    metrics = synthetic.metrics(setting, seeds=(0, 1), rounds=3, diverged=("scaffold",))
    metrics = metrics[~metrics["subject"].str.contains("M100|a0.05_E1")]  # quicker
    lost = (metrics["seed"] == 1) & metrics["metric"].isin(["best_accuracy", "diverged", "config"])
    gone = metrics["subject"].isin(metrics["subject"].unique()[::7]) & (metrics["seed"] == 1)
    for artefact in report(metrics[~lost & ~gone], []):
        drawn(artefact)


_NEEDED = ("accuracy", "best_accuracy", "last_accuracy", "diverged", "rounds_to_target", "upload_bytes", "config")


@pytest.mark.parametrize("metric", _NEEDED)
def test_a_report_is_made_of_whatever_a_run_has_left(metric):
    metrics = synthetic.metrics("residual", seeds=(0,), rounds=3)
    metrics = metrics[~metrics["subject"].str.contains("cifar10|layer=")]
    for rows in (metrics[metrics["metric"] != metric], metrics[metrics["metric"] == metric]):
        report(rows, [])


def test_nothing_is_made_of_nothing_and_of_numbers_that_are_none():
    metrics = synthetic.metrics("residual", seeds=(0,), rounds=3)
    assert report(metrics.iloc[:0], []) == []
    assert {a.name for a in report(metrics.assign(value=np.nan), [])} <= {"table2-residual", "claims-residual"}


def test_settings_are_reported_one_by_one_and_stand_ins_under_their_own_names():
    metrics = pd.concat([synthetic.metrics(s, seeds=(0,), rounds=2) for s in ("table9", "mine")])
    metrics["setting"] = metrics["setting"].replace("table9", "table9-digits")
    names = [a.name for a in report(metrics, [])]
    assert {"table9-digits", "accuracy-mine", "claims-table9-digits"} <= set(names) and len(set(names)) == len(names)


def test_figure_of_rounds_smooths_the_mean_over_seeds():
    figure = drawn(_rounds())
    assert [ax.get_title() for ax in figure.axes] == [
        "LeNet, FMNIST\na 0.1, E 1, M 10", "LeNet, FMNIST\na 0.05, E 1, M 10", "LeNet, FMNIST\na 0.1, E 5, M 10",
        "LeNet, FMNIST\na 0.1, E 1, M 100",
    ]  # fmt: skip
    told = line(figure.axes[1], "FedImpro")
    window = [
        synthetic.accuracy("fedimpro", "a0.05_E1_M10", seed, t, 60, 1.0) for seed in (0, 1, 2) for t in (29, 30, 31)
    ]
    assert told[30.0] == pytest.approx(np.mean(window))
    assert legend_of(figure) == ["FedAvg", "FedProx", "SCAFFOLD", "FedNova", "FedDyn", "FedImpro"]


def _rounds():
    metrics = synthetic.metrics("table1", rounds=60)
    metrics = metrics[metrics["subject"].str.contains("lenet") & metrics["metric"].isin(["accuracy"])]
    (found,) = [a for a in report(metrics, []) if a.name == "figure5-table1"]
    return found


def test_smoothing_keeps_constants_and_its_window_is_odd():
    assert figure_rounds.smooth(pd.Series([3.0] * 7), 0.5).tolist() == [3.0] * 7
    assert figure_rounds.smooth(pd.Series([0.0, 0, 9, 0, 0]), 0.6).tolist() == [0, 3, 3, 3, 0]
    assert figure_rounds.smooth(pd.Series([0.0, 0, 9, 0, 0]), 0.05).tolist() == [0, 0, 9, 0, 0]


def test_figure2a_is_the_basic_setting_of_every_data_set():
    figure = drawn(made("table1", seeds=(0,), rounds=4)["figure2a-table1"])
    assert [ax.get_title() for ax in figure.axes] == [
        "ResNet-18, CIFAR-10\na 0.1, E 1, M 10", "LeNet, FMNIST\na 0.1, E 1, M 10",
    ]  # fmt: skip


def test_an_algorithm_looks_the_same_in_every_figure():
    seen = {}
    for setting, name in (
        ("table1", "figure4-table1"),
        ("table11", "convergence-table11"),
        ("table1", "figure2b-table1"),
    ):
        for ax in drawn(made(setting, seeds=(0,), rounds=4)[name]).axes:
            for one in ax.lines:
                if not one.get_label().startswith("_"):
                    seen.setdefault(one.get_label(), set()).add(
                        (one.get_color(), one.get_marker(), one.get_linestyle())
                    )
    assert all(len(looks) == 1 for looks in seen.values()) and len(seen) == 6
    assert len(set.union(*seen.values())) == 6


def test_a_run_that_left_the_finite_numbers_is_marked_where_it_ended():
    figure = drawn(made("residual", rounds=20, diverged=("scaffold",))["convergence-residual"])
    crosses = [one for one in figure.axes[0].lines if one.get_marker() == "x"]
    assert len(crosses) == 3 and {one.get_xdata()[0] for one in crosses} == {5}
    assert figure.axes[0].get_title() == "ResNet-8, CIFAR-10 (subset)"


def test_lines_are_by_variant_where_there_is_one_algorithm():
    figure = drawn(made("presets", seeds=(0,), rounds=4)["convergence-presets"])
    assert len(figure.axes) == 1 and set(legend_of(figure)) == {"released", "paper", "momentum", "clipped"}
    figure = drawn(made("table7", seeds=(0,), rounds=4)["figure8b-table7"])
    assert legend_of(figure) == ["noise 0", "noise 0.01", "noise 0.1", "noise 0.5"]


def test_divergence_has_fednova_in_panels_of_its_own():
    metrics = synthetic.metrics("table9", rounds=10).assign(setting="own")
    figure = drawn({a.name: a for a in report(metrics, [])}["divergence-own"])
    above, below = figure.axes
    assert "FedNova" not in above.get_legend_handles_labels()[1]
    assert below.get_legend_handles_labels()[1] == ["FedNova"]
    assert line(above, "FedImpro")[10.0] == pytest.approx(2.0 + 1 - 1)


def test_layers_are_divided_by_their_maximum_and_chosen_by_depth():
    rows = figure_divergence.layers(parse(synthetic.metrics("mine", rounds=40)))
    assert figure_divergence.chosen(rows) == ["0.weight", "3.weight", "6.weight", "8.weight"]
    assert figure_divergence.chosen(rows, 2) == ["0.weight", "8.weight"]
    lines = figure_divergence.normalised(rows)
    assert lines.max().tolist() == pytest.approx([1.0] * 8)
    assert lines["0.weight"].iloc[-1] < lines["3.weight"].iloc[-1] < lines["8.weight"].iloc[-1]
    stage = figure_divergence.stages(rows)
    one = stage[(stage["layer"] == "3") & (stage["seed"] == 0) & (stage["round"] == 40)]
    assert one["value"].tolist() == pytest.approx([np.hypot(3 * np.exp(-6), 4 * np.exp(-5))])


@pytest.mark.parametrize(("name", "is_so"), [
    ("conv1.weight", True), ("layer1.0.bn1.weight", False), ("layer1.0.downsample.0.weight", False), ("fc.bias", False),
    ("4.0.conv2.weight", True), ("norm.weight", False),
])  # fmt: skip
def test_weights_of_layers_are_told_by_their_names(name, is_so):
    assert figure_divergence.is_weight(name) is is_so


def test_published_files_are_the_same_every_time(tmp_path):
    files, again = (
        publish(report(synthetic.metrics("mine", seeds=(0, 1), rounds=4), []), tmp_path / folder, "small")
        for folder in ("a", "b")
    )
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]
    assert png_bytes(made("mine")["convergence-mine"].figure)[:4] == b"\x89PNG"
