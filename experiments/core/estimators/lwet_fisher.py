"""Fed-Influence as the paper uses it: both approximations."""

from __future__ import annotations

from typing import ClassVar, Literal

from experiments.core.estimators.client_influence import Truncated


class LwetFisher(Truncated):
    """Truncation, and the Hessian from per-sample gradients."""

    kind: Literal["lwet_fisher"] = "lwet_fisher"

    label: ClassVar[str] = "LWET + Hessian approx."
    order: ClassVar[int] = 40
    hessian: ClassVar[Literal["fisher", "blocks"]] = "fisher"
    ranks: ClassVar[bool] = True
