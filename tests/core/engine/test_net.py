"""How weights are drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from experiments.core.engine.net import initialise
from experiments.core.engine.seeds import stream
from experiments.core.models.small_cnn import SmallCnn


def drawn(module, seed=0, scheme="koh_liang"):
    initialise(module, seed, scheme)
    return {name: tensor.detach().clone() for name, tensor in module.named_parameters()}


def test_koh_liang_is_a_normal_cut_at_two_deviations():
    module = nn.Sequential(nn.Conv2d(16, 64, 5), nn.Flatten(), nn.Linear(100, 300))
    tensors = drawn(module)
    # Cut at two deviations, a normal's own deviation shrinks to 0.8796; half of it lies within 0.6408.
    for name, wide, times in (("0.weight", 16 * 25, 2.0), ("2.weight", 100, 1.0)):
        standard = tensors[name].double().flatten() * math.sqrt(wide) / times
        assert standard.abs().max() < 2 and standard.abs().max() > 1.98
        assert abs(standard.mean()) < 0.02 and abs(standard.std() - 0.8796) < 0.01
        assert abs(standard.abs().median() - 0.6408) < 0.02
    assert not tensors["0.bias"].any() and not tensors["2.bias"].any()


def test_koh_liang_for_the_small_cnn():
    tensors = drawn(SmallCnn().build((1, 28, 28), 10))
    fans = [9, 72, 72, 72, 72, 8]
    for tensor, fan in zip((t for t in tensors.values() if t.dim() == 4), fans, strict=True):
        most = tensor.abs().max() * math.sqrt(fan) / 2
        assert 1.2 < most < 2
    head = next(t for t in tensors.values() if t.dim() == 2)
    assert 1.2 < head.abs().max() * math.sqrt(10) < 2


@pytest.mark.parametrize("scheme", ["koh_liang", "glorot_uniform", "default"])
def test_a_tensor_is_drawn_by_its_name(scheme):
    layers = [nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 5)]
    first, again, other = (drawn(nn.Sequential(*layers), seed, scheme) for seed in (1, 1, 2))
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        assert name.endswith("bias") or name.startswith("1") or not torch.equal(tensor, other[name])
    assert first["1.weight"].eq(1).all() and first["1.bias"].eq(0).all()
    if scheme != "default":  # a layer more moves no other layer's draw
        longer = drawn(nn.Sequential(*layers, nn.Linear(5, 2)), 1, scheme)
        assert all(torch.equal(longer[name], tensor) for name, tensor in first.items())


def test_an_unknown_scheme():
    with pytest.raises(ValueError, match="known: glorot_uniform, koh_liang, default"):
        initialise(nn.Linear(2, 2), 0, "he")


class Owner(nn.Module):
    """A module that draws its children itself, as a transformer of a library does."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.other = nn.Linear(3, 3)

    def reset_parameters(self):
        with torch.no_grad():
            for part in (self.inner, self.other):
                part.weight.fill_(7.0)
                part.bias.normal_()


def test_a_module_that_resets_its_children_is_not_overruled():
    module = nn.Sequential(nn.Linear(3, 3), Owner(), nn.Linear(3, 2))
    first, again, other = (drawn(module, seed, "default") for seed in (1, 1, 2))
    assert first["1.inner.weight"].eq(7).all() and first["1.other.weight"].eq(7).all()
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        assert (name.startswith("1.") and name.endswith("weight")) or not torch.equal(tensor, other[name])
    # Nor does anything below it draw numbers in secret: what comes after is what comes after its own two draws.
    plain = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    with torch.random.fork_rng():
        torch.manual_seed(int(stream(1, "init").integers(2**31)))
        plain[0].reset_parameters()
        torch.randn(3), torch.randn(3)
        plain[1].reset_parameters()
    assert torch.equal(plain[0].weight, first["0.weight"]) and torch.equal(plain[1].weight, first["2.weight"])


def test_a_shared_layer_is_drawn_once():
    shared = nn.Linear(3, 3)
    twice, once = (
        nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)),
    )
    assert torch.equal(drawn(twice, 1, "default")["3.weight"], drawn(once, 1, "default")["1.weight"])


@pytest.mark.parametrize("scheme", ["koh_liang", "glorot_uniform", "default"])
def test_loaded_tensors_are_left_alone_and_the_others_drawn_as_ever(scheme):
    def made():
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))

    plain, loaded = made(), made()
    with torch.no_grad():
        for tensor in loaded.state_dict().values():
            tensor.fill_(3)
    loaded.loaded_tensors = frozenset({"0.weight", "1.running_var", "1.weight", "1.num_batches_tracked", "3.bias"})
    initialise(plain, 4, scheme)
    initialise(loaded, 4, scheme)
    for name, tensor in loaded.state_dict().items():
        if name in loaded.loaded_tensors:
            assert tensor.eq(3).all(), name
        elif scheme == "default" or name.endswith("weight") or name in ("0.bias", "3.bias"):
            assert torch.equal(tensor, plain.state_dict()[name]), name
