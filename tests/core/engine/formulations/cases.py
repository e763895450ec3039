"""Models and batches that every formulation is held against, and plain autograd as the judge."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from experiments.core.engine.net import Net
from experiments.core.models.resnet import ResNet


def logreg(d: int = 60, classes: int = 5) -> nn.Module:
    return nn.Sequential(nn.Linear(d, classes), nn.Sigmoid())


def mlp(act: type[nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(18, 7), act(), nn.Linear(7, 9), act(), nn.Linear(9, 4))


def deep(act: type[nn.Module], depth: int, width: int = 5) -> nn.Module:
    """Four inputs, `depth` hidden layers, three classes: the Iris nets of Basu, Pope and Feizi (2021), section 5.1."""
    widths = [4] + [width] * depth
    hidden = [part for i in range(depth) for part in (nn.Linear(widths[i], widths[i + 1]), act())]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], 3))


def cnn1(h: int = 28, w: int = 28, classes: int = 62, channels: int = 1) -> nn.Module:
    flat = 4 * (h // 4) * (w // 4)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 5, padding=2),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(flat, 64),
        nn.Linear(64, classes),
    )


def cnn2(h: int = 28, w: int = 28, classes: int = 62) -> nn.Module:
    flat = 16 * (h // 4) * (w // 4)
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(flat, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def lenet(flat: int = 256) -> nn.Module:
    """LeNet-5 with ReLU: convolutions without padding."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(flat, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def even_kernel() -> nn.Module:
    """Padding that neither keeps the size nor vanishes, a kernel of two, a hidden tanh layer."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 4, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 5, 2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(5 * 2 * 3, 7),
        nn.Tanh(),
        nn.Linear(7, 4),
    )


def one_conv() -> nn.Module:
    """Three input channels, five output channels, no bias, kernel 3, pooling before ReLU, a nested head."""
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Sequential(nn.Linear(5 * 3 * 4, 6)),
    )


def group_lenet(flat: int = 64, channels: int = 1) -> nn.Module:
    """LeNet-5 with GroupNorm between convolution and ReLU."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5), nn.GroupNorm(2, 6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.GroupNorm(2, 16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(flat, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def group_cnn() -> nn.Module:
    """Odd sizes, padding, one group, a group a channel, no bias, pooling on either side, a last block without norm."""
    return nn.Sequential(
        *(nn.Conv2d(2, 5, 3, padding=1), nn.GroupNorm(1, 5, eps=0.1), nn.Tanh(), nn.MaxPool2d(2)),
        *(nn.Conv2d(5, 7, 4, padding=2, bias=False), nn.GroupNorm(7, 7), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(7, 3, 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 4)),
    )


def tanh_cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 2 * 3, 4))


def batchnorm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 30, 5),
        nn.BatchNorm1d(5),
    )


# name -> (module factory, input shape, number of classes)
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "logreg": (logreg, (60,), 5),
    "lone linear": (lambda: nn.Linear(6, 3), (6,), 3),
    "mlp relu": (lambda: mlp(nn.ReLU), (2, 9), 4),
    "mlp tanh": (lambda: mlp(nn.Tanh), (18,), 4),
    "mlp sigmoid": (lambda: mlp(nn.Sigmoid), (18,), 4),
    "ends in relu": (lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU()), (6,), 3),
    "tanh 1": (lambda: deep(nn.Tanh, 1), (4,), 3),
    "tanh 3": (lambda: deep(nn.Tanh, 3, 17), (4,), 3),
    "tanh 8": (lambda: deep(nn.Tanh, 8), (4,), 3),
    "sigmoid 8": (lambda: deep(nn.Sigmoid, 8), (4,), 3),
    "wide": (lambda: deep(nn.ReLU, 2, 50), (4,), 3),
    "cnn1": (cnn1, (1, 28, 28), 62),
    "cnn1 small odd": (lambda: cnn1(9, 11, 5), (1, 9, 11), 5),
    "cnn1 colour": (lambda: cnn1(12, 8, 10, 3), (3, 12, 8), 10),
    "cnn2": (cnn2, (1, 28, 28), 62),
    "cnn2 small even": (lambda: cnn2(8, 10, 3), (1, 8, 10), 3),
    "cnn2 small odd": (lambda: cnn2(13, 7, 11), (1, 13, 7), 11),
    "cnn lenet": (lambda: lenet(64), (1, 20, 20), 10),
    "cnn even kernel": (even_kernel, (2, 8, 11), 4),
    "cnn tanh": (tanh_cnn, (2, 7, 8), 4),
    "cnn group lenet": (group_lenet, (1, 20, 20), 10),
    "cnn group odd": (group_cnn, (2, 15, 11), 4),
    "one conv": (one_conv, (3, 7, 8), 6),
    "batchnorm": (batchnorm, (2, 5, 6), 5),
    "residual batch": (lambda: ResNet(depth=8, width=8).build((2, 9, 10), 5), (2, 9, 10), 5),
    "residual group": (lambda: ResNet(depth=8, width=8, norm="group").build((3, 8, 8), 4), (3, 8, 8), 4),
}
RESIDUAL = {c for c in CASES if "residual" in c}
GROUP = {"cnn group lenet", "cnn group odd"}
NORMS = {"batchnorm", *RESIDUAL, *GROUP}
"""Cases that normalise."""
DENSE = {c for c in CASES if not ("cnn" in c or c == "one conv" or c in NORMS)}

