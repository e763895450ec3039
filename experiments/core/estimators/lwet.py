"""Fed-Influence with the exact Hessian, truncated where it grows."""

from __future__ import annotations

from typing import ClassVar, Literal

from experiments.core.estimators.client_influence import Truncated


class Lwet(Truncated):
    """Layer-wise examination and truncation (Algorithms 2 and 4)."""

    kind: Literal["lwet"] = "lwet"

    label: ClassVar[str] = "LWET"
    order: ClassVar[int] = 20
