import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from experiments.impro.distances import by_closed_form, by_transport


def _clients(shifts, n=20, classes=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    return [
        (torch.randn(n, 3, generator=generator, dtype=torch.float64) + 10 * y[:, None] + shift, y) for shift in shifts
    ]


def test_the_closed_form_against_pooled_numpy_moments():
    clients = _clients([0.0, 1.0, 5.0])
    clients[1] = (clients[1][0][:7], torch.zeros(7, dtype=torch.long))  # one class only
    found = by_closed_form(clients, lambda x: x, 2)
    for m, (x, y) in enumerate(clients):
        rest_x = torch.cat([a for k, (a, _) in enumerate(clients) if k != m]).numpy()
        rest_y = torch.cat([b for k, (_, b) in enumerate(clients) if k != m]).numpy()
        total, shares = 0.0, []
        for labels in (y.numpy(), rest_y):
            common = [c for c in (0, 1) if (y == c).any() and (rest_y == c).any()]
            weights = np.array([(labels == c).sum() for c in common])
            shares.append(weights.sum() / len(labels))
            for c, weight in zip(common, weights / weights.sum(), strict=True):
                a, b = x.numpy()[y.numpy() == c], rest_x[rest_y == c]
                w = ((a.mean(0) - b.mean(0)) ** 2).sum() + ((a.std(0) - b.std(0)) ** 2).sum()
                total += weight * math.sqrt(w) / 2
        assert found[m].value == pytest.approx(total, rel=1e-9)
        assert found[m].covered == pytest.approx(np.mean(shares))


def test_transport_of_everything_is_an_assignment_by_class():
    clients = _clients([0.0, 2.0])
    found, excess = by_transport(clients, lambda x: x * 2, 2, 10, 0, 1)
    wanted = 0.0
    for c in (0, 1):
        a, b = (2 * x[y == c] for x, y in clients)
        cost = torch.cdist(a, b).numpy()
        wanted += cost[linear_sum_assignment(cost)].mean() / 2
    assert [f.value for f in found] == pytest.approx([wanted, wanted], rel=1e-9)
    assert [math.isnan(f.value) for f in excess] == [True, True]  # nobody is left to compare with


def test_like_clients_exceed_chance_by_nothing_and_a_shifted_one_by_its_shift():
    found, excess = by_transport(_clients([0.0, 0.0, 0.0], n=80), lambda x: x, 2, 30, 0, 1)
    for like, over in zip(found, excess, strict=True):
        assert like.value > 0.3  # samples of one distribution are apart, too
        assert abs(over.value) < 0.25 * like.value
    found, excess = by_transport(_clients([0.0, 0.0, 0.0, 40.0], n=80), lambda x: x, 2, 30, 0, 1)
    assert found[3].value == pytest.approx(40 * math.sqrt(3), rel=0.01)  # the shift, and the least that transport costs
    assert excess[3].value == pytest.approx(40 * math.sqrt(3), rel=0.05)
    assert excess[3].value < found[3].value


def test_samples_are_drawn_by_name_so_that_a_repetition_is_the_same():
    clients = _clients([0.0, 1.0, 2.0], n=60)
    first, again = (by_transport(clients, lambda x: x, 2, 10, 0, 4)[0] for _ in range(2))
    other = by_transport(clients, lambda x: x, 2, 10, 0, 5)[0]
    assert first == again
    assert first != other
