import math
import sys

import numpy as np
import pytest

from experiments.core.errors import MissingError
from experiments.core.scores.images import best, bhattacharyya, coefficient, grey, grid, overlap, psnr, ssim


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


def test_grey_histograms_by_hand():
    dark, light = np.zeros((1, 2, 2)), np.ones((1, 2, 2))
    mixed = np.array([[[0.0, 0.0], [0.0, 1.0]]])
    assert coefficient(dark, dark) == 1 and bhattacharyya(dark, dark) == 0
    assert coefficient(dark, light) == 0 and bhattacharyya(dark, light) == math.inf
    assert coefficient(dark, mixed) == pytest.approx(math.sqrt(0.75))
    assert bhattacharyya(light, mixed) == pytest.approx(-math.log(math.sqrt(0.25)))


def test_grey_values_are_means_of_channels_and_places_play_no_part():
    image = _image()
    assert grey(image).shape == (1, 12, 12)
    turned = image[:, ::-1].transpose(0, 2, 1)
    assert bhattacharyya(image, turned) == pytest.approx(0, abs=1e-12)
    assert bhattacharyya(image, grey(image)) == pytest.approx(0, abs=1e-12)
    assert bhattacharyya(image, _image(1)) == bhattacharyya(_image(1), image) > 0.1


def test_bins_are_as_wide_as_the_steps_of_a_byte():
    steps = np.arange(256).reshape(1, 16, 16) / 255
    assert coefficient(steps, steps[:, :8]) == pytest.approx(128 * math.sqrt(1 / 256 / 128))


def test_images_outside_the_range_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        bhattacharyya(_image() * 2, _image())


def test_a_grid_holds_the_images_row_by_row():
    images = np.arange(7 * 2 * 3 * 4).reshape(7, 2, 3, 4)
    whole = grid(images, columns=3)
    assert whole.shape == (2, 9, 12)
    for i, image in enumerate(images):
        row, column = divmod(i, 3)
        assert (whole[:, 3 * row : 3 * row + 3, 4 * column : 4 * column + 4] == image).all()
    assert not whole[:, 6:, 4:].any()


def test_the_overlap_counts_shared_picks():
    assert overlap([3, 1, 2], [9, 3, 2, 7]) == 2
