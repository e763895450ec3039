import sys

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from experiments.core.errors import MissingError
from experiments.core.scores.transport import Moments, conditional, exact, gaussian, of_labels


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equal_clouds_are_an_assignment():
    x, y = drawn(23, 5), drawn(23, 5, seed=1) * 2 + 1
    cost = torch.cdist(x, y).numpy()
    rows, columns = linear_sum_assignment(cost)
    assert exact(x, y) == pytest.approx(cost[rows, columns].mean(), rel=1e-9)


def test_one_dimension_is_the_area_between_the_distribution_functions():
    x, y = drawn(17, 1), drawn(40, 1, seed=2) + 0.3
    assert exact(x, y) == pytest.approx(wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy()), rel=1e-9)


def test_shifted_data_are_as_far_as_the_shift():
    x, shift = drawn(30, 4), torch.tensor([3.0, 0.0, -4.0, 0.0], dtype=torch.float64)
    assert exact(x, x + shift) == pytest.approx(5.0, rel=1e-12)
    group = torch.zeros(30, dtype=torch.long)
    a, b = Moments.of(x, group, 1), Moments.of(x + shift, group, 1)
    assert float(gaussian(a.mean, a.deviation, b.mean, b.deviation)) == pytest.approx(5.0, rel=1e-12)


def test_the_closed_form_is_what_large_one_dimensional_samples_tend_to():
    quantiles = torch.special.ndtri((torch.arange(20000, dtype=torch.float64) + 0.5) / 20000)
    one, two = 1 + 2 * quantiles, -0.5 + 0.7 * quantiles  # sorted: the optimal coupling in one dimension
    expected = (one - two).square().mean().sqrt()
    m, s, m2, s2 = (torch.tensor([v], dtype=torch.float64) for v in (1.0, 2.0, -0.5, 0.7))
    assert float(gaussian(m, s, m2, s2)) == pytest.approx(float(expected), rel=1e-3)


def test_an_empty_cloud_is_refused():
    with pytest.raises(ValueError, match="without samples"):
        exact(drawn(0, 2), drawn(3, 2))


def test_without_pot_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(MissingError, match="pip install POT"):
        exact(drawn(2, 2), drawn(2, 2))


def test_moments_against_numpy_and_joined_like_pooled():
    x, group = drawn(50, 3) * 4 + 100, torch.arange(50) % 3
    moments = Moments.of(x, group, 4)
    for g in range(3):
        np.testing.assert_allclose(moments.mean[g], x[group == g].numpy().mean(0))
        np.testing.assert_allclose(moments.deviation[g], x[group == g].numpy().std(0), rtol=1e-9)
    assert moments.count.tolist() == [17, 17, 16, 0]
    assert not moments.mean[3].any()
    halves = Moments.of(x[:20], group[:20], 4).joined(Moments.of(x[20:], group[20:], 4))
    for joined, pooled in zip(
        (halves.count, halves.mean, halves.deviation), (moments.count, moments.mean, moments.deviation), strict=True
    ):
        torch.testing.assert_close(joined, pooled)

    rest = moments.without(Moments.of(x[:20], group[:20], 4))
    wanted = Moments.of(x[20:], group[20:], 4)
    for left, direct in ((rest.count, wanted.count), (rest.mean, wanted.mean), (rest.square, wanted.square)):
        torch.testing.assert_close(left, direct)
    nobody = moments.without(moments)
    assert not nobody.count.any()
    assert not nobody.mean.any()
    assert not nobody.deviation.any()


def test_the_conditional_distance_weighs_classes_by_both_sides():
    distance = torch.tensor([1.0, 5.0, 100.0])
    result = conditional(distance, torch.tensor([3, 1, 0]), torch.tensor([1, 1, 2]))
    assert result.value == pytest.approx(0.5 * (0.75 * 1 + 0.25 * 5) + 0.5 * (0.5 * 1 + 0.5 * 5))
    assert result.covered == pytest.approx(0.5 * 1 + 0.5 * 0.5)


def test_clients_without_a_common_class_have_no_conditional_distance():
    result = conditional(torch.tensor([1.0, 1.0]), torch.tensor([3, 0]), torch.tensor([0, 2]))
    assert np.isnan(result.value)
    assert result.covered == 0


def test_labels_are_as_far_as_the_least_mass_to_move():
    import ot

    p, q = np.array([3, 1, 0, 4]), np.array([1, 1, 2, 0])
    wanted = ot.emd2(p / p.sum(), q / q.sum(), 1.0 - np.eye(4))
    assert of_labels(torch.tensor(p), torch.tensor(q)) == pytest.approx(float(wanted))
    assert of_labels(torch.tensor(p), torch.tensor(p)) == 0
    assert of_labels(torch.tensor([1, 0]), torch.tensor([0, 5])) == 1
