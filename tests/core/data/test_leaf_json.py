from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch

from experiments.core.data.femnist import Femnist
from experiments.core.data.leaf_json import LeafJson
from experiments.core.data.mnist_by_writer import MnistByWriter
from experiments.core.data.partition import Natural
from experiments.core.errors import FedlabError, MissingError, SpecError


def leaf(users, d=784, classes=62, seed=0):
    rng = np.random.default_rng(seed)
    data = {
        u: {"x": rng.random((n, d)).round(4).tolist(), "y": rng.integers(0, classes, n).tolist()}
        for u, n in users.items()
    }
    return {"users": list(users), "num_samples": list(users.values()), "user_data": data}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def femnist_files(root, users):
    """LEAF's FEMNIST layout: all_data_*.json of up to 50 writers each, all 62 labels present."""
    content = leaf(users)
    first = next(iter(users))
    content["user_data"][first]["y"] = list(range(users[first]))
    write(root / "femnist" / "data" / "all_data_0.json.gz", content)
    write(root / "femnist" / "data" / "all_data_1.json", leaf({f"more_{k}": 20 for k in range(3)}, seed=9))
    return content


def test_62_class_femnist_from_leaf_files_split_by_sample(tmp_path):
    content = femnist_files(tmp_path, {"f0001_41": 62, "f0002_11": 30, "f0003_12": 9})
    pool = Femnist(min_samples=1).load(0, tmp_path)
    assert pool.classes == 62 and pool.name == "femnist"
    assert pool.names == ("f0001_41", "f0002_11", "f0003_12", "more_0", "more_1", "more_2")
    assert pool.x.shape[1:] == (1, 28, 28)
    assert torch.bincount(pool.owner).tolist() == [55, 27, 8, 18, 18, 18]  # int(0.9 n), as LEAF's split_data.py
    mine = pool.x[pool.owner == 1].reshape(-1, 784)
    source = torch.tensor(content["user_data"]["f0002_11"]["x"])
    assert all((source == row).all(1).any() for row in mine)  # values untouched
    labels = sorted(pool.y[pool.owner == 0].tolist())
    assert len(set(labels)) == 55 and max(labels) > 35


def test_training_and_test_parts_share_no_sample(tmp_path):
    femnist_files(tmp_path, {"a": 62, "b": 30})
    pool = Femnist(min_samples=1).load(0, tmp_path)
    train = {tuple(row) for row in pool.x.reshape(-1, 784)[:, :20].tolist()}
    test = {tuple(row) for row in pool.test_x.reshape(-1, 784)[:, :20].tolist()}
    assert not train & test and len(train) + len(test) == 62 + 30 + 3 * 20


def test_writers_are_drawn_by_seed_from_those_with_enough_samples(tmp_path):
    femnist_files(tmp_path, {"a": 62, "b": 5, "c": 30, "d": 40})
    names = {Femnist(writers=3, min_samples=10, split_seed=s).load(0, tmp_path).names for s in range(12)}
    assert len(names) > 1
    assert all(len(n) == 3 and "b" not in n for n in names)
    assert (
        Femnist(writers=3, split_seed=4).load(0, tmp_path).names
        == Femnist(writers=3, split_seed=4).load(9, tmp_path).names
    )
    with pytest.raises(SpecError, match="6 of 7 clients have 10 samples or more; 7 are asked for"):
        Femnist(writers=7).load(0, tmp_path)


def test_split_folders_keep_leafs_own_split(tmp_path):
    write(tmp_path / "own/train/a.json", leaf({"u": 4, "v": 3}, d=6, classes=3))
    write(tmp_path / "own/test/b.json", leaf({"u": 2, "v": 1}, d=6, classes=3, seed=5))
    pool = LeafJson(path="own", outputs=3).load(0, tmp_path)
    assert (pool.x.shape, pool.test_x.shape, pool.name) == ((7, 6), (3, 6), "own")
    federation = Natural().split(pool, 0)
    assert federation.clients == ("u", "v") and federation.sizes == (4, 3)
    shaped = LeafJson.model_validate({"path": "own", "outputs": 3, "image_shape": [1, 2, 3]}).load(0, tmp_path)
    assert torch.equal(shaped.x.reshape(7, 6), pool.x)


