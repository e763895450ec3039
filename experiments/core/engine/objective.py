"""The training objective of one model on fixed data: value, gradient, products with its Hessian."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap

from experiments.core.engine.net import Net

forward_mode = threading.Lock()
"""PyTorch keeps one stack of forward-mode levels for all threads: hold this around every jvp."""

CACHE, MEMORY = 24 << 20, 1 << 30
"""Bytes of activations in one pass of a fitted objective, on a CPU and on a GPU."""


@dataclass(frozen=True)
class Objective:
    """f(theta) = sum_i w_i loss(z_i, theta) / sum_i w_i + (decay/2) sum_j mask_j theta_j^2; every w_i = 1 by default.

    The module must compute the same in training and in evaluation mode (no dropout, normalisation frozen): only then is
    f a function. All methods take states theta [size] and never hold more than `chunk` samples' activations at once
    (times the number of vectors that `width` lets through together).

    Attributes:
        net: the model. x, y: [n, ...], [n] the training data (or any other sample set).
        decay: lambda in (lambda/2) ||theta||^2. mask: [p] of 0 and 1, the parameters that are decayed; None: all.
        chunk: samples of one pass. width: vectors of one pass.
        weight: [n] w_i, or None; 0 leaves a sample out.
    """

    net: Net
    x: Tensor
    y: Tensor
    decay: float = 0.0
    mask: Tensor | None = None
    chunk: int = 512
    width: int = 64
    weight: Tensor | None = None

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.x)

    def to(self, dtype: torch.dtype) -> Objective:
        """The same function in another precision."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        real: dict[str, Any] = {
            k: v.to(dtype) for k, v in values.items() if isinstance(v, Tensor) and v.is_floating_point()
        }
        return replace(self, **real)

    def fitted(self, theta: Tensor, columns: int) -> Objective:
        """The same function with `chunk` and `width` lowered until the activations of one pass stay in the cache.

        Worth up to a factor of two for products with [p, columns] of a convolution net on a CPU. A rule, not a timing:
        the last bits of the sums depend on the chunk, and the same run must end in the same numbers.
        """
        rows = max(1, (CACHE if theta.device.type == "cpu" else MEMORY) // self._sample_bytes(theta))
        width = min(columns, self.width, max(1, rows // 16))
        return replace(self, width=width, chunk=min(self.chunk, max(16, rows // width)))

    def _sample_bytes(self, theta: Tensor) -> int:
        """Bytes that automatic differentiation keeps of one sample."""
        saved = [0]

        def keep(tensor: Tensor) -> Tensor:
            saved[-1] += tensor.nbytes
            return tensor

        w = theta[: self.net.p].detach().requires_grad_()
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self._losses(w, theta, self.x[:1], self.y[:1])
            saved.append(-2 * saved[0])
            self._losses(w, theta, self.x[:1].repeat_interleave(2, 0), self.y[:1].repeat_interleave(2, 0))
        return max(1, saved[1] + saved[0])

    def penalty_gradient(self, w: Tensor) -> Tensor:
        """Gradient of the penalty at w [p] (or its Hessian times w, for it is linear): [p], or [p, C] for columns."""
        if self.mask is None:
            return self.decay * w
        return self.decay * (w * (self.mask if w.dim() == 1 else self.mask[:, None]))

    def value(self, theta: Tensor) -> Tensor:
        """f(theta), a scalar."""
        w = theta[: self.net.p]
        with torch.no_grad():
            total = sum((self._sum(w, theta, *part) for part in self._parts()), w.new_zeros(()))
        return self._mean(total) + 0.5 * torch.dot(self.penalty_gradient(w), w)

    def losses(self, theta: Tensor) -> Tensor:
        """Loss of each sample without the penalty and without weights: [n]."""
        with torch.no_grad():
            return torch.cat([self._losses(theta[: self.net.p], theta, x, y) for x, y, _ in self._parts()])

    def gradient(self, theta: Tensor) -> Tensor:
        """Gradient of f: [p]."""
        return self.value_and_gradient(theta)[1]

    def value_and_gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """f(theta), a scalar, and its gradient [p], from one pass."""
        w = theta[: self.net.p].detach().requires_grad_()
        value, gradient = theta.new_zeros(()), theta.new_zeros(self.net.p)
        for part in self._parts():
            with torch.enable_grad():
                share = self._sum(w, theta, *part)
                gradient += torch.autograd.grad(share, w)[0]
            value += share.detach()
        w = w.detach()
        penalty = self.penalty_gradient(w)
        return self._mean(value) + 0.5 * torch.dot(penalty, w), self._mean(gradient) + penalty

    def products(self, theta: Tensor, vectors: Tensor) -> Tensor:
        """H V, the Hessian of f at theta times vectors [p, C], forward over reverse (Pearlmutter 1994): [p, C]."""
        total = torch.zeros_like(vectors)
        for part in self._parts():
            for a in range(0, vectors.shape[1], self.width):
                block = slice(a, a + self.width)
                total[:, block] += self._product(theta, *part, vectors[:, block])
        return self._mean(total) + self.penalty_gradient(vectors)

    def slopes(self, theta: Tensor, directions: Tensor) -> Tensor:
        """<gradient of sample i's loss, direction t> of all samples, directions [p, T] -> [T, n].

        Without penalty and weights. One forward-mode pass a direction: no sample's gradient is ever formed.
        """

        def work(x: Tensor, y: Tensor, block: Tensor) -> Tensor:
            def losses(w: Tensor) -> Tensor:
                return self._losses(w, theta, x, y)

            return pushed(losses, theta[: self.net.p], block)

        columns = [directions[:, a : a + self.width] for a in range(0, directions.shape[1], self.width)]
        return torch.cat([torch.cat([work(x, y, block) for x, y, _ in self._parts()], 1) for block in columns])

    def _product(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, vectors: Tensor) -> Tensor:
        gradient = grad(lambda w: self._sum(w, theta, x, y, weight))
        return pushed(gradient, theta[: self.net.p], vectors).T

    def _sum(self, w: Tensor, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        losses = self._losses(w, theta, x, y)
        return losses.sum() if weight is None else torch.dot(losses, weight)

    def _mean(self, total: Tensor) -> Tensor:
        return total / (self.n if self.weight is None else self.weight.sum())

    def _losses(self, w: Tensor, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        state = torch.cat([w, theta[self.net.p :]]) if self.net.buffers else w
        return self.net.losses(self.net.call(state, x), y)

    def _parts(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        for a in range(0, self.n, self.chunk):
            rows = slice(a, a + self.chunk)
            yield self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows]


def pushed(function: Callable[[Tensor], Tensor], at: Tensor, columns: Tensor) -> Tensor:
    """The Jacobian of `function` at `at` [s] times every column of [s, C], stacked: [C, ...].

    By forward mode; where an operation has no forward derivative, by two reverse passes: J v is the derivative of
    u -> J^T u in its transpose. One column goes without vmap, which large models need.
    """
    try:
        with forward_mode:
            return _each(lambda v: jvp(function, (at,), (v,))[1], columns)
    except NotImplementedError:
        return _each(lambda v: _twice_back(function, at, v), columns)


def _each(work: Callable[[Tensor], Tensor], columns: Tensor) -> Tensor:
    if columns.shape[1] == 1:
        return work(columns[:, 0].contiguous())[None]
    return vmap(work, in_dims=1, randomness="same")(columns)


def _twice_back(function: Callable[[Tensor], Tensor], at: Tensor, v: Tensor) -> Tensor:
    def transposed(u: Tensor) -> Tensor:
        return vjp(function, at)[1](u)[0]  # type: ignore[no-any-return]

    return vjp(transposed, torch.zeros_like(function(at)))[1](v)[0]  # type: ignore[no-any-return]
