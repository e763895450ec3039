"""Influence methods on Koh and Liang's small CNN, 500 digits: seconds a test point, ranks against the exact."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg
from scipy.stats import spearmanr
from torch import Tensor, nn

from experiments.core.data.idx import Idx
from experiments.core.data.sklearn_digits import SklearnDigits
from experiments.core.engine.net import Net
from experiments.core.engine.objective import Objective
from experiments.core.errors import MissingError
from experiments.core.estimators.inverse_hessian import HessianMethod
from experiments.core.estimators.method import known
from experiments.core.estimators.numerics.influence_function import influences, test_gradients
from experiments.core.estimators.numerics.lanczos import top_eigenvalue
from experiments.paths import data_dir

DAMPING, DECAY, SAMPLES, POINTS, TOP = 0.01, 0.001, 500, 3, 40


@dataclass
class Case:
    """The trained model, its objective, and gradients of the test points of highest loss, in one precision."""

    objective: Objective
    theta: Tensor
    vectors: Tensor

    def to(self, dtype: torch.dtype) -> Case:
        """The same in another precision."""
        return Case(self.objective.to(dtype), self.theta.to(dtype), self.vectors.to(dtype))


def small_cnn() -> nn.Module:
    """2,616 parameters: five 3x3 convolutions of 8 channels, a 1x1 one, tanh; the mean over places; a linear head."""
    g = torch.Generator().manual_seed(0)
    parts: list[nn.Module] = []
    for before, stride in zip((1, 8, 8, 8, 8), (1, 2, 1, 2, 1), strict=True):
        parts += [nn.Conv2d(before, 8, 3, stride), nn.Tanh()]
    module = nn.Sequential(
        *parts, nn.Conv2d(8, 10, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 10)
    )
    for tensor in module.parameters():
        std = 0.0 if tensor.dim() < 2 else (1 if tensor.dim() == 2 else 2) / tensor[0].numel() ** 0.5
        nn.init.trunc_normal_(tensor.data, 0, 1, -2, 2, generator=g).mul_(std)
    return module.double()


def trained(iterations: int = 700) -> Case:
    """Train on 500 digits (MNIST, or scikit-learn's enlarged) by L-BFGS in float64."""
    try:
        pool = Idx().load(0, data_dir())
    except MissingError:
        pool = SklearnDigits(outputs=10).load(0, None)
    net = Net.of(small_cnn())
    mask = torch.cat([torch.full((s.stop - s.start,), float(len(s.shape) > 1)) for s in net.params]).double()
    objective = Objective(net, pool.x[:SAMPLES].double(), pool.y[:SAMPLES], DECAY, mask, chunk=100)
    w = net.flat().requires_grad_()
    lbfgs = torch.optim.LBFGS(
        [w], max_iter=iterations, max_eval=10**6, history_size=50, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        loss = net.losses(net.call(w, objective.x), objective.y).mean() + 0.5 * (objective.penalty_gradient(w) @ w)
        (w.grad,) = torch.autograd.grad(loss, w)
        return float(loss)

    lbfgs.step(closure)  # type: ignore[arg-type]
    theta = w.detach()
    tests = Objective(net, pool.test_x[:2000].double(), pool.test_y[:2000])
    hardest = tests.losses(theta).topk(POINTS).indices
    norm = float(objective.gradient(theta).norm())
    print(f"{pool.name}: {net.p} parameters, gradient norm {norm:.2g}, top eigenvalue ", end="")
    print(f"{top_eigenvalue(objective, theta)[0]:.4g}")
    return Case(objective, theta, test_gradients(net, theta, tests.x[hardest], tests.y[hardest]))


def agreement(case: Case, x: Tensor, exact: Tensor) -> tuple[float, float]:
    """Spearman correlation with `exact` [T, n], over all samples and over the 40 largest: means over test points."""
    ours = influences(case.objective.to(torch.float64), case.theta.double(), x.double()).numpy()
    every = [spearmanr(a, b)[0] for a, b in zip(ours, exact.numpy()[: len(ours)], strict=True)]
    top = []
    for a, b in zip(ours, exact.numpy()[: len(ours)], strict=True):
        rows = np.argsort(-np.abs(b))[:TOP]
        top.append(spearmanr(a[rows], b[rows])[0])
    return float(np.mean(every)), float(np.mean(top))


def one_method(case: Case, exact: Tensor, name: str, **options: object) -> tuple[float, float]:
    """Print one row; (seconds a test point with preparation, rank agreement over all samples)."""
    began = time.perf_counter()
    method = known(HessianMethod)[name](**options).solver(case.objective, case.theta, DAMPING)
    fit = time.perf_counter() - began
    solution = method.solve(case.vectors)
    spent = time.perf_counter() - began
    row(name, options, case, fit, spent / POINTS, solution.iterations, float(solution.residual.max()))
    every, top = agreement(case, solution.x, exact)
    print(f" {every:7.4f} {top:7.4f}")
    return spent / POINTS, every


def one_vector(case: Case, exact: Tensor, tol: float) -> float:
    """SciPy's conjugate gradients on double-backward products of one vector, without preconditioner; one test point."""
    net, o, p = case.objective.net, case.objective, case.objective.net.p
    products = 0

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        vector = torch.from_numpy(v).to(case.theta).reshape(-1)
        total = torch.zeros(p).to(case.theta)
        for x, y in zip(o.x.split(100), o.y.split(100), strict=True):
            w = case.theta.clone().requires_grad_()
            (g,) = torch.autograd.grad(net.losses(net.call(w, x), y).sum(), w, create_graph=True)
            total += torch.autograd.grad(g, w, vector)[0]
        return (total / o.n + o.penalty_gradient(vector) + DAMPING * vector).numpy()

    b = case.vectors[:, 0].numpy()
    began = time.perf_counter()
    found, _ = cg(LinearOperator((p, p), product, dtype=b.dtype), b, rtol=tol, maxiter=500)
    spent = time.perf_counter() - began
    x = torch.from_numpy(found)[:, None]
    image = torch.from_numpy(product(found))
    row(
        "scipy cg",
        {"tol": tol},
        case,
        0.0,
        spent,
        products - 1,
        float((image - case.vectors[:, 0]).norm() / np.linalg.norm(b)),
    )
    every, top = agreement(case, x, exact)
    print(f" {every:7.4f} {top:7.4f}")
    return spent


def row(name: str, options: dict, case: Case, fit: float, each: float, iterations: int, residual: float) -> None:
    """The first part of a printed row."""
    told = " ".join([name, *(f"{k}={v}" for k, v in options.items())])
    precision = str(case.theta.dtype).removeprefix("torch.")
    print(f"{told:44s} {precision} {fit:6.1f} {each:8.2f} {iterations:6d} {residual:9.1e}", end="", flush=True)


def conjugate_gradients(case: Case, exact: Tensor) -> float:
    """One-vector conjugate gradients over ours, each at the loosest tolerance that gives rank agreement 1.0000."""
    for tol in (1e-2, 1e-3, 1e-4):
        ours, every = one_method(case, exact, "cg", tol=tol)
        if round(every, 4) == 1:
            break
    theirs = one_vector(case, exact, tol)
    print(f"preconditioned, together: {theirs / ours:.1f}x one vector after another")
    return theirs / ours


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    double = trained()
    began = time.perf_counter()
    cg = known(HessianMethod)["cg"](tol=1e-10, negative="continue")
    method = cg.solver(double.objective, double.theta, DAMPING)
    solution = method.solve(double.vectors)
    exact = influences(double.objective, double.theta, solution.x)
    print(f"exact by cg to {float(solution.residual.max()):.1e}: {time.perf_counter() - began:.0f} s, {solution.facts}")
    print(f"{'method':44s}  precision  fit s/point  steps  residual  rho all  top {TOP}")
    single = double.to(torch.float32)
    for case in (double, single):
        conjugate_gradients(case, exact)
    one_method(single, exact, "ekfac")
    one_method(single, exact, "low_rank", rank=100)
    one_method(single, exact, "lissa", depth=2000, batch_size=20)
    one_method(single, exact, "gradient")


if __name__ == "__main__":
    main()
