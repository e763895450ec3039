"""Whose initial weights a model has: its own, or those of a scheme; drawn by name wherever they are drawn."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from experiments.core.models.mlp import Mlp
from experiments.core.spec.fields import CustomModel
from experiments.core.study.federated import initial_module
from experiments.core.sweep.cell import Context

NETS = """
import random

import numpy as np
import torch
from torch import nn


def pretrained(shape, classes):
    net = nn.Sequential(nn.Linear(shape[0], classes), nn.BatchNorm1d(classes))
    with torch.no_grad():
        for number, tensor in enumerate([*net.parameters(), net[1].running_mean]):
            tensor.fill_(number + 1.5)
    return net


def drawn(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], classes))


class Odd(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.bare = nn.Parameter(torch.randn(classes, shape[0]))
        self.numpy = nn.Parameter(torch.from_numpy(np.random.randn(classes)).float())
        self.python = nn.Parameter(torch.tensor([random.random()]))

    def forward(self, x):
        return x @ self.bare.T + self.numpy + self.python
"""


@pytest.fixture(autouse=True)
def nets(tmp_path, monkeypatch):
    (tmp_path / "nets_of_initial.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))


def made(folder, name, init, seed=0):
    """The state of the module, after other draws of the process; and what the run says."""
    torch.rand(random.randrange(1, 50))
    np.random.seed(random.randrange(1000))
    said, context = [], Context(folder)
    context.tell = said.append
    model = CustomModel(factory=f"nets_of_initial:{name}") if name else Mlp()
    return initial_module(model, init, seed, (3,), 2, context).state_dict(), said, context.facts


def test_a_trained_module_keeps_its_weights(tmp_path):
    for seed in (0, 1):
        state, said, facts = made(tmp_path, "pretrained", "keep", seed)
        values = {name: tensor.unique().tolist() for name, tensor in state.items() if tensor.is_floating_point()}
        assert values == {"0.weight": [1.5], "0.bias": [2.5], "1.weight": [3.5], "1.bias": [4.5],
                          "1.running_mean": [5.5], "1.running_var": [1.0]}  # fmt: skip
        assert facts == {"init": "keep"} and "nets_of_initial:pretrained: its own" in said[0]


@pytest.mark.parametrize("scheme", ["glorot_uniform", "koh_liang", "default"])
def test_a_scheme_that_is_asked_for_draws_them_and_says_so(tmp_path, scheme):
    state, said, facts = made(tmp_path, "pretrained", scheme)
    assert len(state["0.weight"].unique()) == 6 and facts == {"init": scheme}
    assert said == [f"initial weights of nets_of_initial:pretrained: drawn anew (init: {scheme})"]


@pytest.mark.parametrize("name", ["drawn", "Odd"])
def test_what_a_constructor_draws_depends_on_the_seed_alone(tmp_path, name):
    first, again, other = (made(tmp_path, name, "keep", seed)[0] for seed in (5, 5, 6))
    for key, tensor in first.items():
        assert torch.equal(tensor, again[key])
        assert not torch.equal(tensor, other[key])


def test_a_module_of_plain_layers_kept_is_pytorchs_own_scheme(tmp_path):
    kept, default = (made(tmp_path, "drawn", init)[0] for init in ("keep", "default"))
    assert all(torch.equal(kept[key], default[key]) for key in kept)


def test_the_processs_own_generators_go_on_undisturbed(tmp_path):
    def after(work):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        work()
        return torch.rand(1).item(), np.random.rand(), random.random()

    model = CustomModel(factory="nets_of_initial:Odd")
    build = lambda: initial_module(model, "keep", 0, (3,), 2, Context(tmp_path))  # noqa: E731
    assert after(build) == after(lambda: None)


def test_a_built_in_model_is_drawn_as_ever(tmp_path):
    """The scheme is the seed's and the tensor's name's alone: nothing of the constructor is left."""
    state, said, facts = made(tmp_path, "", "glorot_uniform")
    module = Mlp().build((3,), 2)
    from experiments.core.engine.net import initialise

    initialise(module, 0)
    assert all(torch.equal(state[key], tensor) for key, tensor in module.state_dict().items())
    assert (said, facts) == ([], {"init": "glorot_uniform"}) and isinstance(module, nn.Module)