BAD = {
    "truncated gz": ("a.json.gz", gzip.compress(json.dumps(leaf({"u": 5}, d=4)).encode())[:-40], "damaged gzip"),
    "no json": ("a.json", b'{"users": [', "not JSON"),
    "another json": ("a.json", b"[1, 2]", "not LEAF JSON"),
    "ragged": ("a.json", {"user_data": {"u": {"x": [[1, 2], [1]], "y": [0, 1]}}}, "not a table of numbers"),
    "text": ("a.json", {"user_data": {"u": {"x": [["a"], ["b"]], "y": [0, 1]}}}, "not a table of numbers"),
    "short y": ("a.json", {"user_data": {"u": {"x": [[1], [2]], "y": [0]}}}, "y of shape"),
    "fractional label": (
        "a.json",
        {"user_data": {"u": {"x": [[1], [2]], "y": [0, 0.5]}}},
        "has the label 0.5, which is not a whole number",
    ),
    "NaN": ("a.json", b'{"user_data": {"u": {"x": [[1], [NaN], [3]], "y": [0, 1, 1]}}}', "NaN or infinity"),
    "negative label": ("a.json", {"user_data": {"u": {"x": [[1], [2]], "y": [-1, -1]}}}, "label -1, which is negative"),
    "label too large": ("a.json", {"user_data": {"u": {"x": [[1], [2]], "y": [7, 7]}}}, "label 7, outside 0..2"),
    "count": ("a.json", {"users": ["u"], "num_samples": [3], "user_data": {"u": {"x": [[1]], "y": [0]}}}, "not the 3"),
    "lengths": (
        "a.json",
        {"user_data": {"u": {"x": [[1], [1]], "y": [0, 0]}, "v": {"x": [[1, 2]] * 2, "y": [0, 0]}}},
        "lengths",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_files_say_what_and_where(tmp_path, case):
    file, content, said = BAD[case]
    (tmp_path / "own").mkdir()
    if isinstance(content, bytes):
        (tmp_path / "own" / file).write_bytes(content)
    else:
        write(tmp_path / "own" / file, content)
    with pytest.raises(SpecError, match=said) as caught:
        LeafJson(path="own", outputs=3, min_samples=1).load(0, tmp_path)
    assert "own" in caught.value.where and caught.value.todo


def test_a_client_in_two_files_is_refused(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "own" / f"{name}.json", leaf({"u": 5}, d=4))
    with pytest.raises(SpecError, match="more than one file"):
        LeafJson(path="own").load(0, tmp_path)


@pytest.mark.parametrize("folder", [None, "empty"])
def test_missing_femnist_names_both_ways_on(tmp_path, folder):
    for block, word in ((Femnist(), "femnist"), (MnistByWriter(), "mnist_by_writer")):
        with pytest.raises(MissingError) as caught:
            block.load(0, tmp_path if folder else None)
        assert f"fedlab data --download {word}" in caught.value.todo and "--data digits" in caught.value.todo
        assert caught.value.exit_code == 4


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FedlabError, match="nowhere") as caught:
        LeafJson(path="nowhere").load(0, tmp_path)
    assert isinstance(caught.value, MissingError) and str(tmp_path / "nowhere") in caught.value.where


def parquet(path, rows, mode="png", invert=False):
    pa = pytest.importorskip("pyarrow")
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    cells, pixels = [], []
    rng = np.random.default_rng(0)
    for _ in rows:
        image = np.full((28, 28), 255, np.uint8)
        image[8:20, 8:20] = rng.integers(0, 255, (12, 12))
        pixels.append(image)
        out = io.BytesIO()
        Image.fromarray(255 - image if invert else image).save(out, "PNG")
        cells.append({"bytes": out.getvalue() if mode == "png" else b"junk", "path": None})
    path.parent.mkdir(parents=True)
    table = {
        "image": cells,
        "writer_id": [r[0] for r in rows],
        "hsf_id": [0] * len(rows),
        "character": [r[1] for r in rows],
    }
    pq.write_table(pa.table(table), path)
    return np.stack(pixels)


@pytest.mark.parametrize("invert", [False, True])
def test_parquet_release_gives_the_same_as_leaf_whatever_its_polarity(tmp_path, invert):
    rows = [(f"f{k % 3:04d}_14", (7 * k) % 62) for k in range(60)]
    pixels = parquet(tmp_path / "femnist/train-00000-of-00001.parquet", rows, invert=invert)
    pool = Femnist(writers=2, min_samples=5, split_seed=1).load(0, tmp_path)
    assert len(pool.names) == 2 and pool.classes == 62
    assert torch.bincount(pool.owner).tolist() == [18, 18] and len(pool.test_y) == 4
    for client, name in enumerate(pool.names):
        mine = [k for k, row in enumerate(rows) if row[0] == name]
        for x, y in zip(pool.x[pool.owner == client], pool.y[pool.owner == client], strict=True):
            match = [k for k in mine if np.allclose(pixels[k] / 255, x[0].numpy(), atol=1e-6)]
            assert len(match) == 1 and rows[match[0]][1] == y


def test_wrong_parquet_files(tmp_path):
    parquet(tmp_path / "a/femnist/x.parquet", [("u", 1)] * 12, mode="junk")
    with pytest.raises(SpecError, match="not a readable image"):
        Femnist().load(0, tmp_path / "a")
    parquet(tmp_path / "b/femnist/x.parquet", [("u", 70)] * 12)
    with pytest.raises(SpecError, match=r"label 70, outside 0\.\.61"):
        Femnist().load(0, tmp_path / "b")
    file = tmp_path / "a/femnist/x.parquet"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(SpecError, match="damaged parquet"):
        Femnist().load(0, tmp_path / "a")


@pytest.mark.slow
def test_real_mnist_by_writer(real_data):
    pool = MnistByWriter(split_seed=3).load(0, real_data)
    assert (len(pool.y), len(pool.test_y), len(pool.names), pool.classes) == (15348, 1705, 150, 62)
    assert torch.bincount(pool.y).tolist() == [1517, 1697, 1514, 1601, 1501, 1362, 1507, 1586, 1518, 1545]
    assert pool.x[:, 0, 0, 0].mean() > 0.99  # white paper is 1
    assert len(MnistByWriter(writers=100).load(0, real_data).names) == 100
