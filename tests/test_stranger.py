"""A member added as one file is found, described, validated and run, though no file that was there knows of it."""

import pytest

DATA = '''"""Points in the plane, labelled by the side of a line that they lie on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from experiments.core.data.pool import DataBlock, Pool


class Halves(DataBlock):
    """Points in the plane, labelled by the side of a line that they lie on."""

    kind: Literal["halves"] = "halves"
    samples: int = Field(60, ge=4, description="training samples; a third as many are the test set")

    def outline(self) -> tuple[tuple[int, ...], int, float, int]:
        """See `DataBlock.outline`."""
        return (2,), 2, float(self.samples), 1

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Draw the points; see `DataBlock.load`."""
        from experiments.core.data.pool import make_pool
        from experiments.core.engine.seeds import stream

        x = stream(0, "halves").normal(size=(self.samples + self.samples // 3, 2))
        y = (x[:, 0] > x[:, 1]).astype(int)
        n = self.samples
        return make_pool("halves", (x[:n], y[:n]), (x[n:], y[n:]), 2, "halves", test_from="points drawn anew")
'''

SPEC = """
extends: base
paper: train
data: {kind: halves}
partition: {kind: iid, clients: 4}
model: {kind: mlp, hidden: [3]}
local: {lr: 0.1, steps: 2}
rounds: 10
clients_per_round: 2
"""


@pytest.mark.slow
def test_a_data_set_is_one_file(checkout):
    (checkout.folder / "mine.yaml").write_text(SPEC)
    assert "halves" in checkout.fedlab("validate", "mine.yaml", status=2)
    checkout.add("experiments/core/data/halves.py", DATA)
    assert "halves" in checkout.fedlab("list", "--kinds")
    checkout.fedlab("train", "--config", "mine.yaml")
    assert ",halves,iid,mlp," in checkout.metrics("train")
