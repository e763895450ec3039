"""Fed-Influence with the Hessian approximated from per-sample gradients."""

from __future__ import annotations

from typing import ClassVar, Literal

from experiments.core.estimators.client_influence import ClientInfluence


class Fisher(ClientInfluence):
    """The Hessian replaced by outer products of gradients (Eq. 14 and 15)."""

    kind: Literal["fisher"] = "fisher"

    label: ClassVar[str] = "Hessian approx."
    order: ClassVar[int] = 30
    hessian: ClassVar[Literal["fisher", "blocks"]] = "fisher"
