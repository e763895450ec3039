"""Gradients of clients before and after decoupling, and their variance (section 4.2 of Tang et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.halves import Halves
from experiments.core.engine.net import Net
from experiments.core.engine.per_sample import per_sample_gradients
from experiments.core.scores.dissimilarity import GradientVariance

LOW, HIGH = "low", "high"

Sampled = tuple[Tensor, Tensor]
"""Features [n, ...] and labels [n]."""

_NUMBERS = 1 << 24  # of single samples' gradients, held at a time
_AT_ONCE = 512  # samples of which activations are held


@dataclass(frozen=True)
class Client:
    """What is looked at of one client.

    Attributes:
        weight: n_m, all its samples. x, y: [n, ...], [n] those looked at.
        sampled: way of sampling -> features that it would be given, and their labels.
    """

    weight: float
    x: Tensor
    y: Tensor
    sampled: dict[str, Sampled]


Variances = dict[tuple[str, str], GradientVariance]
"""(objective, way of sampling) -> the variance; ("plain", "") is before decoupling."""


def variances(
    halves: Halves, theta: Tensor, clients: Iterable[Client], high: Tensor, ratio: float, per_sample: bool
) -> Variances:
    """The variance of client gradients under three objectives, at one state.

    "plain": f_m, the mean loss of the client's samples. "decoupled": the one that the proof of Theorem 4.2 (Eq. 23)
    looks at: below the split grad f_m; above it a weighted mean, n_m / (n_m + n^_m) grad f_m + n^_m / (n_m + n^_m) grad
    of the sampled features' mean loss. "summed": Eq. 5 as printed, and what the released code descends at weight 1:
    both losses added. There the real part is not scaled down, and features that all clients share leave the variance
    as it was. Clients weigh n_m (plain), n_m + n^_m (the others): the same, as n^_m / n_m is.

    Args:
        halves: the model, cut. theta: [size] the state. clients: one at a time. high: [p] what is above the split.
        ratio: n^_m / n_m of every client. per_sample: also what varies within clients; without it that is zero.
    """
    parts = {LOW: ~high, HIGH: high}
    found: Variances = {("plain", ""): GradientVariance(parts)}
    share = 1 / (1 + ratio)  # n_m / (n_m + n^_m)
    for client in clients:
        real, within = _real(halves.net, theta, client, parts, per_sample)
        found["plain", ""].add(client.weight, real, within)
        for way, (features, labels) in client.sampled.items():
            added = halves.gradient(theta, features, labels)
            shrunk = {LOW: within[LOW], HIGH: share**2 * within[HIGH]}
            mixed = torch.where(high, share * real + (1 - share) * added, real)
            for name, gradient, inside in (("decoupled", mixed, shrunk), ("summed", real + added, within)):
                key = name, way
                found.setdefault(key, GradientVariance(parts)).add(client.weight, gradient, inside)
    return found


def _real(
    net: Net, theta: Tensor, client: Client, parts: dict[str, Tensor], per_sample: bool
) -> tuple[Tensor, dict[str, float]]:
    """[p] mean gradient of the client's samples, and E |g - mean|^2 of each part."""
    if not per_sample:
        return mean_gradient(net, theta, client.x, client.y), dict.fromkeys(parts, 0.0)
    n, size = len(client.y), max(1, _NUMBERS // net.p)
    mean, within, seen = theta.new_zeros(net.p), dict.fromkeys(parts, 0.0), 0
    for x, y in zip(client.x.split(size), client.y.split(size), strict=True):
        piece = per_sample_gradients(net, theta, x, y)
        seen += len(piece)
        centre = piece.mean(0)
        gap = centre - mean
        # By column first, in place: single samples' gradients are many times the model.
        spread = piece.sub_(centre).square_().sum(0, dtype=torch.float64)
        spread += gap.double().square() * (len(piece) * (seen - len(piece)) / seen)
        for name, columns in parts.items():
            within[name] += float(spread[columns].sum()) / n
        mean += gap * (len(piece) / seen)
    return mean, within


def mean_gradient(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """[p] gradient of the mean loss of x [n, ...], y [n] in evaluation mode, in pieces of bounded memory."""
    total, theta = torch.zeros_like(theta[: net.p]), theta.detach().requires_grad_()
    with torch.enable_grad():
        for part, labels in zip(x.split(_AT_ONCE), y.split(_AT_ONCE), strict=True):
            loss = net.losses(net.call(theta, part), labels).sum()
            total += torch.autograd.grad(loss, theta)[0][: net.p]
    return total / len(y)
