"""Keeping a part of a large set, scaling its channels, and refusing what does not fit in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from experiments.core import memory
from experiments.core.data import _pictures
from experiments.core.data._split import KeptData
from experiments.core.data.idx import Idx
from experiments.core.data.image_folder import ImageFolder
from experiments.core.data.image_npz import ImageNpz
from experiments.core.errors import SpecError


def npz(path, n=40, tests=10):
    """Image k has the value k everywhere, so that a sample can be told by its pixels."""
    images = np.arange(n, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    parts = {"train_images": images, "train_labels": np.arange(n) % 3}
    parts |= {"test_images": images[:tests], "test_labels": np.arange(tests) % 3}
    np.savez(path, **parts, train_clients=np.arange(n) // 10)


def told(pool):
    return (255 * pool.x[:, 0, 0, 0]).round().long()


def test_fewer_are_a_subset_of_more_with_labels_and_clients_of_their_own(tmp_path):
    npz(tmp_path / "mine.npz")
    whole = ImageNpz(path="mine.npz").load(0, tmp_path)
    few, more = (ImageNpz(path="mine.npz", keep_train=k, keep_test=4).load(0, tmp_path) for k in (5, 20))
    assert told(whole).tolist() == list(range(40)) and len(few.y) == 5 and len(few.test_y) == 4
    assert set(told(few).tolist()) < set(told(more).tolist())
    for pool in (few, more):
        assert torch.equal(pool.y, told(pool) % 3) and (told(pool).diff() > 0).all() and pool.classes == 3
        assert [pool.names[k] for k in pool.owner] == [str(k) for k in (told(pool) // 10).tolist()]
    other = ImageNpz(path="mine.npz", keep_train=5, keep_seed=1).load(0, tmp_path)
    assert told(other).tolist() != told(few).tolist()
    assert torch.equal(ImageNpz(path="mine.npz", keep_train=40).load(0, tmp_path).x, whole.x)


def test_more_than_there_are_is_refused():
    with pytest.raises(SpecError, match="there are 6 test samples, not 7") as caught:
        KeptData(keep_test=7).kept_rows(np.zeros(6, np.int64), "test")
    assert caught.value.where == "data.keep_test"


def test_classes_take_turns():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [30, 12, 18]))
    kept = {count: KeptData(keep_train=count, keep_balanced=True).kept_rows(labels, "train") for count in (9, 20, 36)}
    for count, rows in kept.items():
        assert len(set(rows.tolist())) == count and (np.diff(rows) > 0).all()
        counts = np.bincount(labels[rows], minlength=3)
        assert counts.sum() == count and counts.max() - counts.min() <= 1
    assert set(kept[9]) < set(kept[20]) < set(kept[36])
    plain, other = KeptData(keep_train=20), KeptData(keep_train=20, keep_balanced=True, keep_seed=1)
    assert plain.kept_rows(labels, "train").tolist() != kept[20].tolist() != other.kept_rows(labels, "train").tolist()
    assert KeptData(keep_train=5, keep_balanced=True).kept_rows(labels, "test") == slice(None)
    with pytest.raises(SpecError, match="class 1 has 12") as caught:
        KeptData(keep_train=40, keep_balanced=True).kept_rows(labels, "train")
    assert caught.value.where == "data.keep_train" and "at most 36" in caught.value.todo
    with pytest.raises(ValidationError, match="keep_train or keep_test"):
        KeptData(keep_balanced=True)


BALANCED = {
    "medmnist/pneumoniamnist.npz": ImageNpz(path="medmnist/pneumoniamnist.npz", keep_train=500, keep_balanced=True),
    "cifar10/cifar10_subset.npz": ImageNpz(path="cifar10/cifar10_subset.npz", keep_train=500, keep_balanced=True),
    "FashionMNIST": Idx(path="FashionMNIST", keep_train=500, keep_test=200, keep_balanced=True),
}


@pytest.mark.parametrize("path", list(BALANCED))
def test_real_sets_keep_the_same_balanced_part_for_every_seed(path, real_data):
    if not (real_data / path).exists():
        pytest.skip(f"no {path} in the data folder")
    first, second = (BALANCED[path].load(seed, real_data) for seed in (0, 1))
    assert torch.bincount(first.y).tolist() == [500 // first.classes] * first.classes
    assert len(first.test_y) == {"FashionMNIST": 200, "medmnist/pneumoniamnist.npz": 624}.get(path, 4000)
    assert first.x.shape[1:] == ((3, 32, 32) if "cifar" in path else (1, 28, 28))
    for ours, theirs in ((first.x, second.x), (first.y, second.y), (first.test_x, second.test_x)):
        assert torch.equal(ours, theirs)


def test_channels_are_scaled_by_the_kept_training_images(tmp_path):
    rng = np.random.default_rng(0)
    parts = {
        f"{p}_images": rng.integers(0, 256, (n, 4, 4, 3)).astype(np.uint8) for p, n in (("train", 30), ("test", 9))
    }
    parts |= {f"{p}_labels": np.arange(n) % 2 for p, n in (("train", 30), ("test", 9))}
    parts["train_images"][..., 2] = 51  # a constant channel
    np.savez(tmp_path / "mine.npz", **parts)
    plain = ImageNpz(path="mine.npz", keep_train=20).load(0, tmp_path)
    pool = ImageNpz(path="mine.npz", keep_train=20, normalise=True).load(0, tmp_path)
    mean, deviation = plain.x.mean((0, 2, 3)), plain.x.std((0, 2, 3), correction=0)
    deviation[2] = 1
    for ours, theirs in ((pool.x, plain.x), (pool.test_x, plain.test_x)):
        assert torch.allclose(ours, (theirs - mean[:, None, None]) / deviation[:, None, None], atol=1e-5)


def folder(path, part="test", count=8):
    for where, many in (("train", count), (part, 2)):
        for label in "ab":
            (path / where / label).mkdir(parents=True)
            for k in range(many):
                Image.new("RGB", (6, 6), (10 * k, 100, 200)).save(path / where / label / f"{k}.png")


def test_only_kept_images_are_read(tmp_path):
    folder(tmp_path, "val")
    block = ImageFolder(path=str(tmp_path), height=6, width=6, colour="rgb", keep_train=5, keep_test=3)
    names, train, test, _ = block._files(tmp_path, None)
    assert (names, len(train), len(test)) == (["a", "b"], 5, 3)
    for label in "ab":
        for k in range(8):
            file = tmp_path / "train" / label / f"{k}.png"
            if file not in {kept for kept, _ in train}:
                file.write_bytes(b"not an image")
    pool = block.load(0, None)
    assert (pool.x.shape, pool.test_x.shape) == ((5, 3, 6, 6), (3, 3, 6, 6))
    assert pool.y.tolist() == [names.index(file.parent.name) for file, _ in train]


def test_the_numbers_of_imagenet(tmp_path):
    folder(tmp_path)
    options = {"path": str(tmp_path), "height": 6, "width": 6, "colour": "rgb"}
    plain, pool = ImageFolder(**options).load(0, None), ImageFolder(**options, normalise="imagenet").load(0, None)
    for c, (mean, deviation) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        assert torch.allclose(pool.x[:, c], (plain.x[:, c] - mean) / deviation, atol=1e-6)
    with pytest.raises(ValueError, match="those of colours"):
        ImageFolder(path="x", normalise="imagenet")


def test_images_that_do_not_fit_in_memory_are_not_read(tmp_path, monkeypatch):
    folder(tmp_path)
    need = 2 * 4 * 20 * 3 * 6 * 6
    block = ImageFolder(path=str(tmp_path), height=6, width=6, colour="rgb")
    monkeypatch.setattr("experiments.core.memory.available_bytes", lambda: need)
    assert len(block.load(0, None).y) == 16
    monkeypatch.setattr("experiments.core.memory.available_bytes", lambda: need - 1)
    monkeypatch.setattr(_pictures, "read_image", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(SpecError, match="20 inputs of shape") as caught:
        block.load(0, None)
    assert "keep_train" in caught.value.todo


def test_this_machine_has_memory():
    assert 2**20 < memory.available_bytes() < 2**50
