"""Augmentation against torchvision, image by image, with the same draws; and what those draws depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tv

from experiments.core.engine.augment import DRAWS, Augment
from experiments.core.engine.federation import Federation
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError

MEAN, DEVIATION = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def federation(x, scale=None):
    y = torch.arange(len(x)) % 2
    return Federation(x, y, (0, len(x)), x[:1], y[:1], ("a",), 2, "toy", scale)


def rng(step=0):
    return stream(3, "augment", client=1, round=2, step=step)


def slowly(pixels, draws, crop, flip, cutout):
    """Torchvision's transforms of one raw image [C, H, W] of 0..1, in the order of FedML's data loader."""
    height, width = pixels.shape[1:]
    if crop:
        top, left = (math.floor(draw * (2 * crop + 1)) for draw in draws[:2])
        pixels = tv.crop(tv.pad(pixels, [crop], fill=0), top, left, height, width)
    if flip and draws[2] < 0.5:
        pixels = tv.hflip(pixels)
    image = tv.normalize(pixels, MEAN, DEVIATION)
    row, column = math.floor(draws[3] * height), math.floor(draws[4] * width)
    for i in range(height):
        for j in range(width):
            if (
                cutout
                and row - cutout // 2 <= i < row + cutout // 2
                and column - cutout // 2 <= j < column + cutout // 2
            ):
                image[:, i, j] = 0
    return image


@pytest.mark.parametrize("settings", [(4, True, 6), (2, False, 0), (0, True, 0), (0, False, 4), (9, True, 8)])
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 10, 9)])
def test_it_is_torchvision_image_by_image(settings, shape):
    crop, flip, cutout = settings
    pixels = torch.rand(12, *shape, generator=torch.Generator().manual_seed(0))
    x = tv.normalize(pixels, MEAN, DEVIATION)
    done = Augment.of(federation(x, (MEAN, DEVIATION)), *settings)(x, rng())
    draws = rng().random((12, DRAWS))
    for i in range(12):
        assert torch.equal(done[i], slowly(pixels[i].clone(), draws[i], crop, flip, cutout))
    assert not torch.equal(done, x)


def test_the_padding_is_black_and_not_the_mean():
    x = torch.ones(40, 1, 6, 6)
    grey = Augment.of(federation(x), crop=2)(x, rng())
    assert set(grey.unique().tolist()) == {0.0, 1.0}  # nothing was normalised: black is 0
    scaled = Augment.of(federation(x, ((0.5,), (0.25,))), crop=2)(x, rng())
    assert set(scaled.unique().tolist()) == {-2.0, 1.0}


def test_every_window_mirror_and_hole_comes_up_as_often_as_it_should():
    x = torch.arange(49.0).reshape(1, 1, 7, 7).expand(9000, 1, 7, 7) + 1
    windows = Augment.of(federation(x), crop=1)(x, rng())[:, 0, 3, 3]  # the centre pixel is one of nine
    seen = torch.unique(windows, return_counts=True)[1]
    assert len(seen) == 9 and (seen - 1000).abs().max() < 150
    mirrored = Augment.of(federation(x), flip=True)(x, rng())[:, 0, 0, 0] == 7
    assert abs(int(mirrored.sum()) - 4500) < 200
    holes = (Augment.of(federation(x), cutout=2)(x, rng()) == 0).float().mean(0)[0]
    assert (holes[:-1, :-1] - 4 / 49).abs().max() < 0.02 and (holes[-1, -1] - 1 / 49).abs() < 0.01


def test_draws_belong_to_the_place_in_the_batch():
    x = torch.rand(10, 3, 8, 8)
    augment = Augment.of(federation(x), 2, True, 4)
    whole = augment(x, rng())
    assert torch.equal(augment(x[:4], rng()), whole[:4])  # a shorter batch draws the same for its images
    changed = x.clone()
    changed[3] = 0
    again = augment(changed, rng())
    assert torch.equal(again[4:], whole[4:]) and torch.equal(again[:3], whole[:3])
    assert not torch.equal(augment(x, rng(1)), whole)
    # the windows are the same whether or not there are mirrors and holes
    mirrors = np.flatnonzero(rng().random((10, DRAWS))[:, 2] < 0.5)
    alone = Augment.of(federation(x), 2)(x, rng())
    both = Augment.of(federation(x), 2, flip=True)(x, rng())
    alone[mirrors] = alone[mirrors].flip(-1)
    assert torch.equal(alone, both)


def test_the_batch_itself_is_not_changed():
    x = torch.rand(5, 1, 6, 6)
    before = x.clone()
    for settings in ((1, True, 2), (0, False, 2), (0, True, 0)):
        Augment.of(federation(x), *settings)(x, rng())
        assert torch.equal(x, before)


def test_double_precision_keeps_the_numbers():
    x = tv.normalize(torch.rand(6, 3, 8, 8), MEAN, DEVIATION)
    augment = Augment.of(federation(x, (MEAN, DEVIATION)), 2, True, 4)
    assert torch.equal(augment(x.double(), rng()), augment(x, rng()).double())


def test_what_is_no_image():
    for x in (torch.rand(4, 7), torch.randint(0, 9, (4, 3, 8, 8)), torch.rand(4, 3, 8)):
        with pytest.raises(SpecError, match="augment is for images, and toy has inputs of shape"):
            Augment.of(federation(x), crop=1)
    with pytest.raises(SpecError, match="a hole of 9x9 pixels in images of 10x8") as caught:
        Augment.of(federation(torch.rand(4, 3, 10, 8)), cutout=9)
    assert caught.value.where == "augment.cutout" and caught.value.todo
