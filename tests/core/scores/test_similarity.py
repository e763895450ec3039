"""Direction and length of vectors, row by row."""

from __future__ import annotations

import math

import torch

from experiments.core.scores.similarity import cosine, relative_l2


def test_known_angles():
    a = torch.tensor([[1.0, 0.0], [1.0, 1.0], [3.0, 4.0], [1.0, 0.0]])
    b = torch.tensor([[0.0, 2.0], [1.0, 0.0], [6.0, 8.0], [-5.0, 0.0]])
    torch.testing.assert_close(cosine(a, b), torch.tensor([0.0, math.sqrt(0.5), 1.0, -1.0]))


def test_very_long_and_very_short_vectors_keep_their_angle():
    a = torch.tensor([3.0, 4.0])
    torch.testing.assert_close(cosine(a * 1e30, a * 1e-30), torch.tensor(1.0))


def test_a_zero_vector_has_no_direction():
    assert torch.isnan(cosine(torch.zeros(3), torch.ones(3)))


def test_relative_error():
    truth = torch.tensor([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0]])
    estimate = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3.0, 9.0], [1.0, 0.0]])
    torch.testing.assert_close(relative_l2(estimate, truth), torch.tensor([0.0, 1.0, 1.0, math.inf]))
    assert torch.isnan(relative_l2(torch.zeros(2), torch.zeros(2)))
