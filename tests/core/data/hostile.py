"""Ways to spoil the small files of tests/toys/data_files.py; `python -m` counts what falls."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import struct
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.core.data.pool import DataBlock
from experiments.core.errors import FedlabError
from tests.toys.data_files import SMALL


def _cut(raw: bytes, rng: random.Random) -> bytes:
    return raw[: rng.choice([0, 1, 3, 4, 7, rng.randrange(len(raw) + 1), len(raw) - 1])]


def _flipped(raw: bytes, rng: random.Random) -> bytes:
    out = bytearray(raw)
    span = rng.choice([len(out), min(len(out), 64)])  # headers are small, and matter most
    for _ in range(rng.choice([1, 1, 1, 4, 30]) if out else 0):
        out[rng.randrange(span)] ^= 1 << rng.randrange(8)
    return bytes(out)


def _foreign(raw: bytes, rng: random.Random) -> bytes:
    others = [b"\0" * 64, b"\xff" * 64, rng.randbytes(99), b"null", b"[]", b"<html>no</html>", b"%!PS\n", b"\x93NUMPY"]
    return rng.choice([*others, raw + raw, raw + b"x", rng.choice(others) + raw, raw[::-1]])


VALUES: list[Any] = [
    None, True, -1, 10**12, 10**30, 0.5, float("nan"), float("inf"), "", "x", "1", [], {}, [[]], [None], {"x": 1},
    [1, [2, 3]], "\x1b[31m", ["a"], [[1], [2, 3]],
]  # fmt: skip


def _json(raw: bytes, rng: random.Random) -> bytes:
    """One node of a JSON text replaced by a value of another kind, or left out."""
    tree = {"it": json.loads(raw)}
    at: Any = tree
    while True:
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if not (isinstance(at[key], (dict, list)) and at[key] and rng.random() < 0.7):
            break
        at = at[key]
    if at is not tree and rng.random() < 0.2:
        del at[key]
    else:
        at[key] = rng.choice(VALUES)
    return json.dumps(tree.get("it")).encode()


def _cells(raw: bytes, rng: random.Random) -> bytes:
    """One cell of a table replaced, doubled or left out."""
    rows = [line.split(",") for line in raw.decode().splitlines()]
    row = rng.choice(rows)
    at = rng.randrange(len(row))
    words = [
        "",
        "NA",
        "None",
        "nan",
        "1e400",
        "-1",
        "1e12",
        '"',
        '"a\nb"',
        "\x00",
        "é",
        "1;2",
        "1,2",
        "=1",
        "9" * 5000,
    ]
    row[at : at + 1] = rng.choice([[rng.choice(words)], [], [row[at]] * 2])
    return "\n".join(",".join(row) for row in rows).encode()


def _arrays(raw: bytes, rng: random.Random) -> bytes:
    """One member of an npz file of another shape or type, or no array at all."""
    held = dict(np.load(io.BytesIO(raw)))
    key, out = rng.choice(list(held)), io.BytesIO()
    array = held[key]
    odd: list[Any] = [
        array[0], array[:0], array[:, None], array.reshape(-1), array[:3], array.astype(str), array.astype("S2"),
        np.zeros(array.shape, "M8[s]"), np.zeros(array.shape, [("a", int)]), np.array(1), np.zeros(array.shape, "c8"),
        np.zeros(array.shape, bool), np.full(array.shape, np.nan), np.full(array.shape, 1e12), np.full(array.shape, -1),
        np.full(array.shape, 2**63, np.uint64), np.zeros(array.shape, np.float16), np.full(array.shape, 0.5),
        np.empty((8, 0, 5), np.uint8), np.zeros((8, 1, 1, 1, 1)),
    ]  # fmt: skip
    held[key] = rng.choice(odd)
    np.savez(out, **held)
    if rng.random() < 0.3:
        with zipfile.ZipFile(out, "a") as opened:
            opened.writestr(
                rng.choice(["note.txt", "train_images", "a/b.npy"]), rng.choice([b"", b"text", b"\x93NUMPY\1"])
            )
    return out.getvalue()


def _columns(raw: bytes, rng: random.Random) -> bytes:
    """One column of a parquet file of another type, with gaps, or missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(raw))
    name, out, n = rng.choice(table.column_names), io.BytesIO(), len(table)
    odd = [[None] * n, ["x"] * n, [1.5] * n, [-1] * n, [10**12] * n, [[1]] * n, [b"\x89PNG"] * n, [{"bytes": None}] * n]
    table = table.drop_columns([name])
    if rng.random() < 0.9:
        table = table.append_column(name, pa.array(rng.choice(odd)))
    pq.write_table(table.slice(0, rng.choice([n, n, 0, 1])), out)
    return out.getvalue()


