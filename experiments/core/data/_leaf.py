"""Reading LEAF's JSON: {"users": [...], "num_samples": [...], "user_data": {user: {"x": [...], "y": [...]}}}."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core.data._files import read_bytes
from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np

    from experiments.core.data.pool import Pool

    Users = dict[str, tuple[np.ndarray, np.ndarray]]


def has_leaf(folder: Path) -> bool:
    """Whether there are LEAF files in `folder`, or in its `train` and `test`."""
    return bool(_files(folder)) or bool(_files(folder / "train") and _files(folder / "test"))


def read_leaf(folder: Path, train_fraction: float, split_seed: int) -> tuple[Users, Users]:
    """Training and test samples of each user, as LEAF split them (`train/`, `test/`) or split here by LEAF's rule.

    Raises:
        MissingError: there are no LEAF files.
        SpecError: a file is not LEAF JSON; the message names file and user.
    """
    from experiments.core.data._split import split_rows
    from experiments.core.engine.seeds import stream

    if _files(folder / "train") or _files(folder / "test"):
        return _read_part(folder / "train"), _read_part(folder / "test")
    train: Users = {}
    test: Users = {}
    for user, (x, y) in _read_part(folder).items():
        a, b = split_rows(len(y), train_fraction, stream(split_seed, "split", client=user))
        train[user], test[user] = (x[a], y[a]), (x[b], y[b])
    return train, test


def leaf_pool(
    folder: Path,
    name: str,
    outputs: int | None = None,
    image_shape: tuple[int, ...] | None = None,
    train_fraction: float = 0.9,
    split_seed: int = 0,
    writers: int | None = None,
    min_samples: int = 2,
) -> Pool:
    """The pool of a LEAF folder; the fields of `leaf_json` say what each argument means.

    Raises:
        MissingError, SpecError: as `read_leaf`; also when fewer than `writers` users have `min_samples` samples.
    """
    import numpy as np

    from experiments.core.data.pool import make_pool

    train, test = read_leaf(folder, train_fraction, split_seed)
    none = (np.empty((0,)), np.empty((0,)))
    sizes = {user: len(train[user][1]) + len(test.get(user, none)[1]) for user in train if len(train[user][1])}
    names = choose(sizes, writers, min_samples, split_seed, str(folder))
    x, y, owner = stack([train[user] for user in names], str(folder))
    test_x, test_y, _ = stack([test[user] for user in names if user in test and len(test[user][1])], str(folder))
    classes = outputs or int(max(y.max(), test_y.max())) + 1
    shape = image_shape or ((1, 28, 28) if x.shape[1] == 784 else (x.shape[1],))
    if np.prod(shape) != x.shape[1]:
        raise SpecError(f"samples of {x.shape[1]} numbers are no {shape} images", str(folder), "correct image_shape")
    parts = ((x.reshape(-1, *shape), y), (test_x.reshape(-1, *shape), test_y))
    return make_pool(str(folder), *parts, classes, name, owner, names)


def choose(sizes: dict[str, int], count: int | None, min_samples: int, seed: int, where: str) -> tuple[str, ...]:
    """Users with at least `min_samples` samples, or `count` of them drawn at random; in the order of `sizes`.

    Raises:
        SpecError: there are fewer than `count` of them.
    """
    from experiments.core.engine.seeds import stream

    able = [user for user, n in sizes.items() if n >= min_samples]
    wanted = len(able) if count is None else count
    if not able or wanted > len(able):
        raise SpecError(
            f"{len(able)} of {len(sizes)} clients have {min_samples} samples or more; {max(wanted, 1)} are asked for",
            where,
            "lower data.writers or data.min_samples",
        )
    drawn = stream(seed, "writers").choice(len(able), wanted, replace=False)
    return tuple(able[i] for i in sorted(drawn))


def stack(parts: list[tuple[np.ndarray, np.ndarray]], where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join (x, y) of several users: x [N, d], y [N], and the user's index of each sample [N].

    Raises:
        SpecError: nothing to join, or users whose samples differ in length.
    """
    import numpy as np

    if not parts:
        raise SpecError("no samples left", where, "check the train and test files and data.min_samples")
    if len({x.shape[1:] for x, _ in parts}) > 1:
        lengths = sorted({x.shape[1] for x, _ in parts})
        raise SpecError(f"samples of different lengths: {lengths}", where, "give every sample as many numbers")
    owner = np.repeat(np.arange(len(parts)), [len(y) for _, y in parts])
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]), owner


def _files(folder: Path) -> list[Path]:
    """The JSON files of a folder, by name."""
    return sorted([*folder.glob("*.json"), *folder.glob("*.json.gz")]) if folder.is_dir() else []


def _read_part(folder: Path) -> Users:
    """All users of all files of one folder."""
    found: Users = {}
    files = _files(folder)
    if not files:
        raise MissingError("no LEAF files (*.json, *.json.gz)", str(folder), "put LEAF's all_data_*.json files there")
    for path in files:
        for user, samples in _read_file(path).items():
            if user in found:
                raise SpecError(f"client {user!r} is in more than one file", str(path), "keep each client in one file")
            found[user] = samples
    return found


def _read_file(path: Path) -> Users:
    """The users of one file. Each user's lists become arrays as soon as they are read, which keeps memory small."""

    def compact(found: dict[str, Any]) -> Any:
        return _arrays(found, str(path)) if {"x", "y"} <= found.keys() else found

    try:
        content = json.loads(read_bytes(path), object_hook=compact)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"not JSON ({error})", str(path), "fetch or write the file again") from error
    users = content.get("user_data") if isinstance(content, dict) else None
    if not isinstance(users, dict) or not all(isinstance(samples, tuple) for samples in users.values()):
        raise SpecError('not LEAF JSON: no "user_data" of {"x": ..., "y": ...} by user', str(path), "see LEAF's README")
    _check_counts(content, users, path)
    return users


def _check_counts(content: dict[str, Any], users: Users, path: Path) -> None:
    """Raise SpecError where the file's own counts contradict its samples, the sign of a file cut and mended by hand."""
    named, counts = content.get("users", []), content.get("num_samples", [])
    if not (isinstance(named, list) and isinstance(counts, list) and all(isinstance(user, str) for user in named)):
        raise SpecError("users or num_samples is no list", str(path), "leave both out, or write them as LEAF does")
    for user, count in zip(named, counts, strict=False):
        held = len(users[user][1]) if user in users else 0
        if held != count:
            raise SpecError(
                f"client {user!r} has {held} samples, not the {count} announced", str(path), "write it again"
            )


def _arrays(samples: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    """One user's samples as arrays: x [n, d] float32, y [n] int64."""
    import numpy as np

    try:
        x, y = np.asarray(samples["x"], dtype=np.float32), np.asarray(samples["y"])
    except (ValueError, TypeError) as error:
        raise SpecError(f"x or y is no table of numbers ({error})", where, "give lists of equal length") from error
    if not len(y) and not len(x):
        return np.empty((0, 0), np.float32), np.empty(0, np.int64)
    if x.ndim != 2 or y.shape != (len(x),):
        raise SpecError(f"x of shape {x.shape} with y of shape {y.shape}", where, "give a flat x and one y a sample")
    if not (np.issubdtype(y.dtype, np.number) and np.array_equal(y, np.round(y))):
        raise SpecError("labels are not whole numbers", where, "give labels 0, 1, 2, ...")
    return x, y.astype(np.int64)
