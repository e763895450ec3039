"""All measures beside a whole cell's run: rows and images, the same after an interruption, and what is refused."""

import numpy as np
import pytest

from experiments.core.errors import SpecError
from experiments.core.study.price import of_run
from experiments.core.sweep.cell import Context
from experiments.impro.cells import compute
from experiments.impro.price import price
from experiments.impro.stored_images import FILE
from tests.toys.impro import spec

MEASURES = {
    "variance": {"split": "conv1", "every": 2, "samples": 40},
    "distance": {"split": "conv1", "every": 2, "samples": 40, "exact": 6},
    "inversion": {"split": "conv1", "classes": 3, "mean_of": 20, "among": 5, "steps": 5, "noise": [0.1]},
}
MODEL = {"kind": "cnn", "first": 2, "second": 2, "hidden": 8}


def _spec(**more):
    return spec(**{"model": MODEL, "rounds": 3, **MEASURES, **more})


def _rows(folder, own, **more):
    folder.mkdir(exist_ok=True)
    rows = compute(own, "", 0, Context(folder, **more))
    return {(r["metric"], r["subject"], r.get("round")): r["value"] for r in rows if r["metric"] != "train_seconds"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cell") / "it"
    return _rows(folder, _spec()), folder


class StopError(Exception):
    pass


@pytest.mark.slow
def test_each_block_has_its_rows_and_a_run_without_them_has_none(whole, tmp_path):
    rows, folder = whole
    measured = {"variance_ratio", "variance_bound", "wasserstein", "contribution", "ssim", "psnr"}
    assert measured <= {metric for metric, _, _ in rows}
    assert {t for metric, _, t in rows if metric == "variance_ratio"} == {1, 2, 3}
    assert (folder / FILE).is_file()
    plain = _rows(tmp_path / "plain", spec(model=MODEL, rounds=3))
    assert not measured & {metric for metric, _, _ in plain}
    assert {key: rows[key] for key in plain} == plain  # to measure changes nothing of the run


@pytest.mark.slow
def test_a_run_that_is_killed_has_the_same_numbers_and_images_afterwards(whole, tmp_path):
    rows, folder = whole

    def stop(what, done, total):
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        _rows(tmp_path / "killed", _spec(), progress=stop)
    again = _rows(tmp_path / "killed", _spec())
    assert again.keys() == rows.keys()
    np.testing.assert_array_equal([again[key] for key in rows], list(rows.values()))
    with np.load(tmp_path / "killed" / FILE) as one, np.load(folder / FILE) as two:
        for key in two.files:
            np.testing.assert_array_equal(one[key], two[key])


@pytest.mark.parametrize("block", ["variance", "distance", "inversion"])
def test_an_unknown_block_of_the_model_is_refused_with_its_key(block, tmp_path):
    with pytest.raises(SpecError, match=rf"no block 'layer9'.*{block}\.split.*conv1"):
        _rows(tmp_path / "x", _spec(**{block: {**MEASURES[block], "split": "layer9"}}))


def test_a_single_client_has_no_others():
    with pytest.raises(ValueError, match="distance: a single client has no others"):
        _spec(partition={"kind": "iid", "clients": 1}, clients_per_round=1)


def test_the_plan_counts_measures():
    alone = of_run(_spec()).seconds
    whole = price(_spec()).seconds
    without = {key: price(_spec(**{key: None})).seconds for key in MEASURES}
    assert all(alone < seconds < whole for seconds in without.values())
    assert price(spec(model=MODEL, rounds=3)).seconds == of_run(spec(model=MODEL, rounds=3)).seconds
