"""Client gradient variance of the global model, before and after decoupling, in chosen rounds (IM9)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from experiments.core.algorithms.fedimpro import FedImpro
from experiments.core.engine.halves import Halves
from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import Round
from experiments.core.scores.dissimilarity import GradientVariance, bound
from experiments.impro.gradients import HIGH, LOW, Client, Sampled, Variances, variances
from experiments.impro.measure import Measure
from experiments.impro.measures import VarianceSpec
from experiments.impro.sampled import FeatureDistribution, estimated, held_by

SHARED, BALANCED, LABELS, LOCAL = "shared", "balanced", "labels", "local"
"""Ways in which a client comes by sampled features: the same ones as all others, which Theorem 4.2 supposes; its own
draws from H with all classes alike; its own draws from H with the labels of its samples, as Algorithm 1 says; and with
all classes alike from its own statistics where it holds the class, from H elsewhere, as the released code does."""


class VarianceMeasure(Measure):
    """Variance of client gradients at the global state before local training, against Theorem 4.2's bound.

    In evaluation mode (BatchNorm on its running statistics: sampled features do not reach the part below the split
    through them, as in training they do). The features' distribution H is the algorithm's own, as the server knows it
    at that state, if it has one behind this block; otherwise normal statistics of all clients' features there. A client
    draws as many features as real samples are looked at, times `ratio`: fewer than its whole data make more variance.

    Rows: `gradient_variance` and, relative to the mean gradient's square, `relative_variance`, of `part=low|high
    objective=plain|decoupled|summed sampled=shared|balanced|labels|local over=clients|samples`; `variance_ratio`, the
    share of the plain one that is left; `variance_bound`, N^2 / (N + N^)^2, for the high part.
    """

    def __init__(self, block: VarianceSpec, method: str, point: str, problem: Problem) -> None:
        super().__init__(method, point, problem)
        self._block = block
        self._halves = Halves.of(problem.net, block.split, problem.federation.x, "variance.split")

    def observe(self, record: Round) -> None:
        """Measure in the rounds that are due."""
        if not self._block.due(record.index, record.rounds):
            return
        theta, halves, block = record.before, self._halves, self._block
        rows = self.looked_at(record.index, block.samples)
        h = self._distribution(record, rows)
        high = halves.high(theta, h.mean[:1])
        found = variances(
            halves, theta, self._clients(record.index, theta, rows, h), high, block.ratio, block.per_sample
        )
        self._rows(record.index, found)

    def _distribution(self, record: Round, rows: list[Tensor]) -> FeatureDistribution:
        """H at this round's start."""
        known = held_by(self.problem, record, self._halves.path)
        if known is not None:
            return known
        clients = (self.of(k, some) for k, some in enumerate(rows))
        return estimated(self._halves, record.before, clients, self.problem.federation.classes)

    def _clients(self, t: int, theta: Tensor, rows: list[Tensor], h: FeatureDistribution) -> Iterator[Client]:
        ratio = self._block.ratio
        shared = self._draw(h, h.balanced(_count(max(len(some) for some in rows), ratio)), t, way=SHARED)
        for k, some in enumerate(rows):
            x, y = self.of(k, some)
            n = _count(len(y), ratio)
            balanced = self._draw(h, h.balanced(n), t, way=BALANCED, client=k)
            labels = self._draw(h, y.repeat(-(-n // len(y)))[:n], t, way=LABELS, client=k)
            local = self._own(h, theta, x, y)
            local_draws = self._draw(local, local.balanced(n), t, way=LOCAL, client=k)
            sampled = {SHARED: shared, BALANCED: balanced, LABELS: labels, LOCAL: local_draws}
            yield Client(self.problem.federation.sizes[k], x, y, sampled)

    def _own(self, h: FeatureDistribution, theta: Tensor, x: Tensor, y: Tensor) -> FeatureDistribution:
        """H with the statistics of one client's samples."""
        algorithm = self.problem.algorithm
        cap = algorithm.rules.cap if isinstance(algorithm, FedImpro) else None
        return h.with_own(estimated(self._halves, theta, [(x, y)], self.problem.federation.classes), cap)

    def _draw(self, h: FeatureDistribution, labels: Tensor, t: int, **names: int | str) -> Sampled:
        return h.draw(labels, stream(self.problem.seed, "sampled_features", round=t, **names)), labels

    def _rows(self, t: int, found: Variances) -> None:
        plain, clients = found["plain", ""], len(self.problem.federation.sizes)
        self.add("variance_bound", bound(1, self._block.ratio), "", t=t, part=HIGH)
        for (objective, way), variance in found.items():
            for over in ("clients", *(["samples"] if self._block.per_sample else [])):
                for part in (LOW, HIGH):
                    words = {"part": part, "objective": objective, **({"sampled": way} if way else {}), "over": over}
                    value, before = _value(variance, over, part), _value(plain, over, part)
                    self.add("gradient_variance", value, "", t=t, n=clients, **words)
                    if square := variance.square(part):
                        self.add("relative_variance", value / square, "", t=t, n=clients, **words)
                    if way and before:
                        self.add("variance_ratio", value / before, "", t=t, n=clients, **words)


def _value(variance: GradientVariance, over: str, part: str) -> float:
    return {"clients": variance.over_clients, "samples": variance.over_samples}[over](part)


def _count(n: int, ratio: float) -> int:
    return max(1, round(ratio * n))
