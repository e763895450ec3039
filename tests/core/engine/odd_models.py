"""Modules that are more than layers one after another: each takes inputs [n, 6] and gives three outputs."""

from __future__ import annotations

import random
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth


def net(*between, width=5):
    return nn.Sequential(nn.Linear(6, width), *between, nn.Linear(width, 3))


class Own(nn.Module):
    """Two layers with `between` in the middle, which may look at the module."""

    def __init__(self, between, **buffers):
        super().__init__()
        self.below, self.above, self.between = nn.Linear(6, 5), nn.Linear(5, 3), between
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, x):
        return self.above(self.between(self, torch.tanh(self.below(x))))


def numpy_noise(own, h):
    return h + torch.from_numpy(np.random.standard_normal(h.shape)).to(h) if own.training else h


def whole_layers_dropped(own, h):
    return h if own.training and random.random() < 0.5 else torch.relu(h)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend, self.above = nn.MultiheadAttention(6, 2, dropout=0.4, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        seen = torch.stack([x, x.roll(1, 1), -x], 1)
        return self.above(self.attend(seen, seen, seen, need_weights=False)[0].mean(1))


def checkpointed(own, h):
    return checkpoint(lambda z: F.dropout(torch.relu(z), 0.5, own.training), h, use_reentrant=False)


DRAWING = {
    "Dropout": lambda: net(nn.ReLU(), nn.Dropout(0.5)),
    "F.dropout": lambda: Own(lambda own, h: F.dropout(h, 0.5, own.training)),
    "dropout in evaluation": lambda: Own(lambda own, h: F.dropout(h, 0.5)),
    "torch noise": lambda: Own(lambda own, h: h * (1 + torch.rand_like(h)) if own.training else h),
    "numpy noise": lambda: Own(numpy_noise),
    "python noise": lambda: Own(whole_layers_dropped),
    "stochastic depth": lambda: net(nn.Tanh(), StochasticDepth(0.5, "row")),
    "attention": Attention,
    "randomised relu": lambda: net(nn.RReLU()),
    "checkpointed": lambda: Own(checkpointed),
    "rnn": lambda: Recurrent(dropout=0.3),
}


class Recurrent(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.body, self.above = nn.GRU(2, 4, 2, batch_first=True, dropout=dropout), nn.Linear(4, 3)

    def forward(self, x):
        return self.above(self.body(x.unflatten(1, (3, 2)))[0][:, -1])


def old_weight_norm():
    with warnings.catch_warnings(action="ignore"):
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 3))


def hooked():
    module = net(nn.Tanh())
    module[0].register_forward_hook(lambda layer, given, output: 2 * output)
    return module


def forward_of_its_own():
    module = net(nn.Tanh())
    module[1].forward = torch.sin
    return module


def shared():
    module = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    module[2].weight = module[0].weight
    return module


def assigned(own, h):
    if own.training:
        own.mean = 0.9 * own.mean + 0.1 * h.mean(0).detach()
    return h - own.mean


def warm_up(own, h):
    if own.training:
        own.steps = own.steps + 1
    return h * own.steps / (1 + own.steps)


def partly_frozen():
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    module[2].requires_grad_(False)
    module[4].bias.requires_grad_(False)
    return module


class EvaluatingNorm(nn.BatchNorm1d):
    """Normalisation that its owner keeps in evaluation mode."""

    def train(self, mode=True):
        return super().train(False)


def wrapped():
    return nn.DataParallel(net(nn.Tanh()))


STILL = {
    "plain": lambda: net(nn.Tanh()),
    "batch norm": lambda: net(nn.BatchNorm1d(5), nn.Tanh()),
    "cumulative batch norm": lambda: net(nn.BatchNorm1d(5, momentum=None), nn.Tanh()),
    "frozen batch norm": lambda: net(EvaluatingNorm(5), nn.Tanh()),
    "weight norm": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 3)),
    "old weight norm": old_weight_norm,
    "spectral norm": lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 3)),
    "orthogonal": lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 3)),
    "hooked": hooked,
    "forward of its own": forward_of_its_own,
    "shared": shared,
    "assigned buffer": lambda: Own(assigned, mean=torch.zeros(5)),
    "counter": lambda: Own(warm_up, steps=torch.tensor(0)),
    "partly frozen": partly_frozen,
    "recurrent": Recurrent,
    "wrapped": wrapped,
}
