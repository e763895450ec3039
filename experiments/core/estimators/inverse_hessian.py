"""Ways to solve (H + damping I) x = v for a training objective's Hessian H: one class a way, one file a class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from experiments.core import discover
from experiments.core.engine.objective import Objective
from experiments.core.errors import SpecError

Progress = Callable[[int, int], None]
"""Called with (done, in all)."""


def quiet(done: int, total: int) -> None:
    """No progress."""


@dataclass(frozen=True)
class Solution:
    """x of (H + damping I) x = v for T right-hand sides at once.

    Attributes:
        x: [p, T].
        residual: [T], ||(H + damping I) x - v|| / ||v||, measured with the objective's own products; 0 for v = 0.
        iterations: Hessian products of one vector (of one mini-batch for lissa) that a column cost; 0 where the work
            was done beforehand.
        facts: what is worth keeping (eigenvalues, scale, ...).
        curve: (iteration, [T] norms of the iterate), where the method is judged by its norms.
    """

    x: Tensor
    residual: Tensor
    iterations: int
    facts: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, Tensor]] = field(default_factory=list)


class InverseHessian(ABC):
    """One way to apply (H + damping I)^-1, prepared for one objective at one point.

    Attributes:
        name: what specs and results call it.
        objective, theta, damping, seed, progress: as given to the constructor.
    """

    name: ClassVar[str] = ""

    def __init__(
        self, objective: Objective, theta: Tensor, damping: float, seed: int = 0, progress: Progress = quiet
    ) -> None:
        """Prepare: theta [size] is the trained state; subclasses add options of their own as keywords with defaults."""
        self.objective, self.theta, self.damping = objective, theta, damping
        self.seed, self.progress = seed, progress
        self._fitted: dict[int, Objective] = {}

    @abstractmethod
    def solve(self, vectors: Tensor) -> Solution:
        """Solve for the columns of `vectors` [p, T].

        Raises:
            SpecError: the system cannot be solved this way with these options; says which to change.
        """

    def times(self, vectors: Tensor) -> Tensor:
        """(H + damping I) V of the full objective: [p, T]."""
        return self.fitted(vectors.shape[1]).products(self.theta, vectors) + self.damping * vectors

    def fitted(self, columns: int) -> Objective:
        """The objective with passes of a good size for products with that many columns."""
        if columns not in self._fitted:
            self._fitted[columns] = self.objective.fitted(self.theta, columns)
        return self._fitted[columns]

    def residual(self, x: Tensor, vectors: Tensor) -> Tensor:
        """||(H + damping I) x - v|| / ||v|| of each column: [T]."""
        size = vectors.norm(dim=0)
        return (self.times(x) - vectors).norm(dim=0) / torch.where(size == 0, torch.ones_like(size), size)

    def decays(self) -> Tensor:
        """Diagonal of the penalty's Hessian: [p]."""
        return self.objective.penalty_gradient(torch.ones_like(self.theta[: self.objective.net.p]))


class Explicit(InverseHessian):
    """The whole Hessian, [p, p] in float64, and its eigenvectors: what the other methods are measured against.

    An indefinite Hessian is inverted as it is (Basu et al. 2021, section 5.1, only add the damping); `facts` say so.

    Attributes:
        eigenvalues: [p] of H without the damping, ascending, float64.
    """

    name = "exact"
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


def inverses() -> dict[str, type[InverseHessian]]:
    """Name -> class, of every way there is."""
    from experiments.core import estimators

    return discover.subclasses(estimators, InverseHessian)
