"""No Hessian at all: the plain inner product of gradients, as a baseline."""

from __future__ import annotations

from torch import Tensor

from experiments.core.estimators.inverse_hessian import InverseHessian, Solution


class Gradient(InverseHessian):
    """Takes H + damping I for the identity: x = v (the inner product of Pruthi et al. 2020 at one checkpoint)."""

    name = "gradient"

    def solve(self, vectors: Tensor) -> Solution:
        """See `InverseHessian.solve`."""
        return Solution(vectors.clone(), self.residual(vectors, vectors), 0)
