from __future__ import annotations

import sys

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from experiments.core.errors import SpecError
from experiments.core.models import kinds
from experiments.core.models.cnn import Cnn, Cnn1, Cnn2
from experiments.core.models.custom import load_factory
from experiments.core.models.linear import LeafLogreg, Logreg
from experiments.core.models.mlp import Mlp
from experiments.core.models.resnet import ResNet
from experiments.core.models.torchvision import Torchvision
from experiments.core.models.transformer import Transformer


def size(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_of_the_paper():
    assert size(Cnn1().build((1, 28, 28), 62)) == 17_146
    assert size(Cnn2().build((1, 28, 28), 62)) == 110_198
    assert size(LeafLogreg().build((60,), 5)) == 305


def layers(module):
    return [type(part).__name__ for part in module]


def test_layers_of_the_paper():
    pools = ["Conv2d", "MaxPool2d", "Conv2d", "MaxPool2d", "Flatten", "Linear", "Linear"]
    assert layers(Cnn1().build((1, 28, 28), 62)) == pools  # no activations
    relus = ["Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear", "ReLU", "Linear"]
    module = Cnn2().build((1, 28, 28), 62)
    assert layers(module) == relus
    assert [p.shape[0] for p in module.parameters()] == [4, 4, 16, 16, 128, 128, 62, 62]  # eight tensors
    assert layers(LeafLogreg().build((60,), 5)) == ["Linear", "Sigmoid"]
    assert layers(LeafLogreg(sigmoid=False).build((60,), 5)) == ["Linear"]


def test_cnn1_is_linear_but_for_its_pools():
    module = Cnn1().build((1, 28, 28), 62).double()
    x = torch.rand(3, 1, 28, 28, dtype=torch.float64)
    with torch.no_grad():
        zero = module(torch.zeros_like(x))
        for part in module:  # biases act the same for all inputs, so scaling the input scales the rest
            if getattr(part, "bias", None) is not None:
                part.bias.zero_()
        assert torch.allclose(module(3 * x), 3 * module(x))
    assert zero.shape == (3, 62)


@pytest.mark.parametrize("kind", sorted(set(kinds()) - {"transformer"}))  # test_transformer.py: it takes ids
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_every_model_gives_one_output_a_class(kind, shape):
    if kind == "vgg" and shape[1] < 32:
        pytest.skip("five pools need 32 pixels")
    thin = {"width": 4} if "width" in kinds()[kind].model_fields else {}
    module = kinds()[kind](**thin).build(shape, 7).eval()
    with torch.no_grad():
        assert module(torch.rand(2, *shape)).shape == (2, 7)


def test_mlp_shape_and_activation():
    block = Mlp.model_validate({"kind": "mlp", "hidden": [8, 6], "activation": "tanh"})
    module = block.build((10,), 3)
    assert layers(module) == ["Linear", "Tanh", "Linear", "Tanh", "Linear"]
    assert size(module) == 10 * 8 + 8 + 8 * 6 + 6 + 6 * 3 + 3
    assert layers(Mlp(hidden=()).build((10,), 3)) == layers(Logreg().build((10,), 3)) == ["Linear"]
    for wrong in ({"hidden": [0]}, {"hidden": ["8"]}, {"activation": "gelu"}, {"widths": [8]}):
        with pytest.raises(ValidationError):
            Mlp.model_validate({"kind": "mlp", **wrong})


def test_convolutions_need_images():
    for shape in ((60,), (1, 3, 28)):
        with pytest.raises(SpecError, match="cannot take inputs of shape"):
            Cnn().build(shape, 5)


def test_torchvision_names():
    assert isinstance(Torchvision(name="squeezenet1_1").build((1, 64, 64), 4), nn.Module)
    with pytest.raises(SpecError, match="no classifier 'resnet81'") as caught:
        Torchvision(name="resnet81").build((3, 32, 32), 10)
    assert "resnet18" in caught.value.todo
    with pytest.raises(SpecError, match="needs images"):
        Torchvision().build((60,), 10)


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(
        "import torch\nwidth = 3\n"
        "def small(shape, classes):\n    return torch.nn.Linear(shape[0], classes)\n"
        "def wrong(shape, classes):\n    return 5\n"
        "class Inner:\n    make = staticmethod(small)\n"
    )
    (tmp_path / "own_broken.py").write_text("raise RuntimeError('no luck')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("own_nets", "own_broken"):
        sys.modules.pop(name, None)


def test_results_call_a_family_s_member_by_its_name():
    assert [Torchvision(name="resnet18").called, Transformer(arch="gpt2").called, ResNet().called] == [
        "resnet18", "gpt2", "resnet"
    ]  # fmt: skip


def test_a_model_of_ones_own(own):
    assert size(load_factory("own_nets:small")((4,), 2)) == 10
    assert size(load_factory("own_nets:Inner.make")((4,), 2)) == 10


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_nets", "package.module:callable"),
        (":small", "package.module:callable"),
        ("own_nets:", "package.module:callable"),
        ("nowhere_at_all:small", "cannot import"),
        ("..up:small", "cannot import"),
        ("own_broken:small", "RuntimeError: no luck"),
        ("own_nets:missing", "has no missing"),
        ("own_nets:width", "not callable"),
    ],
)
def test_a_model_of_ones_own_that_is_not_there(own, name, said):
    with pytest.raises(SpecError, match=said) as caught:
        load_factory(name)
    assert caught.value.where == f"--model {name}" and caught.value.todo


def test_a_factory_that_makes_no_module(own):
    with pytest.raises(SpecError, match="returned a int"):
        load_factory("own_nets:wrong")((4,), 2)
