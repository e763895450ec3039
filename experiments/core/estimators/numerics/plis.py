"""PLIS: how a sample's privacy loss, the squared norm of its gradient, changes with its input (Mueller et al. 2022).

With g = grad_theta loss(x, y), d/dx ||g||^2 = 2 (d/dtheta grad_x loss) g: forward mode along g over a backward to x.
Three ways, of which the first is taken wherever it is right:

- `Layered`: all samples at once through the layers that hold the parameters, g never formed;
- `forward_over_reverse`: any model, sample by sample, forward mode over reverse;
- `plis_double.double_backward`: sample by sample, the exact slow twin.

One thread, 3x32x32, samples a second (tests/bench/plis.py): LeNet with GroupNorm 2000, 160, 210; ResNet-8 200, 60, 70;
ResNet-18 11, 0.6, 0.3. So of the two slow ways the second is better for small models, the first for large ones.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from experiments.core.engine.device import free_bytes
from experiments.core.engine.examine import first_line
from experiments.core.engine.net import Net
from experiments.core.engine.objective import forward_mode
from experiments.core.engine.seeds import stream
from experiments.core.errors import SpecError
from experiments.core.estimators.inverse_hessian import Progress, quiet
from experiments.core.estimators.numerics._plis_layered import Layered
from experiments.core.estimators.numerics.plis_double import double_backward, squared_norm

Way = Callable[[Net, Tensor, Tensor, Tensor], Tensor]

LARGE = 500_000
"""Parameters from which forward over reverse is faster than a double backward, sample by sample."""
_PASS, _FEWEST, _MOST = {"cpu": 64 << 20, "cuda": 2 << 30}, 8, 2048  # bytes and samples of one pass


def plis(net: Net, theta: Tensor, x: Tensor, y: Tensor, sigma: float = 1.0, progress: Progress = quiet) -> Tensor:
    """|| d/dx ||grad_theta loss(x, y)||^2 / sigma^2 ||_2 of every sample (Mueller et al. 2022; Eq. 3 and 4).

    In evaluation mode, over all trained parameters, with gradients neither clipped nor noised. The norm is that of the
    flattened array; the paper also calls it spectral, which is another number where an input is a matrix.

    Args:
        net: the model. theta: [size] state.
        x: [n, ...] real inputs, y: [n] labels, on any device; they are worked on where theta lies, part by part.
        sigma: of the noise of DP-SGD; a constant factor.
        progress: called with (samples done, n).

    Returns:
        [n] float64 on the CPU.

    Raises:
        SpecError: the inputs are tokens; or the model cannot be derived twice.
    """
    if not x.is_floating_point():
        todo = "take methods without: loss, grad_norm, el2n, grand, forgetting"
        raise SpecError("plis: there is no gradient in an input of tokens", "methods", todo)
    found: list[Tensor] = [torch.zeros(0, dtype=torch.float64)]
    way, size = _way_of(net, theta, x, y) if len(x) else (one_by_one, 1)
    for start in range(0, len(x), size):
        rows = slice(start, min(start + size, len(x)))
        maps = way(net, theta, x[rows].to(theta.device), y[rows].to(theta.device))
        found.append(maps.double().flatten(1).norm(dim=1).cpu() / sigma**2)
        progress(rows.stop, len(x))
    return torch.cat(found)


def forward_over_reverse(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """d/dx ||grad_theta loss||^2 of each sample, one by one: 2 jvp_theta(grad_x loss; g). x [n, ...] -> [n, ...].

    Raises:
        NotImplementedError: an operation of the model has no forward derivative.
    """
    return torch.stack([_pushed(net, theta.detach(), *one) for one in zip(x.split(1), y.split(1), strict=True)])


def _pushed(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    x, state = x.detach().requires_grad_(), theta.clone().requires_grad_()
    with torch.enable_grad(), forward_mode:
        tangent = torch.autograd.grad(net.losses(net.call(state, x), y).sum(), state)[0]
        tangent[net.p :] = 0
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(theta, tangent)
            gradient = torch.autograd.grad(net.losses(net.call(dual, x), y).sum(), x, create_graph=True)[0]
            pushed = forward_ad.unpack_dual(gradient).tangent
    return torch.zeros_like(x[0]) if pushed is None else 2 * pushed[0].detach()


def one_by_one(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The faster of the two slow ways."""
    if net.p >= LARGE:
        try:
            return forward_over_reverse(net, theta, x, y)
        except (RuntimeError, NotImplementedError):  # both say that an operation has no forward derivative
            pass
    return double_backward(net, theta, x, y)


