"""Figures of Usynin et al. 2023 from hand-made rows and scores: their names, what they show, that they draw."""

import functools
import re

import numpy as np
import pandas as pd
import pytest

from experiments.core.report.artefacts import png_bytes
from experiments.core.report.style import styled
from experiments.vog import figure_consistency, figure_scores
from experiments.vog.compared import Compared
from experiments.vog.figures import report
from experiments.vog.grid_pairs import FIGURES, Wanted, found
from experiments.vog.reading import parse
from tests.vog import synthetic

EVERY = {"consistency", "agreement", "claims", "accuracy", "configuration", "cost"}
SETTINGS = {
    "table1": {"figure1", "figure3", "figure4", "figure6", "figure8", "figure9", "figure10"},
    "models": {"scores", "picks", "figure2"},
    "size": {"scores", "picks", "grids"},
    "xray": {"figure1", "picks", "figure7"},
    "difficulty": {"scores", "picks", "grids"},
    "truth": {"scores", "picks", "grids"},
    "audit": {"scores", "picks", "grids"},
    "mine": {"scores", "picks", "grids", "removal"},
}
OWN = {"table1", "size", "difficulty", "truth", "audit"}
"""Settings that have an artefact called as they are."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def made(folder):
    @functools.cache
    def make(setting):
        folders = synthetic.store(folder, setting, seeds=(0, 1), n=160)
        return {one.name: one for one in report(synthetic.metrics(setting, seeds=(0, 1)), folders)}

    return make


def drawn(artefact):
    """Lay the figure out, as for its PNG, without writing one; some panel has something in it."""
    with styled():
        figure = artefact.figure()
        figure.set_dpi(20)
        figure.draw_without_rendering()
    assert any(ax.has_data() for ax in figure.axes)
    return figure


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_has_its_artefacts_and_each_figure_draws(setting, made):
    artefacts = made(setting)
    names = {f"{name}-{setting}" for name in SETTINGS[setting] | EVERY} | ({setting} & OWN)
    assert set(artefacts) == names
    for artefact in artefacts.values():
        assert artefact.caption and artefact.frame["setting"].nunique() == 1 and len(artefact.frame)
        if artefact.figure is not None:
            drawn(artefact)


def test_grids_say_what_they_are_and_what_can_be_expected(made):
    figure = drawn(made("mine")["grids-mine"])  # one point: two seeds
    assert [ax.get_title() for ax in figure.axes] == ["seed 0", "seed 1"]
    assert "highest VoG, all classes" in figure.axes[0].get_ylabel()
    under = "\n".join(ax.get_xlabel() for ax in figure.axes)
    assert re.search(r"same of 25: \d+ \(seeds \d+, chance 3\.9\)", under) and "SSIM: " in under and "BD: " in under
    assert all(len(ax.images) == 1 for ax in figure.axes)


@pytest.mark.slow
def test_the_papers_numbers_stand_under_the_grids_of_its_figures(made):
    artefact = made("table1")["figure4-table1"]
    assert set(artefact.frame["class"]) == {"class 2 (bird)"} and set(artefact.frame["method"]) == {"gradient norm"}
    told = artefact.frame[artefact.frame["metric"] == "bd"].iloc[0]
    assert told["paper"] == 0.914 and (told["first"], told["second"]) == ("eps 4", "no DP")
    assert np.isfinite(artefact.frame[["value", "ceiling", "chance"]].to_numpy(dtype=float)).all()


@pytest.mark.slow
def test_figure9_is_of_two_scores_of_one_training(made):
    frame = made("table1")["figure9-table1"].frame
    assert set(frame["pick"]) == {"lowest"} and set(frame["second"]) == {"PLIS"} and set(frame["first"]) == {"VoG"}
    assert all("eps 1" in place for place in frame["place"])


def test_an_image_that_is_missing_leaves_the_figure_out():
    rows = parse(synthetic.metrics("mine"))
    compared = Compared([], rows)
    compared.__dict__["cells"] = [synthetic.scored(seed=seed, kept=False) for seed in (0, 1)]
    assert found(compared, Wanted(between="seed")) == []


def test_every_figure_of_the_paper_that_prints_a_number_has_it():
    wanted = {name: one for figures in FIGURES.values() for name, one in figures.items()}
    assert set(wanted) == {f"figure{i}" for i in (2, 4, 5, 6, 7, 8, 9, 10)}
    assert all(one.paper for name, one in wanted.items() if name != "figure10")  # it prints none


@pytest.mark.slow
def test_bars_have_seeds_and_chance_and_the_paper_beside(made):
    artefact = made("table1")["figure3-table1"]
    assert set(zip(artefact.frame["first"], artefact.frame["second"], strict=True)) == {("4", "none")}
    figure = drawn(artefact)
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert labels == ["loss", "gradient norm", "VoG", "PLIS", "EL2N", "GraNd", "forgetting"]
    assert legend_of(figure) == ["pairs of seeds, no DP", "chance"]
    spearman = artefact.frame[(artefact.frame["metric"] == "spearman") & artefact.frame["where"].str.contains("lenet")]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx(spearman.set_index("method").loc[list(synthetic.SCORES), "value"].tolist())


def test_bars_are_of_eps_4_where_there_is_one_else_of_any_pair():
    frame = pd.DataFrame([
        {"between": between, "where": "", "first": first, "second": second, "seeds": "same", "pick": "highest",
         "class": "all", "method": "vog", "metric": "overlap", "value": 1.0}
        for between, first, second in (
            ("eps", "1", "4"), ("eps", "4", "none"), ("eps", "8", "none"), ("model_", "a", "b"),
        )
    ])  # fmt: skip
    assert list(figure_consistency.chosen(frame)["first"]) == ["4"]
    assert list(figure_consistency.chosen(frame[frame["first"] != "4"])["first"]) == ["8"]
    assert set(figure_consistency.chosen(frame[frame["second"] != "none"])["first"]) == {"1", "a"}


def test_distributions_are_shares_of_all_samples():
    cells = [synthetic.scored(f"eps={eps}", seed) for eps in ("1", "none") for seed in (0, 1)]
    frame = figure_scores.shares(cells)
    assert frame.groupby(["eps", "class"])["share"].sum().to_numpy() == pytest.approx(1)
    assert set(frame["class"]) == {"all", "0", "1", "2"} and set(frame["n"]) == {480, 160}
    assert frame["bin"].between(0, 1).all()
    assert figure_scores.shown_epsilon(["1", "4", "none"]) == "4" and figure_scores.shown_epsilon(["none"]) == "none"


@pytest.mark.slow
def test_removal_draws_controls_and_marks(made):
    figure = drawn(made("table1")["table1"])
    assert [ax.get_title() for ax in figure.axes] == ["LeNet, CIFAR-10", "ResNet-8, CIFAR-10"]
    assert {"no removal", "random removal", "VoG", "PLIS", "loss", "gradient norm"} <= set(legend_of(figure))
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["eps 1", "eps 4", "eps 8", "no DP"]
    (none, *_) = [one for one in figure.axes[0].lines if one.get_label() == "no removal"]
    assert set(none.get_ydata()) == {52.5}  # eps 1: 40 + 12, seeds 0 and 1


@pytest.mark.slow
def test_truth_and_difficulty_have_their_lines_across(made):
    assert {"another seed's truth", "chance"} <= set(legend_of(drawn(made("truth")["truth"])))
    figure = drawn(made("difficulty")["difficulty"])
    assert [ax.get_title().splitlines()[-1] for ax in figure.axes] == [
        "held-out loss", "held-out error", "planted labels (AUROC)",
    ]  # fmt: skip
    truth = drawn(made("truth")["truth"])
    assert [text.get_text() for text in truth.axes[0].get_xticklabels()] == ["one sample", "10 samples", "50 samples"]


@pytest.mark.slow
def test_the_audit_has_the_line_of_equal_epsilons(made):
    figure = drawn(made("audit")["audit"])
    (line, *_) = figure.axes[0].lines
    assert list(line.get_xdata()) == list(line.get_ydata())
    assert {"stated = proven", "most that so many runs can prove"} <= set(legend_of(figure))


_NEEDED = ("removal_accuracy", "test_accuracy", "config", "scores_pearson", "seconds")


@pytest.mark.parametrize("metric", _NEEDED)
def test_a_report_is_made_of_whatever_a_run_has_left(metric, folder, made):
    made("mine")
    folders = sorted(path for path in folder.iterdir() if path.name.startswith("mine"))
    rows = synthetic.metrics("mine", seeds=(0,))
    for part in (rows[rows["metric"] != metric], rows[rows["metric"] == metric]):
        report(part, folders)
        report(part, [])


def test_settings_of_one_seed_and_without_folders_have_what_their_rows_tell():
    names = {one.name for one in report(synthetic.metrics("table1", seeds=(0,)), [])}
    assert names == {"table1", "agreement-table1", "claims-table1", "accuracy-table1", "configuration-table1",
                     "cost-table1"}  # fmt: skip
    assert report(synthetic.metrics("mine").iloc[:0], []) == []


@pytest.mark.slow
def test_the_same_numbers_make_the_same_picture(made):
    artefact = made("mine")["removal-mine"]
    assert png_bytes(artefact.figure) == png_bytes(artefact.figure)
