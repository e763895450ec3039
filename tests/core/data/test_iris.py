from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from experiments.core.data.iris import Iris


def test_standardised_and_stratified():
    pool = Iris().load(0, None)
    assert (pool.x.shape, pool.test_x.shape, pool.classes, pool.name) == ((120, 4), (30, 4), 3, "iris")
    assert torch.bincount(pool.y).tolist() == [40] * 3 and torch.bincount(pool.test_y).tolist() == [10] * 3
    assert pool.x.mean(0).abs().max() < 1e-6 and (pool.x.std(0, correction=0) - 1).abs().max() < 1e-6
    assert Iris().outline() == ((4,), 3, 120.0, 1)


@pytest.mark.parametrize("train", [3, 100, 147])
def test_every_flower_is_in_one_part(train):
    pool = Iris(train=train).load(0, None)
    x, y = load_iris(return_X_y=True)
    # One affine map a measure takes the flowers of both parts to the original ones, species by species.
    ours, labels = torch.cat([pool.x, pool.test_x]).double().numpy(), torch.cat([pool.y, pool.test_y]).numpy()
    assert len(pool.y) == train and (np.bincount(labels) == 50).all() and np.ptp(np.bincount(pool.y)) <= 1
    for species in range(3):
        a, b = np.sort(ours[labels == species], 0), np.sort(x[y == species], 0)
        for measure in range(4):
            slope, shift = np.polyfit(b[:, measure], a[:, measure], 1)
            assert np.allclose(slope * b[:, measure] + shift, a[:, measure], atol=1e-4)


def test_split_does_not_depend_on_the_run():
    assert torch.equal(Iris().load(0, None).x, Iris().load(5, None).x)
    assert not torch.equal(Iris().load(0, None).x, Iris(split_seed=1).load(0, None).x)
