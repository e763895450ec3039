"""The picture of chosen inputs and ranked clients, from hand-made inputs.npz."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.core.errors import MissingError
from experiments.core.report.artefacts import png_bytes
from experiments.core.report.style import styled
from experiments.trace import figure_inputs
from experiments.trace.figures import report
from experiments.trace.reading import parse
from experiments.trace.traced import load
from tests.trace import synthetic


def picture(folders, setting="mine"):
    rows = parse(synthetic.metrics(setting, seeds=(0, 1), rounds=1))
    return figure_inputs.traced_inputs(rows, list(folders), f"inputs-{setting}")


def drawn(artefact):
    with styled():
        figure = artefact.figure()
        figure.set_dpi(30)
        figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("kind", ["images", "grey", "texts", "none"])
def test_inputs_of_any_kind_are_drawn_with_and_without_truth(tmp_path, kind):
    for truth in (True, False):
        cell = synthetic.inputs(tmp_path / f"cell{truth}", kind=kind, truth=truth, scopes=("correct",) * 2)
        figure = drawn(picture([cell]))
        assert len(figure.axes) == 2 * (4 + truth)
        texts = [text.get_text() for ax in figure.axes for text in ax.texts]
        assert any("river" in text for text in texts) == (kind == "texts")
        assert ("no picture" in texts) == (kind == "none")


def test_the_frame_has_every_client_of_a_chosen_input_in_order(tmp_path):
    cell = synthetic.inputs(tmp_path / "cell")
    frame = picture([cell]).frame
    with np.load(cell / "inputs.npz") as file:
        told = {key: file[key] for key in file.files}
    one = frame[frame["label"] == 4]
    order = np.argsort(-told["raw"][4])
    assert one["client"].tolist() == told["clients"][order].tolist() and one["rank"].tolist() == list(range(1, 11))
    assert one["truth"].tolist() == pytest.approx(told["truth"][4][order].tolist())
    assert one["samples_of_predicted"].tolist() == told["histogram"][order, 4].tolist()
    assert set(one[one["client"] == 9]["faulty"]) == {True} and set(frame["round"]) == {15}
    first = one.iloc[0]
    assert dict(pair.split(":") for pair in first["labels"].split())["4"] == str(first["samples_of_predicted"])


def test_the_bars_are_the_scores_of_the_ranked_clients(tmp_path):
    artefact = picture([synthetic.inputs(tmp_path / "cell", scopes=("correct",))])
    picture_, score, raw, truth, labels = drawn(artefact).axes
    frame = artefact.frame.head(6)
    assert [bar.get_width() for bar in score.patches] == pytest.approx(frame["score"].tolist())
    assert [bar.get_width() for bar in truth.patches] == pytest.approx(frame["truth"].tolist())
    whole = artefact.frame["raw"]
    assert [bar.get_width() for bar in raw.patches] == pytest.approx((frame["raw"] - whole.mean()).tolist())
    assert labels.texts[0].get_text().startswith("40 of ")
    assert picture_.get_xlabel() == "class 0, predicted right"


@pytest.mark.parametrize(
    ("name", "told"),
    [("12", "client 12"), ("site A", "site A"), ("s" * 30, "sssssssss\u2026 #3"), ("a$b$", "a\\$b\\$"),
     ("\u65e5\u672c", "\u25a1\u25a1")],
)  # fmt: skip
def test_a_client_is_called_by_its_name(tmp_path, name, told):
    """Not by its position, which another client may have as its name."""
    (cell,) = load([synthetic.inputs(tmp_path / "cell")], "mine", 0).values()
    names, numbers = np.array([name] * 10), np.full(10, 3)
    assert figure_inputs._client(replace(cell, names=names, clients=numbers, faulty=np.zeros(10)), 0) == told


def test_wrongly_traced_inputs_and_mispredictions_are_among_the_chosen(tmp_path):
    cell = synthetic.inputs(tmp_path / "cell", scopes=("correct",) * 9)
    (traced,) = load([cell], "mine", 0).values()
    lost = [i for i in range(9) if not traced.names_right(i)]
    shown = [i for _, i in figure_inputs.chosen([traced])]
    assert lost == [1] and shown[-1] == 1 and len(set(shown)) == 6
    faulty = synthetic.inputs(tmp_path / "faulty", setting="other", scopes=("correct",) * 5 + ("wrong",) * 5)
    (traced,) = load([faulty], "other", 0).values()
    shown = [i for _, i in figure_inputs.chosen([traced])]
    assert all(traced.scope[i] == "wrong" for i in shown if not traced.names_right(i))
    labels = [traced.label[i] for i in shown]
    assert len(set(labels)) == len(labels)


def test_right_means_holding_the_label_or_being_faulty(tmp_path):
    cell = synthetic.inputs(tmp_path / "cell", scopes=("correct", "wrong"))
    (traced,) = load([cell], "mine", 0).values()
    assert traced.right(0).tolist() == (traced.histogram[:, 0] > 0).tolist()
    assert traced.right(1).tolist() == [k == 3 for k in range(10)]


def test_the_report_hands_the_cells_folders_on(tmp_path):
    found = report(synthetic.metrics("mine", seeds=(0,), rounds=1), [synthetic.inputs(tmp_path / "cell")])
    assert "inputs-mine" in {a.name for a in found}


def test_points_take_turns_and_other_settings_and_seeds_are_left_alone(tmp_path):
    points = synthetic.grid("clients")
    cells = [synthetic.inputs(tmp_path / f"c{i}", "clients", 0, point) for i, point in enumerate(points)]
    cells += [synthetic.inputs(tmp_path / "s", "clients", 1, points[0]), synthetic.inputs(tmp_path / "o"), tmp_path]
    frame = picture(cells, "clients").frame
    assert set(frame["seed"]) == {0} and set(frame["clients"]) == {"200", "400", "600", "800", "1000"}
    assert picture([synthetic.inputs(tmp_path / "late", seed=1)]) is None


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    cells = [synthetic.inputs(tmp_path / name, scopes=("correct",) * 2) for name in ("a", "b")]
    assert png_bytes(picture(cells[:1]).figure) == png_bytes(picture(cells[1:]).figure)


def test_images_of_any_range_are_shown_and_equal_channels_are_grey():
    image = np.random.default_rng(0).normal(0, 3, (3, 5, 4))
    shown = figure_inputs.shown_image(image)
    assert shown.shape == (5, 4, 3) and shown.min() == 0 and shown.max() == 1
    grey = figure_inputs.shown_image(np.repeat(image[:1], 3, 0))
    assert grey.shape == (5, 4)
    assert not figure_inputs.shown_image(np.full((1, 2, 2), 7.0)).any()


def test_dollars_in_a_text_are_no_formula_and_letters_without_a_glyph_are_boxes(tmp_path):
    cell = synthetic.inputs(tmp_path / "cell", kind="texts", scopes=("correct",))
    _change(cell, texts=np.array(["costs $5 or \\$6_{ and $x^, \u00e9t\u00e9 \u5d14"]))
    shown = [text.get_text() for ax in drawn(picture([cell])).axes for text in ax.texts]
    assert any("$5" in text and "\u00e9t\u00e9 \u25a1" in text for text in shown)


def _change(cell, **arrays):
    with np.load(cell / "inputs.npz") as file:
        told = {key: file[key] for key in file.files}
    np.savez(cell / "inputs.npz", **{k: v for k, v in (told | arrays).items() if v is not None})


@pytest.mark.parametrize(("fault", "words"), [
    ({"raw": None}, "have no 'raw'"),
    ({"scores": np.zeros((6, 9))}, r"'scores' of the traced inputs has shape \[6, 9\], not \[nK\]"),
    ({"label": np.full(6, 10)}, "name a class"),
    ({"images": np.zeros((6, 4, 4))}, r"'images' of the traced inputs has shape \[6, 4, 4\], not \[nchw\]"),
    ({"names": np.array([{"a": 1}] * 10, dtype=object)}, "cannot be read"),
])  # fmt: skip
def test_a_file_that_holds_something_else_is_told_in_one_line(tmp_path, fault, words):
    cell = synthetic.inputs(tmp_path / "cell")
    _change(cell, **fault)
    with pytest.raises(MissingError, match=words) as told:
        picture([cell])
    assert told.value.where == "cell/inputs.npz"


def test_a_file_that_is_no_archive_is_told(tmp_path):
    cell = tmp_path / "cell"
    cell.mkdir()
    (cell / "cell.json").write_text(json.dumps({"setting": "mine", "seed": 0, "method": "trace"}))
    (cell / "inputs.npz").write_text("no archive")
    with pytest.raises(MissingError, match="cannot be read"):
        picture([cell])
