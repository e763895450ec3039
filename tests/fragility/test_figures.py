"""Tables and figures of Basu et al. 2021 from hand-made rows with known answers."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from experiments.core.errors import MissingError
from experiments.core.report.artefacts import png_bytes
from experiments.core.report.compare import compare
from experiments.core.report.reference import load
from experiments.core.report.style import styled
from experiments.core.sweep.merge import SPEC_COLUMNS
from experiments.fragility import figure_scatter, reading
from experiments.fragility.figures import report
from tests.fragility import synthetic

SETTINGS = {
    "iris_decay": {"decay", "figure1ab", "figure7"},
    "iris_depth": {"figure1c", "figure2", "figure6", "methods", "lissa"},
    "iris_width": {"figure1d", "figure20"},
    "iris_deep_decay": {"figure8"},
    "iris_scratch": {"figure5", "figure19"},
    "iris_decline": {"decline"},
    "small_mnist": {"figure3ab", "figure16", "several"},
    "small_mnist_decay": {"figure3c"},
    "table1_mnist": {"table2", "figure15"},
    "table1_cifar10": {"table2", "figure15", "lissa"},
    "optimizers": {"figure15"},
    "cifar100": {"figure4", "several"},
    "groups": {"figure18"},
    "imagenet": set(),
    "mine": set(),
}
NAMED = {"table1_mnist", "table1_cifar10", "optimizers", "imagenet"}
"""Settings with a table that bears their name."""
REFERENCES = reading.Path(reading.__file__).with_name("reference.csv")


def made(setting, folders=(), **how):
    return {a.name: a for a in report(synthetic.metrics(setting, **how), list(folders))}


def drawn(artefact):
    """Lay the figure out, as for its PNG, without writing one; some panel has something in it."""
    if artefact.figure is None:
        return
    with styled():
        figure = artefact.figure()
        figure.set_dpi(30)
        figure.draw_without_rendering()
    assert any(ax.has_data() or ax.texts for ax in figure.axes)


def test_a_choice_with_a_space_reaches_every_table_and_figure():
    plain = synthetic.metrics("small_mnist")
    spaced = plain.assign(subject=plain["subject"].str.replace("wd=0.001", "wd=[5,%205]"))
    artefacts = report(spaced, [])
    assert {a.name for a in artefacts} == {a.name for a in report(plain, [])}
    assert any("[5, 5]" in set(a.frame["wd"]) for a in artefacts if "wd" in a.frame)


def frame_of(setting, name, **how):
    return made(setting, **how)[name].frame


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_has_its_own_figures_and_what_all_have(setting):
    cloud = "figure11" if setting == "imagenet" else "scatter"
    expected = {f"{n}-{setting}" for n in {*SETTINGS[setting], "correlations", "convergence", cloud}}
    assert set(made(setting)) == expected | ({setting} & NAMED)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(0,), (0, 1)], ids=["one seed", "with gaps"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_figure_can_be_drawn_of_one_seed_and_of_several_with_gaps(setting, seeds):
    metrics = synthetic.metrics(setting, seeds=seeds, samples=4)
    if len(seeds) > 1:
        lost = (metrics["seed"] == 1) & metrics["metric"].isin(["pearson", "change_norm", "top_eigenvalue"])
        metrics = metrics[~lost & ~metrics["subject"].isin(metrics["subject"].unique()[::7])]
    for artefact in report(metrics, []):
        assert artefact.caption
        drawn(artefact)


@pytest.mark.parametrize("setting", SETTINGS)
def test_rows_of_training_alone_make_a_table_and_no_figure(setting):
    metrics = synthetic.metrics(setting, seeds=(0,), samples=1)
    found = report(metrics[metrics["method"] == "train"], [])
    assert "convergence" in {a.name.partition("-")[0] for a in found}
    for artefact in found:
        assert len(artefact.frame)
        drawn(artefact)


def test_all_settings_together_are_reported_one_by_one_under_different_names():
    both = pd.concat([synthetic.metrics(s, seeds=(0,), samples=3) for s in ("iris_decay", "iris_depth", "mine")])
    found = report(both, [])
    assert len({a.name for a in found}) == len(found)
    assert all(a.frame["setting"].nunique() == 1 for a in found)


def test_a_stand_in_has_the_figures_of_its_setting_under_its_own_name():
    metrics = synthetic.metrics("small_mnist", seeds=(0,), samples=3).assign(setting="small_mnist-digits")
    assert "figure3ab-small_mnist-digits" in {a.name for a in report(metrics, [])}


def test_the_decay_table_has_medians_ends_and_the_papers():
    rows = frame_of("iris_decay", "decay-iris_decay").set_index(["activation", "wd", "metric"])
    told = rows.loc[("relu", "0.005", "spearman")]
    each = [synthetic.correlation("activation=relu wd=0.005", seed) for seed in (0, 1, 2)]
    assert told[["median", "low", "high"]].tolist() == pytest.approx([each[1], each[2], each[0]])
    assert (told["seeds"], told["paper"]) == (3, 0.97)
    assert rows.loc[("relu", "0", "spearman")]["paper"] == 0.508
    assert math.isnan(rows.loc[("tanh", "0", "spearman")]["paper"])


def test_figure1_holds_all_training_points_of_all_seeds():
    rows = frame_of("iris_decay", "figure1ab-iris_decay")
    assert set(rows["activation"]) == {"relu"} and len(rows) == 2 * 3 * 12
    assert set(rows["wd"]) == {"0", "0.005"} and (rows["predicted"] / rows["actual"]).between(0.5, 2).all()


def test_undefined_correlations_are_told_in_the_caption_and_under_the_axis():
    gone = {(0, "activation=tanh depth=8"), (1, "activation=tanh depth=8")}
    artefact = made("iris_depth", constant=gone)["figure1c-iris_depth"]
    assert "No correlation in 2 of 12 networks (2 of constant output)" in artefact.caption
    labels = [text.get_text() for text in artefact.figure().axes[0].get_xticklabels()]
    assert labels[-1] == "8\n2/3" and labels[0].strip() == "1"


def test_a_network_that_never_correlates_still_stands_in_the_tables():
    gone = {(seed, "activation=tanh depth=8") for seed in (0, 1, 2)}
    found = made("iris_depth", constant=gone)
    rows = found["correlations-iris_depth"].frame
    lost = rows[(rows["activation"] == "tanh") & (rows["depth"] == "8")]
    assert lost[["defined", "networks"]].to_numpy().tolist() == [[0, 3]]
    trained = found["convergence-iris_depth"].frame.set_index(["activation", "depth"])
    assert trained.loc[("tanh", "8")]["constant output"] == 3 and trained.loc[("tanh", "8")]["converged"] == 2


def test_figure2_has_methods_curvature_and_norms():
    rows = frame_of("iris_depth", "figure2-iris_depth")
    assert set(rows["activation"]) == {"tanh"}
    assert rows.groupby("panel")["metric"].unique().map(list).to_dict() == {
        "a": ["spearman"], "b": ["top_eigenvalue"], "c": ["norm_spearman"],
    }  # fmt: skip
    assert set(rows[rows["panel"] == "a"]["method"]) == {"exact", "lissa"}
    assert set(rows[rows["panel"] == "c"]["method"]) == {"exact"}


def test_the_papers_widths_are_stars_of_figure1d_only():
    found = made("iris_width")
    for name, count in (("figure1d-iris_width", 1), ("figure20-iris_width", 0)):
        ax = found[name].figure().axes[0]
        stars = [line for line in ax.lines if line.get_marker() == "*"]
        assert len(stars) == count
    ax = found["figure1d-iris_width"].figure().axes[0]
    (star,) = [line for line in ax.lines if line.get_marker() == "*"]
    assert list(star.get_xdata()) == [1, 8] and list(star.get_ydata()) == [0.82, 0.56]


def test_table1_has_the_papers_layout():
    rows = frame_of("table1_mnist", "table1_mnist").set_index("architecture")
    assert rows.index.tolist() == ["Small CNN", "LeNet", "VGG13", "VGG14", "ResNet-18", "ResNet-50"]
    assert rows.loc["LeNet", "B, decay: S (paper)"] == 0.29
    assert rows.loc["LeNet", "B, decay: S"] == synthetic.correlation("arch=lenet wd=0.001", 1, "p50")
    assert rows.loc["LeNet", "A, no decay: P"] == synthetic.correlation("arch=lenet wd=0", 1) + 0.03
    assert rows.loc["LeNet", "seeds"] == 3


def test_table2_ranks_the_architectures():
    rows = frame_of("table1_cifar10", "table2-table1_cifar10").set_index("arch")
    assert rows.loc["lenet"][["seconds", "low", "high", "paper seconds", "paper sd"]].tolist() == [
        2,
        1,
        3,
        136.39,
        3.16,
    ]
    assert rows["paper rank"].tolist() == [1, 4, 5, 2, 3]


def test_optimizers_have_the_mean_and_spread_over_them():
    rows = frame_of("optimizers", "optimizers").set_index(["optimizer", "metric"])
    each = [synthetic.correlation(f"optimizer={o}", 1) for o in ("adam", "gd", "nesterov", "rmsprop")]
    told = rows.loc[("all", "spearman")]
    assert told[["median", "sd"]].tolist() == pytest.approx([np.mean(each), np.std(each, ddof=1)])
    assert told[["paper mean", "paper sd"]].tolist() == [0.56, 0.11]


def test_several_test_points_beside_the_papers_with_decay_only():
    rows = frame_of("small_mnist", "several-small_mnist").set_index(["wd", "metric"])
    assert rows.loc[("0.001", "pearson")][["median", "paper"]].tolist() == [0.8, 0.91]
    assert math.isnan(rows.loc[("0", "pearson")]["paper"])


def test_figure3_has_both_sets_and_figure16_all_counts():
    found = made("small_mnist", samples=3)
    assert set(found["figure3ab-small_mnist"].frame["set"]) == {"top", "p30"}
    rows = found["figure16-small_mnist"].frame
    assert set(rows["set"]) == {"top", "top40", "top20", "lowest100", "lowest40", "lowest20"}
    assert set(rows["test"]) == {"max"} and set(rows["wd"]) == {"0.001"}


def test_drift_stands_over_the_spread_of_the_measured_changes():
    rows = frame_of("iris_scratch", "correlations-iris_scratch")
    assert rows[rows["of"] == "influence"]["drift/spread"].unique() == pytest.approx([0.1])
    assert set(rows["truth"]) == {"", "scratch"}


def test_panels_beyond_the_twelfth_stand_in_the_csv_and_every_point_comes_before_a_second_test():
    artefact = made("table1_mnist", samples=3)["scatter-table1_mnist"]
    assert "12 more panels are in the CSV" in artefact.caption
    assert artefact.frame.groupby(["arch", "wd", "test"]).ngroups == 24
    shown = figure_scatter.chosen([(p, t) for p in map(str, range(12)) for t in ("max", "p50")])
    assert shown == [(p, "max") for p in map(str, range(12))]


def test_every_printed_correlation_finds_its_rows():
    references = load(REFERENCES)
    spec = pd.DataFrame(columns=list(SPEC_COLUMNS))
    metrics = pd.concat([synthetic.metrics(s, samples=2) for s in SETTINGS], ignore_index=True)
    rows = compare(references, metrics, spec, "fragility", "small")
    asked = rows["metric"].str.contains("pearson|spearman") & (rows["kind"] == "result")
    missing = rows[asked & (rows["status"] == "not run")]
    assert set(missing["setting"]) <= {"cifar100"}  # it has no groups here
    assert asked.sum() > 80 and (rows[asked & (rows["setting"] == "table1_mnist")]["seeds"] == 3).all()


def test_tolerances_of_correlations_are_as_set_before_the_runs():
    told = [r for r in load(REFERENCES) if r.metric in ("pearson", "spearman") and r.rule == "" and r.kind == "result"]
    assert {(r.tolerance_reproduced, r.tolerance_close) for r in told} == {("0.1", "0.2")}


@pytest.mark.parametrize("channels", [1, 3])
def test_images_stand_by_influence_and_give_the_same_bytes(tmp_path, channels):
    points = synthetic.grid("table1_cifar10")
    cell = synthetic.images(
        tmp_path / "cell", "table1_cifar10", points=points, tests=("max", "i1479"), channels=channels
    )
    found = made("table1_cifar10", [cell], samples=6)
    assert "figure10-table1_cifar10" not in found  # no images of that test point
    rows = found["figure9-table1_cifar10"].frame
    assert set(rows["arch"]) == {"resnet18"} and set(rows["wd"]) == {"0.001"} and set(rows["seed"]) == {0}
    assert rows["rank"].tolist() == [1, 2, 3, 4, 5] and rows["influence"].abs().is_monotonic_decreasing
    assert (rows["label"] == rows["train"].astype(int) % 3).all()
    first = png_bytes(found["figure9-table1_cifar10"].figure)
    assert first == png_bytes(made("table1_cifar10", [cell], samples=6)["figure9-table1_cifar10"].figure)


def test_images_of_another_seed_or_setting_are_left_alone(tmp_path):
    folders = [
        synthetic.images(tmp_path / "a", "mine", seed=1),
        synthetic.images(tmp_path / "b", "other"),
        tmp_path / "none",
    ]
    assert "images-mine" not in made("mine", folders)
    assert "images-mine" in made("mine", [*folders, synthetic.images(tmp_path / "c", "mine")])


def test_imagenet_has_its_two_tests_in_the_papers_order(tmp_path):
    cell = synthetic.images(tmp_path / "cell", "imagenet", tests=("i13923", "i2257"), count=25)
    found = made("imagenet", [cell], samples=30)
    assert set(found["figure13-imagenet"].frame["test"]) == {"i13923"}
    assert set(found["figure14-imagenet"].frame["test"]) == {"i2257"}
    assert len(found["figure13-imagenet"].frame) == 25
    for name in ("figure12-imagenet", "figure13-imagenet"):
        assert png_bytes(found[name].figure)[:4] == b"\x89PNG"
    told = found["imagenet"].frame.set_index("name")["paper"]
    assert told["test sample 13923: loss"] == 2.634 and told["test sample 2257: loss"] == 0.081


def test_a_missing_test_image_leaves_its_place_empty(tmp_path):
    cell = synthetic.images(tmp_path / "cell", "mine")
    with np.load(cell / "images.npz") as file:
        kept = {key: file[key] for key in file.files if not key.endswith("|test")}
    np.savez(cell / "images.npz", **kept)
    figure = made("mine", [cell])["images-mine"].figure()
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["no image"]


@pytest.mark.parametrize("fault", ["text", "floats", "shape"])
def test_a_file_that_holds_no_images_is_told_in_one_line(tmp_path, fault):
    cell = tmp_path / "cell"
    cell.mkdir()
    (cell / "cell.json").write_text(json.dumps({"setting": "mine", "seed": 0}))
    if fault == "text":
        (cell / "images.npz").write_text("no archive")
    else:
        array = np.zeros((4, 4)) if fault == "floats" else np.zeros((4, 4, 2), dtype=np.uint8)
        np.savez(cell / "images.npz", **{"test=max|test": array})
    with pytest.raises(MissingError, match=r"image"):
        made("mine", [cell])
