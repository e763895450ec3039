"""What every kind of data and every partition promises; they are found in their folder, so a new one is tested, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from experiments.core.data import kinds, partitions
from experiments.core.data.pool import DataBlock, Pool, make_pool
from experiments.core.errors import MissingError, SpecError
from experiments.paths import data_dir
from fedlab_cli.main import main
from tests.toys.data_files import SMALL

FIELDS = {kind: block.model_fields for kind, block in kinds().items()}
NEEDS_A_PATH = [kind for kind, fields in FIELDS.items() if "path" in fields and fields["path"].is_required()]
PACKAGES = {"text_csv": "tokenizers", "femnist": "pyarrow"}  # the extras of pyproject.toml


def block_of(kind: str, folder: Path) -> tuple[DataBlock, Path | None]:
    """A block of `kind` and its data folder: small files, none where none are needed, or else the user's own."""
    if kind in SMALL:
        block, make = SMALL[kind]
        make(folder)
        return block, folder
    if kind in NEEDS_A_PATH:
        pytest.skip(f"no small file of kind {kind}: add one to tests/toys/data_files.py")
    block = kinds()[kind]()
    for place in (None, data_dir()):
        try:
            block.require(place)
        except MissingError:
            continue
        return block, place
    pytest.skip(f"no files of {kind}: add small ones to tests/toys/data_files.py, or set FEDLAB_DATA_DIR")


@pytest.fixture(scope="module", params=kinds())
def loaded(request, tmp_path_factory) -> tuple[DataBlock, Path | None, Pool]:
    kind = request.param
    if kind in PACKAGES:
        pytest.importorskip(PACKAGES[kind], reason="an optional package is not installed")
    block, folder = block_of(kind, tmp_path_factory.mktemp(kind))
    return block, folder, block.load(0, folder)


def test_kinds_were_found():
    assert len(kinds()) >= 13 and set(SMALL) <= set(kinds())


def test_it_is_a_sound_pool(loaded):
    block, _, pool = loaded
    for x, y in ((pool.x, pool.y), (pool.test_x, pool.test_y)):
        assert len(x) == len(y) > 0 and x.shape[1:] == pool.x.shape[1:]
        assert x.dtype == (torch.int64 if block.integers else torch.float32)
        if pool.classes == 1:
            assert y.shape == (len(x), 1) and y.isfinite().all()
        else:
            assert y.dtype == torch.int64 and int(y.min()) >= 0 and int(y.max()) < pool.classes
    assert pool.x.isfinite().all() and pool.test_x.isfinite().all()
    assert len(pool.owner) == len(pool.x) and int(pool.owner.min()) >= -1 and int(pool.owner.max()) < len(pool.names)
    assert len(set(pool.names)) == len(pool.names) and pool.name and pool.test_from


def test_it_is_what_its_outline_said(loaded):
    block, _, pool = loaded
    outline = block.outline()
    if outline is None:
        pytest.skip("only loading tells")
    if block.called == "small_mnist":
        pytest.skip("it says what MNIST's files hold, and the small ones are 4 by 4 pixels")
    shape, classes, _, _ = outline
    assert (tuple(pool.x.shape[1:]), pool.classes) == (tuple(shape), classes)


def test_it_loads_the_same_again(loaded):
    block, folder, pool = loaded
    again = block.load(0, folder)
    for name in ("x", "y", "owner", "test_x", "test_y"):
        assert torch.equal(getattr(pool, name), getattr(again, name)), name
    assert (pool.names, pool.scale, pool.notes) == (again.names, again.scale, again.notes)


def test_no_line_of_a_file_trains_and_tests(loaded):
    pool = loaded[2]
    if pool.lines is None or pool.test_lines is None:
        pytest.skip("its samples have no lines")
    lines = torch.cat([pool.lines, pool.test_lines])
    assert len(lines.unique()) == len(lines) == len(pool.y) + len(pool.test_y)


