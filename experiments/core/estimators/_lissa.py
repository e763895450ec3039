"""LiSSA: the inverse as a recursion on mini-batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from experiments.core.engine.objective import Objective
from experiments.core.engine.seeds import stream
from experiments.core.errors import FedlabError
from experiments.core.estimators.inverse_hessian import InverseHessian, Progress, Solution, quiet
from experiments.core.estimators.numerics.lanczos import extremes, top_eigenvalue

_PROBES = 8
"""Mini-batches whose top eigenvalue is measured to propose a scale."""
_MARGIN = 1.1
_LARGE = 1_000_000  # parameters above which fewer Lanczos vectors are stored
_POINTS = 200
"""Points of the norm curve."""


class DivergedError(FedlabError):
    """The recursion grew without bound. Ends this method's rows only."""


class Lissa(InverseHessian):
    """Agarwal et al. (2017) as used by Koh and Liang (2017, section 3), for all right-hand sides at once.

    u <- v + u - (H_batch u + damping u) / scale, started at u = v; the result is u / scale, averaged over repeats.
    Koh and Liang's code writes the damping as a shrinking (1 - shrink) u, which is a Hessian damping of scale times
    shrink; here `damping` is the Hessian's, whatever the scale.
    """

    def __init__(
        self,
        objective: Objective,
        theta: Tensor,
        damping: float,
        seed: int = 0,
        progress: Progress = quiet,
        depth: int | None = None,
        repeats: int = 1,
        batch_size: int = 32,
        scale: float | None = None,
    ) -> None:
        """`depth` steps, `repeats` times, on mini-batches of `batch_size` in an order shuffled again each epoch.

        `scale`: must exceed half the largest eigenvalue of any mini-batch's Hessian; default 1.1 times the largest of
        eight mini-batches, damping included. `depth`: the slowest direction converges like exp(-depth (damping +
        decay) / scale), so the default is three times that span, at least n / repeats and at most 10 000 (the default
        of Koh and Liang's code).
        """
        super().__init__(objective, theta, damping, seed, progress)
        self.batch_size, self.repeats = min(batch_size, objective.n), repeats
        self.scale = scale if scale is not None else self.proposed_scale()[1]
        slowest = damping + objective.decay
        span = 3 * self.scale / slowest if slowest > 0 else math.inf
        self.depth = depth or int(min(10_000, max(objective.n / repeats, span)))

    def proposed_scale(self) -> tuple[float, float]:
        """(largest eigenvalue seen in eight mini-batches, damping included; the scale that is safe with it)."""
        batches = self._batches(_PROBES)
        most = 50 if self.objective.net.p <= _LARGE else 15
        top = max(
            top_eigenvalue(b, self.theta, 1e-2, most, self.seed)[0] for b in [next(batches) for _ in range(_PROBES)]
        )
        top = max(top + self.damping, self.damping, 1e-8)
        return top, _MARGIN * top

    def solve(self, vectors: Tensor) -> Solution:
        """See `InverseHessian.solve`.

        Raises:
            DivergedError: u became infinite, or longer than any converging recursion can make it; says which scale
                would do.
        """
        total = torch.zeros_like(vectors)
        curve: list[tuple[int, Tensor]] = []
        for repeat in range(self.repeats):
            u, norms = self._recursion(vectors, repeat)
            total += u / (self.scale * self.repeats)
            curve = curve or norms
        facts = {
            "scale": self.scale,
            "effective_damping": self.damping,
            "shrink": self.damping / self.scale,
            "depth": float(self.depth),
        }
        return Solution(total, self.residual(total, vectors), self.depth * self.repeats, facts, curve)

    def _recursion(self, v: Tensor, repeat: int) -> tuple[Tensor, list[tuple[int, Tensor]]]:
        u, every = v.clone(), max(1, self.depth // _POINTS)
        batches = self._batches(repeat, v.shape[1])
        bound = self._bound(v)
        curve = [(0, u.norm(dim=0))]
        for step, batch in zip(range(1, self.depth + 1), batches, strict=False):
            u = v + u - (batch.products(self.theta, u) + self.damping * u) / self.scale
            if step % every == 0 or step == self.depth:
                curve.append((step, u.norm(dim=0)))
                if not bool((curve[-1][1] <= bound).all()):
                    self._refuse(step)
                self.progress(repeat * self.depth + step, self.depth * self.repeats)
        return u, curve

    def _bound(self, v: Tensor) -> Tensor:
        """Norms [T] that no converging recursion passes: 100 times scale ||v|| / (damping + decay), or 1e6 ||v||."""
        slowest = self.damping + self.objective.decay
        return v.norm(dim=0) * max(1e6, 100 * self.scale / slowest if slowest > 0 else 1e6)

    def _refuse(self, step: int) -> None:
        """Raise DivergedError, with the cause measured."""
        top, safe = self.proposed_scale()
        if self.scale >= top / 2:
            least = extremes(self.objective, self.theta, 1e-4, 200, self.seed)[0]
            if least + self.damping < 0:
                raise DivergedError(
                    f"LiSSA diverged by step {step}: the Hessian has the negative eigenvalue {least:.4g}",
                    f"method lissa, damping {self.damping:g}",
                    f"set damping above {-least:.4g}, or train on",
                )
        raise DivergedError(
            f"LiSSA diverged by step {step}: mini-batches of {self.batch_size} have eigenvalues up to {top:.4g}",
            f"method lissa, scale {self.scale:g}",
            f"set scale to {max(safe, 2 * self.scale if self.scale >= top / 2 else safe):.4g}",
        )

    def _batches(self, repeat: int, columns: int = 1) -> Iterator[Objective]:
        """Mini-batch objectives without end."""
        whole, n, epoch = self.fitted(columns), self.objective.n, 0
        while True:
            order = stream(self.seed, "lissa", repeat=repeat, epoch=epoch).permutation(n)
            for a in range(0, n - self.batch_size + 1, self.batch_size):
                rows = torch.from_numpy(order[a : a + self.batch_size]).to(self.theta.device)
                yield replace(whole, x=whole.x[rows], y=whole.y[rows])
            epoch += 1
