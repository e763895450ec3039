from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from experiments.core.data.svhn import Svhn
from experiments.core.errors import MissingError, SpecError


def written(folder, n=7, **changed):
    """Both files; returns the arrays of the training part, images [n, 32, 32, 3]."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    parts = []
    for part, count in (("train", n), ("test", 5)):
        images, labels = rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8), np.arange(count) % 10 + 1
        labels[-1] = 10
        held = {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None].astype(np.uint8)}
        savemat(folder / f"{part}_32x32.mat", {**held, **changed}, do_compression=True)
        parts += [images, labels]
    return parts


def test_images_and_labels(tmp_path):
    images, labels, *_ = written(tmp_path / "svhn")
    pool = Svhn().load(0, tmp_path)
    assert pool.x.shape == (7, 3, 32, 32) and pool.x.dtype == torch.float32
    for sample, channel, row, column in ((0, 0, 0, 0), (3, 2, 31, 5), (6, 1, 4, 30)):
        assert pool.x[sample, channel, row, column] == np.float32(images[sample, row, column, channel]) / np.float32(
            255
        )
    assert pool.y.tolist() == [1, 2, 3, 4, 5, 6, 0] and labels[-1] == 10
    assert pool.test_y.tolist() == [1, 2, 3, 4, 0] and (pool.classes, pool.name, pool.names) == (10, "svhn", ())
    kept = Svhn(keep_train=3, keep_test=2, normalise=True).load(0, tmp_path)
    assert (len(kept.y), len(kept.test_y)) == (3, 2) and kept.x.mean((0, 2, 3)).abs().max() < 1e-5
    assert Svhn(keep_train=3).outline() == ((3, 32, 32), 10, 3.0, 1)


def test_it_reads_what_torchvision_reads(tmp_path, monkeypatch):
    written(tmp_path / "svhn")
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    pool = Svhn().load(0, tmp_path)
    for part, x, y in (("train", pool.x, pool.y), ("test", pool.test_x, pool.test_y)):
        theirs = datasets.SVHN(tmp_path / "svhn", part)
        assert np.array_equal(y, theirs.labels) and torch.equal(x, torch.from_numpy(theirs.data).float() / 255)


def test_what_is_missing(tmp_path):
    with pytest.raises(MissingError, match="no data at svhn") as missing:
        Svhn().load(0, tmp_path)
    assert "--download svhn" in missing.value.todo
    written(tmp_path / "svhn")
    (tmp_path / "svhn/test_32x32.mat").unlink()
    for look in (Svhn().require, lambda folder: Svhn().load(0, folder)):
        with pytest.raises(MissingError, match=r"no test_32x32\.mat") as missing:
            look(tmp_path)
        assert "--download svhn" in missing.value.todo


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"y": np.full((7, 1), 11, np.uint8)}, "label 11, and they go up to 10"),
        ({"y": np.full((6, 1), 1, np.uint8)}, r"not X \[32, 32, 3, n\]"),
        ({"y": np.full((7, 1), 1.5)}, "not X"),
        ({"X": np.zeros((32, 32, 3, 7))}, "'double'"),
        ({"X": np.zeros((7, 32, 32, 3), np.uint8)}, "not X"),
    ],
)
def test_what_does_not_fit(tmp_path, changed, said):
    written(tmp_path / "svhn", **changed)
    with pytest.raises(SpecError, match=said) as caught:
        Svhn().load(0, tmp_path)
    assert caught.value.where.endswith("train_32x32.mat") and "--download svhn" in caught.value.todo


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:-100], lambda raw: b"<html>" + raw, lambda raw: b"", lambda raw: raw[:200]]
)
def test_what_is_damaged(tmp_path, spoil):
    written(tmp_path / "svhn")
    file = tmp_path / "svhn/test_32x32.mat"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(SpecError, match="not a sound file of SVHN") as caught:
        Svhn().load(0, tmp_path)
    assert caught.value.where == str(file) and "\n" not in caught.value.what


def test_the_real_one(real_data):
    if not (real_data / "svhn/train_32x32.mat").is_file():
        pytest.skip("no SVHN in the data folder")
    pool = Svhn(keep_train=1000, keep_test=500).load(0, real_data)
    assert torch.bincount(pool.y, minlength=10).min() > 40 and float(pool.x.mean()) == pytest.approx(0.45, abs=0.05)
