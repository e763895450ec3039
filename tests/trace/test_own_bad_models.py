"""Models of one's own that `fedlab trace --run` cannot trace: told in three lines."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.toys import recorded as own

NETS = """
import torch
from torch import nn
class Pair(nn.Linear):
    def __init__(self, shape, classes): super().__init__(4, classes)
    def forward(self, x): return (super().forward(x),)
class Choosy(Pair):
    def forward(self, x):
        if (x > 5).any(): raise ValueError("too bright")
        return nn.Linear.forward(self, x)
class Blind(Pair):
    def forward(self, x):
        with torch.no_grad(): return nn.Linear.forward(self, x)
class Sums(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.zeros(4, 3))
    def forward(self, x): return x @ self.weight
class Doubling(Pair):
    def forward(self, x):
        x *= 2
        return nn.Linear.forward(self, x)
"""
MODELS = {
    "Pair": "the model returns a tuple, not a tensor",
    "Choosy": "the model does not take input 1 of shape [4]: too bright",
    "Blind": "outputs have no gradient",
    "Doubling": "the model changes its inputs in place",
    "Sums": "no layer that TraceFL looks into",
}


@pytest.mark.parametrize("model", MODELS)
def test_models_of_ones_own(capsys, monkeypatch, tmp_path, model):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("odd_nets.py").write_text(NETS)
    made = {"weight": torch.zeros(4, 3)} if model == "Sums" else {}
    own.save(Path("run"), [made or held for held in own.states(nn.Linear(4, 3), 3)], classes=3)
    np.savez("x.npz", x=np.array([[1, 1, 1, 1], [9, 9, 9, 9]], dtype=np.float32))
    options = ["--run", "run", "--inputs", "x.npz", "--device", "cpu", "--quiet", "--model", f"odd_nets:{model}"]
    own.refused(capsys, options, 2, MODELS[model], f"odd_nets:{model}")
