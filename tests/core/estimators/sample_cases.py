"""Small models with checkpoints, shared by the tests of the scores of samples."""

import torch
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.estimators.sample_score import Trail
from tests.core.estimators.cases import generator, normal

IMAGE, CLASSES = (2, 6, 6), 3


def trail(module, checkpoints=3, n=11, shape=IMAGE, seed=0):
    """Random states, not far from each other, and random samples, in float64."""
    net = Net.of(module.double())
    states = 0.5 * normal(1, net.size, seed=seed) + 0.2 * normal(checkpoints, net.size, seed=seed + 1)
    for slot in net.buffers:  # running variances are above zero
        states[:, slot.start : slot.stop] = states[:, slot.start : slot.stop].abs() + 0.5
    x = normal(n, *shape, seed=seed + 2)
    y = torch.randint(CLASSES, (n,), generator=generator(seed + 3))
    return Trail(net, states, tuple(range(1, checkpoints + 1)), x, y, CLASSES)


def convolutional():
    """Convolution, normalisation whose statistics must not move, pooling, a smooth activation."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(),
        nn.Linear(36, CLASSES),
    )  # fmt: skip


def linear():
    """A softmax regression on images."""
    return nn.Sequential(nn.Flatten(), nn.Linear(72, CLASSES))


def flat():
    """A net on inputs that are no images."""
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, CLASSES))
