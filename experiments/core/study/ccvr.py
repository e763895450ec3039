"""CCVR (Luo et al. 2021): after training, the last layer is fitted to features drawn from clients' statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.core.engine.net import Net
from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate_plain import load
from experiments.core.errors import SpecError

_AT_ONCE = 512  # samples in one forward pass


@dataclass(frozen=True)
class Moments:
    """Statistics of features with labels.

    Attributes:
        count: [C] samples of each class. mean: [C, D]. covariance: [C, D, D], unbiased. Zeros where a class has none
            (of the covariance: fewer than two).
    """

    count: Tensor
    mean: Tensor
    covariance: Tensor

    @property
    def numbers(self) -> int:
        """How many numbers a client sends; a covariance is symmetric."""
        classes, d = self.mean.shape
        return classes * (1 + d + d * (d + 1) // 2)


def moments(features: Tensor, labels: Tensor, classes: int) -> Moments:
    """One client's statistics (Luo et al. 2021, Eq. 5): features [n, D], labels [n]."""
    d = features.shape[1]
    count = torch.bincount(labels, minlength=classes).to(features)
    mean, covariance = features.new_zeros(classes, d), features.new_zeros(classes, d, d)
    for c in labels.unique().tolist():
        of_class = features[labels == c]
        mean[c] = of_class.mean(0)
        if len(of_class) > 1:
            covariance[c] = of_class.T.cov()
    return Moments(count, mean, covariance)


def combined(clients: Iterable[Moments]) -> Moments:
    """The statistics of all clients' features together, exactly (Luo et al. 2021, Eq. 6), one client after another.

    Sums of squares are joined about the common mean (Chan et al. 1979), so that no large numbers cancel.
    """
    total: Moments | None = None
    for client in clients:
        total = client if total is None else _joined(total, client)
    if total is None:
        raise ValueError("no clients")
    return total


def _joined(a: Moments, b: Moments) -> Moments:
    count, apart = a.count + b.count, b.mean - a.mean
    share = b.count / count.clamp(min=1)
    between = (a.count * share)[:, None, None] * apart[:, :, None] * apart[:, None, :]
    squares = sum((m.count - 1).clamp(min=0)[:, None, None] * m.covariance for m in (a, b)) + between
    return Moments(count, a.mean + share[:, None] * apart, squares / (count - 1).clamp(min=1)[:, None, None])


def virtual(total: Moments, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features [M, D] drawn from each class's normal distribution, and their labels [M].

    Class c gets M_c features, by its share N_c / N of the samples, `samples` being the mean of M_c over the classes.
    """
    shares = total.count / total.count.sum()
    features, labels = [], []
    for c, share in enumerate(shares.tolist()):
        m = round(samples * len(shares) * share)
        values, vectors = torch.linalg.eigh(total.covariance[c])
        drawn = stream(seed, "virtual features", label=c).standard_normal((m, total.mean.shape[1]))
        normal = torch.from_numpy(drawn).to(total.mean)
        features.append(total.mean[c] + (normal * values.clamp(min=0).sqrt()) @ vectors.T)
        labels += [c] * m
    return torch.cat(features), torch.tensor(labels, device=total.mean.device)


def fitted(
    features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, decay: float
) -> tuple[Tensor, Tensor | None]:
    """The linear classifier that minimises mean cross-entropy + decay / 2 |weight|^2, from `weight` [C, D], `bias` [C].

    By L-BFGS to the optimum, which is the same wherever it begins (the paper takes some epochs of SGD instead).
    """
    weight = weight.to(features).clone().requires_grad_()
    bias = None if bias is None else bias.to(features).clone().requires_grad_()
    trained = [weight] if bias is None else [weight, bias]
    optimiser = torch.optim.LBFGS(
        trained, max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-13, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(F.linear(features, weight, bias), labels) + decay / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), None if bias is None else bias.detach()


def calibrated(problem: Problem, state: Tensor, samples: int, decay: float) -> tuple[Tensor, int]:
    """The global state [size] with its last layer calibrated, and how many numbers each client sends for it.

    Args:
        problem: all its clients send their statistics. state: [size], as trained.
        samples: M_c of a class, on average. decay: see `fitted`.

    Raises:
        SpecError: the model does not end in a linear layer that is trained.
    """
    net, data = problem.net, problem.federation
    module = load(net, state).eval()
    name, head = last_linear(net, module, data.x[:2], data.classes)
    of_clients = (
        moments(features(module, head, x), y if y.dim() == 1 else y.argmax(1), data.classes)
        for x, y in map(data.of, range(len(data.sizes)))
    )
    total = combined(of_clients)
    drawn = virtual(total, samples, problem.seed)
    weight, bias = fitted(*drawn, head.weight.detach(), None if head.bias is None else head.bias.detach(), decay)
    after = state.clone()
    for slot in net.slots:
        new = {f"{name}.weight": weight, f"{name}.bias": bias}.get(slot.name)
        if new is not None:
            after[slot.start : slot.stop] = new.flatten().to(after)
    return after, total.numbers


def last_linear(net: Net, module: nn.Module, x: Tensor, classes: int) -> tuple[str, nn.Linear]:
    """The path and the linear layer whose outputs [n, classes] are `module`'s own.

    Raises:
        SpecError: the model ends otherwise, or the layer is frozen.
    """
    trained, seen = {slot.name for slot in net.params}, dict[str, Tensor]()
    layers = {path: m for path, m in module.named_modules() if isinstance(m, nn.Linear) and m.out_features == classes}
    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, output, path=path: seen.update({path: output}))
        for path, layer in layers.items()
    ]
    with torch.no_grad():
        outputs = module(x)
    for handle in handles:
        handle.remove()
    for path, output in seen.items():
        if torch.equal(output, outputs) and f"{path}.weight" in trained:
            return path, layers[path]
    raise SpecError(
        "calibration fits the last layer anew, and the model does not end in a linear layer that is trained",
        "ccvr",
        "use a model that does, or set ccvr: null",
    )


def features(module: nn.Module, head: nn.Module, x: Tensor) -> Tensor:
    """[n, D] in float64, what enters `head` when `module` is given x [n, ...]."""
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0].double()))
    with torch.no_grad():
        for part in x.split(_AT_ONCE):
            module(part)
    handle.remove()
    return torch.cat(seen)
