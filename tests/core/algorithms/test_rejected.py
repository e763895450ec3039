"""What an algorithm is not made for is rejected when the spec is read, with the key and the reason."""

import pytest

from experiments.core.algorithms import kinds
from experiments.core.errors import SpecError
from tests.core.algorithms.test_contract import KINDS, made
from tests.toys import federated as tiny

PRIVACY = {"clip": 1.0, "noise": 1.0}


def spec_of(folder, kind, local=None, **more):
    block = made(KINDS[kind]).model_dump(mode="json")
    local = {"lr": 0.1, "steps": 2, **(local or {})}
    return tiny.loaded(tiny.write(folder, paper="train", algorithm=block, local=local, **more))


def faults(folder, kind, local=None, **more):
    with pytest.raises(SpecError) as caught:
        spec_of(folder, kind, local, **more)
    return "\n".join([*caught.value.faults, str(caught.value)])


@pytest.mark.parametrize("kind", [name for name, block in kinds().items() if not block.private])
def test_privacy_with_an_algorithm_that_it_does_not_protect(tmp_path, kind):
    assert f"privacy: clipping and noise do not protect all that {kind} sends or keeps" in faults(
        tmp_path, kind, privacy=PRIVACY
    )


@pytest.mark.parametrize("kind", ["fedavg", "fedprox"])
def test_privacy_with_one_that_it_protects(tmp_path, kind):
    assert spec_of(tmp_path, kind, privacy=PRIVACY).privacy.noise == 1.0


NESTEROV = {"momentum": 0.9, "nesterov": True}
UNFIT = [
    ("scaffold", {"momentum": 0.9}),
    ("scaffold", NESTEROV),
    ("scaffold", {"optimizer": "adam"}),
    ("scaffold", {"optimizer": "adamw"}),
    ("fednova", NESTEROV),
    ("fednova", {"optimizer": "adam"}),
    ("fednova", {"optimizer": "adamw"}),
    ("feddyn", {"optimizer": "adamw", "weight_decay": 0.1}),
    ("fedspeed", {"optimizer": "adamw", "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("kind", "local"), UNFIT)
def test_local_training_that_the_derivation_does_not_cover(tmp_path, kind, local):
    assert f"local: {kind}" in faults(tmp_path, kind, local)


FIT = [
    ("scaffold", {"weight_decay": 0.1, "lr_schedule": "cosine", "every": 4}),
    ("fednova", {"momentum": 0.9, "weight_decay": 0.1}),
    ("feddyn", {"optimizer": "adamw"}),
    ("feddyn", {"optimizer": "adam", "weight_decay": 0.1}),
    ("fedadam", {"optimizer": "adamw", "weight_decay": 0.1}),
    ("fedavgm", NESTEROV),
]


@pytest.mark.parametrize(("kind", "local"), FIT)
def test_local_training_that_it_covers(tmp_path, kind, local):
    assert spec_of(tmp_path, kind, local).algorithm.kind == kind
