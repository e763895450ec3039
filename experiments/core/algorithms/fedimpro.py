"""FedImpro (Tang et al. 2024): the upper layers also train on features drawn from statistics that the clients share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.core.algorithms._feature_statistics import RULES, Rules, start_of
from experiments.core.block import Block
from experiments.core.engine.algorithm import Algorithm, Local, Plain, Setup, State, Turn
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

Schedule = Literal["gradual2half", "default", "gradual", "gradualhalfhalf", "milestone", "constant"]


class FedImpro(Block, Algorithm):
    """Decoupled training on shared feature statistics (Tang et al. 2024, Algorithm 1, Eqs. 5 to 7).

    The network is split behind a block. Of each class and each element of the features there, clients keep the mean and
    the spread as a moving average over their batches (Eq. 6) and send them with the model; the server averages them,
    each client alike (Eq. 7). In every local step features drawn from these normal distributions go through the upper
    layers together with the batch's own, in one pass, and their loss counts beside the batch's.

    The text and the code that made the paper's numbers differ; `preset` says which is followed, and every other field
    that is null is as the preset has it:

    - released: the share of the new batch in the moving average is min(1, D / `per_class`), D being the number of
      feature elements, which is 1 at the paper's split; deviations are averaged, at most `cap`; labels are balanced;
      features are drawn from the client's own, moving statistics; the weight rises with the epochs and beyond 1; the
      server forgets.
    - paper: momentum 0.9 at the clients and at the server (no number is printed); variances are averaged (Eq. 6);
      labels are the batch's; features are drawn from the server's statistics; both losses count 1 (Eq. 5).

    With weight 0 it is FedAvg to the last bit: then nothing is sampled, so that BatchNorm above the split sees real
    features alone. A batch without a sample of a class leaves that class's statistics, with one its spread.
    """

    kind: Literal["fedimpro"] = "fedimpro"
    split: str = Field("layer2", description="block behind which the network is split: a short or a module's own name")
    preset: Literal["released", "paper"] = Field("released", description="whose rules: the code's or the text's")
    momentum: float | None = Field(None, ge=0, le=1, description="beta_m of Eq. 6, the clients' statistics")
    server_momentum: float | None = Field(None, ge=0, le=1, description="beta_g of Eq. 7, the server's statistics")
    per_class: int = Field(5000, ge=1, description="N0 of the released momentum: training samples of a class")
    labels: Literal["balanced", "batch"] | None = Field(None, description="of the drawn features")
    source: Literal["local", "shared"] | None = Field(
        None, description="statistics to draw from: the client's own moving ones, or the server's"
    )
    spread: Literal["deviation", "variance"] | None = Field(None, description="what is averaged beside the mean")
    cap: float | None = Field(None, gt=0, description="largest deviation of a feature")
    start: float = Field(0.1, gt=0, description="deviations before the first round; means start uniform in 0..1")
    noise: float = Field(0.0, ge=0, description="sigma_eps of Eq. 7, deviation of the noise on all that is shared")
    schedule: Schedule | None = Field(None, description="how the weight of drawn features grows with the epochs")
    until: int = Field(500, ge=1, description="epochs until the weight is reached; the switch of milestone")
    weight: float = Field(1.0, ge=0, description="weight of the drawn features at `until`; 0: FedAvg")
    clip: bool | None = Field(None, description="the weight stays where it is after `until`, and does not grow on")
    rest: ClassVar[Literal["samples", "clients"] | None] = "clients"
    splits: ClassVar[bool] = True
    broadcasts: ClassVar[bool] = True

    @property
    def rules(self) -> Rules:
        """What the preset and the fields amount to."""
        fields = self.model_dump(include=set(Rules.__dataclass_fields__), exclude_none=True)
        return Rules(**{"momentum": None, "cap": None, **RULES[self.preset], **fields})

    def init(self, start: Tensor, setup: Setup) -> State:
        """Means, then spreads [classes, D] of the server, at their start."""
        if setup.classes < 2:
            raise SpecError("FedImpro's statistics are by class, and here numbers are predicted", "algorithm.kind")
        return State(start_of(self.rules, start, setup), start.new_empty(1, 0))

    def local(self, turn: Turn, start: Tensor, server: Tensor, client: Tensor) -> Local:
        """Training of both parts; the model, means and spreads are sent."""
        from experiments.core.algorithms.numerics.improved import Improved

        return Improved(self.rules, turn, server)

    def server(
        self, turn: Turn, start: Tensor, mean: Tensor, participants: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean model, and the moving average of the clients' statistics (Eq. 7)."""
        size, kept = start.shape[1], self.rules.server_momentum
        return mean[:, :size], kept * state + (1 - kept) * mean[:, size:]

    def plain(self, setup: Setup) -> Plain:
        """The same for one world, class by class."""
        from experiments.core.algorithms.numerics.improved_plain import PlainImproved

        return PlainImproved(setup, self.rules)

    def statistics(self, remembered: Tensor, setup: Setup) -> tuple[Tensor, Tensor]:
        """Means and standard deviations [classes, ...] of the features, from what the server remembers [S]."""
        mean, spread = remembered.view(2, setup.classes, *setup.features(self.split))
        return mean, self.rules.deviation(spread)

    def weight_at(self, turn: Turn) -> float:
        """The weight w_r of the drawn features' loss in the first epoch of a round."""
        return self.rules.shares(turn, 0, 1, 1)[1]
