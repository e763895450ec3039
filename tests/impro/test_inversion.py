import pytest
import torch

from experiments.impro.inversion import invert, total_variation


def _drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_features_of_an_invertible_layer_are_inverted_to_the_input():
    images, matrix = _drawn(3, 1, 4, 4), torch.linalg.qr(_drawn(16, 16, seed=1) - 0.5).Q
    features = lambda u: u.flatten(1) @ matrix  # noqa: E731
    found, residual = invert(features, features(images), torch.full_like(images, 0.5), 300, 0.05, 0.0)
    torch.testing.assert_close(found, images, atol=1e-3, rtol=0)
    assert float(residual.max()) < 1e-3


def test_each_image_is_found_on_its_own():
    images, matrix = _drawn(2, 1, 4, 4), _drawn(16, 5, seed=1)
    features = lambda u: u.flatten(1) @ matrix  # noqa: E731
    start = torch.full_like(images, 0.5)
    both, _ = invert(features, features(images), start, 20, 0.05, 1e-3)
    one, _ = invert(features, features(images[1:]), start[1:], 20, 0.05, 1e-3)
    torch.testing.assert_close(both[1:], one)


def test_pixels_stay_in_the_box_and_an_unreachable_target_leaves_a_residual():
    features = lambda u: u.flatten(1)  # noqa: E731
    wanted = torch.tensor([[2.0, -1.0, 0.5, 0.5]])
    found, residual = invert(features, wanted, torch.full((1, 1, 2, 2), 0.5), 200, 0.1, 0.0)
    torch.testing.assert_close(found.flatten(), torch.tensor([1.0, 0.0, 0.5, 0.5]), atol=1e-3, rtol=0)
    assert float(residual) == pytest.approx((2 / 5.5) ** 0.5, rel=1e-3)


def test_the_prior_smooths_what_features_leave_open():
    features = lambda u: u.flatten(1)[:, :1]  # noqa: E731
    start = _drawn(1, 1, 4, 4)
    found, _ = invert(features, torch.tensor([[0.5]], dtype=torch.float64), start, 300, 0.05, 0.1)
    assert float(total_variation(found)) < 0.1 * float(total_variation(start))
    image = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    assert float(total_variation(image)) == pytest.approx(0.5 + 0.5)
