"""Gradients of all class scores of every sample, walked back by hand through linear, convolution, ReLU and pooling.

One backward pass for all C scores at once, [n, C, ...], as matrix products. After a max-pooling only one position in
a window carries gradient, so gradients stay in pooled form (values and positions) until the convolution below, whose
weight gradient then needs a fraction of the positions. About six times faster than batched automatic differentiation
for CNN 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from experiments.core.engine.net import Net

_BLOCK = 10  # samples at a time where a dense matrix per sample is built


@dataclass(frozen=True)
class Step:
    """One layer on the way: its inputs, and for max-pooling the positions [n, channels, windows] of the maxima."""

    name: str
    module: nn.Module
    inputs: Tensor
    positions: Tensor | None = None


@dataclass
class _Back:
    """Gradients b of the scores: [n, C, *shape]; or only at `positions` of a map: [n, C, channels, windows]."""

    b: Tensor
    positions: Tensor | None = None
    shape: tuple[int, ...] = ()


def handles(module: nn.Module) -> bool:
    """Whether this layer can be walked through."""
    if isinstance(module, nn.Conv2d):
        numeric = not isinstance(module.padding, str) and module.padding_mode == "zeros"
        return numeric and module.groups == 1 and module.stride == (1, 1) and module.dilation == (1, 1)
    if isinstance(module, nn.MaxPool2d):
        return (
            module.padding in (0, (0, 0))
            and module.dilation in (1, (1, 1))
            and module.stride == module.kernel_size
            and not module.ceil_mode
        )
    return isinstance(module, (nn.Linear, nn.ReLU, nn.Identity, nn.Flatten))


def forward(net: Net, views: dict[str, Tensor], x: Tensor, names: list[str]) -> tuple[list[Step], Tensor]:
    """Run the layers `names` on x [n, ...]; returns what the way back needs, and the scores [n, C]."""
    steps, h = [], x
    for name in names:
        module = net.module.get_submodule(name)
        positions = None
        inputs = h
        weight, bias = views.get(f"{name}.weight"), views.get(f"{name}.bias")
        if isinstance(module, nn.Linear):
            h = functional.linear(h, weight, bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Conv2d):
            h = functional.conv2d(h, weight, bias, padding=module.padding)  # type: ignore[arg-type]
        elif isinstance(module, nn.MaxPool2d):
            h, positions = functional.max_pool2d(h, module.kernel_size, return_indices=True)
            positions = positions.flatten(2)
        else:
            h = module(h)
        steps.append(Step(name, module, inputs, positions))
    return steps, h


def backward(views: dict[str, Tensor], steps: list[Step]) -> Iterator[tuple[Step, Tensor, Tensor]]:
    """Walk back from the scores; yields (step, b, positions or empty) at every linear or convolution layer, last first.

    b is the gradient of the scores in the layer's outputs: [n, C, out] for a linear layer; for a convolution
    [n, C, channels, places], with `places` the positions [n, channels, places] in its output map.
    """
    n, classes = len(steps[0].inputs), steps[-1].module.out_features  # type: ignore[union-attr]
    unit = torch.eye(int(classes), dtype=steps[0].inputs.dtype, device=steps[0].inputs.device)  # type: ignore[arg-type]
    back = _Back(unit.expand(n, -1, -1))
    lowest = next(i for i, s in enumerate(steps) if isinstance(s.module, (nn.Linear, nn.Conv2d)))
    for i in range(len(steps) - 1, lowest - 1, -1):
        step = steps[i]
        if isinstance(step.module, nn.Linear):
            yield step, back.b, torch.empty(0)
            back = _Back(back.b @ views[f"{step.name}.weight"])
        elif isinstance(step.module, nn.Conv2d):
            back = _at_positions(back)
            assert back.positions is not None
            yield step, back.b, back.positions
            if i > lowest:
                back = _through_convolution(back, step, views[f"{step.name}.weight"])
        elif isinstance(step.module, nn.MaxPool2d):
            back = _Back(back.b.flatten(3), step.positions, tuple(step.inputs.shape[1:]))
        elif isinstance(step.module, nn.ReLU):
            back = _through_relu(back, step.inputs)
        elif isinstance(step.module, nn.Flatten):
            back = _Back(back.b.reshape(*back.b.shape[:2], *step.inputs.shape[1:]))


def conv_jacobian(step: Step, b: Tensor, positions: Tensor) -> Tensor:
    """[n, C, out * in * k * k]: Jacobian of the scores in a convolution's weights, from b [n, C, out, places]."""
    conv = step.module
    assert isinstance(conv, nn.Conv2d)
    patches = functional.unfold(step.inputs, conv.kernel_size, padding=conv.padding)  # type: ignore[arg-type]
    n, classes, out, places = b.shape
    taps = patches.shape[1]
    index = positions.reshape(n, 1, out * places).expand(-1, taps, -1)
    picked = patches.gather(2, index).reshape(n, taps, out, places).permute(0, 2, 3, 1)
    return (b.transpose(1, 2) @ picked).transpose(1, 2).reshape(n, classes, out * taps)


def _at_positions(back: _Back) -> _Back:
    """Full maps [n, C, channels, H, W] as values at every position."""
    if back.positions is not None:
        return back
    n, _, channels, height, width = back.b.shape
    every = torch.arange(height * width, device=back.b.device).expand(n, channels, -1)
    return _Back(back.b.flatten(3), every, (channels, height, width))


def _through_relu(back: _Back, inputs: Tensor) -> _Back:
    mask = (inputs > 0).to(back.b.dtype)
    if back.positions is None:
        return _Back(back.b * mask[:, None])
    return _Back(back.b * mask.flatten(2).gather(2, back.positions)[:, None], back.positions, back.shape)


def _through_convolution(back: _Back, step: Step, weight: Tensor) -> _Back:
    """Gradients in a convolution's inputs: for each sample b times the matrix that lays the kernel at each position."""
    conv = step.module
    assert isinstance(conv, nn.Conv2d) and back.positions is not None
    out, channels, kh, kw = weight.shape
    ph, pw = (
        (conv.padding, conv.padding) if isinstance(conv.padding, int) else (int(conv.padding[0]), int(conv.padding[1]))
    )
    height, width = step.inputs.shape[2:]
    tall, wide = height + 2 * ph, width + 2 * pw
    map_width = back.shape[2]
    corner = back.positions.div(map_width, rounding_mode="floor") * wide + back.positions % map_width
    device = weight.device
    grid = torch.arange(channels, device=device)[:, None, None] * (tall * wide)
    tap = (grid + torch.arange(kh, device=device)[:, None] * wide + torch.arange(kw, device=device)).reshape(-1)
    n, classes, places = len(back.b), back.b.shape[1], back.b.shape[3]
    kernels = weight.reshape(out, 1, -1).expand(out, places, -1).reshape(1, out * places, -1)
    parts = []
    for a in range(0, n, _BLOCK):
        columns = corner[a : a + _BLOCK].reshape(-1, out * places, 1) + tap
        laid = weight.new_zeros(len(columns), out * places, channels * tall * wide)
        laid.scatter_(2, columns, kernels.expand(len(columns), -1, -1))
        parts.append(back.b[a : a + _BLOCK].flatten(2) @ laid)
    padded = torch.cat(parts).reshape(n, classes, channels, tall, wide)
    return _Back(padded[..., ph : ph + height, pw : pw + width])
