"""Reading LEAF's JSON: {"users": [...], "num_samples": [...], "user_data": {user: {"x": [...], "y": [...]}}}."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core.data._own_test import sentence_of_clients
from experiments.core.data._unpack import read_bytes
from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np

    from experiments.core.data.pool import Pool

    Users = dict[str, tuple[np.ndarray, np.ndarray]]


def has_leaf(folder: Path) -> bool:
    """Whether there are LEAF files in `folder`, or in its `train` and `test`."""
    return bool(_files(folder)) or bool(_files(folder / "train") and _files(folder / "test"))


@dataclass(frozen=True)
class OwnTest:
    """The source of a user-supplied test set: a folder of LEAF files, or users excluded from training; else neither."""

    folder: Path | None = None
    clients: tuple[str, ...] = ()


def read_leaf(folder: Path, train_fraction: float, split_seed: int, test_source: OwnTest) -> tuple[Users, Users, str]:
    """Training and test samples of each user, and how the test set was made.

    LEAF's split (`train/`, `test/`) if present, else a split by LEAF's rule, unless `test_source` names a test set.

    Raises:
        MissingError: there are no LEAF files.
        SpecError: a file is not LEAF JSON (the message names file and user), or a client is unknown.
    """
    from experiments.core.data._split import drawn, split_rows
    from experiments.core.engine.seeds import stream

    parted = bool(_files(folder / "train") or _files(folder / "test"))
    if test_source.folder is not None:
        train = _read_part(folder / "train" if parted else folder)
        return train, _read_part(test_source.folder), f"the files in {test_source.folder.name}/"
    train, test = (_read_part(folder / "train"), _read_part(folder / "test")) if parted else (_read_part(folder), {})
    if test_source.clients:
        return *_of_clients(train, test, test_source.clients, folder), sentence_of_clients(test_source.clients)
    if parted:
        return train, test, "each user's samples in test/"
    unsplit, train = train, {}
    for user, (x, y) in unsplit.items():
        a, b = split_rows(len(y), train_fraction, stream(split_seed, "split", client=user))
        train[user], test[user] = (x[a], y[a]), (x[b], y[b])
    return train, test, drawn(train_fraction, "each user's samples", split_seed)


def _of_clients(train: Users, test: Users, chosen: tuple[str, ...], folder: Path) -> tuple[Users, Users]:
    """The users who train, and all samples of those who do not."""
    import numpy as np

    from experiments.core.names import positions

    where, names = f"data.test_clients, {folder}", [user for user, (_, y) in train.items() if len(y)]
    out = [names[k] for k in positions(chosen, names, where)]
    if len(out) == len(names):
        raise SpecError("all clients are the test set", where, "leave some to train")
    whole: Users = {}
    for user in out:
        parts = [part[user] for part in (train, test) if user in part and len(part[user][1])]
        whole[user] = (np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]))
    return {user: samples for user, samples in train.items() if user not in whole}, whole


def leaf_pool(
    folder: Path,
    name: str,
    outputs: int | None = None,
    image_shape: tuple[int, ...] | None = None,
    train_fraction: float = 0.9,
    split_seed: int = 0,
    writers: int | None = None,
    min_samples: int = 2,
    test_source: OwnTest | None = None,
) -> Pool:
    """The pool of a LEAF folder; the fields of `leaf_json` say what each argument means.

    Where `test_source` is None the data are a benchmark, and the test set is the one its authors published.

    Raises:
        MissingError, SpecError: as `read_leaf`; also when fewer than `writers` users have `min_samples` samples.
    """
    from experiments.core.data._labels import numbered_labels
    from experiments.core.data.pool import make_pool

    source = test_source or OwnTest()
    train, test, test_from = read_leaf(folder, train_fraction, split_seed, source)
    user_defined_test = bool(source.folder or source.clients)
    test_counts = {user: len(y) for user, (_, y) in test.items()} if not user_defined_test else {}
    sizes = {user: len(y) + test_counts.get(user, 0) for user, (_, y) in train.items() if len(y)}
    names = choose(sizes, writers, min_samples, split_seed, str(folder))
    x, y, owner = stack([train[user] for user in names], str(folder))
    test_users = [user for user in (test if user_defined_test else names) if user in test and len(test[user][1])]
    test_x, test_y, _ = stack([test[user] for user in test_users], str(source.folder or folder))
    labels = numbered_labels(str(folder), (y, test_y), outputs)
    shape = image_shape or ((1, 28, 28) if x.shape[1] == 784 else (x.shape[1],))
    if min(shape) < 1 or {prod(shape)} != {x.shape[1], test_x.shape[1]}:
        what = f"samples of {x.shape[1]} (training) and {test_x.shape[1]} (test) numbers are no {shape} images"
        raise SpecError(what, str(folder), "correct image_shape, or give every sample as many numbers")
    parts = ((x.reshape(-1, *shape), labels.parts[0]), (test_x.reshape(-1, *shape), labels.parts[1]))
    shared = test_source is not None and bool(set(test_users).intersection(names))
    return make_pool(str(folder), *parts, labels.classes, name, owner, names, test_from=test_from, own_tests=shared)


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
    users: Users = {}
    files = _files(folder)
    if not files:
        raise MissingError("no LEAF files (*.json, *.json.gz)", str(folder), "put LEAF's all_data_*.json files there")
    for path in files:
        for user, samples in _read_file(path).items():
            if user in users:
                raise SpecError(f"client {user!r} is in more than one file", str(path), "keep each client in one file")
            users[user] = samples
    return users


def _read_file(path: Path) -> Users:
    """The users of one file. Each user's lists become arrays as soon as they are read, to save memory."""

    def compact(mapping: dict[str, Any]) -> Any:
        return _arrays(mapping, str(path)) if {"x", "y"} <= mapping.keys() else mapping

    try:
        content = json.loads(read_bytes(path), object_hook=compact)
    except (ValueError, RecursionError) as error:  # a number with thousands of digits also raises ValueError
        raise SpecError(f"not JSON ({error})", str(path), "fetch or write the file again") from error
    users = content.get("user_data") if isinstance(content, dict) else None
    if not isinstance(users, dict) or not all(isinstance(samples, tuple) for samples in users.values()):
        raise SpecError('not LEAF JSON: no "user_data" of {"x": ..., "y": ...} by user', str(path), "see LEAF's README")
    _check_counts(content, users, path)
    return users


