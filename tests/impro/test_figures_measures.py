"""The figures of the theorems and of model inversion, from made-up numbers."""

import numpy as np
import pandas as pd
import pytest

from experiments.core.errors import MissingError
from experiments.core.report.style import styled
from experiments.core.sweep.cell import COLUMNS
from experiments.impro import figure_inversion, figure_theory
from experiments.impro.reading import parse
from experiments.impro.stored_images import FILE, load


def _rows(numbers, **more):
    base = dict.fromkeys(COLUMNS, "") | {"paper": "impro", "scale": "small", "seed": 0, "round": 1, "n": 10}
    return parse(pd.DataFrame([{**base, **more, **row} for row in numbers]))


def _theory():
    numbers = []
    for method in ("fedavg", "fedimpro"):
        point = f"algorithm={method}"
        for t in (1, 5):
            for way, value in (("shared", 0.25), ("balanced", 0.26), ("labels", 0.9), ("local", 0.3)):
                for over in ("clients", "samples"):
                    words = f"{point} part=high objective=decoupled sampled={way} over={over}"
                    one = {"method": method, "metric": "variance_ratio", "subject": words, "round": t, "value": value}
                    numbers += [one, one | {"subject": words.replace("decoupled", "summed"), "value": 1.0}]
            bound = {"method": method, "metric": "variance_bound", "subject": f"{point} part=high", "value": 0.25}
            numbers.append(bound | {"round": t})
            for k in range(4):
                subject = f"{point} client={k}"
                both = {"method": method, "round": t}
                numbers.append(both | {"metric": "contribution", "subject": subject, "value": -float(k)})
                distance = f"{subject} space=features how=gaussian"
                numbers.append(both | {"metric": "wasserstein", "subject": distance, "value": float(k * k)})
    return _rows(numbers, setting="theory")


def _words(figure):
    return [text.get_text() for ax in figure.axes for text in (ax.title, ax.xaxis.label, ax.yaxis.label)]


def test_what_is_left_of_the_variance_is_drawn_with_the_bound():
    artefact = figure_theory.variance_left(_theory(), "variance")
    assert set(artefact.frame["metric"]) == {"variance_ratio", "variance_bound"}
    with styled():
        figure = artefact.figure()
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert lines["Theorem 4.2"] == [0.25, 0.25]
    assert lines["own draws, own labels (Algorithm 1)"] == [0.9, 0.9]
    assert lines["both losses added (Eq. 5), shared"] == [1.0, 1.0]
    assert "round" in _words(figure)


def test_distance_and_contribution_of_each_client_with_their_rank_correlation():
    artefact = figure_theory.contribution(_theory(), "contribution")
    assert len(artefact.frame) == 2 * 2 * 4
    with styled():
        figure = artefact.figure()
    titles = [word for word in _words(figure) if "rank correlation" in word]
    assert len(titles) == 2
    assert all("\u22121.00 (4 clients, 2 rounds)" in title for title in titles)


def test_settings_without_measures_have_no_such_figures():
    rows = _rows([{"metric": "accuracy", "value": 1.0, "method": "fedavg", "subject": ""}], setting="table1")
    assert figure_theory.variance_left(rows, "x") is None
    assert figure_theory.contribution(rows, "x") is None
    assert figure_inversion.scores(rows, "x") is None
    assert figure_inversion.pictures(rows, [], "x") is None


def _inversion():
    numbers = []
    for split in ("conv1", "conv2"):
        for source, level, value in (
            ("features", "", 0.9), ("mean", "", 0.3), ("noised_mean", "0.05", 0.2), ("noised_mean", "0.5", 0.1),
            ("class_mean", "", 0.4),
        ):  # fmt: skip
            subject = f"split={split} source={source}" + (f" noise={level}" if level else "")
            one = {"method": "fedimpro", "subject": subject}
            numbers += [one | {"metric": "ssim", "value": value}, one | {"metric": "psnr", "value": 30 * value}]
            if source != "features":
                numbers.append(one | {"metric": "best_ssim", "value": value + 0.1})
    return _rows(numbers, setting="inversion")


def _cell(folder, **changed):
    folder.mkdir()
    (folder / "cell.json").write_text('{"setting": "inversion", "seed": 0, "method": "split=conv1"}')
    generator = np.random.default_rng(0)
    shapes = {"original": (4, 1, 8, 8), "features": (4, 1, 8, 8), "mean": (2, 1, 8, 8), "class_mean": (2, 1, 8, 8)}
    shapes["noised_mean"] = (3, 2, 1, 8, 8)
    arrays = {key: generator.integers(0, 255, shape).astype(np.uint8) for key, shape in shapes.items()}
    arrays |= {"labels": np.array([0, 0, 1, 1]), "classes": np.array([0, 1]), "noise": np.array([0.01, 0.1, 0.5])}
    np.savez(folder / FILE, **{**arrays, **changed})
    return folder


def test_the_table_has_a_line_a_source_and_noise_level_in_their_order():
    frame = figure_inversion.scores(_inversion(), "inversion_scores").frame
    assert list(frame["split"]) == ["conv1"] * 5 + ["conv2"] * 5
    assert list(frame["source"][:5]) == [
        "raw features", "class mean of features", "noised class mean", "noised class mean",
        "(no inversion: mean image of the class)",
    ]  # fmt: skip
    assert list(frame["noise"][:5]) == ["", "", "0.05", "0.5", ""]
    assert list(frame["SSIM"][:5]) == [0.9, 0.3, 0.2, 0.1, 0.4]


def test_the_picture_shows_a_row_a_source_and_a_column_a_class(tmp_path):
    artefact = figure_inversion.pictures(_inversion(), [_cell(tmp_path / "a")], "inverted")
    with styled():
        figure = artefact.figure()
    (ax,) = figure.axes
    rows = ["original", "from its features", "mean image of class", "from mean features"]
    assert [text.get_text() for text in ax.get_yticklabels()] == [*rows, "noise 0.01", "noise 0.1", "noise 0.5"]
    assert ax.images[0].get_array().shape == (7 * 10, 2 * 10)
    assert not {"features", "mean"} - set(artefact.frame["source"])


def test_a_broken_file_of_images_is_named(tmp_path):
    broken = _cell(tmp_path / "b", labels=np.array([0, 1]))
    with pytest.raises(MissingError, match="'labels' of the reconstructed images"):
        load([broken], "inversion", 0)
    (broken / FILE).write_bytes(b"no archive")
    with pytest.raises(MissingError, match="cannot be read"):
        load([broken], "inversion", 0)
    assert load([broken], "inversion", 1) == []
