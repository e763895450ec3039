"""EK-FAC: the Fisher matrix layer by layer, in the eigenbasis of its Kronecker factors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.engine.formulations._common import output_gradient
from experiments.core.engine.objective import Objective
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError
from experiments.core.estimators.inverse_hessian import InverseHessian, Progress, Solution, quiet
from experiments.core.estimators.numerics._layers import (
    NORMS,
    Pass,
    Traced,
    chunks,
    deltas_of,
    inputs_of,
    norm_gradients,
)


@dataclass
class _Factor:
    """One Linear or Conv2d: eigenvectors of E[g g^T] and E[a a^T], and the second moments in their product basis.

    `columns` are the places of weight and bias in a parameter vector, [out, in] or with a bias [out, in + 1].
    """

    columns: Tensor
    outer: Tensor
    inner: Tensor
    moments: Tensor

    def turned(self, step: Pass, delta: Tensor) -> Tensor:
        """Gradients of each sample in the eigenbasis: [n, out, in]."""
        return torch.bmm((deltas_of(step, delta) @ self.outer).transpose(1, 2), _inputs(self, step) @ self.inner)


def _inputs(factor: _Factor, step: Pass) -> Tensor:
    """Inputs place by place, [n, places, in], with a column of ones for the bias."""
    a = inputs_of(step)
    return torch.cat([a, torch.ones_like(a[..., :1])], -1) if factor.columns.shape[1] > a.shape[-1] else a


class Ekfac(InverseHessian):
    """George et al. (2018), for influence Grosse et al. (2023, section 3.1).

    Per layer the Fisher matrix is U diag(moments) U^T with U = U_G x U_A (Kronecker) from the covariances of output
    gradients and inputs, convolutions as in Grosse and Martens (2016), and moments = E[(U^T g)^2] over the samples'
    gradients g. Labels are drawn from the model, so the Fisher matrix is the Gauss-Newton matrix's estimate;
    `empirical` takes the data's labels instead. Of the penalty's Hessian the diagonal in that basis is added.
    Normalisation layers get the diagonal of their Fisher matrix.
    """

    def __init__(
        self,
        objective: Objective,
        theta: Tensor,
        damping: float,
        seed: int = 0,
        progress: Progress = quiet,
        empirical: bool = False,
    ) -> None:
        """Two passes over the data: covariances, then second moments in their eigenbasis.

        Raises:
            SpecError: a parameter lies outside Linear, ungrouped Conv2d and normalisation layers; or a direction has
                neither curvature nor damping.
        """
        super().__init__(objective, theta, damping, seed, progress)
        self._empirical = empirical
        try:
            self._traced = Traced(objective.net)
            self._factors = self._covariances()
        except ValueError as fault:
            raise SpecError(str(fault), "method ekfac", "use method cg") from fault
        self._diagonal = torch.full_like(theta[: objective.net.p], torch.nan)
        self._second_moments()
        self._add_penalty()

    def solve(self, vectors: Tensor) -> Solution:
        """See `InverseHessian.solve`."""
        x = vectors / self._diagonal[:, None]
        for f in self._factors.values():
            blocks = vectors[f.columns].permute(2, 0, 1)
            turned = (f.outer.T @ blocks @ f.inner) / f.moments
            x[f.columns] = (f.outer @ turned @ f.inner.T).permute(1, 2, 0)
        return Solution(x, self.residual(x, vectors), 0, {"layers": float(len(self._factors))})

    def _passes(self) -> Iterator[tuple[list[Pass], tuple[Tensor, ...]]]:
        """(layers, gradients in their outputs) of the samples, chunk by chunk; the same labels in every pass."""
        o, n = self.objective, self.objective.n
        size = o.fitted(self.theta, 1).chunk
        draws = self._draws().split(size)
        for part, draw in zip(chunks(n, size), draws, strict=True):
            steps, outputs = self._traced.forward(self.theta, o.x[part])
            seed = self._seed(outputs.detach(), o.y[part], draw)
            yield steps, torch.autograd.grad(outputs, [s.above for s in steps], seed)

    def _draws(self) -> Tensor:
        """What labels are drawn with: [n] uniform numbers, or [n, C] normal ones for the squared loss."""
        rng, o = stream(self.seed, "ekfac"), self.objective
        drawn = rng.standard_normal(tuple(o.y.shape)) if o.net.loss == "squared" else rng.random(o.n)
        return torch.from_numpy(drawn).to(self.theta)

    def _seed(self, outputs: Tensor, y: Tensor, draw: Tensor) -> Tensor:
        """Gradient of each sample's loss in its outputs, for the drawn or the true label: [n, C]."""
        net = self.objective.net
        if not self._empirical:
            if net.loss == "squared":
                return draw
            reached = outputs.softmax(-1).cumsum(-1)
            y = (reached < draw[:, None]).sum(-1).clamp_max(outputs.shape[1] - 1)
        return output_gradient(net, outputs[None], y, outputs.new_ones(1, len(outputs)))[0]

    def _covariances(self) -> dict[str, _Factor]:
        factors: dict[str, _Factor] = {}
        for steps, deltas in self._passes():
            for step, delta in zip(steps, deltas, strict=True):
                if step.name not in factors:
                    empty = self._empty(step)
                    if empty is None:
                        continue
                    factors[step.name] = empty
                f = factors[step.name]
                g, a = deltas_of(step, delta).flatten(0, 1), _inputs(f, step).flatten(0, 1)
                f.outer += g.T @ g
                f.inner += a.T @ a
        for f in factors.values():
            f.outer, f.inner = torch.linalg.eigh(f.outer)[1], torch.linalg.eigh(f.inner)[1]
        return factors

    def _empty(self, step: Pass) -> _Factor | None:
        """Room for the factors of a layer; None for normalisation and for layers whose weights are frozen."""
        slots = {s.name: s for s in self.objective.net.params}
        weight, bias = (slots.get(f"{step.name}.{t}".lstrip(".")) for t in ("weight", "bias"))
        if weight is None or isinstance(step.layer, NORMS):
            return None
        columns = torch.arange(weight.start, weight.stop).reshape(weight.shape[0], -1)
        if bias is not None:
            columns = torch.cat([columns, torch.arange(bias.start, bias.stop)[:, None]], 1)
        rows, width = columns.shape
        zeros = self.theta.new_zeros
        return _Factor(columns.to(self.theta.device), zeros(rows, rows), zeros(width, width), zeros(rows, width))

    def _second_moments(self) -> None:
        n, slots = self.objective.n, {s.name: s for s in self.objective.net.params}
        for steps, deltas in self._passes():
            for step, delta in zip(steps, deltas, strict=True):
                if step.name in self._factors:
                    f = self._factors[step.name]
                    f.moments += f.turned(step, delta).square().sum(0) / n
                    continue
                if isinstance(step.layer, NORMS):
                    parts = norm_gradients(self.objective.net, self.theta, step, delta)
                else:
                    parts = (delta.new_empty(0), deltas_of(step, delta).sum(1))
                for tensor, part in zip(("weight", "bias"), parts, strict=True):
                    slot = slots.get(f"{step.name}.{tensor}".lstrip("."))
                    if slot is not None:
                        where = self._diagonal[slot.start : slot.stop]
                        where.nan_to_num_(0).add_(part.square().sum(0) / n)

    def _add_penalty(self) -> None:
        decays = self.decays()
        self._diagonal += decays + self.damping
        for f in self._factors.values():
            f.moments += f.outer.square().T @ decays[f.columns] @ f.inner.square() + self.damping
            self._diagonal[f.columns] = 1.0
        least = min([*(float(f.moments.min()) for f in self._factors.values()), float(self._diagonal.min())])
        if not least > 0:
            raise SpecError("directions without curvature", "method ekfac", "set damping, e.g. 0.001, or weight decay")
