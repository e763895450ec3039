"""`augment:` of a spec: what it becomes, and what is said of one that cannot be."""

from __future__ import annotations

import json

import pytest

from experiments.core.engine.augment import Augment
from experiments.core.errors import SpecError
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from tests.toys import federated as tiny

IMAGES = {
    "data": {"kind": "sklearn_digits", "clients": 40},
    "model": {"kind": "lenet"},
    "clients_per_round": 2,
    "formulation": "looped",
}


def spec_of(folder, *overrides, **more):
    return tiny.loaded(tiny.write(folder, paper="train", **more), "smoke", *overrides)


def test_it_reaches_the_problem_with_the_data_s_black(tmp_path):
    given = ("augment.crop=4", "augment.flip=true", "augment.cutout=16")
    problem = build(spec_of(tmp_path, *given, **IMAGES), 0, Context(tmp_path)).problem
    assert problem.augment == Augment(4, True, 16, (0.0,))
    assert build(spec_of(tmp_path, **IMAGES), 0, Context(tmp_path)).problem.augment is None


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ({}, "augment.crop: give crop, flip or cutout, or leave augment out"),
        ({"flip": False}, "augment.crop: give crop, flip or cutout"),
        ({"crop": -1}, "augment.crop"),
        ({"cutout": 3}, "augment.cutout"),
        ({"mirror": True}, "augment.mirror"),
    ],
)
def test_a_block_that_makes_no_sense(tmp_path, augment, said):
    with pytest.raises(SpecError) as caught:
        spec_of(tmp_path, augment=augment, **IMAGES)
    assert said in str(caught.value)


def test_inputs_that_are_no_images(tmp_path):
    with pytest.raises(SpecError, match="augment is for images, and leaf_synthetic"):
        build(spec_of(tmp_path, augment={"flip": True}), 0, Context(tmp_path))
    with pytest.raises(SpecError, match="a hole of 30x30 pixels in images of 28x28"):
        build(spec_of(tmp_path, augment={"cutout": 30}, **IMAGES), 0, Context(tmp_path))


def test_the_command_trains_with_it(tmp_path):
    """End to end, in a cell of its own; its numbers are others."""
    cells, numbers = [], []
    for name, augment in (("plain", None), ("shown", {"crop": 2, "flip": True})):
        folder, out = tmp_path / name, tmp_path / name / "out"
        folder.mkdir()
        assert (
            tiny.command(
                "train", tiny.write(folder, paper="train", augment=augment, rounds=1, evaluate_every=1, **IMAGES), out
            )
            == 0
        )
        (stored,) = out.rglob("cell.json")
        cells.append(json.loads(stored.read_text())["params"]["augment"])
        numbers.append(tiny.value(tiny.metrics(out), metric="loss", round=1))
    assert cells == [None, {"crop": 2, "flip": True, "cutout": 0}] and numbers[0] != numbers[1]
