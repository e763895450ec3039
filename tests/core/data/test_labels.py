"""One rule for labels, in every loader."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from experiments.core.data._labels import numbered_labels
from experiments.core.data.csv import Csv
from experiments.core.data.idx import Idx
from experiments.core.data.image_folder import ImageFolder
from experiments.core.data.image_npz import ImageNpz
from experiments.core.data.leaf_json import LeafJson
from experiments.core.data.text_csv import TextCsv
from experiments.core.errors import SpecError
from tests.core.data.test_own_files import idx_array

RIGHT = {
    "integers": ([0, 2, 1], [0, 2, 1], 3, ()),
    "whole floats": ([0.0, 3.0], [0, 3], 4, ()),
    "booleans": ([True, False], [1, 0], 2, ()),
    "big-endian": (np.array([1, 0], ">i4"), [1, 0], 2, ()),
    "texts of numbers": (["0", " 1.0", "2"], [0, 1, 2], 3, ()),
    "names": (["site 10", "site 9", "a"], [2, 1, 0], 3, ("a", "site 9", "site 10")),
    "bytes": ([b"yes", b"no"], [1, 0], 2, ("no", "yes")),
    "words for nothing": (["None", "NA"], [1, 0], 2, ("NA", "None")),
    "numbers and names": (["10", "b", "9"], [1, 2, 0], 3, ("9", "10", "b")),
}


@pytest.mark.parametrize("case", RIGHT)
def test_the_rule(case):
    given, numbers, classes, names = RIGHT[case]
    found = numbered_labels("here", [np.array(given)])
    assert (found.parts[0].tolist(), found.classes, found.names) == (numbers, classes, names)
    assert found.parts[0].dtype == np.int64


def test_both_parts_are_numbered_together():
    found = numbered_labels("here", [np.array(["b", "c"]), np.array(["a", "c"])])
    assert [part.tolist() for part in found.parts] == [[1, 2], [0, 2]] and found.classes == 3
    mixed = numbered_labels("here", [np.array(["1", "0"]), np.array(["x"])])
    assert mixed.names == ("0", "1", "x") and mixed.parts[1].tolist() == [2]
    assert numbered_labels("here", [np.array([1, 0])], outputs=10).classes == 10


WRONG = {
    "cut": ([0, 1.5], "training sample 1 has the label 1.5, which is not a whole number"),
    "not a number": ([0, np.nan], "the label nan, which is not a whole number"),
    "huge": ([0, 1e12], "the label 1000000000000, which is not below 100000"),
    "huge and whole": (np.array([0, 2**63], np.uint64), "which is not below"),
    "infinite": ([0, np.inf], "the label inf, which is not below"),
    "negative": ([-1, 1], "training sample 0 has the label -1, which is negative"),
    "texts of fractions": (["0.5", "1"], "the label 0.5, which is not a whole number"),
    "a text of many digits": (["9" * 5000, "1"], "which is not below"),
    "empty": (["a", " "], "training sample 1 has no label"),
    "complex": ([1j], "labels are complex128"),
    "a table": ([[0, 1]], r"labels of shape \(1, 2\)"),
    "foreign bytes": ([b"\xff"], "not UTF-8"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_label(case):
    given, said = WRONG[case]
    with pytest.raises(SpecError, match=said) as caught:
        numbered_labels("here", [np.array(given)])
    assert caught.value.where == "here" and caught.value.todo


def csv_of(folder, labels):
    rows = [f"{k * 0.7},{label}" for k, label in enumerate(labels)]
    (folder / "a.csv").write_text("\n".join(["a,label", *rows]))
    return Csv(path="a.csv", train_fraction=0.5)


def npz_of(folder, labels):
    x, y = np.zeros((len(labels), 2, 2), np.uint8), np.array(labels)
    np.savez(folder / "a.npz", train_images=x, train_labels=y, test_images=x, test_labels=y)
    return ImageNpz(path="a.npz")


def leaf_of(folder, labels):
    user = {"x": [[0.5]] * len(labels), "y": labels}
    for part in ("train", "test"):
        (folder / part).mkdir()
        (folder / part / "a.json").write_text(json.dumps({"user_data": {"u": user}}))
    return LeafJson(path=str(folder), min_samples=1)


def idx_of(folder, labels):
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_array(np.zeros((len(labels), 2, 2)), "u1"))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_array(np.array(labels), "f8"))
    return Idx(path=str(folder))


def text_of(folder, labels):
    pytest.importorskip("tokenizers", reason="the extra [text] is not installed")
    for part in ("train", "test"):
        (folder / f"{part}.csv").write_text("\n".join(f'"{label}","a text"' for label in labels))
    return TextCsv(path=str(folder), vocabulary=300)


LOADERS = {"csv": csv_of, "image_npz": npz_of, "leaf_json": leaf_of, "idx": idx_of, "text_csv": text_of}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(("labels", "said"), [([1, 2.5, 1, 2], "2.5, which is not"), ([1, 1e12, 1, 2], "not below")])
def test_no_loader_cuts_a_label_or_asks_for_a_million_outputs(tmp_path, loader, labels, said):
    with pytest.raises(SpecError, match=said):
        LOADERS[loader](tmp_path, labels).load(0, tmp_path)


@pytest.mark.parametrize("loader", LOADERS)
def test_every_loader_takes_whole_floats_and_refuses_a_single_class(tmp_path, loader):
    (tmp_path / "one").mkdir()
    pool = LOADERS[loader](tmp_path, [1.0, 2.0, 1.0, 2.0]).load(0, tmp_path)
    shift = 1 if loader == "text_csv" else 0  # whose classes are counted from 1
    assert pool.classes == 3 - shift and set(pool.y.tolist()) == {1 - shift, 2 - shift}
    with pytest.raises(SpecError, match="training samples have the label"):
        LOADERS[loader](tmp_path / "one", [1, 1, 1, 1]).load(0, tmp_path / "one")


@pytest.mark.parametrize("loader", ["csv", "image_npz", "leaf_json"])
def test_names_of_classes_in_natural_order(tmp_path, loader):
    pool = LOADERS[loader](tmp_path, ["c10", "c9", "c10", "c9"] * 2).load(0, tmp_path)
    assert pool.classes == 2 and sorted(set(pool.y.tolist())) == [0, 1]
    if loader == "csv":
        assert "labels by name: 0 = c9, 1 = c10" in pool.notes
    else:
        assert pool.test_y.tolist() == [1, 0, 1, 0] * 2


def test_folders_of_classes_in_natural_order(tmp_path):
    for k, name in enumerate(("c9", "c10", "c1")):
        (tmp_path / name).mkdir()
        for n in range(2):
            Image.new("L", (2, 2), 100 * k).save(tmp_path / name / f"{n}.png")
    pool = ImageFolder(path=str(tmp_path), height=2, width=2, train_fraction=0.9).load(0, tmp_path)
    assert dict(zip((255 * pool.x[:, 0, 0, 0]).round().int().tolist(), pool.y.tolist(), strict=True)).items() <= {
        200: 0, 0: 1, 100: 2,
    }.items()  # fmt: skip
