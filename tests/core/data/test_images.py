"""Size, channels and fixed numbers of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from experiments.core.data.cifar import Cifar
from experiments.core.data.idx import Idx
from experiments.core.data.image_npz import ImageNpz
from experiments.core.errors import SpecError
from tests.core.data.test_own_files import arrays, idx_folder


@pytest.fixture
def grey(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays(shape=(7, 5)))
    return tmp_path


def load(folder, **options):
    return ImageNpz.model_validate({"path": "mine.npz", **options}).load(0, folder)


def test_three_equal_channels_and_fixed_numbers(grey):
    plain = load(grey)
    pool = load(grey, rgb=True, mean=0.5, deviation=0.25)
    assert pool.x.shape == (6, 3, 7, 5)
    for x, source in ((pool.x, plain.x), (pool.test_x, plain.test_x)):
        for c in range(3):
            assert torch.allclose(x[:, c : c + 1], (source - 0.5) / 0.25)
    each = load(grey, rgb=True, mean=[0.1, 0.2, 0.3], deviation=[0.5, 1, 2])
    assert torch.allclose(each.x[:, 2:], (plain.x - 0.3) / 2) and torch.allclose(each.x[:, :1], (plain.x - 0.1) / 0.5)


def test_colour_images_stay_as_they_are(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays())
    assert torch.equal(load(tmp_path, rgb=True).x, load(tmp_path).x)
    np.savez(tmp_path / "mine.npz", **arrays(shape=(5, 5, 2)))
    with pytest.raises(SpecError, match=r"data\.rgb for images of 2 channels"):
        load(tmp_path, rgb=True)


@pytest.mark.parametrize("size", [3, 12])
def test_size_is_pillow_s_bilinear(grey, size):
    stored = np.load(grey / "mine.npz")["train_images"]
    pool = load(grey, size=size)
    assert pool.x.shape == (6, 1, size, size)
    theirs = [
        np.asarray(Image.fromarray(image.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR))
        for image in stored
    ]
    assert np.allclose(pool.x[:, 0], np.stack(theirs) / 255, atol=1e-6)


def test_idx_has_them_too(tmp_path):
    last = idx_folder(tmp_path / "Mine")
    pool = Idx(path="Mine", rgb=True, size=4, mean=0.1307, deviation=0.3081, keep_train=3).load(0, tmp_path)
    assert (pool.x.shape, pool.test_x.shape) == ((3, 3, 4, 4), (5, 3, 4, 4))
    assert np.allclose(pool.test_x[:, 1], (last / 255 - 0.1307) / 0.3081, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (Idx, {"mean": 0.5}, "goes together with mean"),
        (Idx, {"deviation": 0.5}, "goes together with mean"),
        (Cifar, {"mean": 0.5, "deviation": 0.5, "normalise": True}, "give one of the two"),
        (Cifar, {"mean": [0.5, 0.5, 0.5], "deviation": [0.5, 0.5, 0.0]}, "above 0"),
        (Idx, {"mean": 0.5, "deviation": float("inf")}, "finite"),
        (Idx, {"mean": 0.5, "deviation": 0.0}, "above 0"),
        (Idx, {"mean": float("nan"), "deviation": 1.0}, "finite"),
        (Idx, {"mean": [], "deviation": 0.5}, "at least 1"),
        (Idx, {"mean": "0.5", "deviation": 0.5}, "valid number"),
    ],
)
def test_numbers_that_cannot_be(kind, options, said):
    with pytest.raises(ValidationError, match=said):
        kind.model_validate(options)


def test_numbers_that_do_not_fit_the_channels(grey):
    with pytest.raises(SpecError, match=r"3 numbers in data\.mean for images of 1 channels") as caught:
        load(grey, mean=[0.4914, 0.4822, 0.4465], deviation=0.2)
    assert "mine.npz" in caught.value.where


def test_images_that_no_memory_holds(grey, tmp_path):
    idx_folder(tmp_path / "Mine")
    for block in (ImageNpz(path="mine.npz", size=1_000_000), Idx(path="Mine", size=1_000_000)):
        with pytest.raises(SpecError, match="GiB are available") as caught:
            block.load(0, grey)
        assert "make the images smaller" in caught.value.todo


@pytest.mark.slow
def test_real_mnist_has_the_published_mean_and_deviation(real_data):
    pool = Idx(path="MNIST", mean=0.1307, deviation=0.3081, rgb=True, size=32, keep_train=20_000).load(0, real_data)
    assert pool.x.shape == (20_000, 3, 32, 32)
    assert pool.x.mean().abs() < 5e-3  # enlarging smooths, so only the mean is kept
    plain = Idx(path="MNIST", mean=0.1307, deviation=0.3081, keep_test=10).load(0, real_data)
    assert plain.x.mean().abs() < 1e-3 and (plain.x.std() - 1).abs() < 1e-3
