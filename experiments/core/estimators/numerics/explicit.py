"""The explicit Hessian, and its inverse: what the other methods are measured against."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.core.engine.objective import Objective
from experiments.core.errors import SpecError
from experiments.core.estimators.inverse_hessian import InverseHessian, Progress, Solution, quiet


class Explicit(InverseHessian):
    """The whole Hessian, [p, p] in float64, and its eigenvectors: what the other methods are measured against.

    An indefinite Hessian is inverted as it is (Basu et al. 2021, section 5.1, only add the damping); `facts` say so.

    Attributes:
        eigenvalues: [p] of H without the damping, ascending, float64.
    """

    LIMIT = 12_000

    def __init__(
        self,
        objective: Objective,
        theta: Tensor,
        damping: float,
        seed: int = 0,
        progress: Progress = quiet,
        cutoff: float = 1e-11,
    ) -> None:
        """Write out and factorise H; an eigenvalue within `cutoff` times the largest of zero counts as zero.

        Raises:
            SpecError: H + damping I is singular, or too large to be written out.
        """
        super().__init__(objective, theta, damping, seed, progress)
        if objective.net.p > self.LIMIT:
            raise SpecError(
                f"{objective.net.p} parameters are too many for the explicit Hessian", "method exact", "use method cg"
            )
        self.eigenvalues, self._vectors = torch.linalg.eigh(hessian(objective, theta, progress))
        self._scale = self.eigenvalues + damping
        zero = int((self._scale.abs() <= cutoff * self.eigenvalues.abs().max()).sum())
        if zero:
            raise SpecError(
                f"the Hessian is singular: {zero} of {objective.net.p} eigenvalues are zero"
                + (f" with damping {damping:g}" if damping else ""),
                "method exact",
                "set damping, e.g. 0.001, or weight decay (collinear ReLU units stay singular even with decay)",
            )

    @property
    def facts(self) -> dict[str, float]:
        """Extreme eigenvalues of H (without the damping), and how many of the damped ones are negative."""
        return {
            "smallest_eigenvalue": float(self.eigenvalues[0]),
            "top_eigenvalue": float(self.eigenvalues[-1]),
            "negative_eigenvalues": float((self._scale < 0).sum()),
        }

    def apply(self, rows: Tensor) -> Tensor:
        """(H + damping I)^-1 of every row of [B, p]: [B, p], in the rows' precision."""
        turned = rows.to(self._vectors) @ self._vectors
        return ((turned / self._scale) @ self._vectors.T).to(rows)

    def solve(self, vectors: Tensor) -> Solution:
        """See `InverseHessian.solve`."""
        x = self.apply(vectors.T).T
        return Solution(x, self.residual(x, vectors), 0, self.facts)


def hessian(objective: Objective, theta: Tensor, progress: Progress = quiet) -> Tensor:
    """The explicit Hessian of the objective at theta [size], symmetrised, in float64: [p, p]."""
    exact, at, p = objective.to(torch.float64), theta.double(), objective.net.p
    exact = exact.fitted(at, exact.width)
    matrix = torch.empty(p, p, dtype=torch.float64, device=theta.device)
    for a in range(0, p, exact.width):
        unit = matrix.new_zeros(p, min(exact.width, p - a))
        unit[a : a + exact.width].fill_diagonal_(1)
        matrix[:, a : a + exact.width] = exact.products(at, unit)
        progress(min(a + exact.width, p), p)
    return (matrix + matrix.T) / 2
