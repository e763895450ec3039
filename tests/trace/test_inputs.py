"""Which predictions are traced, and who would be right, by hand."""

import torch

from experiments.trace import inputs
from experiments.trace.spec import FaultSpec

Y = torch.tensor([0, 1, 1, 2, 1, 2, 0, 3, 3])
PREDICTED = torch.tensor([0, 1, 1, 0, 1, 2, 0, 0, 0])
HELD = torch.tensor([[5, 0, 0, 0], [0, 7, 2, 0]])


def test_the_first_right_predictions_of_each_held_label():
    # label 0: samples 0, 6; label 1: 1, 2 (4 is late); label 2 has one right prediction; label 3 nobody holds
    assert inputs.correct(PREDICTED, Y, HELD, 2) == [0, 6, 1, 2]
    assert inputs.correct(PREDICTED, Y, HELD, 1) == [0, 1, 5]
    assert inputs.correct(PREDICTED, Y, HELD, 4) == []


def test_mispredictions_that_the_faults_explain():
    assert inputs.wrong(PREDICTED, Y, FaultSpec(clients=("0",), to=0), 10) == [3, 7, 8]
    assert inputs.wrong(PREDICTED, Y, FaultSpec(clients=("0",), to=0), 2) == [3, 7]
    assert inputs.wrong(PREDICTED, Y, FaultSpec(clients=("0",), to=0, labels=(3,)), 10) == [7, 8]
    assert inputs.wrong(PREDICTED, Y, FaultSpec(clients=("0",), to=1), 10) == []


def test_who_is_right():
    assert inputs.holders(torch.tensor([0, 2, 3]), HELD).tolist() == [[True, False], [False, True], [False, False]]
    assert inputs.guilty([4, 9, 7], {9, 1}, 2).tolist() == [[False, True, False]] * 2
