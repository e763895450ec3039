from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import torch

from experiments.core.data.cifar import ARCHIVES, FOLDERS, TEST, TRAIN, Cifar
from experiments.core.data.image_npz import ImageNpz
from experiments.core.errors import MissingError, SpecError


def written(classes, n=4):
    """File name -> content, and the labels and images [n, 3, 32, 32] that went into each."""
    rng = np.random.default_rng(classes)
    content, truth = {}, {}
    for name in (*TRAIN[classes], TEST[classes]):
        images, labels = rng.integers(0, 256, (n, 3, 32, 32)), rng.integers(0, classes, n)
        coarse = [np.full((n, 1), 17)] if classes == 100 else []
        records = np.concatenate([*coarse, labels[:, None], images.reshape(n, -1)], 1)
        content[name], truth[name] = records.astype(np.uint8).tobytes(), (labels, images)
    return content, truth


def unpacked(folder, content):
    folder.mkdir(parents=True)
    for name, raw in content.items():
        (folder / name).write_bytes(raw)


def packed(file, content, folder):
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz") as opened:
        for name, raw in content.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(raw)
            opened.addfile(info, io.BytesIO(raw))


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("form", ["folder", "inside", "archive", "archive named"])
def test_records_become_images(tmp_path, classes, form):
    content, truth = written(classes)
    place = tmp_path / "cifar"
    if form.startswith("archive"):
        packed(place / ARCHIVES[classes], content, FOLDERS[classes])
    else:
        unpacked(place / FOLDERS[classes] if form == "inside" else place, content)
    path = f"cifar/{ARCHIVES[classes]}" if form == "archive named" else "cifar"
    pool = Cifar(classes=classes, path=path).load(0, tmp_path)
    for x, y, names in ((pool.x, pool.y, TRAIN[classes]), (pool.test_x, pool.test_y, (TEST[classes],))):
        assert y.tolist() == [int(label) for name in names for label in truth[name][0]]
        assert np.allclose(x.numpy(), np.concatenate([truth[name][1] for name in names]) / 255)
    assert (pool.classes, pool.name, pool.names) == (classes, f"cifar{classes}", ())


def test_kept_and_normalised(tmp_path):
    unpacked(tmp_path / "cifar", written(10)[0])
    pool = Cifar(keep_train=9, keep_test=2, normalise=True).load(0, tmp_path)
    assert (len(pool.y), len(pool.test_y)) == (9, 2)
    assert pool.x.mean((0, 2, 3)).abs().max() < 1e-5
    assert (pool.x.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    assert Cifar(keep_train=9).outline() == ((3, 32, 32), 10, 9.0, 1)


def test_the_pickled_version_is_refused(tmp_path):
    packed(tmp_path / "a" / "cifar-10-python.tar.gz", {"data_batch_1": b"x"}, "cifar-10-batches-py")
    unpacked(tmp_path / "b" / "cifar-10-batches-py", {"data_batch_1": b"x"})
    unpacked(tmp_path / "c", {"data_batch_1": b"x"})
    unpacked(tmp_path / "d", {"train": b"x"})
    for path in ("a", "a/cifar-10-python.tar.gz", "b", "c", "d"):
        with pytest.raises(SpecError, match="pickled") as caught:
            Cifar(path=path).load(0, tmp_path)
        assert "cifar-10-binary.tar.gz" in caught.value.todo


def test_what_is_missing_or_damaged(tmp_path):
    (tmp_path / "cifar").mkdir()
    with pytest.raises(MissingError, match=r"no test\.bin and no cifar-100-binary") as missing:
        Cifar(classes=100).load(0, tmp_path)
    assert "--download cifar100" in missing.value.todo
    content, _ = written(10)
    unpacked(tmp_path / "short", {**content, "data_batch_3.bin": content["data_batch_3.bin"][:-1]})
    with pytest.raises(SpecError, match="not whole records of 3073") as short:
        Cifar(path="short").load(0, tmp_path)
    assert short.value.where.endswith("data_batch_3.bin")
    packed(tmp_path / "part" / ARCHIVES[10], {"data_batch_1.bin": b""}, FOLDERS[10])
    with pytest.raises(SpecError, match=r"no data_batch_2\.bin.* in the archive"):
        Cifar(path="part").load(0, tmp_path)
    archive = tmp_path / "part" / ARCHIVES[10]
    packed(archive, content, FOLDERS[10])
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(SpecError, match="not a valid tar archive"):
        Cifar(path="part").load(0, tmp_path)


def test_the_real_subset(real_data):
    file = real_data / "cifar10/cifar10_subset.npz"
    if not file.is_file():
        pytest.skip("no CIFAR-10 subset in the data folder")
    pool = ImageNpz(path=str(file), keep_train=500, keep_test=200, normalise=True).load(0, None)
    assert (pool.x.shape, pool.test_x.shape, pool.classes) == ((500, 3, 32, 32), (200, 3, 32, 32), 10)
    assert torch.bincount(pool.y).min() > 25 and pool.test_x.mean((0, 2, 3)).abs().max() < 0.2
