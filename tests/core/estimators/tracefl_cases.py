"""Models that are hard to trace: branches, shared layers, masks, positions, layers called in unusual ways."""

import torch
from torch import nn

from experiments.core.engine.net import Net
from tests.core.estimators.cases import generator, normal


class Branches(nn.Module):
    """Parallel paths that are registered in another order than they run, joined in place; a normalisation between."""

    def __init__(self):
        super().__init__()
        self.last, self.wide = nn.Linear(8, 3), nn.Conv2d(2, 4, 3, padding=1, stride=2)
        self.narrow, self.norm = nn.Conv2d(2, 4, 1, stride=2, bias=False), nn.BatchNorm2d(4)
        self.second, self.act = nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x):
        h = self.norm(self.wide(x))
        h += self.narrow(x)
        return self.last(self.act(self.second(self.act(h))).mean((2, 3)))


class Shared(nn.Module):
    """One layer called twice, its output changed in place the second time."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.last = nn.Linear(5, 5), nn.LayerNorm(5), nn.Linear(5, 3)

    def forward(self, x):
        h = self.layer(torch.tanh(self.layer(x)))
        h *= 0.5
        return self.last(self.norm(h))


class Conv1D(nn.Module):
    """Hugging Face's layer of that name, looked at from outside: weight [in, out]."""

    def __init__(self, out, into):
        super().__init__()
        self.nf, self.nx = out, into
        self.weight, self.bias = nn.Parameter(torch.zeros(into, out)), nn.Parameter(torch.zeros(out))

    def forward(self, x):
        return torch.addmm(self.bias, x.reshape(-1, self.nx), self.weight).view(*x.shape[:-1], self.nf)


class Attention(nn.Module):
    """Tokens, positions looked up once for all inputs, one masked head, and the last real token's logits."""

    def __init__(self, width=6, words=11, length=7):
        super().__init__()
        self.words, self.places = nn.Embedding(words, width, padding_idx=0), nn.Embedding(length, width)
        self.norm, self.mix, self.back = nn.LayerNorm(width), Conv1D(3 * width, width), nn.Linear(width, width)
        self.up, self.act, self.head = Conv1D(9, width), nn.GELU(), nn.Linear(9, 3, bias=False)

    def forward(self, ids):
        real = ids != 0
        h = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1])[None]))
        q, k, v = self.mix(h).chunk(3, -1)
        weights = (q @ k.transpose(1, 2)).masked_fill(~real[:, None], float("-inf")).softmax(-1)
        h = self.act(self.up(h + self.back(weights @ v)))
        return self.head(h)[torch.arange(len(ids)), real.sum(1) - 1]


class SequenceFirst(nn.Module):
    """Layers that see [length, n, width] or [n * length, width], a weight used without its layer, a loose parameter."""

    def __init__(self):
        super().__init__()
        self.first, self.flat, self.unused = nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(2, 2)
        self.bare, self.shift, self.grouped = (
            nn.Linear(4, 3),
            nn.Parameter(torch.zeros(4)),
            nn.Conv1d(4, 4, 2, groups=2),
        )

    def forward(self, x):
        h = torch.tanh(self.first(x.transpose(0, 1))).transpose(0, 1)
        h = self.flat(h.reshape(-1, 5)).view(len(x), -1, 4) + self.shift
        h = torch.tanh(self.grouped(h.transpose(1, 2))).mean(2)
        return nn.functional.linear(h, self.bare.weight, self.bare.bias) + self.bare(h * h)


class OwnStatistics(nn.Module):
    """A normalisation that mixes the inputs of a batch even in evaluation mode: every input must run by itself."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
        self.last = nn.Linear(4 * 16, 3)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x))).flatten(1))


class Experts(nn.Module):
    """Every input takes one of two layers: they see as many rows as chose them."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        first = x[:, 0] > 0
        h = torch.zeros(len(x), 4, dtype=x.dtype)
        h[first], h[~first] = self.one(x[first]), self.two(x[~first])
        return self.last(torch.tanh(h))


