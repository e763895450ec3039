"""Normalisations as `_plis_operation` has them.

With z = (a - mean) / std over the M numbers of a group, r = 1 / std and v = weight d, the adjoint is
A v = r (v - mean(v) - z mean(v z)), which equals its own transpose. Its derivative along u in z is
-r (u mean(v z) + v mean(u z)), and in r it is <u, A v> / r, while dr/da = -r^2 z / M.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from experiments.core.estimators.numerics._plis_operation import Operation


class _Norm(Operation):
    """What the two have in common: a [n, ...] is seen as `_view` [n, ...] with the same `_weight`, `_bias` for all."""

    _summed: tuple[int, ...]
    """Dimensions of the view over which a weight is shared."""
    _group: tuple[int, ...]
    """Dimensions of the view that are normalised together."""

    def outputs(self, a: Tensor) -> Tensor:
        """See `Operation`."""
        self._z, self._mean, self._r = self._normalised(a)
        y = torch.empty_like(self._z)  # no view of another tensor: the module may change it in place
        torch.mul(self._view(self._z), self._weight, out=self._view(y))
        if self.bias is not None:
            self._view(y).add_(self._shaped(self.bias))
        return y

    def adjoint(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        return self._adjoint(a, (self._view(d) * self._weight).view(a.shape))

    def seed(self, a: Tensor, d: Tensor, t: Tensor) -> Tensor:
        """See `Operation`."""
        z, u, dv, w, r = self._view(self._z), self._view(t), self._view(d), self._weight, self._view_r()
        au, dz = self._view(self._adjoint(a, t)), dv * z
        g = dz.sum(self._summed, keepdim=True) * self.trained[0]
        along_v, along_u = self._weighted(dz), (u * z).mean(self._group, keepdim=True)
        self._fixed = (dv * (g - r * along_u * w)).addcmul_(u, r * along_v, value=-1)
        self._pull = -r * self._weighted(dv * au)
        if self.trained[1]:
            return torch.addcmul(dv.sum(self._summed, keepdim=True), au, w).addcmul_(z, g).view(d.shape)
        return (au * w).addcmul_(z, g).view(d.shape)

    def closed(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        inner = torch.addcmul(self._fixed, self._view(d), self._weight).view(a.shape)
        return torch.addcmul(self._view(self._adjoint(a, inner)), self._view(self._z), self._pull).view(a.shape)

    @property
    def _weight(self) -> Tensor:
        return self._shaped(self.weight)

    def _weighted(self, values: Tensor) -> Tensor:
        """Mean over each group of values [view] times weight."""
        raise NotImplementedError

    def _normalised(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError

    def _adjoint(self, a: Tensor, v: Tensor) -> Tensor:
        raise NotImplementedError

    def _view(self, a: Tensor) -> Tensor:
        raise NotImplementedError

    def _view_r(self) -> Tensor:
        raise NotImplementedError

    def _shaped(self, tensor: Tensor) -> Tensor:
        raise NotImplementedError


class GroupNorm(_Norm):
    """View: [n, groups, channels of a group, places]."""

    part: nn.GroupNorm
    _summed, _group = (3,), (2, 3)

    def _weighted(self, values: Tensor) -> Tensor:
        of_channels = values.mean(3, keepdim=True) * self._weight
        return of_channels.mean(2, keepdim=True)

    def _sizes(self, a: Tensor) -> tuple[int, int, int, int]:
        return len(a), a.shape[1], a[0, 0].numel(), self.part.num_groups

    def _normalised(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.native_group_norm(a.contiguous(), None, None, *self._sizes(a), self.part.eps)

    def _adjoint(self, a: Tensor, v: Tensor) -> Tensor:
        mask = [True, False, False]
        return cast(
            Tensor,
            torch.ops.aten.native_group_norm_backward(
                v.contiguous(), a.contiguous(), self._mean, self._r, None, *self._sizes(a), mask
            )[0],
        )

    def _view(self, a: Tensor) -> Tensor:
        return a.contiguous().view(len(a), self.part.num_groups, a.shape[1] // self.part.num_groups, -1)

    def _view_r(self) -> Tensor:
        return self._r[:, :, None, None]

    def _shaped(self, tensor: Tensor) -> Tensor:
        return tensor.view(1, self.part.num_groups, -1, 1)


class LayerNorm(_Norm):
    """View: [n, rows, width]."""

    part: nn.LayerNorm
    _summed, _group = (1,), (2,)

    def _weighted(self, values: Tensor) -> Tensor:
        return (values @ self.weight.reshape(-1, 1)) / values.shape[2]

    def _normalised(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.native_layer_norm(a, self.part.normalized_shape, None, None, self.part.eps)

    def _adjoint(self, a: Tensor, v: Tensor) -> Tensor:
        mask = [True, False, False]
        return cast(
            Tensor,
            torch.ops.aten.native_layer_norm_backward(
                v.contiguous(), a, self.part.normalized_shape, self._mean, self._r, None, None, mask
            )[0],
        )

    def _view(self, a: Tensor) -> Tensor:
        return a.contiguous().view(len(a), -1, self.weight.numel())

    def _view_r(self) -> Tensor:
        return self._r.reshape(len(self._r), -1, 1)

    def _shaped(self, tensor: Tensor) -> Tensor:
        return tensor.view(1, 1, -1)


class BatchNorm(Operation):
    """With running statistics: z = (a - mean) r is the same map for every sample."""

    part: nn.modules.batchnorm._BatchNorm

    def outputs(self, a: Tensor) -> Tensor:
        """See `Operation`."""
        mean, variance = cast(Tensor, self.part.running_mean), cast(Tensor, self.part.running_var)
        self._r = self._shaped((variance + self.part.eps).rsqrt(), a)
        self._z = (a - self._shaped(mean, a)) * self._r
        return torch.addcmul(self._shaped(cast(Tensor, self.bias), a), self._z, self._shaped(self.weight, a))

    def adjoint(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        return d * (self._shaped(self.weight, a) * self._r)

    def seed(self, a: Tensor, d: Tensor, t: Tensor) -> Tensor:
        """See `Operation`."""
        places = tuple(range(2, a.dim()))
        seed = t * (self._shaped(self.weight, a) * self._r)
        g = d * self._z
        g = g.sum(places, keepdim=True) if places else g
        if self.trained[0]:
            seed += g * self._z
        if self.trained[1]:
            seed += d.sum(places, keepdim=True) if places else d
        self._fixed = d * (g * self._r) * self.trained[0]
        return seed

    def closed(self, a: Tensor, d: Tensor) -> Tensor:
        """See `Operation`."""
        return torch.addcmul(self._fixed, d, self._shaped(self.weight, a) * self._r)

    @staticmethod
    def _shaped(tensor: Tensor, a: Tensor) -> Tensor:
        return tensor.view(1, -1, *[1] * (a.dim() - 2))
