"""The kinds by which users bring their own data: npz, folders of images, IDX."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from experiments.core.data._catalogue import CATALOGUE
from experiments.core.data.csv import Csv
from experiments.core.data.idx import Idx, read_idx
from experiments.core.data.image_folder import ImageFolder
from experiments.core.data.image_npz import ImageNpz
from experiments.core.data.leaf_json import LeafJson
from experiments.core.data.partition import Natural
from experiments.core.errors import MissingError, SpecError


def arrays(n=6, shape=(5, 5, 3), tests=3):
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (n, *shape)).astype(np.uint8),
        "train_labels": (np.arange(n) % 3)[:, None],
        "test_images": rng.integers(0, 256, (tests, *shape)).astype(np.uint8),
        "test_labels": np.arange(tests)[:, None],
    }


def test_npz_colour_images_and_clients(tmp_path):
    held = arrays()
    np.savez(tmp_path / "mine.npz", **held, train_clients=np.array(["b", "a", "b", "a", "a", "b"]))
    pool = ImageNpz(path="mine.npz").load(0, tmp_path)
    assert (pool.x.shape, pool.classes, pool.name, pool.names) == ((6, 3, 5, 5), 3, "mine", ("a", "b"))
    assert pool.x[4, 1, 2, 3] == pytest.approx(held["train_images"][4, 2, 3, 1] / 255)
    assert Natural().split(pool, 0).y.tolist() == [1, 0, 1, 0, 2, 2]


def test_npz_grey_images_have_no_owner(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays(shape=(5, 4)))
    pool = ImageNpz(path=str(tmp_path / "mine.npz")).load(0, None)
    assert pool.x.shape == (6, 1, 5, 4) and pool.owner.tolist() == [-1] * 6


WRONG_NPZ = {
    "missing key": (lambda a: {k: v for k, v in a.items() if k != "test_labels"}, "no test_labels"),
    "pickled": (lambda a: a | {"train_images": np.array([{}], dtype=object)}, "not a valid npz"),
    "NaN": (
        lambda a: a | {"train_images": np.where(a["train_images"] == 0, 1.0, np.nan)},
        "training sample 0 holds NaN",
    ),
    "label": (lambda a: a | {"train_labels": a["train_labels"] + 5}, "training sample 0 has label 5, outside 0..2"),
    "counts": (lambda a: a | {"train_labels": a["train_labels"][:-1]}, "6 train images but 5 labels"),
    "two labels": (lambda a: a | {"test_labels": np.zeros((3, 2), int)}, "2 labels per image"),
    "fractions": (
        lambda a: a | {"test_labels": np.array([0, 1.5, 2])},
        "test sample 1 has the label 1.5, which is not",
    ),
    "huge": (lambda a: a | {"test_labels": np.array([0, 1e12, 2])}, "label 1000000000000, which is not below"),
    "objects": (lambda a: a | {"train_labels": np.zeros(6, "V4")}, "labels are .V4"),
    "one label": (lambda a: a | {"train_labels": np.full(6, 2)}, "all 6 training samples have the label 2"),
    "integers of no range": (lambda a: a | {"test_images": np.full((3, 5, 5, 3), 300)}, "from 300 to 300, whose range"),
    "clients": (lambda a: a | {"train_clients": np.zeros(5, int)}, "give 6 names or whole numbers"),
    "sizes": (lambda a: a | {"test_images": np.zeros((3, 4, 4, 3), np.uint8)}, "differ in shape"),
    "rank": (lambda a: a | {"test_images": np.zeros((3, 4), np.uint8)}, "images of shape"),
}


@pytest.mark.parametrize("case", WRONG_NPZ)
def test_wrong_npz(tmp_path, case):
    change, said = WRONG_NPZ[case]
    np.savez(tmp_path / "mine.npz", **change(arrays()))
    with pytest.raises(SpecError, match=said) as caught:
        ImageNpz(path="mine.npz", outputs=3).load(0, tmp_path)
    assert "mine.npz" in caught.value.where and caught.value.todo


def test_truncated_and_foreign_npz(tmp_path):
    np.savez_compressed(tmp_path / "mine.npz", **arrays())
    whole = (tmp_path / "mine.npz").read_bytes()
    for content in (whole[:-50], b"hello", b"", whole[:200] + b"\xff" * 60 + whole[260:]):
        (tmp_path / "mine.npz").write_bytes(content)
        with pytest.raises(SpecError, match="not a valid npz"):
            ImageNpz(path="mine.npz").load(0, tmp_path)
    with pytest.raises(MissingError):
        ImageNpz(path="other.npz").load(0, tmp_path)


def picture(path, value, size=(6, 4), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def test_folder_of_images_with_its_own_split(tmp_path):
    for part, count in (("train", 3), ("test", 1)):
        for label, value in (("cat", 51), ("dog", 204)):
            for k in range(count):
                picture(tmp_path / "pets" / part / label / f"{k}.png", value)
    pool = ImageFolder(path="pets", height=4, width=6).load(0, tmp_path)
    assert (pool.x.shape, pool.test_x.shape, pool.name) == ((6, 1, 4, 6), (2, 1, 4, 6), "pets")
    assert torch.allclose(pool.x[pool.y == 1], torch.tensor(0.8)) and torch.allclose(
        pool.x[pool.y == 0], torch.tensor(0.2)
    )
    resized = ImageFolder(path="pets", height=8, width=8, colour="rgb").load(0, tmp_path)
    assert resized.x.shape == (6, 3, 8, 8)


def test_folder_of_images_split_here_and_faults(tmp_path):
    for label in ("a", "b"):
        for k in range(10):
            picture(tmp_path / "pets" / label / f"{k}.png", 10 * k)
    pool = ImageFolder(path="pets", train_fraction=0.7).load(0, tmp_path)
    assert (len(pool.y), len(pool.test_y)) == (14, 6)
    (tmp_path / "pets/a/3.png").write_bytes((tmp_path / "pets/a/3.png").read_bytes()[:40])
    with pytest.raises(SpecError, match="not a readable image") as caught:
        ImageFolder(path="pets").load(0, tmp_path)
    assert caught.value.where.endswith("3.png")
    (tmp_path / "bare").mkdir()
    with pytest.raises(SpecError, match="0 class folders"):
        ImageFolder(path="bare").load(0, tmp_path)


KNOWN = {known.name: known for known in CATALOGUE}
XRAYS = {
    "NORMAL/IM-0115-0001.jpeg": 0, "NORMAL/NORMAL2-IM-1427-0001.jpeg": 0, "PNEUMONIA/person1_bacteria_2.jpeg": 1,
    "PNEUMONIA/person2_bacteria_3.jpeg": 1, "PNEUMONIA/person1946_virus_4875.jpeg": 2,
}  # fmt: skip
"""Names as Kermany et al. (2018) give them, and the classes meant."""


def test_classes_in_the_names_of_files(tmp_path):
    """Grey X-rays of several sizes; three classes in two folders."""
    for part in ("train", "test"):
        for k, (name, label) in enumerate(XRAYS.items()):
            picture(tmp_path / "chest_xray" / part / name, 100 * label, (30 + k, 20), "RGB" if k == 1 else "L")
    (tmp_path / "chest_xray/train/.DS_Store").write_bytes(b"")
    known = KNOWN["chest_xray"].kind
    wanted = {"path": "chest_xray", "height": 224, "width": 224, "label_pattern": "NORMAL|bacteria|virus"}
    assert known == "image_folder, " + ", ".join(f"{key}: {value}" for key, value in wanted.items())
    pool = ImageFolder(**wanted).load(0, tmp_path)
    assert (pool.x.shape, pool.classes, pool.test_from) == ((5, 1, 224, 224), 3, "the folder test/")
    assert pool.y.tolist() == pool.test_y.tolist() == [0, 0, 1, 1, 2]
    assert torch.allclose(pool.x.amax((1, 2, 3)), pool.y * 100 / 255, atol=0.01)  # JPEG is not exact
    two = ImageFolder(path="chest_xray", label_pattern="person[0-9]+_(bacteria|virus)").load
    with pytest.raises(SpecError, match="finds no class") as caught:
        two(0, tmp_path)
    assert caught.value.where.endswith("train/NORMAL/IM-0115-0001.jpeg")
    with pytest.raises(SpecError, match="1 classes"):
        ImageFolder(path="chest_xray", label_pattern="jp.g").load(0, tmp_path)
    for wrong, said in (("(", "no regular expression"), ("(a)|(b)", "2 groups")):
        with pytest.raises(ValidationError, match=said):
            ImageFolder(path="chest_xray", label_pattern=wrong)


def test_files_without_class_folders_are_split_by_their_names_classes(tmp_path):
    for k in range(10):
        picture(tmp_path / "flat" / f"{'ab'[k % 2]}_{k}.png", 100 * (k % 2))
    pool = ImageFolder(path="flat", label_pattern="^([ab])_", train_fraction=0.7).load(0, tmp_path)
    assert (len(pool.y), len(pool.test_y), pool.classes) == (7, 3, 2)
    assert torch.equal(pool.y, (pool.x.amax((1, 2, 3)) > 0.2).long())


def test_cinic_10_has_a_third_part_that_is_not_read(tmp_path):
    for part, value in (("train", 10), ("valid", 100), ("test", 200)):
        for label in ("airplane", "truck"):
            picture(tmp_path / "CINIC-10" / part / label / "cifar10-train-1.png", value, (32, 32), "RGB")
    assert KNOWN["cinic10"].kind == "image_folder, path: CINIC-10, colour: rgb, height: 32, width: 32"
    pool = ImageFolder(path="CINIC-10", colour="rgb", height=32, width=32).load(0, tmp_path)
    assert (pool.x.shape, pool.test_x.shape, pool.test_from) == ((2, 3, 32, 32), (2, 3, 32, 32), "the folder test/")
    assert [(255 * x[:, 0].unique()).round().tolist() for x in (pool.x, pool.test_x)] == [[10], [200]]


def table(path, rows, header="hospital,age,dose,outcome"):
    path.write_text("\n".join([header, *rows]) + "\n")


def test_clients_come_in_the_natural_order_of_their_names(tmp_path):
    names = [f"site {k}" for k in (10, 9, 1, 12, 2)]
    table(tmp_path / "cases.csv", [f"{names[k % 5]},{k % 10},{k / 3},{k % 2}" for k in range(50)])
    pool = Csv(path="cases.csv", label="outcome", client="hospital", standardise=False).load(0, tmp_path)
    assert pool.names == ("site 1", "site 2", "site 9", "site 10", "site 12")
    assert all(pool.names[k] == names[int(x) % 5] for k, x in zip(pool.owner.tolist(), pool.x[:, 0], strict=True))
    held = arrays(n=4, tests=3)
    for told, order in ((np.array(["b10", "b9", "b10", "b9"]), ("b9", "b10")), (np.array([10, 9, 9, 9]), ("9", "10"))):
        np.savez(tmp_path / "mine.npz", **held, train_clients=told)
        pool = ImageNpz(path="mine.npz").load(0, tmp_path)
        assert pool.names == order and [order[k] for k in pool.owner] == told.astype(str).tolist()


@pytest.mark.parametrize(
    ("names", "said"),
    [("a,b ,b", "clients 'b' and 'b ' have one name"), ("a,  ,b", "a client's name is empty|line 3 has no value")],
)
def test_names_that_cannot_be_told_apart(tmp_path, names, said):
    three = names.split(",")
    np.savez(tmp_path / "mine.npz", **arrays(), train_clients=np.array(three * 2))
    (tmp_path / "leaf").mkdir()
    samples = {"x": [[0.0, 1.0], [1.0, 0.0]], "y": [0, 1]}
    (tmp_path / "leaf/all_data_0.json").write_text(json.dumps({"user_data": dict.fromkeys(three, samples)}))
    table(tmp_path / "cases.csv", [f'"{three[k % 3]}",{k / 3},{k / 2},{k % 2}' for k in range(30)])
    csv = Csv(path="cases.csv", label="outcome", client="hospital")
    for block in (csv, ImageNpz(path="mine.npz"), LeafJson(path="leaf")):
        with pytest.raises(SpecError, match=said.replace("'b' and 'b '", "'b ?' and 'b ?'")):
            block.load(0, tmp_path)


IDX_TYPES = {"u1": 8, "i4": 12, "f8": 14}


def idx_array(array, kind="u1"):
    return (
        struct.pack(f">HBB{array.ndim}i", 0, IDX_TYPES[kind], array.ndim, *array.shape)
        + array.astype(f">{kind}").tobytes()
    )


def idx_folder(folder, n=5):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for part in ("train", "t10k"):
        images = rng.integers(0, 256, (n, 4, 4))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_array(images)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_array(np.arange(n) % 3))
    return images


def test_idx_packed_or_not(tmp_path):
    last = idx_folder(tmp_path / "Mine" / "raw")
    pool = Idx(path="Mine").load(0, tmp_path)
    assert (pool.x.shape, pool.classes, pool.name) == ((5, 1, 4, 4), 3, "mine")
    assert np.allclose(pool.test_x[:, 0].numpy(), last / 255)


def test_wrong_idx(tmp_path):
    idx_folder(tmp_path / "Mine")
    file = tmp_path / "Mine/train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(SpecError, match="damaged gzip"):
        Idx(path="Mine").load(0, tmp_path)
    file.write_bytes(gzip.compress(gzip.decompress(whole)[:-3]))
    with pytest.raises(SpecError, match="cut short"):
        Idx(path="Mine").load(0, tmp_path)
    for raw in (b"", b"\0\0\x08", b"GIF89a______"):
        file.write_bytes(gzip.compress(raw))
        with pytest.raises(SpecError, match="not an IDX"):
            read_idx(file)
    file.unlink()
    with pytest.raises(MissingError, match="no train-images"):
        Idx(path="Mine").load(0, tmp_path)


def test_real_mnist_and_pneumonia(real_data):
    pool = Idx(path="MNIST").load(0, real_data)
    assert torch.bincount(pool.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert abs(pool.x.mean() - 0.1307) < 1e-4 and abs(pool.x.std() - 0.3081) < 1e-4
    chest = ImageNpz(path="medmnist/pneumoniamnist.npz").load(0, real_data)
    assert torch.bincount(chest.y).tolist() == [1214, 3494] and torch.bincount(chest.test_y).tolist() == [234, 390]
    assert abs(chest.x.mean() - 0.5719) < 1e-4
