"""Conjugate gradients for all right-hand sides together, preconditioned by the explicit Gauss-Newton matrix."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from experiments.core.engine.objective import Objective
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError
from experiments.core.estimators.inverse_hessian import InverseHessian, Progress, Solution, quiet
from experiments.core.estimators.numerics.ggn import ggn

_LARGEST = 4096
"""Parameters up to which the preconditioner is written out, and samples that it is made from."""


class ConjugateGradient(InverseHessian):
    """Hestenes and Stiefel (1952), one Hessian product an iteration for all columns that have not converged.

    Koh and Liang (2017, section 3) solve the same system vector by vector with Newton-CG. A column that meets negative
    curvature keeps the iterate it has, as theirs does; the recursion can also continue, towards what the explicit
    inverse of an indefinite matrix gives.
    """

    def __init__(
        self,
        objective: Objective,
        theta: Tensor,
        damping: float,
        seed: int = 0,
        progress: Progress = quiet,
        tol: float = 1e-4,
        most: int = 500,
        precondition: str = "auto",
        negative: str = "stop",
    ) -> None:
        """Stop a column at ||residual|| <= tol ||v|| or after `most` iterations.

        `precondition`: "ggn" writes out the damped Gauss-Newton matrix [p, p] and factorises it, "none" does without,
        "auto" takes "ggn" up to 4096 parameters. `negative` curvature: "stop" or "continue".

        Raises:
            SpecError: on an unknown preconditioner, or an unknown word for negative curvature.
        """
        super().__init__(objective, theta, damping, seed, progress)
        if precondition not in ("auto", "ggn", "none"):
            raise SpecError(f"unknown preconditioner {precondition!r}", "method cg", "use auto, ggn or none")
        if negative not in ("stop", "continue"):
            raise SpecError(f"unknown negative {negative!r}", "method cg", "use stop or continue")
        self.tol, self.most, self._goes_on = tol, most, negative == "continue"
        wanted = precondition == "ggn" or (precondition == "auto" and objective.net.p <= _LARGEST)
        self._factor = self._factorised() if wanted else None

    def _factorised(self) -> Tensor:
        """Cholesky factor of GGN + penalty + damping, in float32 where that suffices: it only has to be near."""
        n = self.objective.n
        sampled = self.objective
        if n > _LARGEST:
            rows = torch.from_numpy(stream(self.seed, "cg", part="samples").permutation(n)[:_LARGEST])
            rows = rows.to(self.theta.device)
            sampled = replace(sampled, x=sampled.x[rows], y=sampled.y[rows])
        matrix = ggn(sampled.to(torch.float32), self.theta.float())
        matrix.diagonal().add_(self.decays() + self.damping)
        ridge = matrix.diagonal().mean() * 1e-6
        factor, failed = torch.linalg.cholesky_ex(matrix)
        while int(failed):
            matrix.diagonal().add_(ridge)
            ridge = ridge * 10
            factor, failed = torch.linalg.cholesky_ex(matrix)
        return factor

    def solve(self, vectors: Tensor) -> Solution:
        """See `InverseHessian.solve`.

        Raises:
            SpecError: a column met negative curvature and its solution is of no use (residual 1 or more).
        """
        x, iterations, negative = self._iterate(vectors)
        residual = self.residual(x, vectors)
        useless = negative & (residual >= 1)
        if useless.any():
            raise SpecError(
                f"the Hessian with damping {self.damping:g} is not positive definite: {int(useless.sum())} of "
                f"{len(useless)} solutions are worth nothing after meeting negative curvature",
                "method cg",
                "raise the damping above the size of the most negative eigenvalue, train on, or set negative=continue",
            )
        facts = {"negative_curvature": float(negative.sum()), "converged": float((residual <= 2 * self.tol).sum())}
        return Solution(x, residual, iterations, facts)

    def _iterate(self, vectors: Tensor) -> tuple[Tensor, int, Tensor]:
        """Solutions [p, T], iterations of the slowest column, [T] whether it met negative curvature."""
        x, r = torch.zeros_like(vectors), vectors.clone()
        z = self._preconditioned(r)
        d, rz, goal = z.clone(), (r * z).sum(0), self.tol * vectors.norm(dim=0)
        negative = torch.zeros(vectors.shape[1], dtype=torch.bool, device=vectors.device)
        done = 0
        active = (r.norm(dim=0) > goal).nonzero()[:, 0]
        while len(active) and done < self.most:
            along = d[:, active]
            image = self.times(along)
            curvature = (along * image).sum(0)
            negative[active] |= curvature <= 0
            keep = (curvature != 0) if self._goes_on else curvature > 0
            active, along, image, curvature = active[keep], along[:, keep], image[:, keep], curvature[keep]
            step = rz[active] / curvature
            x[:, active] += step * along
            r[:, active] -= step * image
            z = self._preconditioned(r[:, active])
            new = (r[:, active] * z).sum(0)
            d[:, active] = z + (new / rz[active]) * along
            rz[active] = new
            active = active[r[:, active].norm(dim=0) > goal[active]]
            done += 1
            self.progress(done, self.most)
        return x, done, negative

    def _preconditioned(self, r: Tensor) -> Tensor:
        return r.clone() if self._factor is None else torch.cholesky_solve(r.to(self._factor), self._factor).to(r)
