from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from experiments.core.data.faults import duplicated, flip_labels, wrong_labels
from experiments.core.engine.federation import Federation
from experiments.core.errors import SpecError


@pytest.fixture
def federation():
    y = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3])
    x = torch.arange(12.0)[:, None]
    return Federation(x, y, (0, 4, 7, 12), x[:4], y[:4], ("a", "b", "c"), 4, "toy")


def test_only_the_named_clients_and_labels_change(federation):
    before = federation.y.clone()
    flipped = flip_labels(federation, [1], to=3, labels=[0, 2])
    assert flipped.y.tolist() == [0, 1, 2, 3, 3, 1, 3, 3, 0, 1, 2, 3]
    assert flip_labels(federation, (0, 2), to=0).y.tolist() == [0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0]
    # At the same time, not one after the other: 1 -> 2 leaves nothing for 2 to be flipped again.
    assert flip_labels(federation, [0], to=2, labels=[1]).y.tolist()[:4] == [0, 2, 2, 3]
    assert torch.equal(federation.y, before)
    assert flipped.x is federation.x and flipped.test_y is federation.test_y
    assert (flipped.offsets, flipped.clients, flipped.classes) == (federation.offsets, federation.clients, 4)
    assert torch.equal(flip_labels(federation, [], to=0).y, before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"clients": [3], "to": 0}, "no client 3"),
        ({"clients": [0, -1], "to": 0}, "no client -1"),
        ({"clients": [0], "to": 4}, "no label 4"),
        ({"clients": [0], "to": 0, "labels": [1, 9, 7]}, "no label 7, 9"),
    ],
)
def test_what_is_not_there(federation, arguments, said):
    with pytest.raises(SpecError, match=said) as caught:
        flip_labels(federation, **arguments)
    assert caught.value.where == "faults" and "numbered 0 to" in caught.value.todo


def test_real_targets_are_refused(federation):
    from dataclasses import replace

    with pytest.raises(SpecError, match="only where they are classes"):
        flip_labels(replace(federation, y=federation.y.float()), [0], to=1)


def test_a_share_of_the_labels_becomes_another_class_by_name(federation):
    many = replace(federation, y=federation.y.repeat(50), x=federation.x.repeat(50, 1), offsets=(0, 200, 600))
    wrong, flipped = wrong_labels(many, 0.2)
    assert flipped.sum() == 120 and torch.equal(wrong.y != many.y, flipped)
    assert set(wrong.y.tolist()) == {0, 1, 2, 3} and wrong.test_y is many.test_y
    more, among = wrong_labels(many, 0.5)
    assert bool(among[flipped].all()) and torch.equal(more.y[flipped], wrong.y[flipped])
    shifts = (wrong.y - many.y)[flipped] % 4
    assert torch.bincount(shifts, minlength=4).tolist()[0] == 0 and torch.bincount(shifts, minlength=4)[1:].min() > 20
    assert not wrong_labels(many, 0)[1].any()


def test_numbers_and_a_single_class_have_no_wrong_labels(federation):
    for given in (replace(federation, y=federation.y.double()), replace(federation, classes=1)):
        with pytest.raises(SpecError, match="labels can be wrong only where they are classes; planted; set it to 0"):
            wrong_labels(given, 0.1)


def test_faults_of_one_client_leave_the_others_as_they_are(federation):
    many = replace(federation, y=federation.y.repeat(50), x=torch.arange(600.0)[:, None], offsets=(0, 200, 450, 600))
    wrong, flipped = wrong_labels(many, 0.2, client=1)
    assert flipped.sum() == 50 and torch.equal(wrong.y != many.y, flipped) and not flipped[:200].any()
    assert not flipped[450:].any() and bool(wrong_labels(many, 0.4, client=1)[1][flipped].all())
    same = duplicated(many, 0.3, client=2)
    assert torch.equal(same.x[:450], many.x[:450]) and torch.equal(same.x[450:, 0].long() % 4, same.y[450:])
    kept, counts = same.x[450:, 0].unique(return_counts=True)
    assert len(kept) == 105 and counts.sum() == 150 and (kept >= 450).all() and same.offsets == many.offsets
    assert torch.equal(duplicated(many, 0.3, client=2).x, same.x) and same.test_x is many.test_x
    assert len(duplicated(many, 0.999, client=2).x[450:].unique()) == 1