BACKGROUNDS = ("random", "ties")
WEIGHTS = ("none", "positive", "zeros", "empty row")


def net_of(case: str) -> Net:
    return Net.of(CASES[case][0]().double())


def batch(case: str, background: str, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and labels; "ties" is a constant background with a small patch of strokes and whole constant samples."""
    _, shape, classes = CASES[case]
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *shape, generator=g, dtype=torch.float64)
    if background == "ties":
        strokes = torch.rand(n, *shape, generator=g) < 0.25
        x = torch.where(strokes, x.round(), torch.ones_like(x))
        x[0], x[-1] = 1.0, 0.0
    return x, torch.randint(0, classes, (n,), generator=g)


def states(net: Net, models: int, seed: int = 1) -> Tensor:
    """[B, size]; the last model's weights are tiny integers so that exact ties happen inside the network as well."""
    g = torch.Generator().manual_seed(seed)
    theta = 0.3 * torch.randn(models, net.size, generator=g, dtype=torch.float64)
    theta[-1] = torch.randint(-1, 2, (net.size,), generator=g).double() / 4
    theta[:, net.p :] = theta[:, net.p :].abs() + 0.5
    return theta


def weights(kind: str, models: int, n: int, seed: int = 2) -> Tensor | None:
    if kind == "none":
        return None
    g = torch.Generator().manual_seed(seed)
    w = torch.rand(models, n, generator=g, dtype=torch.float64) + 0.1
    if kind != "positive":
        w = w * (torch.rand(models, n, generator=g) < 0.7)
    if kind == "empty row":
        w[0] = 0
    return w


def plain_gradient(net: Net, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The judge: one nn.Module after another with loss.backward(). Returns gradients [B, p] and states after."""
    grads, after = torch.zeros(len(theta), net.p, dtype=theta.dtype), theta.clone()
    for b, row in enumerate(theta):
        module = module_of(net, row).train()
        w = torch.ones(len(x), dtype=theta.dtype) if weight is None else weight[b]
        keep = w > 0
        if not keep.any():
            continue
        losses = nn.functional.cross_entropy(module(x[keep]), y[keep], reduction="none")
        ((losses * w[keep]).sum() / w.sum()).backward()
        grads[b] = torch.cat([t.grad.reshape(-1) for t in module.parameters() if t.grad is not None])
        after[b] = Net.of(module).flat()
    return grads, after


def plain_descent(
    net: Net, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, steps: int, lr: float, decay: Tensor | None
) -> Tensor:
    """The judge of `Formulation.descend`: plain autograd, step after step."""
    for _ in range(steps):
        grads, theta = plain_gradient(net, theta, x, y, weight)
        pull = 0 if decay is None else decay * theta[:, : net.p]
        theta[:, : net.p] -= lr * (grads + pull)
    return theta


def plain_outputs(net: Net, theta: Tensor, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack([module_of(net, row).eval()(x) for row in theta])


def module_of(net: Net, row: Tensor) -> nn.Module:
    module = copy.deepcopy(net.module).to(row.dtype)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for slot in net.params + net.buffers:
            tensors[slot.name].copy_(row[slot.start : slot.stop].view(slot.shape))
    return module


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Relative to the largest entry of each model's row: the criterion of the engine's law 3."""
    flat, want = found.reshape(len(found), -1), expected.reshape(len(expected), -1)
    scale = want.abs().amax(1, keepdim=True).clamp_min(1e-30)
    return found.shape == expected.shape and bool(((flat - want).abs() <= tolerance * scale).all())
