"""Loss and accuracy of a stack of models against torch's own cross-entropy and argmax, model by model."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from experiments.core.engine import evaluate as evaluation
from experiments.core.engine.device import Workers
from experiments.core.engine.evaluate import evaluate, sample_losses
from experiments.core.engine.formulations import formulations
from experiments.core.engine.net import Net


def setup(dtype=torch.float64, models=7, n=53, loss="cross_entropy"):
    g = torch.Generator().manual_seed(0)
    net = Net.of(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).to(dtype), loss)
    theta = torch.randn(models, net.size, generator=g, dtype=dtype)
    return net, theta, torch.randn(n, 6, generator=g, dtype=dtype), torch.randint(4, (n,), generator=g)


def outputs_of(net, row, x):
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).to(row.dtype)
    nn.utils.vector_to_parameters(row, module.parameters())
    with torch.no_grad():
        return module(x)


def supported(net, dtype=torch.float64):
    return [k(net) for k in formulations().values() if k.supports(net, torch.device("cpu"), dtype)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("samples", [4096, 10])
def test_against_torch(threads, samples, monkeypatch):
    monkeypatch.setattr(evaluation, "_MOST_SAMPLES", samples)
    net, theta, x, y = setup()
    with Workers(threads) as workers:
        for kind in supported(net):
            found = evaluate(kind, theta, x, y, workers)
            for i, row in enumerate(theta):
                z = outputs_of(net, row, x)
                assert float(found.loss[i]) == pytest.approx(float(functional.cross_entropy(z, y)), rel=1e-12)
                assert float(found.accuracy[i]) == float((z.argmax(1) == y).double().mean())
            assert found.loss.dtype == found.accuracy.dtype == torch.float64


def test_exact_ties_count_for_the_first_of_them():
    net = Net.of(nn.Sequential(nn.Linear(4, 4, bias=False)).double())
    z = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [2, 2, 2, 2], [0, 0, 0, 1], [3, 0, 3, 0]]).double()
    theta = torch.eye(4).double().reshape(1, -1).repeat(2, 1)
    theta[1] = 0  # every output equal
    with Workers(1) as workers:
        for kind in supported(net):
            for y in torch.cartesian_prod(*[torch.arange(4)] * 2):
                labels = torch.cat([y, y.flip(0), y[:1]])
                found = evaluate(kind, theta, z, labels, workers)
                assert float(found.accuracy[0]) == pytest.approx(float((z.argmax(1) == labels).double().mean()))
                assert float(found.accuracy[1]) == pytest.approx(float((labels == 0).double().mean()))
                assert float(found.loss[0]) == pytest.approx(float(functional.cross_entropy(z, labels)), rel=1e-12)


def test_a_saturated_sigmoid_ties_and_stays_finite():
    net = Net.of(nn.Sequential(nn.Linear(1, 3), nn.Sigmoid()))
    theta = torch.tensor([[900.0, 900.0, -900.0, 0.0, 0.0, 0.0]])
    x, y = torch.ones(4, 1), torch.tensor([0, 1, 2, 0])
    with Workers(1) as workers:
        for kind in supported(net, torch.float32):
            found = evaluate(kind, theta, x, y, workers)
            assert float(found.accuracy[0]) == 0.5
            z = torch.tensor([[1.0, 1.0, 0.0]]).double().repeat(4, 1)
            assert float(found.loss[0]) == pytest.approx(float(functional.cross_entropy(z, y)), rel=1e-6)


def test_huge_outputs_overflow_nothing():
    net = Net.of(nn.Sequential(nn.Linear(1, 2, bias=False)))
    theta, x, y = torch.tensor([[1e30, -1e30]]), torch.ones(2, 1), torch.tensor([0, 1])
    with Workers(1) as workers:
        for kind in supported(net, torch.float32):
            found = evaluate(kind, theta, x, y, workers)
            assert float(found.loss[0]) == pytest.approx(1e30, rel=1e-6) and float(found.accuracy[0]) == 0.5


def test_squared_loss_of_one_hot_targets():
    net, theta, x, y = setup(loss="squared")
    target = functional.one_hot(y, 4).double()
    with Workers(1) as workers:
        for kind in supported(net):
            found = evaluate(kind, theta, x, target, workers)
            for i, row in enumerate(theta):
                z = outputs_of(net, row, x)
                expected = 0.5 * 4 * functional.mse_loss(z, target)
                assert float(found.loss[i]) == pytest.approx(float(expected), rel=1e-12)
                assert float(found.accuracy[i]) == float((z.argmax(1) == y).double().mean())


def test_losses_of_single_samples():
    net, theta, x, y = setup()
    for kind in supported(net):
        found = sample_losses(kind, theta, x, y)
        expected = torch.stack([functional.cross_entropy(outputs_of(net, r, x), y, reduction="none") for r in theta])
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_memory_errors_halve_the_stack():
    net, theta, x, y = setup()
    kind = formulations()["looped"](net)
    with Workers(1) as workers:
        whole = evaluate(kind, theta, x, y, workers)
        real, seen = kind.outputs, []

        def small(some, inputs):
            seen.append(len(some))
            if len(some) > 2:
                raise torch.cuda.OutOfMemoryError("no room")
            return real(some, inputs)

        kind.outputs = small
        again = evaluate(kind, theta, x, y, workers)
    assert max(seen) == 7 and torch.equal(again.loss, whole.loss) and torch.equal(again.accuracy, whole.accuracy)