def _header(raw: bytes, rng: random.Random) -> bytes:
    """An IDX file whose header says something else, perhaps of as many values as there are."""
    rank = rng.choice([0, 1, 2, 3, 4, 64, 65, 128, 255])
    dims = [rng.choice([0, 1, -1, -2, 2, 8, 2**31 - 1]) for _ in range(rank)]
    count = abs(int(np.prod(dims, dtype=object))) if rank else 1
    kind = rng.choice([0, 8, 9, 11, 12, 13, 14, 255])
    return struct.pack(f">HBB{rank}i", 0, kind, rank, *dims) + b"\7" * (count if count < 999 else 9)


INSIDE = {"-ubyte": _header, ".json": _json, ".csv": _cells, ".npz": _arrays, ".parquet": _columns}


def _tar(raw: bytes, rng: random.Random, change: Callable[[bytes, random.Random], bytes]) -> bytes:
    """One member of a tar archive changed, or of another kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(raw)) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        members = old.getmembers()
        chosen = rng.randrange(len(members))
        for k, member in enumerate(members):
            content = old.extractfile(member).read()  # type: ignore[union-attr]
            if k == chosen and rng.random() < 0.2:
                member.type, member.linkname = rng.choice([(tarfile.SYMTYPE, member.name), (tarfile.DIRTYPE, "")])
                member.size, content = 0, b""
            elif k == chosen:
                content = change(content, rng)
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return out.getvalue()


def spoil(folder: Path, rng: random.Random) -> str:
    """Spoil one file below `folder`; says which and how. What is packed is spoilt within its packing, too."""
    file = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    raw, name = file.read_bytes(), file.name.removesuffix(".gz")
    tar = name.endswith((".tgz", ".tar"))
    inside = next((change for end, change in INSIDE.items() if name.endswith(end)), _cells if tar else None)
    change = rng.choice([_cut, _flipped, _foreign, *([inside] * 3 if inside else [])])
    if tar and rng.random() < 0.7:
        new = _tar(raw, rng, change if change is not _cells or rng.random() < 0.5 else _flipped)
    elif change is inside and tar:
        new = _tar(raw, rng, change)
    elif file.suffix == ".gz" and not tar and (change is inside or rng.random() < 0.7):
        new = gzip.compress(change(gzip.decompress(raw), rng))
    else:
        new = change(raw, rng)
    file.write_bytes(new)
    return f"{file.relative_to(folder)} {change.__name__}"


def read(block: DataBlock, folder: Path) -> str:
    """What becomes of it: "read", "refused", or what is wrong with the answer."""
    try:
        pool = block.load(0, folder)
    except FedlabError as error:
        return "refused" if error.what and error.where and "\n" not in str(error.what) else f"not one line: {error!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    sound = all(np.isfinite(x.numpy()).all() for x in (pool.x, pool.test_x))
    within = all(int(y.min()) >= 0 and int(y.max()) < pool.classes for y in (pool.y, pool.test_y))
    return "read" if sound and within and pool.classes < 10**6 else f"unsound: {pool.classes} classes"


def trials(kind: str, seeds: range) -> Iterator[tuple[int, str, str]]:
    """(seed, what was spoilt, what became of it) for one kind of data."""
    block, make = SMALL[kind]
    with tempfile.TemporaryDirectory() as base:
        sound = Path(base) / "sound"
        sound.mkdir()
        make(sound)
        for seed in seeds:
            folder = Path(base) / "spoilt"
            shutil.copytree(sound, folder)
            how = spoil(folder, random.Random(f"{kind} {seed}"))
            yield seed, how, read(block, folder)
            shutil.rmtree(folder)


def main(count: int) -> None:
    """Count the falls of every kind."""
    for kind in SMALL:
        found = list(trials(kind, range(count)))
        bad = [(seed, how, what) for seed, how, what in found if what not in ("read", "refused")]
        print(f"{kind}: {len(found)} tried, {sum(w == 'refused' for *_, w in found)} refused, {len(bad)} fell")
        for seed, how, what in bad[:15]:
            print(f"    {seed}: {how}: {what[:150]}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
