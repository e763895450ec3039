"""Whatever a data file holds, the answer is sound data or one line that says what is wrong with which file."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from experiments.core.errors import SpecError
from tests.core.data.hostile import read, trials
from tests.toys.data_files import SMALL

COUNT = 60
ZEROS = 64 << 20
EXTRAS = {"text_csv": "tokenizers", "femnist": "pyarrow"}


@pytest.mark.parametrize("kind", SMALL)
def test_spoilt_files_are_read_or_refused(kind):
    if kind in EXTRAS:
        pytest.importorskip(EXTRAS[kind], reason="an optional package is not installed")
    found = list(trials(kind, range(COUNT)))
    assert [trial for trial in found if trial[2] not in ("read", "refused")] == []
    assert sum(what == "refused" for *_, what in found) > COUNT / 4  # it was damage


@pytest.mark.parametrize("kind", ["idx", "leaf_json", "cifar", "text_csv", "image_npz"])
def test_a_small_file_that_unpacks_to_more_than_there_is_memory(kind, tmp_path, monkeypatch):
    """64 MiB of zeros, packed to a few kB, where a quarter of 64 MiB may be used."""
    monkeypatch.setattr("experiments.core.memory.available_bytes", lambda: 64 << 20)
    block, make = SMALL[kind]
    make(tmp_path)
    block.load(0, tmp_path)  # sound, and all that is imported while loading is there
    file = min(p for p in tmp_path.rglob("*") if p.suffix in PACKED)
    file.write_bytes(next(zeros for end, zeros in PACKED.items() if file.name.endswith(end))(file))
    tracemalloc.start()
    try:
        with pytest.raises(SpecError, match="of the memory that is free"):
            block.load(0, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert read(block, tmp_path) == "refused"


def _packed(file: Path) -> bytes:
    return gzip.compress(bytes(ZEROS))


def _archive(file: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("data/train.csv" if file.name == "data.tgz" else "x/data_batch_1.bin")
        info.size = ZEROS
        archive.addfile(info, io.BytesIO(bytes(ZEROS)))
    return out.getvalue()


def _arrays(file: Path) -> bytes:
    out, held = io.BytesIO(), dict(np.load(file))
    np.savez_compressed(out, **{**held, "train_images": np.zeros((ZEROS // 64, 8, 8), np.uint8)})
    return out.getvalue()


PACKED = {".tar.gz": _archive, ".tgz": _archive, ".gz": _packed, ".npz": _arrays}
