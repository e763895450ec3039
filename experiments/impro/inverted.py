"""What model inversion of shared features shows of the training images, after the last round (IM12; Fig. 11-13)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.core.engine.halves import Halves
from experiments.core.engine.problem import Problem
from experiments.core.engine.seeds import stream
from experiments.core.engine.simulate import Round
from experiments.core.errors import SpecError
from experiments.core.scores.images import best, psnr, ssim
from experiments.impro.inversion import invert
from experiments.impro.measure import Measure
from experiments.impro.measures import InversionSpec
from experiments.impro.pixels import Images, Pixels, as_bytes

_AT_ONCE = 256  # images in a pass
_LIKENESS = {"ssim": (ssim, ""), "psnr": (psnr, "dB")}


@dataclass(frozen=True)
class _Target:
    """Features [n, ...] to find images for; `noise`: the deviation of what was added to them, or None."""

    source: str
    features: Tensor
    noise: float | None = None

    @property
    def words(self) -> dict[str, object]:
        return {"source": self.source, **({} if self.noise is None else {"noise": f"{self.noise:g}"})}


class InversionMeasure(Measure):
    """Inverts raw features, class means of features and noised means, and compares with the training images.

    The attacker knows the model and what was shared. An image found from its own features (`source=features`) is
    compared with the original. One found from a mean (`mean`, `noised_mean`) has none: it is compared with `among`
    images of its class, on average (`ssim`, `psnr`) and the most alike (`best_ssim`, `best_psnr`). `class_mean` is the
    mean image of the class, compared in the same way: what a mean may show while it gives no image away.
    `feature_residual` is |features(image) - wanted| / |wanted|: what the inversion did not reach.

    Attributes:
        images: for inversion.npz; None before the last round.
    """

    def __init__(self, block: InversionSpec, method: str, point: str, problem: Problem) -> None:
        super().__init__(method, point, problem)
        federation = problem.federation
        if federation.x.dim() != 4:
            raise SpecError("model inversion reconstructs images, and these data are none", "inversion", "set it null")
        self._block, self._pixels = block, Pixels.of(federation)
        self._halves = Halves.of(problem.net, block.split, federation.x, "inversion.split")
        self.images: Images | None = None

    def observe(self, record: Round) -> None:
        """Invert after the last round."""
        if record.index == record.rounds:
            self._measure(record.after, record.index)

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {**super().state(), "images": self.images}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state written by `state`."""
        super().restore(state)
        self.images = state["images"]

    def _measure(self, theta: Tensor, t: int) -> None:
        rows = self._rows_by_class()
        classes = [self._pixels.of_inputs(self.problem.federation.x[some]) for some in rows.values()]
        labels = np.repeat(list(rows), [len(some[: self._block.per_class]) for some in rows.values()])
        targets = list(self._targets(theta, list(rows.values())))
        found = [self._invert(theta, target, t) for target in targets]
        originals = torch.cat([images[: self._block.per_class] for images in classes])
        self._score_own(found[0], originals, t)
        for target, images in zip(targets[1:], found[1:], strict=True):
            self._score_mean(target.words, images, classes, t)
        means = torch.stack([images.mean(0) for images in classes])
        self._score_mean({"source": "class_mean"}, means, classes, t)
        self.images = {
            "original": as_bytes(originals), "features": as_bytes(found[0]), "labels": labels,
            "mean": as_bytes(found[1]), "class_mean": as_bytes(means), "classes": np.array(list(rows)),
            "noised_mean": as_bytes(torch.stack([means.new_empty(means.shape), *found[2:]])[1:]),
            "noise": np.array(self._block.noise),
        }  # fmt: skip

    def _rows_by_class(self) -> dict[int, Tensor]:
        """Label -> rows of training images of it, in an order drawn by name; classes that nobody holds are left out."""
        federation, block = self.problem.federation, self._block
        rows: dict[int, Tensor] = {}
        for label in range(min(federation.classes, block.classes or federation.classes)):
            every = (federation.y == label).nonzero()[:, 0]
            drawn = stream(self.problem.seed, "inverted", label=label).permutation(len(every))[: block.mean_of]
            if len(drawn):
                rows[label] = every[torch.from_numpy(drawn).to(every.device)]
        return rows

    def _targets(self, theta: Tensor, rows: list[Tensor]) -> Iterator[_Target]:
        """Raw features, class means, and means with each noise."""
        yield _Target("features", torch.cat([self._features(theta, some[: self._block.per_class]) for some in rows]))
        means = torch.stack([self._mean(theta, some) for some in rows])
        yield _Target("mean", means)
        for level in self._block.noise:
            drawn = stream(self.problem.seed, "inverted_noise", level=str(level)).standard_normal(tuple(means.shape))
            yield _Target("noised_mean", means + level * torch.from_numpy(drawn).to(means), level)

    def _mean(self, theta: Tensor, rows: Tensor) -> Tensor:
        return sum((self._features(theta, part).sum(0) for part in rows.split(_AT_ONCE)), torch.tensor(0)) / len(rows)

    def _features(self, theta: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            return self._halves.features(theta, self.problem.federation.x[rows])

    def _invert(self, theta: Tensor, target: _Target, t: int) -> Tensor:
        """[n, C, H, W] pixels in 0..1."""
        pieces = [self._found(theta, part) for part in target.features.split(_AT_ONCE)]
        images, residual = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        self.add("feature_residual", float(residual.mean()), "", t=t, n=len(residual), **target.words)
        return images

    def _found(self, theta: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Images [n, C, H, W] and what they miss of the features [n]: of each the best of several starts.

        The starts are drawn pixel by pixel, the same for all targets: from an even grey, a network's units can all be
        off, and nothing tells the way.
        """
        shape, block = self.problem.federation.x.shape[1:], self._block
        found: tuple[Tensor, Tensor] | None = None
        for number in range(block.starts):
            drawn = stream(self.problem.seed, "inversion_start", number=number).random(tuple(shape))
            start = torch.from_numpy(drawn).to(theta).repeat(len(wanted), 1, 1, 1)
            images, residual = invert(
                lambda u: self._halves.features(theta, self._pixels.seen(u)),
                wanted, start, block.steps, block.lr, block.smooth,
            )  # fmt: skip
            if found is not None:
                better = residual < found[1]
                images = torch.where(better[:, None, None, None], images, found[0])
                residual = torch.where(better, residual, found[1])
            found = images, residual
        assert found is not None
        return found

    def _score_own(self, found: Tensor, originals: Tensor, t: int) -> None:
        """Images against the ones whose features they were found from."""
        a, b = found.cpu().numpy(), originals.cpu().numpy()
        for name, (measure, unit) in _LIKENESS.items():
            values = [measure(image, original) for image, original in zip(a, b, strict=True)]
            self.add(name, float(np.mean(values)), unit, t=t, n=len(values), source="features")

    def _score_mean(self, words: dict[str, object], found: Tensor, classes: list[Tensor], t: int) -> None:
        """One image a class, [G, C, H, W], against images of its class."""
        for name, (measure, unit) in _LIKENESS.items():
            among = [images[: self._block.among].cpu().numpy() for images in classes]
            pairs = [best(measure, image, others) for image, others in zip(found.cpu().numpy(), among, strict=True)]
            mean, greatest = np.mean(pairs, axis=0)
            self.add(name, float(mean), unit, t=t, n=sum(map(len, among)), **words)
            self.add(f"best_{name}", float(greatest), unit, t=t, n=len(pairs), **words)
