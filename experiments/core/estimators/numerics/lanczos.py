"""Lanczos iteration on Hessian products: extreme eigenvalues, and a basis in which the Hessian is small."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from experiments.core.engine.objective import Objective
from experiments.core.engine.seeds import stream


class Lanczos:
    """Q^T H Q = tridiagonal, built step by step with full reorthogonalisation (Golub and Van Loan, section 10.3).

    Attributes:
        alpha, beta: diagonal, and the norms of the remainders after each step.
    """

    def __init__(self, times: Callable[[Tensor], Tensor], start: Tensor, most: int) -> None:
        """`times` maps [p, 1] to [p, 1]; `start` [p] is any vector; at most `most` steps."""
        self._times = times
        self._q = start.new_empty(min(most, len(start)) + 1, len(start))
        self._q[0] = start / start.norm()
        self.alpha: list[float] = []
        self.beta: list[float] = []

    def step(self) -> None:
        """One product, one more basis vector; where the space is exhausted, a new direction with beta 0."""
        k = len(self.alpha)
        image = self._times(self._q[k][:, None])[:, 0]
        self.alpha.append(float(image @ self._q[k]))
        size = float(image.norm())
        rest = self._without_basis(image, k + 1)
        beta = float(rest.norm())
        if beta <= 100 * torch.finfo(rest.dtype).eps * max(size, abs(self.alpha[0])):
            beta = 0.0
            fresh = torch.randn(len(rest), generator=torch.Generator().manual_seed(k), dtype=rest.dtype)
            rest = self._without_basis(fresh.to(rest.device), k + 1)
        self.beta.append(beta)
        self._q[k + 1] = rest / rest.norm().clamp_min(torch.finfo(rest.dtype).tiny)

    def _without_basis(self, vector: Tensor, k: int) -> Tensor:
        for _ in range(2):
            vector = vector - self._q[:k].T @ (self._q[:k] @ vector)
        return vector

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues [k] of the tridiagonal matrix, ascending, and its eigenvectors [k, k], in float64."""
        k = len(self.alpha)
        side = torch.tensor(self.beta[: k - 1], dtype=torch.float64)
        middle = torch.diag(torch.tensor(self.alpha, dtype=torch.float64))
        if k > 1:
            middle += torch.diag(side, 1) + torch.diag(side, -1)
        values, vectors = torch.linalg.eigh(middle)
        return values, vectors

    def basis(self, small: Tensor) -> Tensor:
        """Vectors given in the basis, [k, m], written out: [p, m]."""
        return self._q[: len(self.alpha)].T @ small.to(self._q)


def random_vector(theta: Tensor, p: int, seed: int, part: str) -> Tensor:
    """A Gaussian vector [p] from the stream of that part."""
    drawn = stream(seed, "lanczos", part=part).standard_normal(p)
    return torch.from_numpy(drawn).to(device=theta.device, dtype=theta.dtype)


def extremes(
    objective: Objective,
    theta: Tensor,
    tol: float = 1e-4,
    most: int = 200,
    seed: int = 0,
    ends: tuple[int, ...] = (0, -1),
) -> tuple[float, float, int]:
    """Smallest and largest eigenvalue of the objective's Hessian, and the products they took.

    Stops when the Ritz values of `ends` are known to within tol times the largest magnitude (by the Lanczos residual
    bound), or after `most` products; the values then lie inside the spectrum.
    """
    fitted = objective.fitted(theta, 1)
    lanczos = Lanczos(lambda v: fitted.products(theta, v), random_vector(theta, objective.net.p, seed, "start"), most)
    while True:
        lanczos.step()
        values, vectors = lanczos.ritz()
        bound = lanczos.beta[-1] * vectors[-1].abs()
        enough = bool((bound[list(ends)] <= tol * values.abs().max()).all())
        if enough or len(values) == min(most, objective.net.p):
            return float(values[0]), float(values[-1]), len(values)


def top_eigenvalue(
    objective: Objective, theta: Tensor, tol: float = 1e-3, most: int = 100, seed: int = 0
) -> tuple[float, int]:
    """The largest eigenvalue of the objective's Hessian at theta [size], and the products it took; see `extremes`."""
    _, value, products = extremes(objective, theta, tol, most, seed, (-1,))
    return value, products
