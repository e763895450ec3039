"""What weights a cell started from is recorded, and said where it was left to chance."""

import torch
from torchvision import models

from experiments.core.models.mlp import Mlp
from experiments.core.models.torchvision import Torchvision
from experiments.core.study.federated import build_module
from experiments.core.sweep.cell import Context

COLOUR = (3, 32, 32)


def made(folder, block):
    warned = []
    context = Context(folder, data_dir=folder, warn=warned.append)
    build_module(block, COLOUR, 3, context)
    return context.facts, warned


def test_weights_are_noted_in_the_facts(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.save(models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "mine.pth")
    facts, warned = made(tmp_path, Torchvision(name="squeezenet1_1", weights="mine.pth"))
    assert facts["weights"].startswith("mine.pth sha256:") and not warned
    assert str(tmp_path) not in facts["weights"]  # no absolute path is recorded
    assert made(tmp_path, Torchvision(name="squeezenet1_1")) == ({"weights": "none"}, [])
    facts, warned = made(tmp_path, Torchvision(name="squeezenet1_1", weights="auto"))
    assert facts == {"weights": "none"} and len(warned) == 1 and "drawn ones" in warned[0]
    assert made(tmp_path, Mlp()) == ({}, [])
