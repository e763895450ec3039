"""Models on which PLIS is held against a double backward: name -> (module, shape of an input), three classes."""

import torch
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.models.resnet import ResNet
from tests.core.engine.odd_models import STILL
from tests.core.estimators.cases import generator, normal
from tests.core.estimators.tracefl_cases import Branches, Changed, Experts, Frozen, OwnStatistics, SequenceFirst, Shared

CLASSES = 3


def lenet(norm=False, act=nn.ReLU):
    """LeNet for 2x16x16 images, with GroupNorm after each convolution or without."""
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 5), *([nn.GroupNorm(2, 6)] if norm else []), act(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), *([nn.GroupNorm(4, 16)] if norm else []), act(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(16, 12), act(), nn.Linear(12, 8), act(), nn.Linear(8, CLASSES)),
    )


def smooth():
    """Nothing that has a kink: finite differences are right for it."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(4, 3, 2), nn.Softplus(), nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, CLASSES),
    )  # fmt: skip


def unusual():
    """Convolutions with stride, padding, dilation, groups and few places; a ReLU in place; dropout."""
    return nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 2), groups=2), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Conv2d(4, 6, 2, dilation=(1, 2), bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 40, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, CLASSES),
    )  # fmt: skip


class Rows(nn.Module):
    """Linear and LayerNorm on several rows of a sample, many for the one layer and few for the other."""

    def __init__(self):
        super().__init__()
        self.few, self.norm, self.many = nn.Linear(4, 9), nn.LayerNorm(9, bias=False), nn.Linear(9, 3, bias=False)
        self.last = nn.Linear(3, CLASSES)

    def forward(self, x):
        h = self.norm(torch.tanh(self.few(x)))
        return self.last(torch.tanh(self.many((h @ h.mT).softmax(-1) @ h)).mean(1))


LAYERED = {
    "softmax regression": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(8, CLASSES)), (2, 4)),
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, CLASSES)), (6,)),
    "mlp with norms": (
        lambda: nn.Sequential(
            nn.BatchNorm1d(6), nn.Linear(6, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.LayerNorm(7), nn.Linear(7, CLASSES)
        ),
        (6,),
    ),
    "lenet": (lenet, (2, 16, 16)),
    "lenet group": (lambda: lenet(True), (2, 16, 16)),
    "resnet group": (lambda: ResNet(depth=8, width=4, norm="group").build((2, 8, 8), CLASSES), (2, 8, 8)),
    "resnet batch": (lambda: ResNet(depth=8, width=4).build((2, 8, 8), CLASSES), (2, 8, 8)),
    "smooth": (smooth, (2, 6, 6)),
    "unusual": (unusual, (2, 11, 9)),
    "rows": (Rows, (5, 4)),
    "branches": (Branches, (2, 8, 8)),
    "partly frozen": (STILL["partly frozen"], (6,)),
    "forward of its own": (STILL["forward of its own"], (6,)),
}
"""Models whose layers are all known, each called once."""

OTHERS = {
    "shared": (Shared, (5,)),
    "tied": (STILL["shared"], (6,)),
    "sequence first": (SequenceFirst, (6, 4)),
    "own statistics": (OwnStatistics, (2, 6, 6)),
    "experts": (Experts, (5,)),
    "changed": (Changed, (4, 5)),
    "no graph": (Frozen, (5,)),
    "weight norm": (STILL["weight norm"], (6,)),
    "hooked": (STILL["hooked"], (6,)),
    "recurrent": (STILL["recurrent"], (6,)),
}
"""Models for which only sample by sample is right."""


def problem(module, shape, n=5, scale=0.5, dtype=torch.float64):
    """(net, theta, x, y): weights and samples at random, running variances above zero."""
    net = Net.of(module.to(dtype))
    theta = scale * normal(net.size, seed=1).to(dtype)
    theta[net.p :] = theta[net.p :].abs() + 0.5
    x = normal(n, *shape, seed=2).to(dtype)
    return net, theta, x, torch.randint(CLASSES, (n,), generator=generator(3))