def test_samples_drawn_or_split_here_do_not_train_and_test(loaded):
    """One sample in a hundred may occur twice in the data themselves, but at least one (Iris holds a flower twice)."""
    _, folder, pool = loaded
    if folder is not None:
        pytest.skip("its small files are made up, and may hold a sample twice")
    rows = torch.cat([pool.x.flatten(1), pool.y.reshape(len(pool.y), -1).to(pool.x.dtype)], 1)
    tests = torch.cat([pool.test_x.flatten(1), pool.test_y.reshape(len(pool.test_y), -1).to(pool.x.dtype)], 1)
    known = {row.numpy().tobytes() for row in rows}
    assert sum(row.numpy().tobytes() in known for row in tests) <= max(1, len(tests) / 100)


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind in SMALL])
def test_a_missing_file_is_told_with_where_and_what_to_do(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    block = SMALL[kind][0]
    for place in (tmp_path, None):
        for look in (block.require, lambda folder: block.load(0, folder)):
            with pytest.raises(MissingError) as told:
                look(place)
            assert told.value.exit_code == 4
            assert all(line and "\n" not in line for line in (told.value.what, told.value.where, told.value.todo))
    model = {"kind": "transformer", "arch": "bert"} if block.integers else {"kind": "mlp", "hidden": [2]}
    spec = {
        "extends": "base", "paper": "train", "data": json.loads(block.model_dump_json()), "model": model,
        "partition": {"kind": "iid", "clients": 2}, "clients_per_round": 2, "rounds": 10,
        "local": {"lr": 0.1, "steps": 1},
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(json.dumps(spec))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config", "mine.yaml", "--data-dir", str(tmp_path), "--no-stand-in"]) == 4
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0].strip() for line in shown if line.startswith(("error", "  "))] == ["error", "at", "fix"]


def pool_of(n: int = 240, owners: int = 6) -> Pool:
    """Samples that are their own number, so that they can be followed; four labels; six natural clients."""
    import numpy as np

    x = np.arange(n, dtype=np.float32)[:, None]
    names = tuple(f"site{k}" for k in range(owners))
    owner = np.arange(n) % owners
    return make_pool("toy", (x, np.arange(n) // 3 % 4), (x[:9] + n, np.arange(9) % 4), 4, "toy", owner, names)


def partition_of(kind: str, **more: object):
    """The partition `kind` for five clients where it asks how many."""
    block = partitions()[kind]
    return block(**{key: value for key, value in {"clients": 5, **more}.items() if key in block.model_fields})


@pytest.mark.parametrize("kind", partitions())
def test_a_partition_deals_no_sample_twice(kind):
    pool = pool_of()
    dealt = partition_of(kind).split(pool, 0)
    numbers = dealt.x[:, 0].long()
    assert len(numbers.unique()) == len(numbers) == dealt.offsets[-1]
    assert torch.equal(dealt.y, pool.y[numbers])  # the label goes with its sample
    assert min(dealt.sizes) > 0 and len(set(dealt.clients)) == len(dealt.sizes)
    assert torch.equal(dealt.test_x, pool.test_x) and torch.equal(dealt.test_y, pool.test_y)


@pytest.mark.parametrize("kind", partitions())
def test_a_partition_deals_every_sample(kind):
    """Those that drop what is too small are told to find nothing too small (one of a batch of its own may still go)."""
    pool, loose = pool_of(), {"min_label": 1, "min_size": 1, "batch_size": 10**6}
    assert partition_of(kind, **loose).split(pool, 0).offsets[-1] == len(pool.y)


@pytest.mark.parametrize("kind", partitions())
def test_a_partition_is_drawn_by_its_seed(kind):
    def dealt(**more):
        return [partition_of(kind, **more).split(pool_of(), seed) for seed in (0, 1)]

    first, again, other = dealt(), dealt(), dealt(split_seed=None)
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one.x, two.x) and one.offsets == two.offsets
    if "split_seed" in partitions()[kind].model_fields:
        assert not (other[0].offsets == other[1].offsets and torch.equal(other[0].x, other[1].x))
        fixed = dealt(split_seed=3)
        assert torch.equal(fixed[0].x, fixed[1].x) and fixed[0].offsets == fixed[1].offsets


@pytest.mark.parametrize("kind", [kind for kind, block in partitions().items() if "clients" in block.model_fields])
def test_more_clients_than_samples_are_rejected(kind):
    with pytest.raises(SpecError) as told:
        partition_of(kind, clients=1000).split(pool_of(), 0)
    assert told.value.what and told.value.where and told.value.todo
