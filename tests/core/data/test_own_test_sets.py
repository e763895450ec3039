"""Test sets of one's own for arrays, users and texts: whose samples they are, and what is said of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from experiments.core.data.image_npz import ImageNpz
from experiments.core.data.iris import Iris
from experiments.core.data.leaf_json import LeafJson
from experiments.core.data.leaf_synthetic import LeafSynthetic
from experiments.core.data.partition import Natural
from experiments.core.data.sklearn_digits import SklearnDigits
from experiments.core.data.text_csv import TextCsv
from experiments.core.errors import MissingError, SpecError

CLIENTS = list("abcabcab")


@pytest.fixture
def images(tmp_path):
    """Eight images of three clients that show their number; a file of three others."""
    x = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    marks = np.array(["train", "test"] * 4)
    np.savez(
        tmp_path / "mine.npz", train_images=x, train_labels=np.arange(8) // 2 % 2, train_clients=CLIENTS, part=marks
    )
    np.savez(tmp_path / "other.npz", test_images=x[:3] + 100, test_labels=np.array([0, 1, 0]))
    return tmp_path


def shown(x):
    return (255 * x[:, 0, 0, 0]).round().int().tolist()


def load(folder, **options):
    return ImageNpz.model_validate({"path": "mine.npz", **options}).load(0, folder)


def test_of_arrays(images):
    marked = load(images, split="part")
    assert (shown(marked.x), shown(marked.test_x)) == ([0, 2, 4, 6], [1, 3, 5, 7])
    assert marked.test_from == "the images that say test in 'part'" and marked.own_tests
    assert [marked.names[k] for k in marked.owner] == [CLIENTS[k] for k in (0, 2, 4, 6)]
    clients = load(images, test_clients=["b"])
    assert (shown(clients.test_x), clients.names) == ([1, 4, 7], ("a", "c")) and not clients.own_tests
    assert clients.test_from == "all samples of client b, which do not train" and clients.test_y.tolist() == [0, 0, 1]
    other = load(images, test="other.npz")
    assert (shown(other.test_x), len(other.y)) == ([100, 101, 102], 8) and not other.own_tests
    assert other.test_from == "test_images of the file other.npz"
    with pytest.raises(SpecError, match="no test_images in the file"):
        load(images)


@pytest.mark.parametrize(("options", "said"), [
    ({"split": "marks"}, "no marks in the file"), ({"split": "train_labels"}, "image 0 has '0' in 'train_labels'"),
    ({"split": "train_images"}, "train_images is uint8 of shape"), ({"test_clients": ["z"]}, "unknown client 'z'"),
    ({"test_clients": ["a", "b", "c"]}, "all clients are the test set"), ({"test": "mine.npz"}, "is the training set"),
])  # fmt: skip
def test_of_arrays_that_cannot_be(images, options, said):
    with pytest.raises(SpecError, match=said):
        load(images, **options)


def test_of_clients_by_a_file_without_them(tmp_path):
    np.savez(tmp_path / "mine.npz", train_images=np.zeros((4, 2, 2), np.uint8), train_labels=np.arange(4) % 2)
    with pytest.raises(SpecError, match="no train_clients in the file"):
        load(tmp_path, test_clients=["a"])


def leaf(folder, users):
    """Users with so many samples; a sample tells its user and its place."""
    folder.mkdir(parents=True)
    data = {u: {"x": [[ord(u), k] for k in range(n)], "y": [k % 2 for k in range(n)]} for u, n in users.items()}
    (folder / "all_data.json").write_text(json.dumps({"user_data": data}))


def users(x):
    return "".join(sorted({chr(int(code)) for code in x[:, 0].tolist()}))


def test_of_users(tmp_path):
    leaf(tmp_path / "whole", {"a": 10, "b": 10, "c": 10})
    leaf(tmp_path / "parted/train", {"a": 8, "b": 8})
    leaf(tmp_path / "parted/test", {"a": 2, "b": 2})
    leaf(tmp_path / "other", {"z": 4})
    drawn = LeafJson(path="whole").load(0, tmp_path)
    assert drawn.test_from == "10 % of each user's samples, drawn with split_seed 0" and drawn.own_tests
    parted = LeafJson(path="parted").load(0, tmp_path)
    assert parted.test_from == "each user's samples in test/" and parted.own_tests
    of_b = LeafJson(path="whole", test_clients=("b",)).load(0, tmp_path)
    assert (users(of_b.x), users(of_b.test_x), len(of_b.y), len(of_b.test_y)) == ("ac", "b", 20, 10)
    assert of_b.test_from == "all samples of client b, which do not train" and not of_b.own_tests
    assert Natural().split(of_b, 0).clients == ("a", "c")
    of_b = LeafJson(path="parted", test_clients=("b",)).load(0, tmp_path)
    assert (users(of_b.x), users(of_b.test_x), len(of_b.y), len(of_b.test_y)) == ("a", "b", 8, 10)
    for path, count in (("whole", 30), ("parted", 16)):
        other = LeafJson(path=path, test="other").load(0, tmp_path)
        assert (users(other.test_x), len(other.test_y), len(other.y)) == ("z", 4, count) and not other.own_tests
        assert other.test_from == "the files in other/"
    for wrong, said in ((("d",), "unknown client 'd'"), (("a", "b", "c"), "all clients are the test set")):
        with pytest.raises(SpecError, match=said):
            LeafJson(path="whole", test_clients=wrong).load(0, tmp_path)
    with pytest.raises(MissingError, match="no LEAF files"):
        (tmp_path / "empty").mkdir()
        LeafJson(path="whole", test="empty").load(0, tmp_path)


def test_of_texts(tmp_path):
    pytest.importorskip("tokenizers", reason="the extra [text] is not installed")
    (tmp_path / "news").mkdir()
    for name, rows in (("news/train.csv", 4), ("news/test.csv", 2), ("clean.csv", 3)):
        (tmp_path / name).write_text("".join(f'"{k % 2 + 1}","text {k}"\n' for k in range(rows)))
    block = TextCsv(path="news", vocabulary=300)
    pool, own = block.load(0, tmp_path), block.model_copy(update={"test": "clean.csv"}).load(0, tmp_path)
    assert (len(pool.test_y), pool.test_from) == (2, "the data set's own test files")
    assert (len(own.test_y), own.test_from) == (3, "the file clean.csv") and torch.equal(own.x, pool.x)


def test_clients_may_be_named_by_numbers_and_only_one_way_is_given():
    assert ImageNpz.model_validate({"path": "a", "test_clients": [2, "b"]}).test_clients == ("2", "b")
    for wrong in (
        {"test": "b", "test_clients": ["a"]},
        {"split": "b", "test_clients": ["a"]},
        {"test_clients": [True]},
    ):
        with pytest.raises(ValidationError):
            ImageNpz.model_validate({"path": "a", **wrong})


def test_a_test_file_that_is_missing_is_noticed_before_anything_runs(images):
    load(images, test="other.npz")
    ImageNpz(path="mine.npz", test="other.npz").require(images)
    for block in (ImageNpz(path="mine.npz", test="no.npz"), ImageNpz(path="no.npz", test="other.npz")):
        with pytest.raises(MissingError, match=r"no\.npz"):
            block.require(images)
    with pytest.raises(MissingError, match=r"no\.csv"):
        pytest.importorskip("tokenizers", reason="the extra [text] is not installed")
        TextCsv(path=str(images), test="no.csv").require(images)


@pytest.mark.parametrize(("block", "said"), [
    (Iris(), "drawn species by species with split_seed 0"),
    (SklearnDigits(clients=5, copies=1), "10 % of the digits, drawn with data_seed 0"),
    (LeafSynthetic(clients=5, max_samples=20), "40 % of each client's samples, drawn with data_seed 931231"),
])  # fmt: skip
def test_every_kind_says_how_its_test_set_was_made(block, said):
    pool = block.load(0, None)
    assert said in pool.test_from and not pool.own_tests  # no one's own data: nobody is warned
