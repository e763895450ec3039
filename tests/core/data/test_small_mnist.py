from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

from experiments.core.data.idx import Idx
from experiments.core.data.small_mnist import SmallMnist
from experiments.core.errors import SpecError


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}i", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """5,020 training images of 1x2 pixels that spell the image's number in base 256."""
    for part, n in (("train", 5020), ("t10k", 7)):
        images = np.stack([np.arange(n) // 256, np.arange(n) % 256], 1)[:, None]
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(n) % 10))
    return str(tmp_path)


def test_samples_and_order_of_the_published_code(folder):
    pool = SmallMnist(path=folder, keep=12).load(3, None)
    rows = (255 * pool.x[:, 0, 0]).round().long() @ torch.tensor([256, 1])
    np.random.seed(0)
    order = np.arange(20)
    np.random.shuffle(order)
    assert rows.tolist() == (5000 + order[:12]).tolist() and torch.equal(pool.y, rows % 10)
    assert (pool.classes, pool.name, len(pool.test_y)) == (10, "small_mnist", 7)
    assert SmallMnist(path=folder, keep=2, test=2).load(0, None).test_y.tolist() == [0, 1]


@pytest.mark.parametrize("wrong", [{"keep": 21}, {"keep": 2, "test": 8}])
def test_more_than_there_are(folder, wrong):
    with pytest.raises(SpecError, match="of 20 and 7"):
        SmallMnist(path=folder, **wrong).load(0, None)


def test_real_small_mnist(real_data):
    pool = SmallMnist().load(0, real_data)
    assert SmallMnist().outline() == (tuple(pool.x.shape[1:]), pool.classes, len(pool.y), 1)
    assert len(pool.test_y) == 10_000 and 450 < torch.bincount(pool.y).min() < torch.bincount(pool.y).max() < 700
    large = Idx(path="MNIST", size=32, keep_train=50, keep_test=20).load(0, real_data)
    small = Idx(path="MNIST", keep_train=50, keep_test=20).load(0, real_data)
    assert large.x.shape == (50, 1, 32, 32) and large.test_x.shape == (20, 1, 32, 32) and large.classes == 10
    assert torch.equal(large.y, small.y) and torch.allclose(large.x.mean(), small.x.mean(), atol=1e-3)
