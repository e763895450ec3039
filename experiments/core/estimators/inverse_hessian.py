"""Methods that solve (H + damping I) x = v for a training objective's Hessian H. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.core.estimators.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.objective import Objective

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
        objective, theta, damping, seed, progress: as given to the constructor.
    """

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
        return (self.times(x) - vectors).norm(dim=0) / (size + (size == 0))

    def decays(self) -> Tensor:
        """Diagonal of the penalty's Hessian: [p]."""
        return self.objective.penalty_gradient(self.theta.new_ones(self.objective.net.p))


@dataclass(frozen=True)
class Work:
    """What a method's price depends on.

    Attributes:
        p: parameters. samples: training samples. tests: vectors that are solved for at once.
        product: seconds of a product of the whole Hessian with one vector, on 2 CPU cores.
    """

    p: int
    samples: int
    tests: int
    product: float


DISPATCH = 3e-3
"""Seconds of a product with a Hessian that do not depend on its size."""


class HessianMethod(Method):
    """A way to solve (H + damping I) x = v, as a block of a spec.

    Attributes:
        products: products with the whole Hessian that it takes, about.
        solves: whether it solves with the Hessian itself, so that a small residual makes it the truth for the others.
        exact_with: options with which it solves a small convex system to a relative error of 1e-7; None where it solves
            with another matrix.
    """

    family: ClassVar[str] = "Hessian method"
    products: ClassVar[int] = 60
    solves: ClassVar[bool] = False
    exact_with: ClassVar[Mapping[str, Any] | None] = None

    def solver(
        self, objective: Objective, theta: Tensor, damping: float, seed: int = 0, progress: Progress = quiet
    ) -> InverseHessian:
        """The method prepared at the trained state theta [size].

        Raises:
            SpecError: the system cannot be solved this way with these options; says which to change.
        """
        raise NotImplementedError

    def price(self, work: Work) -> float:
        """Seconds for all vectors on 2 CPU cores."""
        return self.products * (DISPATCH + work.tests * work.product)

    def memory(self, p: int) -> int:
        """Bytes beyond the vectors, for p parameters."""
        return 0
