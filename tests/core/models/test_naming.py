"""Names in files brought to a module's own, held against the state that was saved."""

import itertools
import re

import pytest
import torch
from torch import nn

from experiments.core.errors import SpecError
from experiments.core.models.naming import own_names


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


class Wrapped(nn.Module):
    """A model inside another, as some trainers have it."""

    def __init__(self):
        super().__init__()
        self.net = net()


def same(found, wanted):
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


PREFIXES = ["_orig_mod.", "_module.", "module.", "model.", "net.", "module._orig_mod.", "a.0.b.", "0.", "1.", "Ünï."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_is_found(prefix):
    """Also one that looks like the model's own words; whole states, and parameters alone."""
    for state in (net().state_dict(), dict(net().named_parameters())):
        found = own_names(net(), {prefix + name: tensor for name, tensor in state.items()}, "here")
        assert same(found.tensors, state) and found.note == f"prefix `{prefix}` taken off the names"


def test_real_wrappers():
    module = net()
    wrapped = nn.DataParallel(module)
    assert same(own_names(module, wrapped.state_dict(), "").tensors, module.state_dict())
    compiled = torch.compile(wrapped)
    found = own_names(module, compiled.state_dict(), "")
    assert same(found.tensors, module.state_dict()) and "`_orig_mod.module.`" in found.note


def test_a_prefix_that_only_the_model_has():
    inner = net().state_dict()
    found = own_names(Wrapped(), inner, "here")
    assert same(found.tensors, Wrapped().state_dict()) and found.note == "prefix `net.` put before the names"
    found = own_names(Wrapped(), {f"module.{name}": tensor for name, tensor in inner.items()}, "here")
    assert same(found.tensors, Wrapped().state_dict())
    assert found.note == "prefix `module.` taken off the names, prefix `net.` put before the names"


def test_the_model_s_own_names_stay():
    state = net().state_dict()
    assert own_names(net(), state, "here").note == "" and same(own_names(net(), state, "here").tensors, state)
    assert own_names(Wrapped(), Wrapped().state_dict(), "here").note == ""
    head = {name: tensor for name, tensor in state.items() if name.startswith("3.")}
    assert own_names(net(), head, "here").note == ""  # a part of the state, not a state under a prefix
    listed = nn.ParameterList([torch.zeros(2), torch.zeros(3)])
    assert own_names(listed, listed.state_dict(), "here").note == ""  # numbers may be names


def test_unknown_tensors_keep_their_names():
    state = {f"model.{name}": tensor for name, tensor in net().state_dict().items()}
    found = own_names(net(), {**state, "model.extra": torch.zeros(1)}, "here").tensors
    assert "extra" in found and "0.weight" in found
    found = own_names(net(), {**state, "loss.weight": torch.zeros(1)}, "here").tensors
    assert "model.0.weight" in found  # not every name has it: no wrapper's prefix


@pytest.mark.parametrize("form", ["{}", "arr_{}", "array.{}", "param_{}"])
@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (lambda m: m.state_dict(), "the model's state dict"),
        (lambda m: {n: t for n, t in m.state_dict().items() if t.is_floating_point()}, "without counters"),
        (lambda m: dict(m.named_parameters()), "the model's parameters"),
        (lambda m: {n: p for n, p in m.named_parameters() if p.requires_grad}, "the model's trained parameters"),
    ],
)
def test_arrays_without_names(form, taken, said):
    """More than ten of them, so that 10 comes after 9 and not after 1; given in any order."""
    module = nn.Sequential(net(), nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 4))
    module[0][0].requires_grad_(False)
    state = taken(module)
    numbered = {form.format(i): tensor for i, tensor in enumerate(state.values())}
    found = own_names(module, dict(sorted(numbered.items())), "here")
    assert len(state) > 10 or "trained" in said
    assert same(found.tensors, state) and said in found.note and found.note.endswith("in order")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ([torch.zeros(3)], "1 of them, and it has 6 (the model's parameters) or 8 ("),
        ([*net().parameters()][::-1], "number 0 has shape (3,), 0.weight needs (2, 1, 3, 3)"),
        ([*list(net().parameters())[:-1], torch.zeros(4)], "number 5 has shape (4,), 3.bias needs (3,)"),
    ],
)
def test_arrays_without_names_that_do_not_fit(arrays, said):
    with pytest.raises(SpecError, match=re.escape(said)) as caught:
        own_names(net(), {f"arr_{i}": tensor for i, tensor in enumerate(arrays)}, "global.npz")
    assert caught.value.where == "global.npz" and caught.value.todo


@pytest.mark.parametrize("names", [["arr_0", "arr_2"], ["arr_0", "brr_1"], ["arr_0", "arr_00"], ["a", "b"], ["arr_1"]])
def test_other_names_are_names(names):
    found = own_names(net(), {name: torch.zeros(1) for name in names}, "here")
    assert list(found.tensors) == names and found.note == ""


def test_every_prefix_against_every_other():
    """The file under one prefix, the model under another: found whatever both are."""
    inner = {"a": torch.zeros(1), "b.c": torch.ones(2)}
    for off, put in itertools.product(["", "x.", "x.y.", "b."], repeat=2):

        class Model(nn.Module):
            def state_dict(self, put=put):
                return {put + name: tensor for name, tensor in inner.items()}

        found = own_names(Model(), {off + name: tensor for name, tensor in inner.items()}, "here")
        assert same(found.tensors, Model().state_dict())