def _check_counts(content: dict[str, Any], users: Users, path: Path) -> None:
    """Raise SpecError where the file's counts contradict its samples, as in a truncated or hand-edited file."""
    named, counts = content.get("users", []), content.get("num_samples", [])
    if not (isinstance(named, list) and isinstance(counts, list) and all(isinstance(user, str) for user in named)):
        raise SpecError("users or num_samples is not a list", str(path), "leave both out, or write them as LEAF does")
    for user, count in zip(named, counts, strict=False):
        stored = len(users[user][1]) if user in users else 0
        if stored != count:
            raise SpecError(
                f"client {user!r} has {stored} samples, not the {count} announced", str(path), "write it again"
            )


def _arrays(samples: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    """One user's samples as arrays: x [n, d] float32, y [n] as they are."""
    import numpy as np

    try:
        with np.errstate(over="ignore"):  # values beyond float32 become infinite and are rejected later
            x, y = np.asarray(samples["x"], dtype=np.float32), np.asarray(samples["y"])
    except (ValueError, TypeError, OverflowError) as error:
        raise SpecError(f"x or y is not a table of numbers ({error})", where, "give lists of equal length") from error
    if x.ndim and y.ndim and not len(y) and not len(x):
        return np.empty((0, 0), np.float32), np.empty(0, np.int64)
    if x.ndim != 2 or y.shape != (len(x),):
        raise SpecError(f"x of shape {x.shape} with y of shape {y.shape}", where, "give a flat x and one y per sample")
    if y.dtype.kind not in "iubfU":
        raise SpecError(f"labels are {y.dtype}", where, "give labels 0, 1, 2, ... or names of classes")
    return x, y
