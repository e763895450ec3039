"""Torchvision's models from local weights."""

from __future__ import annotations

import hashlib
import re

import pytest
import torch
from torchvision import models

from experiments.core.engine.net import initialise
from experiments.core.errors import MissingError, SpecError
from experiments.core.models import build
from experiments.core.models.torchvision import Torchvision

COLOUR = (3, 32, 32)


def trained(name, classes, seed=5):
    """A state as training might have left it: no tensor has its initial values, statistics included."""
    module = models.get_model(name, weights=None, num_classes=classes)
    generator = torch.Generator().manual_seed(seed)
    return {
        key: 0.05 * torch.rand(t.shape, generator=generator) + 0.01 if t.is_floating_point() else t + 7
        for key, t in module.state_dict().items()
    }


@pytest.fixture
def resnet(tmp_path):
    state = trained("resnet18", 4)
    torch.save(state, tmp_path / "mine.pth")
    return tmp_path, state


@pytest.mark.parametrize("scheme", ["default", "glorot_uniform"])
def test_all_but_another_head_is_kept_through_the_drawing(resnet, scheme):
    folder, state = resnet
    block, x = Torchvision(weights="mine.pth"), torch.rand(2, *COLOUR)
    same = build(block, COLOUR, 4, folder)
    initialise(same, 0, scheme)
    theirs = models.resnet18(num_classes=4)
    theirs.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(same.eval()(x), theirs.eval()(x))
    other, drawn = build(block, COLOUR, 7, folder), Torchvision().build(COLOUR, 7)
    initialise(other, 0, scheme)
    initialise(drawn, 0, scheme)
    assert other.loaded_tensors == state.keys() - {"fc.weight", "fc.bias"}
    for key, tensor in other.state_dict().items():  # the head is the one that is drawn where nothing is loaded
        assert torch.equal(tensor, drawn.state_dict()[key] if key.startswith("fc.") else state[key]), key
    digest = hashlib.sha256((folder / "mine.pth").read_bytes()).hexdigest()
    assert other.weights_from == f"mine.pth sha256:{digest[:16]}" and drawn.weights_from == "none"


def test_group_norm_keeps_the_weights_of_batch_norm(resnet):
    folder, state = resnet
    grouped = build(Torchvision(weights="mine.pth", norm="group"), COLOUR, 4, folder)
    norms = {name: part for name, part in grouped.named_modules() if "Norm" in type(part).__name__}
    assert {type(part) for part in norms.values()} == {torch.nn.GroupNorm} and len(norms) == 20
    assert {part.num_groups for part in norms.values()} == {32}
    initialise(grouped, 0, "default")
    assert all(torch.equal(tensor, state[name]) for name, tensor in grouped.state_dict().items())
    assert set(state) - set(grouped.state_dict()) == {
        f"{name}.{word}" for name in norms for word in ("running_mean", "running_var", "num_batches_tracked")
    }


@pytest.mark.slow
def test_the_published_densenet_with_its_old_names(tmp_path):
    new = trained("densenet121", 1000)
    new = {key: tensor for key, tensor in new.items() if not key.endswith("num_batches_tracked")}
    old = {re.sub(r"(denselayer\d+\.(norm|conv))(\d)", r"\1.\3", key): t.half() for key, t in new.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old and len(old) == len(new)
    torch.save(old, tmp_path / "old.pth")
    module = Torchvision(name="densenet121", weights=str(tmp_path / "old.pth")).build(COLOUR, 10)
    assert module.loaded_tensors == new.keys() - {"classifier.weight", "classifier.bias"}
    for key in module.loaded_tensors:
        assert torch.equal(module.state_dict()[key], new[key].half().float())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_published_auxiliary_heads_are_passed_by(tmp_path, name):
    """Torchvision's files for these two hold them; without aux_logits there is no place for them."""
    published = models.get_model(name, weights=None, aux_logits=True, init_weights=False).state_dict()
    torch.save(published, tmp_path / "all.pth")
    module = Torchvision(name=name, weights=str(tmp_path / "all.pth")).build((3, 96, 96), 10)
    assert module.loaded_tensors == set(module.state_dict()) - {"fc.weight", "fc.bias"} < published.keys()
    assert all(torch.equal(module.state_dict()[key], published[key]) for key in module.loaded_tensors)


def test_auto_takes_what_torchvision_has_fetched_before(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert Torchvision(name="resnet18", weights="auto").build(COLOUR, 4).weights_from == "none"
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    file = folder / "resnet18-f37072fd.pth"  # the name under which torchvision stores IMAGENET1K_V1
    torch.save(trained("resnet18", 1000), file)
    with pytest.raises(SpecError, match="not what its name says"):
        Torchvision(name="resnet18", weights="auto").build(COLOUR, 4)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    url = f"https://example.org/resnet18-{digest[:8]}.pth"
    file.rename(folder / url.rpartition("/")[2])
    weights = type("Weights", (), {"__members__": {}, "DEFAULT": type("One", (), {"url": url})})
    monkeypatch.setattr(models, "get_model_weights", lambda name: weights)
    found = Torchvision(name="resnet18", weights="auto").build(COLOUR, 4)
    assert found.weights_from.startswith(f"resnet18-{digest[:8]}.pth sha256:{digest[:8]}")


def test_the_published_weights_are_the_first_ones(tmp_path, monkeypatch):
    from experiments.core.models._weights import cached

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    for name in ("resnet50-11ad3fa6.pth", "densenet121-a639ec97.pth"):  # resnet50's second weights, densenet's first
        (tmp_path / "hub/checkpoints" / name).write_bytes(b"")
    assert cached("resnet50") is None and cached("densenet121").name == "densenet121-a639ec97.pth"


@pytest.mark.parametrize(
    ("block", "shape", "said"),
    [
        ({"name": "resnet34"}, COLOUR, "tensor layer1.2.conv1.weight is missing"),
        ({"name": "densenet121"}, COLOUR, "tensor features.conv0.weight is missing"),
        ({}, (1, 32, 32), "tensor conv1.weight has shape (64, 3, 7, 7), the model needs (64, 1, 7, 7)"),
    ],
)
def test_weights_of_another_model(resnet, block, shape, said):
    with pytest.raises(SpecError, match=re.escape(said)) as caught:
        build(Torchvision(weights="mine.pth", **block), shape, 4, resnet[0])
    assert caught.value.where.endswith("mine.pth") and "three channels" in caught.value.todo


def test_a_head_that_differs_in_more_than_its_width_is_a_fault(tmp_path):
    state = trained("resnet18", 4)
    state["fc.weight"] = torch.zeros(9, 100)
    torch.save(state, tmp_path / "mine.pth")
    with pytest.raises(SpecError, match=r"tensor fc.weight has shape \(9, 100\)"):
        build(Torchvision(weights="mine.pth"), COLOUR, 4, tmp_path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingError, match=r"nothing at none.pth") as caught:
        build(Torchvision(weights="none.pth"), COLOUR, 4, tmp_path)
    assert "model.weights" in caught.value.todo
    with torch.device("meta"):  # an estimate of cost reads no file
        assert Torchvision(weights="none.pth").build(COLOUR, 4).weights_from == "none"


def test_no_layer_overwrites_its_input():
    with torch.device("meta"):
        for name in ("resnet18", "densenet121", "vgg11", "mobilenet_v3_small"):
            module = Torchvision(name=name).build(COLOUR, 4)
            assert not any(getattr(part, "inplace", False) for part in module.modules())
