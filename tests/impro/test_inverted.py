"""The inversion of a whole run's features, on tiny images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from experiments.core.errors import MissingError, SpecError
from experiments.core.scores.images import best, psnr, ssim
from experiments.core.sweep.cell import Context
from experiments.impro import inverted, measures
from experiments.impro.inverted import InversionMeasure
from experiments.impro.measures import DistanceSpec, InversionSpec
from experiments.impro.pixels import Pixels, keep_images
from experiments.impro.stored_images import FILE
from tests.impro.toy import CLASSES, problem, values, watched

SHAPE = (1, 8, 8)


def _problem():
    """A network whose first block loses nothing: a rotation of all pixels."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 64)), nn.ReLU(), nn.Linear(64, CLASSES))
    one = problem(module, SHAPE, rounds=1)
    with torch.no_grad():
        module[0][1].weight.copy_(torch.linalg.qr(torch.randn(64, 64, dtype=torch.float64)).Q)
    return one


@pytest.fixture(scope="module")
def measured():
    block = InversionSpec(split="0", per_class=2, mean_of=9, among=5, steps=300, smooth=0.0, noise=(0.5,))
    measure = InversionMeasure(block, "fedavg", "", _problem())
    watched(measure.problem, measure)
    return measure, values(measure.rows)


def test_features_that_lose_nothing_give_the_images_away_and_means_give_the_mean_image(measured):
    measure, found = measured
    assert found["ssim", "source=features", 1] > 0.99
    assert found["psnr", "source=features", 1] > 40
    assert found["feature_residual", "source=features", 1] < 0.01
    mean, class_mean = (measure.images[key].astype(float) / 255 for key in ("mean", "class_mean"))
    np.testing.assert_allclose(mean, class_mean, atol=0.02)  # the block is linear: the mean's features are the mean
    assert found["ssim", "source=mean", 1] == pytest.approx(found["ssim", "source=class_mean", 1], abs=0.02)
    assert found["psnr", "source=noised_mean noise=0.5", 1] < found["psnr", "source=mean", 1] - 0.5


def test_what_comes_of_a_mean_is_compared_with_images_of_its_class(measured):
    measure, found = measured
    federation, kept = measure.problem.federation, measure.images
    rows = measure._rows_by_class()
    assert [sorted(set(federation.y[some].tolist())) for some in rows.values()] == [[0], [1], [2]]
    pixels = Pixels.of(federation)
    for metric, measure_of in (("ssim", ssim), ("psnr", psnr)):
        pairs = [
            best(measure_of, image, [pixels.of_inputs(federation.x[i]).numpy() for i in some[:5]])
            for image, some in zip(kept["class_mean"] / 255, rows.values(), strict=True)
        ]
        mean, greatest = np.mean(pairs, axis=0)
        assert found[metric, "source=class_mean", 1] == pytest.approx(mean, abs=0.02)
        assert found[f"best_{metric}", "source=class_mean", 1] == pytest.approx(greatest, abs=0.02)


def test_the_images_are_kept_as_bytes_beside_the_rows_and_a_resumed_run_has_them(measured, tmp_path):
    measure, _ = measured
    keep_images(measure.images, Context(tmp_path))
    with np.load(tmp_path / FILE) as file:
        assert file["original"].shape == file["features"].shape == (6, *SHAPE)
        assert file["original"].dtype == np.uint8
        assert file["noised_mean"].shape == (1, CLASSES, *SHAPE)
        assert file["labels"].tolist() == [0, 0, 1, 1, 2, 2]
    other = InversionMeasure(InversionSpec(split="0"), "fedavg", "", measure.problem)
    other.restore(measure.state())
    assert other.images is measure.images
    assert other.rows == measure.rows


def test_pixels_undo_the_datas_normalisation():
    one = _problem()
    federation = one.federation
    raw = torch.rand(4, *SHAPE, dtype=torch.float64)
    pixels = Pixels.of(replace(federation, scale=((0.3,), (0.2,))))
    torch.testing.assert_close(pixels.seen(raw), (raw - 0.3) / 0.2)
    torch.testing.assert_close(pixels.of_inputs(pixels.seen(raw)), raw)
    stretched = Pixels.of(federation)
    x = stretched.of_inputs(federation.x)
    assert float(x.min()) == 0
    assert float(x.max()) == 1
    torch.testing.assert_close(stretched.seen(x), federation.x)


def test_data_that_are_no_images_are_refused():
    with pytest.raises(SpecError, match="these data are none"):
        InversionMeasure(InversionSpec(split="0"), "fedavg", "", problem())


def test_a_missing_package_is_named_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(measures, "find_spec", lambda module: None)
    with pytest.raises(MissingError, match="pip install POT"):
        DistanceSpec(split="0").require(None)
    DistanceSpec(split="0", exact=0).require(None)
    with pytest.raises(MissingError, match="pip install scikit-image"):
        InversionSpec(split="0").require(None)


def test_of_several_starts_the_one_that_misses_least_is_kept(measured, monkeypatch):
    measure, _ = measured
    images = [torch.full((2, *SHAPE), 0.1), torch.full((2, *SHAPE), 0.9)]
    missed = [torch.tensor([0.3, 0.1]), torch.tensor([0.2, 0.4])]
    starts = []

    def pretended(features, wanted, start, *settings):
        starts.append(start)
        return images[len(starts) - 1], missed[len(starts) - 1]

    monkeypatch.setattr(inverted, "invert", pretended)
    found, residual = measure._found(measure.problem.net.flat(), torch.zeros(2, 64))
    assert residual.tolist() == pytest.approx([0.2, 0.1])
    assert [float(image.mean()) for image in found] == pytest.approx([0.9, 0.1])
    assert not torch.equal(*starts)
