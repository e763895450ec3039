"""Calibration against pooled features, against sklearn, and where it must help."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from experiments.core.engine.net import Net, initialise
from experiments.core.errors import SpecError
from experiments.core.study import ccvr
from tests.core.engine.test_simulate import problem

CLASSES, D = 4, 5
SIZES = (1, 7, 40, 2, 30)


def clients(seed=0, offset=1e4):
    """Features of five clients whose classes lie apart; far from zero, where sums of squares would cancel."""
    rng = np.random.default_rng(seed)
    centres = offset + 3 * rng.normal(size=(CLASSES, D))
    for n in SIZES:
        y = rng.integers(CLASSES - 1, size=n)  # nobody holds the last class
        yield torch.from_numpy(centres[y] + rng.normal(size=(n, D)) @ np.diag(1.0 + np.arange(D))), torch.from_numpy(y)


def test_combined_statistics_are_those_of_the_pooled_features():
    parts = list(clients())
    total = ccvr.combined(ccvr.moments(z, y, CLASSES) for z, y in parts)
    z, y = (torch.cat(values).numpy() for values in zip(*parts, strict=True))
    for c in range(CLASSES - 1):
        np.testing.assert_allclose(total.mean[c], z[y == c].mean(0), rtol=1e-13)
        np.testing.assert_allclose(total.covariance[c], np.cov(z[y == c].T), rtol=1e-10, atol=1e-10)
    assert total.count.tolist() == np.bincount(y, minlength=CLASSES).tolist()
    assert not total.covariance[-1].any() and not total.mean[-1].any()


def test_virtual_features_have_the_statistics_and_the_shares_of_the_classes():
    total = ccvr.combined(ccvr.moments(z, y, CLASSES) for z, y in clients(offset=0.0))
    z, y = ccvr.virtual(total, 50_000, seed=3)
    counts = torch.bincount(y, minlength=CLASSES)
    assert counts.tolist() == [round(50_000 * CLASSES * n / sum(SIZES)) for n in total.count.tolist()]
    drawn = ccvr.moments(z, y, CLASSES)
    spread = total.covariance.diagonal(dim1=1, dim2=2).sqrt()
    for c in range(CLASSES - 1):
        error = spread[c] / counts[c] ** 0.5
        assert ((drawn.mean[c] - total.mean[c]).abs() < 5 * error).all()
        assert ((drawn.covariance[c] - total.covariance[c]).abs() < 0.05 * spread[c, :, None] * spread[c]).all()
    assert torch.equal(ccvr.virtual(total, 50_000, seed=3)[0], z)


@pytest.mark.parametrize("bias", [True, False])
def test_the_fitted_classifier_is_sklearns(bias):
    rng = np.random.default_rng(1)
    y = rng.integers(CLASSES, size=400)
    z = rng.normal(size=(CLASSES, D))[y] + rng.normal(size=(400, D))
    decay = 0.01
    peer = LogisticRegression(C=1 / (decay * len(y)), fit_intercept=bias, tol=1e-12, max_iter=10_000).fit(z, y)
    start = torch.from_numpy(rng.normal(size=(CLASSES, D)))
    weight, offset = ccvr.fitted(
        torch.from_numpy(z), torch.from_numpy(y), start, torch.zeros(CLASSES) if bias else None, decay
    )
    np.testing.assert_allclose(weight, peer.coef_, atol=1e-6)
    outputs = z @ weight.numpy().T + (0 if offset is None else offset.numpy())
    np.testing.assert_allclose(torch.from_numpy(outputs).softmax(1), peer.predict_proba(z), atol=1e-6)


def frozen_features():
    """A model with fixed features whose last layer is drawn, and data with labels that the features tell."""
    p = problem()
    module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    initialise(module, 0)
    rng = torch.Generator().manual_seed(4)
    centres = 2 * torch.randn(3, 6, generator=rng).double()
    y = torch.arange(len(p.federation.y)) % 3
    data = dataclasses.replace(p.federation, x=centres[y] + 0.3 * p.federation.x, y=y)
    return dataclasses.replace(p, net=Net.of(module), federation=data), module


def test_it_moves_the_last_layer_alone_and_mends_it():
    p, module = frozen_features()
    state = p.net.flat()
    after, numbers = ccvr.calibrated(p, state, 500, 1e-3)
    last = sum(t.numel() for t in module[2].parameters())
    assert torch.equal(after[:-last], state[:-last])
    assert numbers == 3 * (1 + 8 + 36)

    def right(theta):
        return float((p.net.call(theta, p.federation.x).argmax(1) == p.federation.y).double().mean())

    assert right(after) > 0.95 > right(state)


def test_a_model_that_ends_otherwise_is_refused():
    p, _ = frozen_features()
    module = nn.Sequential(nn.Linear(6, 3), nn.Tanh()).double()
    p = dataclasses.replace(p, net=Net.of(module))
    with pytest.raises(SpecError, match="does not end in a linear layer"):
        ccvr.calibrated(p, p.net.flat(), 10, 1e-3)
