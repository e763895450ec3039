import numpy as np
import pytest
import torch

from experiments.core.scores.dissimilarity import GradientVariance, bound

HIGH = torch.tensor([False, False, True, True, True])
PARTS = {"low": ~HIGH, "high": HIGH}


def test_against_two_passes_over_all_samples_gradients():
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(n, 5, generator=generator, dtype=torch.float64) + 50 * n for n in (3, 8, 2)]
    found = GradientVariance(PARTS)
    for g in gradients:
        within = {name: float((g - g.mean(0))[:, c].square().sum(1).mean()) for name, c in PARTS.items()}
        found.add(len(g), g.mean(0), within)
    pooled = np.concatenate([g.numpy() for g in gradients])
    means = np.concatenate([g.mean(0).expand_as(g).numpy() for g in gradients])
    for name, columns in PARTS.items():
        c = columns.numpy()
        total = ((pooled - pooled.mean(0))[:, c] ** 2).sum(1).mean()
        between = ((means - pooled.mean(0))[:, c] ** 2).sum(1).mean()
        assert found.over_samples(name) == pytest.approx(total, rel=1e-12)
        assert found.over_clients(name) == pytest.approx(between, rel=1e-12)
        assert found.square(name) == pytest.approx((pooled.mean(0)[c] ** 2).sum(), rel=1e-12)


def test_equal_gradients_vary_by_nothing_and_single_precision_does_not_drown_the_variance():
    found = GradientVariance(PARTS)
    for _ in range(7):
        found.add(3.0, torch.full((5,), 0.1))
    assert found.over_clients("high") == pytest.approx(0, abs=1e-30)
    large = GradientVariance({"all": torch.ones(1, dtype=torch.bool)})
    for value in (1e4, 1e4 + 0.125):
        large.add(1, torch.tensor([value]))
    assert large.over_clients("all") == pytest.approx((0.125 / 2) ** 2)


def test_the_bound_of_as_many_sampled_as_real_features_is_a_quarter():
    assert bound(1000, 1000) == 0.25
    assert bound(5, 0) == 1
