import sys

import numpy as np
import pytest

from experiments.core.errors import MissingError
from experiments.core.scores.images import best, psnr, ssim


def _image(seed=0, shape=(3, 12, 12)):
    return np.random.default_rng(seed).uniform(0.2, 0.8, shape)


def test_an_image_is_like_itself_and_unlike_noise():
    image = _image()
    assert ssim(image, image) == pytest.approx(1.0)
    assert psnr(image, image) == 100.0
    assert abs(ssim(image, _image(1))) < 0.3


def test_a_constant_difference_has_a_known_ratio():
    assert psnr(_image(), _image() + 0.1) == pytest.approx(20.0)


def test_structural_similarity_of_one_window_against_its_formula():
    a, b = _image(0, (1, 7, 7)), _image(1, (1, 7, 7)) * 0.7
    c1, c2, n = 0.01**2, 0.03**2, 49
    covariance = ((a - a.mean()) * (b - b.mean())).sum() / (n - 1)
    wanted = (2 * a.mean() * b.mean() + c1) * (2 * covariance + c2)
    wanted /= (a.mean() ** 2 + b.mean() ** 2 + c1) * (a.var(ddof=1) + b.var(ddof=1) + c2)
    assert ssim(a, b) == pytest.approx(wanted, rel=1e-9)


def test_small_images_get_smaller_windows():
    assert ssim(_image(0, (1, 4, 6)), _image(0, (1, 4, 6))) == pytest.approx(1.0)


def test_the_best_of_many():
    image = _image()
    mean, greatest = best(psnr, image, [image + 0.1, image + 0.01])
    assert (mean, greatest) == pytest.approx((30.0, 40.0))


def test_other_shapes_are_refused_and_a_missing_package_is_named(monkeypatch):
    with pytest.raises(ValueError, match="one shape"):
        ssim(_image(), _image(0, (3, 12, 11)))
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(MissingError, match="pip install scikit-image"):
        ssim(_image(), _image())
