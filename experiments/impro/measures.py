"""The blocks of a spec that ask for measures beside training: gradient variance, distances, model inversion."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import Field

from experiments.core.block import Block
from experiments.core.errors import MissingError


class _AtRounds(Block):
    """A measure of the global state before local training, in chosen rounds."""

    split: str = Field(description="block behind which the model is cut, by short name or path")
    every: int = Field(10, ge=1, description="rounds between measured ones; the first and the last always count")
    samples: int | None = Field(
        1000, ge=1, description="samples of a client that are looked at, on average: one share of all; null = all"
    )

    def due(self, t: int, rounds: int) -> bool:
        """Whether round t of `rounds` is measured."""
        return t in (1, rounds) or t % self.every == 0


class VarianceSpec(_AtRounds):
    """Client gradient variance before and after decoupling, against the bound of Theorem 4.2."""

    ratio: float = Field(1.0, gt=0, description="sampled features for each real sample: N^/N (the paper's 1)")
    per_sample: bool = Field(True, description="also over samples, as Definition 4.2 is written (slower)")


class DistanceSpec(_AtRounds):
    """Conditional Wasserstein distance of each client from the others, and what its training does for them."""

    exact: int = Field(
        100, ge=0, description="samples of a class on each side for exact transport (package POT); 0 = closed form only"
    )

    def require(self, data_dir: Path | None) -> None:
        """POT, where exact transport is asked for."""
        if self.exact:
            _installed("ot", "POT", "distance.exact")


class CcvrSpec(Block):
    """Classifier calibration after the last round (CCVR, Luo et al. 2021)."""

    samples: int = Field(2000, ge=1, description="virtual features of a class, on average; by the class's share")
    decay: float = Field(1e-4, gt=0, description="weight of half the squared norm of the last layer's weights")


class InversionSpec(Block):
    """Model inversion of features, their class means and noised means, after the last round (Fig. 11-13)."""

    split: str = Field(description="block whose features are shared, by short name or path")
    per_class: int = Field(2, ge=1, description="training images of each class whose own features are inverted")
    classes: int | None = Field(None, ge=1, description="only the first classes; null = all")
    mean_of: int | None = Field(1000, ge=1, description="training images of a class behind its means; null = all")
    among: int = Field(100, ge=1, description="images of its class that what comes of a mean is compared with")
    steps: int = Field(1000, ge=1, description="steps of Adam on the pixels")
    starts: int = Field(2, ge=1, description="drawn images to start from; of each image found, the best is kept")
    lr: float = Field(0.05, gt=0, description="its learning rate, for pixels in 0..1, falling to 0 (cosine)")
    smooth: float = Field(0.02, ge=0, description="weight of the total variation of the image")
    noise: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.001, 0.005, 0.01, 0.05, 0.1, 0.5), description="deviations of the noise on means (Table 7)"
    )

    def require(self, data_dir: Path | None) -> None:
        """What scores images: scikit-image."""
        _installed("skimage", "scikit-image", "inversion")


def _installed(module: str, package: str, where: str) -> None:
    if find_spec(module) is None:
        raise MissingError(f"the package {package} is not installed", where, f"pip install {package}")
