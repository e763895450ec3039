"""Methods that score training samples by a model's checkpoints, so that they can be ranked. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from experiments.core.errors import NumericalError, SpecError
from experiments.core.estimators.inverse_hessian import Progress, quiet
from experiments.core.estimators.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.core.engine.net import Net

RATE = 3e10
"""Operations per second of 2 CPU cores in passes through a convolution net."""

_AT_ONCE = 2048  # samples of one pass, however small the model


@dataclass(frozen=True)
class Trail:
    """A model's states along one training, and the samples that are scored.

    Scores read the model in evaluation mode (no dropout, running statistics) on inputs without augmentation, as the
    model gets them.

    Attributes:
        net: the model. states: [K, size] checkpoints, the last one trained longest.
        steps: [K] rounds after which they were taken, rising.
        x: [n, ...] normalised inputs. y: [n] labels. classes: how many there are.
    """

    net: Net
    states: Tensor
    steps: tuple[int, ...]
    x: Tensor
    y: Tensor
    classes: int

    def __len__(self) -> int:
        """K, how many checkpoints."""
        return len(self.states)

    @cached_property
    def chunk(self) -> int:
        """Samples of one pass: as many as keep activations in a CPU's cache, or in 1 GB of a GPU."""
        from experiments.core.engine.objective import Objective

        x, y = self.pair(slice(0, 1))
        return Objective(self.net, x, y, chunk=_AT_ONCE).fitted(self.states[-1], 1).chunk

    def parts(self, chunk: int | None = None) -> Iterator[slice]:
        """The samples' rows, `chunk` at a time."""
        size = chunk or self.chunk
        for start in range(0, len(self.y), size):
            yield slice(start, min(start + size, len(self.y)))

    def pair(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Inputs and labels of those rows, where the states lie."""
        return self.x[rows].to(self.states.device), self.y[rows].to(self.states.device)


@dataclass(frozen=True)
class Scored:
    """What a method's price depends on.

    Attributes:
        n: samples. checkpoints: K. parameters: p. forward: operations of one sample's forward pass.
    """

    n: int
    checkpoints: int
    parameters: int
    forward: float


class SampleScore(Method):
    """A number for every training sample, as a block of a spec; a high one says difficult, atypical or revealing.

    Attributes:
        checkpoints: the fewest it can work with.
        passes: what it takes for one sample at one checkpoint, in forward passes.
    """

    family: ClassVar[str] = "sample score"
    checkpoints: ClassVar[int] = 1
    passes: ClassVar[float] = 1

    def scores(self, trail: Trail, progress: Progress = quiet) -> Tensor:
        """The score of each sample: [n] float64, on the CPU.

        Args:
            trail: at least `checkpoints` states. progress: called with (passes done, in all), one for a sample and a
                checkpoint.

        Raises:
            SpecError: too few checkpoints, or inputs or options it cannot do; says which to change.
            NumericalError: a score is not finite.
        """
        if len(trail) < self.checkpoints:
            raise SpecError(
                f"{self.called} needs at least {self.checkpoints} checkpoints, the run has {len(trail)}",
                "every",
                "raise `rounds`, or lower `every` (rounds between checkpoints)",
            )
        values = self.computed(trail, progress).detach().double().cpu()
        if bad := int((~values.isfinite()).sum()):
            raise NumericalError(
                f"{self.called}: the scores of {bad} of {len(values)} samples are not finite",
                "methods",
                "the model diverged, or its gradients overflow: lower the learning rate",
            )
        return values

    def computed(self, trail: Trail, progress: Progress) -> Tensor:
        """The scores [n] in any precision on any device, of a trail with enough checkpoints: what members define."""
        raise NotImplementedError

    def picked(self, trail: Trail, at: int) -> Tensor:
        """The checkpoint of that number, from 1: [1, size].

        Raises:
            SpecError: there are fewer.
        """
        if at > len(trail):
            todo = f"lower it to at most {len(trail)}, or take more checkpoints (`every`, `rounds`)"
            raise SpecError(f"{self.called} reads checkpoint {at} of {len(trail)}", f"methods.{self.called}.at", todo)
        return trail.states[at - 1 : at]

    def reads(self, checkpoints: int) -> int:
        """How many of so many checkpoints it looks at."""
        return 1

    def price(self, work: Scored) -> float:
        """Seconds for all samples on 2 CPU cores."""
        return work.n * self.reads(work.checkpoints) * self.passes * work.forward / RATE
