"""The inverse on the Hessian's leading eigenvectors only."""

from __future__ import annotations

from torch import Tensor

from experiments.core.engine.objective import Objective
from experiments.core.errors import SpecError
from experiments.core.estimators.inverse_hessian import InverseHessian, Progress, Solution, quiet
from experiments.core.estimators.numerics.lanczos import Lanczos, random_vector


class LowRank(InverseHessian):
    """The `rank` eigenpairs of largest magnitude that a Krylov space holds (Schioppa et al. 2022, Algorithm 1).

    Theirs is the Arnoldi iteration; for a symmetric matrix that is Lanczos'.
    """

    def __init__(
        self,
        objective: Objective,
        theta: Tensor,
        damping: float,
        seed: int = 0,
        progress: Progress = quiet,
        rank: int = 100,
        steps: int | None = None,
        outside: bool = True,
    ) -> None:
        """Take `steps` products (default: twice the rank) and keep `rank` Ritz pairs.

        `outside`: the rest of the space counts as curvature 0, inverted to 1 / damping (left out where damping is 0);
        False leaves it out, as the original does.

        Raises:
            SpecError: rank below one, or a kept eigenvalue that the damping makes zero.
        """
        super().__init__(objective, theta, damping, seed, progress)
        p = objective.net.p
        if rank < 1:
            raise SpecError(f"rank {rank}", "method low_rank", "give a rank of 1 or more")
        most = min(p, max(rank, steps or 2 * rank))
        fitted = objective.fitted(theta, 1)
        lanczos = Lanczos(lambda v: fitted.products(theta, v), random_vector(theta, p, seed, "low_rank"), most)
        for k in range(most):
            lanczos.step()
            progress(k + 1, most)
        values, vectors = lanczos.ritz()
        largest = values.abs().topk(min(rank, most)).indices
        self._basis = lanczos.basis(vectors[:, largest])
        self._values = values[largest].to(self._basis)
        if float((self._values + damping).abs().min()) <= 1e-11 * float(values.abs().max()):
            raise SpecError("a kept eigenvalue is zero", "method low_rank", "set damping, e.g. 0.001, or a lower rank")
        self._outside = 1 / damping if outside and damping > 0 else 0.0
        self.products = most

    def solve(self, vectors: Tensor) -> Solution:
        """See `InverseHessian.solve`."""
        inner = self._basis.T @ vectors
        scale = 1 / (self._values + self.damping) - self._outside
        x = self._basis @ (scale[:, None] * inner) + self._outside * vectors
        facts = {
            "top_eigenvalue": float(self._values.max()),
            "least_kept": float(self._values.abs().min()),
            "products": float(self.products),
        }
        return Solution(x, self.residual(x, vectors), 0, facts)