_fit: WeakKeyDictionary[nn.Module, dict[object, bool]] = WeakKeyDictionary()


def _way_of(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> tuple[Way, int]:
    """The way for these samples, and how many of them go together."""
    known, key = _fit.setdefault(net.module, {}), (x.shape[1:], theta.dtype, theta.device)
    if key not in known:
        require_second_derivative(net, theta, x[:1].to(theta.device), y[:1].to(theta.device))
        known[key] = fits(net, theta, x[:2], y[:2])
    if not known[key]:
        return one_by_one, 1
    layered = Layered(net)
    bytes_of_one = layered.bytes(theta, x[:1].to(theta.device))
    limit = free_bytes(theta.device) // 2
    size = min(max(_FEWEST, _PASS.get(theta.device.type, 0) // bytes_of_one), limit // bytes_of_one, _MOST)
    return lambda _, *given: layered.gradients(*given), max(1, size)


def require_second_derivative(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> None:
    """Go back through everything once for the sample x [1, ...].

    A backward to x alone passes silently by an operation that can be derived only once.

    Raises:
        SpecError: there is such an operation.
    """
    try:
        squared_norm(net, theta.detach(), x.detach().requires_grad_(), y).backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, NotImplementedError) as fault:
        what = f"plis: the model cannot be derived twice ({first_line(fault)})"
        raise SpecError(what, "model", "take another model, or methods without plis") from fault


def fits(net: Net, theta: Tensor, x: Tensor, y: Tensor) -> bool:
    """Whether `Layered` gives for the samples x [m, ...] what is found for each of them alone.

    First in double precision, where rounding cannot hide a difference; at a state a little moved, where nothing is zero
    by its initialisation; with the samples repeated in another order, which shows a layer that mixes them.
    """
    state, rows = _moved(net, theta), torch.tensor([0, len(x) - 1, 0, 0])
    try:
        layered = Layered(net)
        return all(
            _agree(net, layered, state.to(theta.device, dtype), x.to(theta.device, dtype), y, rows, limit)
            for dtype, limit in ((torch.float64, 1e-8), (theta.dtype, 1e-3))
        )
    except Exception:  # a module of anyone's: alone each sample shows what is wrong, if anything is
        return False


def _agree(net: Net, layered: Layered, theta: Tensor, x: Tensor, y: Tensor, rows: Tensor, limit: float) -> bool:
    """Both ways on the samples `rows` of x, with the least likely labels: a loss near zero is mostly rounding."""
    with torch.no_grad():
        y = y.to(x) if y.is_floating_point() else net.call(theta, x).argmin(-1)
    found, alone = layered.gradients(theta, x[rows], y[rows]), one_by_one(net, theta, x, y)[rows]
    return bool(((found - alone).norm() <= limit * alone.norm()) & alone.isfinite().all())


def _moved(net: Net, theta: Tensor) -> Tensor:
    """A state near theta [size] in which no parameter is zero."""
    moved = theta.detach().double().cpu().clone()
    noise = torch.from_numpy(stream(0, "plis").standard_normal(net.p))
    for slot in net.params:
        part = slice(slot.start, slot.stop)
        moved[part] += (0.1 * moved[part].std(correction=0) + 0.01) * noise[part]
    return moved
