"""Estimates of what a client's absence would have changed, updated during the base world's rounds (Xue et al. 2021).

Their common recursion is `numerics.fed_influence`; a method says which Hessian it takes, and whether it truncates.
Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.core.estimators.method import Method

if TYPE_CHECKING:
    from experiments.core.estimators.numerics.fed_influence import Variant

PRODUCT_RATE = 8e10  # operations per second of both cores in large matrix products
EXACT_RATE = 2e10
EXACT = 1e-3  # seconds of dispatch per participant and step


@dataclass(frozen=True)
class Steps:
    """What a method's price depends on.

    Attributes:
        pairs: local steps of all participants of all rounds. clients: how many are estimated. gradients: Ns, at most
            all samples. samples: of a client. parameters, classes: of the model. forward: operations for one sample.
    """

    pairs: float
    clients: int
    gradients: float
    samples: float
    parameters: int
    classes: int
    forward: float


class ClientInfluence(Method):
    """A way to estimate FIP, the change of the global model had a client never taken part, as a block of a spec.

    Attributes:
        hessian: "fisher" (outer products of per-sample gradients), or "blocks" (exact, one block a tensor).
        ranks: whether it is preferred for ranking the clients.
    """

    family: ClassVar[str] = "influence variant"
    hessian: ClassVar[Literal["fisher", "blocks"]] = "blocks"
    ranks: ClassVar[bool] = False

    def variant(self, clients: tuple[int, ...]) -> Variant:
        """What the recursion has to do for `clients`, in the order of its columns."""
        from experiments.core.estimators.numerics.fed_influence import Variant

        return Variant(self.hessian, None, "shared", clients)

    def price(self, steps: Steps) -> float:
        """Seconds of a run on 2 CPU cores."""
        if self.hessian == "fisher":
            return steps.pairs * 4.0 * steps.gradients * steps.parameters * steps.clients / PRODUCT_RATE
        return steps.pairs * (2.0 * steps.samples * steps.classes * steps.forward / EXACT_RATE + EXACT)


class Truncated(ClientInfluence):
    """With layer-wise examination and truncation (LWET)."""

    truncation: Literal["iid", "noniid"] = Field(default="iid", description="LWET by Algorithm 2 (iid) or 4 (noniid)")
    flags: Literal["shared", "per_client"] = Field(
        default="shared", description="one flag per tensor for all clients (the pseudocode), or one per client left out"
    )

    def variant(self, clients: tuple[int, ...]) -> Variant:
        """See `ClientInfluence.variant`."""
        from experiments.core.estimators.numerics.fed_influence import Variant

        return Variant(self.hessian, self.truncation, self.flags, clients)