class Changed(nn.Module):
    """Outputs of a layer (a view) and of an activation that are changed in place; layers that are called by name."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.act, self.last = Conv1D(6, 5), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 3)

    def forward(self, x):
        h = self.first(x)
        h += 0.5
        h = self.act(input=self.second(input=torch.sin(h)))
        h -= 0.2
        return self.last(torch.sin(h).mean(1))


class Frozen(nn.Module):
    """A body without a graph."""

    def __init__(self):
        super().__init__()
        self.body, self.middle, self.last = nn.Linear(5, 4), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        with torch.no_grad():
            h = torch.tanh(self.body(x))
        return self.last(torch.tanh(self.middle(h)))


class Ordered(nn.Module):
    """A layer that sees the inputs in order of a feature, or the last input first."""

    def __init__(self):
        super().__init__()
        self.sorted, self.reversed, self.last = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        order = x[:, 1].argsort()
        h = torch.tanh(self.sorted(x[order])[order.argsort()] + self.reversed(x.flip(0)).flip(0))
        return self.last(h)


class Repeated(nn.Module):
    """A looked-up row repeated for every input; an embedding with sparse gradients."""

    def __init__(self):
        super().__init__()
        self.words, self.start, self.last = nn.Embedding(11, 6, sparse=True), nn.Embedding(1, 6), nn.Linear(6, 3)

    def forward(self, ids):
        start = self.start(torch.zeros(1, 1, dtype=torch.long)).repeat(len(ids), 1, 1)
        return self.last(torch.tanh(torch.cat([start, self.words(ids)], 1)).mean(1))


def tokens(n, length=7):
    ids = torch.randint(1, 11, (n, length), generator=generator(5))
    for i in range(n):
        ids[i, 2 + i % (length - 1) :] = 0
    return ids


def mlp():
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))


def conv_net():
    """BatchNorm before a ReLU, a depthwise convolution, dilation, and a 1x1 map where most taps see padding."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6), nn.GroupNorm(2, 6), nn.Dropout(0.5), nn.Hardswish(),
        nn.Conv2d(6, 8, (3, 5), stride=4, padding=(1, 2)), nn.MaxPool2d(1), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip


CASES = {
    "mlp": (mlp, lambda n: normal(n, 5, seed=5)),
    "conv net": (conv_net, lambda n: normal(n, 2, 8, 8, seed=5)),
    "branches": (Branches, lambda n: normal(n, 2, 6, 6, seed=5)),
    "shared": (Shared, lambda n: normal(n, 5, seed=5)),
    "attention": (Attention, tokens),
    "sequence first": (SequenceFirst, lambda n: normal(n, 6, 4, seed=5)),
    "experts": (Experts, lambda n: normal(n, 5, seed=5)),
    "own statistics": (OwnStatistics, lambda n: normal(n, 2, 6, 6, seed=5)),
    "changed": (Changed, lambda n: normal(n, 6, 5, seed=5)),
    "frozen": (Frozen, lambda n: normal(n, 5, seed=5)),
    "ordered": (Ordered, lambda n: normal(n, 5, seed=5)),
    "repeated": (Repeated, tokens),
}
EVERY_LAYER = tuple(name for name in CASES if name != "sequence first")
"""Cases whose traced layers are all called as modules: the hooked way needs that."""


def round_of(name, n=7, clients=5, spread=0.1):
    """(net, global state, clients' states, inputs, shares) in float64, the global state the clients' average."""
    build, inputs = CASES[name]
    net = Net.of(build().double())
    around = 0.6 * normal(net.size, seed=3)
    for slot in net.buffers:
        if slot.name.endswith("var"):
            around[slot.start : slot.stop] = around[slot.start : slot.stop].abs() + 0.5
    locals = around + spread * around.abs().mean() * normal(clients, net.size, seed=4)
    shares = torch.arange(1.0, clients + 1).double()
    shares /= shares.sum()
    return net, shares @ locals, locals, inputs(n), shares
