"""The two halves of a network cut behind a named block, as functions of a flat state, in evaluation mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from experiments.core.engine.net import Net, private
from experiments.core.engine.split import path_of
from experiments.core.errors import SpecError


@dataclass(frozen=True)
class Halves:
    """A network cut in two: below a block and with it, and above.

    BatchNorm uses its running statistics, so that each sample's features and loss depend on that sample alone.

    Attributes:
        net: the network. path: of the block. probe: [1, ...] any input, which finds its way to the block.
    """

    net: Net
    path: str
    probe: Tensor

    @classmethod
    def of(cls, net: Net, block: str, x: Tensor, where: str = "split") -> Halves:
        """Cut `net` behind `block`, a path of its module or a short name; x [n, ...] are inputs, at least one.

        `where` is the key of a spec that names the block, for the error.

        Raises:
            SpecError: there is no such block.
        """
        return cls(net, path_of(net.module, block, where), x[:1])

    def features(self, theta: Tensor, x: Tensor) -> Tensor:
        """What the block gives for x [n, ...] at the state theta [size]: [n, ...]; differentiable by both."""

        def stop(_block: Any, _inputs: Any, output: Tensor) -> None:
            raise _Reached(output)

        handle = private(self.net.module).get_submodule(self.path).register_forward_hook(stop)
        try:
            self.net.call(theta, x)
        except _Reached as reached:
            return reached.features
        finally:
            handle.remove()
        raise SpecError(f"the model never comes to its block {self.path!r}", "split", "split behind another block")

    def outputs(self, theta: Tensor, features: Tensor) -> Tensor:
        """Outputs [n, C] of what is above the block, from features [n, ...]; the gradient below it is zero."""
        block = private(self.net.module).get_submodule(self.path)
        handle = block.register_forward_hook(lambda *_: features)
        try:
            return self.net.call(theta, self.probe)
        finally:
            handle.remove()

    def high(self, theta: Tensor, features: Tensor) -> Tensor:
        """[p] whether a trained parameter lies above the block: whether outputs of features [n, ...] depend on it.

        A parameter that both halves use (tied weights) counts as above.
        """
        net = self.net
        tensors = {name: value.detach() for name, value in net.views(theta).items()}
        trained = [tensors[slot.name].requires_grad_() for slot in net.params]
        module = private(net.module)
        handle = module.get_submodule(self.path).register_forward_hook(lambda *_: features.detach())
        try:
            with torch.enable_grad():
                total = functional_call(module, tensors, self.probe).sum()
                gradients = torch.autograd.grad(total, trained, allow_unused=True)
        finally:
            handle.remove()
        above = torch.zeros(net.p, dtype=torch.bool, device=theta.device)
        for slot, gradient in zip(net.params, gradients, strict=True):
            above[slot.start : slot.stop] = gradient is not None
        return above

    def gradient(self, theta: Tensor, features: Tensor, y: Tensor) -> Tensor:
        """[p] gradient of the mean loss of features [n, ...] with labels y [n], in pieces of bounded memory."""
        total, theta = torch.zeros_like(theta[: self.net.p]), theta.detach().requires_grad_()
        with torch.enable_grad():
            for part, labels in zip(features.split(_AT_ONCE), y.split(_AT_ONCE), strict=True):
                loss = self.net.losses(self.outputs(theta, part), labels).sum()
                total += torch.autograd.grad(loss, theta)[0][: self.net.p]
        return total / len(y)


class _Reached(Exception):  # noqa: N818
    """Ends a pass at the block: what is above it need not be computed."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


_AT_ONCE = 512  # samples of which activations are held
