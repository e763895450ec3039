"""Tables and figures of Gill et al. 2025 from hand-made rows with known answers."""

import functools
import math

import numpy as np
import pandas as pd
import pytest

from experiments.core.report.artefacts import png_bytes, publish
from experiments.core.report.style import styled
from experiments.trace import figure_axis, figure_time
from experiments.trace.figures import report
from experiments.trace.reading import parse
from tests.trace import synthetic

SETTINGS = {
    "localization": {"figure2"},
    "alpha": {"figure3", "by_round"},
    "faults": {"table1", "figure6", "by_round", "over_alpha"},
    "privacy": {"table2", "figure4", "by_round"},
    "clients": {"table3", "by_round"},
    "per_round": {"by_round"},
    "rounds": {"figure5"},
    "mine": {"by_round"},
}
EVERY = {"averages", "methods", "configuration", "truth"}


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
    assert any(ax.has_data() or ax.texts for ax in figure.axes)
    return figure


def lines(ax, label):
    """{x: y} of the line called `label`."""
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return dict(zip(line.get_xdata(), line.get_ydata(), strict=True))


def stars(ax):
    """Places and heights of the paper's numbers in a panel."""
    found = [line for line in ax.lines if line.get_marker() == "*" and len(line.get_xdata())]
    return [(x, y) for line in found for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_has_its_own_artefacts_and_what_all_have(setting):
    named = {"per_round"} if setting == "per_round" else set()
    assert set(made(setting)) == {f"{n}-{setting}" for n in SETTINGS[setting] | EVERY} | named


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_figure_can_be_drawn_of_one_seed_and_with_gaps(setting):
    metrics = synthetic.metrics(setting, seeds=(0, 1), rounds=3, empty=(2,))
    metrics = metrics[~metrics["subject"].str.contains("yahoo|path|organ")]  # quicker
    lost = (metrics["seed"] == 1) & metrics["metric"].isin(["chance", "pearson_truth", "config"])
    gone = metrics["subject"].isin(metrics["subject"].unique()[::7]) & (metrics["seed"] == 1)
    for artefact in report(metrics[~lost & ~gone], []):
        assert artefact.caption
        drawn(artefact)


@pytest.mark.parametrize("setting", ["clients", "privacy", "mine"])
def test_a_run_in_which_nothing_could_be_traced_is_told_and_drawn(setting):
    found = made(setting, seeds=(0,), rounds=3, empty=(1, 2, 3))
    told = found[f"averages-{setting}"].frame
    assert (told["rounds"] == told["without inputs"]).all() and "TraceFL" not in told
    for artefact in found.values():
        drawn(artefact)


@pytest.mark.parametrize("setting", ["clients", "privacy", "mine"])
def test_rows_of_training_alone_make_no_table_of_results(setting):
    metrics = synthetic.metrics(setting, seeds=(0,), rounds=2)
    found = report(metrics[metrics["method"].isin(["global", "config"])], [])
    assert not {"averages", "methods", "truth"} & {a.name.partition("-")[0] for a in found}
    for artefact in found:
        drawn(artefact)


def test_settings_are_reported_one_by_one_and_stand_ins_under_their_own_names():
    metrics = pd.concat([synthetic.metrics(s, seeds=(0,), rounds=2) for s in ("clients", "mine")])
    metrics["setting"] = metrics["setting"].replace("clients", "clients-digits")
    found = report(metrics, [])
    assert {"table3-clients-digits", "averages-mine"} <= {a.name for a in found}
    assert len({a.name for a in found}) == len(found)
    assert all(a.frame["setting"].nunique() == 1 for a in found)


def test_averages_are_the_papers_best_accuracy_and_plain_mean_over_rounds():
    rows = made("localization", empty=(2,))["averages-localization"].frame.set_index("task")
    point = "task=resnet18_mnist"
    told = rows.loc["resnet18_mnist"]
    best = [max(synthetic.accuracy(point, seed, t) for t in range(1, 7)) for seed in (0, 1, 2)]
    each = [np.mean([synthetic.localization("tracefl", seed, t) for t in (1, 3, 4, 5, 6)]) for seed in (0, 1, 2)]
    assert told["accuracy"] == pytest.approx(np.mean(best))
    assert told[["TraceFL", "low", "high"]].tolist() == pytest.approx([np.mean(each), min(each), max(each)])
    assert told[["rounds", "without inputs", "seeds"]].tolist() == [18, 3, 3]
    assert told["worst round"] == synthetic.localization("tracefl", 2, 5)
    assert told["chance"] == pytest.approx(60 - np.mean([1, 3, 4, 5, 6]))
    assert told[["accuracy (paper)", "TraceFL (paper)"]].tolist() == [93.9, 99.13]


def test_the_row_of_all_weighs_rounds_and_stands_beside_the_papers_average():
    metrics = synthetic.metrics("localization", seeds=(0,), rounds=4)
    short = metrics["subject"].str.contains("bert_dbpedia") & (metrics["round"] > 1)
    shifted = metrics["subject"].str.contains("bert_dbpedia") & (metrics["method"] == "tracefl")
    metrics.loc[shifted, "value"] = 0.0
    found = {a.name: a for a in report(metrics[~short], [])}["averages-localization"].frame.set_index("task")
    each = [synthetic.localization("tracefl", 0, t) for t in range(1, 5)]
    assert found.loc["all texts", "rounds"] == 3 * 4 + 1
    assert found.loc["all texts", "TraceFL"] == pytest.approx(3 * sum(each) / 13)
    papers = found.loc[["all images", "all texts", "all"], "TraceFL (paper)"]
    assert papers.tolist() == [98.96, 99.59, 99.12]


def test_the_table_of_methods_has_ranks_truth_and_chance_and_counts_empty_rounds():
    found = made("faults", empty=(2,))["methods-faults"].frame
    rows = found[(found["task"] == "densenet121_mnist") & (found["alpha"] == "0.7")].set_index(["scope", "method"])
    assert list(rows.loc["correct"].index) == list(synthetic.METHODS)
    assert list(rows.loc["wrong"].index) == [*synthetic.METHODS, "feddebug"]
    cosine = rows.loc[("correct", "cosine")]
    assert cosine["rank of most samples"] == 1.5 + 0.4 * 5 and cosine["truth's first, %"] == 80 - 9 * 5
    assert cosine["Pearson with truth"] == pytest.approx(0.3) and cosine["seconds per input"] == pytest.approx(0.06)
    assert rows.loc[("wrong", "feddebug"), "localization"] == pytest.approx(35)
    assert (rows["rounds without inputs"] == 3).all() and (rows.loc["wrong", "chance"] == 10).all()


def test_table1_has_the_papers_order_and_numbers_whatever_the_model():
    metrics = synthetic.metrics("faults", seeds=(0,))
    metrics["subject"] = metrics["subject"].str.replace("densenet121_mnist", "resnet18_mnist")
    rows = {a.name: a for a in report(metrics, [])}["table1-faults"].frame
    assert rows["data"].drop_duplicates().tolist() == [
        "OrganAMNIST", "PathMNIST", "CIFAR-10", "MNIST", "DBpedia", "Yahoo Answers",
    ]  # fmt: skip
    told = rows[(rows["data"] == "MNIST") & (rows["alpha"] == "0.7")].iloc[0]
    assert told[["model", "FedDebug", "FedDebug (paper)", "TraceFL (paper)"]].tolist() == ["ResNet-18", 35, 86, 100]
    text = rows[(rows["data"] == "DBpedia") & (rows["alpha"] == "1")].iloc[0]
    assert math.isnan(text["FedDebug"]) and math.isnan(text["FedDebug (paper)"]) and text["TraceFL (paper)"] == 97.3


def test_table2_tells_noise_sensitivity_and_what_privacy_is_spent():
    rows = made("privacy")["table2-privacy"].frame
    told = rows[(rows["noise"] == 0.012) & (rows["sensitivity"] == 15)].iloc[0]
    assert told[["accuracy (paper)", "TraceFL (paper)", "epsilon", "epsilon_equal"]].tolist() == [88.81, 100, 121, 81]
    plain = rows[rows["noise"] == 0].iloc[0]
    assert math.isnan(plain["sensitivity"]) and math.isnan(plain["epsilon"])
    assert rows["noise"].tolist()[0] == 0 and rows["noise"].tolist()[-1] == 0.003


@pytest.mark.parametrize(("setting", "name", "papers"), [
    ("clients", "table3-clients", {"200": (98.49, 99.76), "1000": (98.05, 99.52)}),
    ("per_round", "per_round", {"20": (98.54, 100), "50": (98.78, 100)}),
])  # fmt: skip
def test_tables_over_clients_have_a_figure_with_the_papers_stars(setting, name, papers):
    artefact = made(setting)[name]
    rows = artefact.frame.set_index(setting)
    for value, numbers in papers.items():
        assert tuple(rows.loc[value, ["accuracy (paper)", "TraceFL (paper)"]]) == numbers
    (ax,) = drawn(artefact).axes
    assert len(stars(ax)) == 2 * len(rows)
    assert (0, next(iter(papers.values()))[0]) in stars(ax)


def test_figure2_draws_means_gaps_and_the_papers_ends():
    figure = drawn(made("localization", empty=(2,))["figure2-localization"])
    assert len(figure.axes) == 12
    (ax,) = [ax for ax in figure.axes if ax.get_title() == "ResNet-18, MNIST"]
    accuracy = lines(ax, "accuracy of the global model")
    assert accuracy[3.0] == pytest.approx(np.mean([synthetic.accuracy("task=resnet18_mnist", s, 3) for s in (0, 1, 2)]))
    traced = lines(ax, "TraceFL, correct predictions")
    assert set(traced) == {1, 3, 4, 5, 6} and traced[3] == synthetic.localization("tracefl", 1, 3)
    assert lines(ax, "nothing to trace").keys() == {2}
    assert {y for _, y in stars(ax)} == {93.9, 99.13}
    assert any(ax.get_title() == "ResNet-18, CIFAR-10 (subset)" for ax in figure.axes)


def test_figure3_has_a_panel_a_task_and_the_best_accuracy_over_alpha():
    figure = drawn(made("alpha")["figure3-alpha"])
    (ax,) = [ax for ax in figure.axes if ax.get_title() == "DenseNet-121, PathMNIST"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.1", "0.3", "0.5", "1"]
    point = "task=densenet121_pathmnist alpha=0.5"
    best = [max(synthetic.accuracy(point, seed, t) for t in range(1, 7)) for seed in (0, 1, 2)]
    assert lines(ax, "accuracy of the global model")[2] == pytest.approx(np.mean(best))
    assert {(0, 35.25), (2, 83.4)} <= set(stars(ax))


def test_more_than_twelve_panels_stand_in_the_csv():
    artefact = made("alpha")["by_round-alpha"]
    assert "12 more panels are in the CSV" in artefact.caption and len(artefact.figure().axes) == 12
    assert artefact.frame.groupby(["task", "alpha"]).ngroups == 24


def test_figure4_stands_over_the_noise_by_clipping_norm():
    figure = drawn(made("privacy")["figure4-privacy"])
    accuracy, localization, rounds = figure.axes
    places = [tick.get_text() for tick in accuracy.get_xticklabels()]
    assert places == ["0.0001", "0.0003", "0.0007", "0.0009", "0.001", "0.003", "0.006", "0.012"]
    point = "dp=noise0.012_clip15"
    best = [max(synthetic.accuracy(point, seed, t) for t in range(1, 7)) for seed in (0, 1, 2)]
    assert lines(accuracy, "clipping norm 15")[7] == pytest.approx(np.mean(best))
    assert {(5, 97.36), (5, 85.01), (7, 88.81)} <= set(stars(accuracy)) and (0, 99.76) in stars(localization)
    assert "no privacy" in rounds.get_legend_handles_labels()[1]


@pytest.mark.parametrize(("names", "panels"), [(("weak", "strong"), 1), (("none", "noise1e-05_clip15"), 3)])
def test_figure4_of_a_users_own_noises(names, panels):
    rows = synthetic.metrics("privacy")
    parts = [rows[rows["subject"].str.startswith(f"dp={old}")] for old in synthetic.NOISE[:2]]
    parts = [own.assign(subject=own["subject"].str.replace(r"dp=\S+", f"dp={new}", regex=True))
             for own, new in zip(parts, names, strict=True)]  # fmt: skip
    (found,) = [a for a in report(pd.concat(parts, ignore_index=True), []) if a.name == "figure4-privacy"]
    assert len(drawn(found).axes) == panels


def test_the_truth_figure_names_what_the_first_method_has_no_number_of():
    rows = synthetic.metrics("alpha")
    rows = rows[(rows["method"] != "tracefl") | (rows["metric"] != "spearman_truth")]
    (found,) = [a for a in report(rows, []) if a.name == "truth-alpha"]
    assert "Spearman" in [text.get_text() for text in drawn(found).legends[0].get_texts()]


def test_figure6_has_bars_for_both_methods_and_the_authors_seconds():
    figure = drawn(made("faults")["figure6-faults"])
    bars = {round(b.get_x() + b.get_width() / 2, 2): b.get_height() for b in figure.axes[0].patches}
    assert len(bars) == 6 + 4  # no FedDebug on text
    assert sorted(set(np.round(list(bars.values()), 6))) == [0.01, 0.05]
    assert figure_time.authors_seconds("mnist", "tracefl") == [4.898, 4.485, 4.505]
    assert figure_time.authors_seconds("dbpedia", "feddebug") == []


def test_truth_figure_is_of_the_main_scope_and_averages_rounds_first():
    frame = made("faults")["truth-faults"].frame
    assert set(frame["scope"]) == {"wrong"} and "hit_most" not in set(frame["metric"])
    assert len(frame) == 18 * 3 * len(synthetic.METHODS) * 4 + 4 * 3 * 3  # FedDebug on images: localization only
    one = frame[(frame["metric"] == "spearman_truth") & (frame["method"] == "norm") & (frame["seed"] == 2)]
    assert one["value"].unique() == pytest.approx([0.85 - 0.12 * 6 - 0.04])


def test_numbers_over_an_axis_know_feddebug_and_chance():
    rows = parse(synthetic.metrics("faults", seeds=(0,)))
    found = figure_axis.numbers(rows)
    assert set(found["metric"]) == {"accuracy", "localization", "chance"}
    assert found[found["method"] == "feddebug"]["value"].unique() == pytest.approx([35])


def test_an_axis_of_a_users_own_has_a_figure_too():
    metrics = synthetic.metrics("clients", seeds=(0,), rounds=2).assign(setting="mine")
    metrics["subject"] = metrics["subject"].str.replace("clients=", "decay=")
    found = {a.name: a for a in report(metrics, [])}
    (ax,) = drawn(found["over_decay-mine"]).axes
    assert ax.get_xlabel() == "decay" and not stars(ax)


def test_published_files_are_the_same_every_time(tmp_path):
    found = report(synthetic.metrics("rounds", seeds=(0, 1), rounds=4), [])
    files = publish(found, tmp_path / "a", "small")
    again = publish(report(synthetic.metrics("rounds", seeds=(0, 1), rounds=4), []), tmp_path / "b", "small")
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]
    assert png_bytes(found[0].figure)[:4] == b"\x89PNG"
