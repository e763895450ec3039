"""Baselines that see updates only, by hand."""

import math

import pytest
import torch

from experiments.core.estimators.numerics.update import cosine, norm


def test_norm_and_cosine_by_hand():
    before, after = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([2.0, 1.0, 0.0])
    locals = torch.tensor([[4.0, 5.0, 0.0], [1.0, -1.0, 0.0], [0.0, 1.0, 0.0], [2.0, 2.0, 0.0]])
    assert norm(before, locals).tolist() == pytest.approx([5.0, 2.0, 1.0, math.sqrt(2)])
    torch.testing.assert_close(cosine(before, after, locals), torch.tensor([0.6, 0.0, -1.0, math.sqrt(0.5)]))


def test_who_did_not_move_has_cosine_zero_and_who_diverged_none():
    before = torch.ones(2)
    locals = torch.tensor([[1.0, 1.0], [float("nan"), 2.0], [2.0, 1.0]])
    found = cosine(before, torch.tensor([2.0, 1.0]), locals)
    assert found[0] == 0 and found[1].isnan() and found[2] == 1
    assert cosine(before, before, locals).tolist() == [0, 0, 0]
