"""Small sound files of every kind of data that is read from files, for tests that must not need the real ones."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from experiments.core.data.cifar import TEST, TRAIN, Cifar
from experiments.core.data.csv import Csv
from experiments.core.data.femnist import Femnist
from experiments.core.data.idx import Idx
from experiments.core.data.image_folder import ImageFolder
from experiments.core.data.image_npz import ImageNpz
from experiments.core.data.leaf_json import LeafJson
from experiments.core.data.mnist_by_writer import MnistByWriter
from experiments.core.data.pool import DataBlock
from experiments.core.data.small_mnist import SmallMnist
from experiments.core.data.svhn import Svhn
from experiments.core.data.text_csv import TextCsv


def _idx(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}i", 0, kind, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def _idx_files(folder: Path, n: int = 8) -> None:
    folder.mkdir()
    rng = np.random.default_rng(1)
    for part in ("train", "t10k"):
        images, labels = rng.integers(0, 256, (n, 4, 4)), np.arange(n) % 3
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(_idx(images)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(_idx(labels))


def _leaf_files(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(2)
    users = {f"u{k}": {"x": rng.random((3, 784)).round(1).tolist(), "y": [0, 1, 2]} for k in range(2)}
    for part in ("train", "test"):
        (folder / part).mkdir()
        content = json.dumps({"users": list(users), "num_samples": [3] * 2, "user_data": users}).encode()
        (folder / part / "all_data.json.gz").write_bytes(gzip.compress(content))


def _npz(folder: Path) -> None:
    rng = np.random.default_rng(3)
    held = {f"{part}_images": rng.integers(0, 256, (8, 5, 5)).astype(np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.arange(8) % 3 for part in ("train", "test")}
    np.savez_compressed(folder / "data.npz", **held, **labels, train_clients=np.array(list("aabbccaa")))


def _table(folder: Path) -> None:
    rows = [f"{'ab'[k % 2]},{k / 3:.3f},{(k * k) % 7},{'yes' if k % 3 else 'no'}" for k in range(30)]
    (folder / "data.csv").write_text("\n".join(["site,age,dose,label", *rows]) + "\n")


def _pictures(folder: Path) -> None:
    for label in ("cat", "dog"):
        (folder / "data" / label).mkdir(parents=True)
        for k, ending in enumerate(("png", "jpg", "gif", "bmp", "tiff", "webp")):
            Image.new("L", (5, 4), 20 * k).save(folder / "data" / label / f"{k}.{ending}")


def _cifar(folder: Path) -> None:
    rng = np.random.default_rng(4)
    with tarfile.open(folder / "data.tar.gz", "w:gz") as opened:
        for name in (*TRAIN[10], TEST[10]):
            records = rng.integers(0, 10, (2, 3073)).astype(np.uint8).tobytes()
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(records)
            opened.addfile(info, io.BytesIO(records))


def _svhn(folder: Path) -> None:
    rng = np.random.default_rng(5)
    folder.mkdir()
    for part in ("train", "test"):
        held = {
            "X": rng.integers(0, 256, (32, 32, 3, 4)).astype(np.uint8),
            "y": np.array([[1], [10], [2], [1]], np.uint8),
        }
        savemat(folder / f"{part}_32x32.mat", held, do_compression=True)


def _texts(folder: Path) -> None:
    with tarfile.open(folder / "data.tgz", "w:gz") as opened:
        for name in ("train.csv", "test.csv", "classes.txt"):
            text = "one\ntwo\n" if name == "classes.txt" else '"1","a cat","sat"\n"2","a dog","ran"\n' * 4
            info = tarfile.TarInfo(f"data/{name}")
            info.size = len(text)
            opened.addfile(info, io.BytesIO(text.encode()))


def _parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    Image.fromarray(np.full((28, 28), 200, np.uint8)).save(out, "PNG")
    n = 24
    columns = {"image": [{"bytes": out.getvalue(), "path": None}] * n, "writer_id": [f"f{k % 2}" for k in range(n)]}
    (folder / "femnist").mkdir()
    pq.write_table(pa.table({**columns, "character": [k % 62 for k in range(n)]}), folder / "femnist" / "a.parquet")


def _in(name: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: make(folder / name)


SMALL: dict[str, tuple[DataBlock, Callable[[Path], None]]] = {
    "idx": (Idx(path="data"), _in("data", _idx_files)),
    "small_mnist": (SmallMnist(path="data", keep=2), _in("data", lambda f: _idx_files(f, 5004))),
    "leaf_json": (LeafJson(path="data"), _in("data", _leaf_files)),
    "mnist_by_writer": (MnistByWriter(), _in("mnist_by_writer", _leaf_files)),
    "image_npz": (ImageNpz(path="data.npz"), _npz),
    "csv": (Csv(path="data.csv", client="site"), _table),
    "image_folder": (ImageFolder(path="data", height=4, width=5), _pictures),
    "cifar": (Cifar(path="data.tar.gz"), _cifar),
    "svhn": (Svhn(), _in("svhn", _svhn)),
    "text_csv": (TextCsv(path="data", max_length=8), _texts),
    "femnist": (Femnist(), _parquet),
}
"""Kind -> the block that reads them, and what writes them into a data folder."""
