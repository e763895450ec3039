"""Fed-Influence with the exact Hessian, nothing truncated."""

from __future__ import annotations

from typing import ClassVar, Literal

from experiments.core.estimators.client_influence import ClientInfluence


class Basic(ClientInfluence):
    """The basic estimator (Xue et al. 2021, Eq. 10)."""

    kind: Literal["basic"] = "basic"

    label: ClassVar[str] = "basic"
    order: ClassVar[int] = 10
