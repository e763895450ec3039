"""`--model` by what it names: functions, classes and modules, decided by their signatures."""

import sys

import pytest
import torch

from experiments.core.errors import SpecError
from experiments.core.models.custom import load_factory

NETS = """
import functools
import torch
from torch import nn


class Told(nn.Linear):
    def __init__(self, *given, **named):
        super().__init__(4, 2)
        self.told = (given, named)


def pair(shape, classes): return Told(shape, classes)
def swapped(classes, shape): return Told(classes=classes, shape=shape)
def others(a, b): return Told(a, b)
def more(shape, classes, width=3): return Told(shape, classes, width)
def defaults(shape=(1,), classes=9): return Told(shape, classes)
def classes_only(classes, width=5): return Told(classes, width)
def keywords(*, shape, classes): return Told(shape=shape, classes=classes)
def open_ended(*given): return Told(*given)
def none(): return Told()
def sizes(hidden=64, depth=2): return Told(hidden, depth)
def positional(shape, classes, /): return Told(shape, classes)
part = functools.partial(more, width=7)
def three(a, b, c): return Told()
def one(size): return Told()
def failing(): raise RuntimeError("no luck\\nat all")
def lazy(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.Linear(3, 2))
def stubborn(): return nn.Sequential(nn.LazyConv2d(3, 2), nn.Flatten())


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)


class Head(Small):
    def __init__(self, classes=10):
        super().__init__()
        self.classes = classes


made = Small()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "signed_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("signed_nets", None)


BOTH = {"shape": (4,), "classes": 2}


@pytest.mark.parametrize(
    ("name", "given", "named"),
    [
        ("pair", ((4,), 2), {}),
        ("swapped", (), {"classes": 2, "shape": (4,)}),
        ("others", ((4,), 2), {}),
        ("more", ((4,), 2, 3), {}),
        ("defaults", ((4,), 2), {}),
        ("classes_only", (2, 5), {}),
        ("keywords", (), BOTH),
        ("open_ended", ((4,), 2), {}),
        ("none", (), {}),
        ("sizes", (64, 2), {}),
        ("positional", ((4,), 2), {}),
        ("part", ((4,), 2, 7), {}),
    ],
)
def test_arguments_by_signature(own, name, given, named):
    assert load_factory(f"signed_nets:{name}")((4,), 2).told == (given, named)


def test_a_class(own):
    assert type(load_factory("signed_nets:Small")((4,), 2)).__name__ == "Small"
    assert load_factory("signed_nets:Head")((4,), 2).classes == 2


def test_a_module_gives_copies_with_its_own_weights(own):
    first, second = (load_factory("signed_nets:made")((4,), 2) for _ in range(2))
    import signed_nets

    assert torch.equal(first.layer.weight, signed_nets.made.layer.weight)
    with torch.no_grad():
        first.layer.weight.zero_()
    assert not torch.equal(second.layer.weight, first.layer.weight)
    assert torch.equal(second.layer.weight, signed_nets.made.layer.weight)


@pytest.mark.parametrize("name", ["three", "one"])
def test_other_arguments_are_told_before_the_call(own, name):
    with pytest.raises(SpecError, match=r"needs the arguments \(") as caught:
        load_factory(f"signed_nets:{name}")((4,), 2)
    assert caught.value.where == f"--model signed_nets:{name}" and "of none" in caught.value.todo


def test_an_error_inside_is_not_taken_for_a_wrong_signature(own):
    with pytest.raises(SpecError, match="RuntimeError: no luck"):
        load_factory("signed_nets:failing")((4,), 2)


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_lazy_layers_get_their_sizes(own, shape):
    module = load_factory("signed_nets:lazy")(shape, 2)
    assert module[1].in_features == torch.Size(shape).numel() and module.training
    assert module(torch.zeros(2, *shape)).shape == (2, 2)


def test_lazy_layers_that_do_not_fit_say_so(own):
    with pytest.raises(SpecError, match=r"its lazy layers do not take inputs of shape \(4,\)"):
        load_factory("signed_nets:stubborn")((4,), 2)
