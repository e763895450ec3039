"""The training step as a function of the state: its values are a formulation's, its derivatives finite differences."""

import pytest
import torch
from torch import nn
from torch.func import grad

from experiments.core.engine.draws import step_seed
from experiments.core.engine.examine import examine
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import formulations
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.training import TrainingNet, trained_as
from experiments.core.errors import SpecError
from experiments.core.estimators.numerics.hessian import FullHessian

G = torch.Generator().manual_seed(0)
X = torch.randn(7, 4, generator=G, dtype=torch.float64)
Y = torch.randint(3, (7,), generator=G)
IMAGES = torch.randn(7, 1, 4, 4, generator=G, dtype=torch.float64)


def twice():
    """A layer of statistics that a pass goes through twice."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.head = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.norm(torch.tanh(self.norm(self.first(x)))))

    return Twice()


MODELS = {
    "batch_norm": lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)),
    "without_scale": lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, affine=False), nn.Linear(5, 3)),
    "cumulative": lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, momentum=None), nn.Tanh(), nn.Linear(5, 3)),
    "convolution": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, momentum=0.3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    ),
    "twice": twice,
    "dropout": lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.4), nn.Linear(6, 3)),
    "both": lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.4), nn.Tanh(), nn.Linear(6, 3)),
}
SEED = step_seed(0, client=0, round=1, step=0)


def case(name):
    """The net of a model, as examined; a state away from the start; and a batch."""
    module = MODELS[name]().double()
    initialise(module, 0)
    x = IMAGES if name == "convolution" else X
    net = examine(Net.of(module), Federation(x, Y, (0, 7), x, Y, ("a",), 3, "toy"))
    theta = net.flat()
    theta[: net.real] += 0.1 * torch.rand(net.real, generator=G, dtype=torch.float64)
    if net.counters:
        theta[net.real :] = 2.5  # an average of clients; a half is rounded to even
    return net, theta, x


def stepped(net, theta, x):
    """Gradient and state after a step by the plain path, at theta."""
    way, after = formulations()["looped"](net), theta[None].clone()
    return (way.at(SEED) if net.draws else way).gradient(after, x, Y, None)[0], after[0]


def directions(net, count=5):
    """Random columns [size, count] that leave counters alone."""
    found = torch.randn(net.size, count, generator=G, dtype=torch.float64)
    found[net.real :] = 0
    return found


def differences(function, theta, vectors, h=1e-6):
    return torch.stack([(function(theta + h * v) - function(theta - h * v)) / (2 * h) for v in vectors.T], 1)


@pytest.mark.parametrize("name", MODELS)
def test_the_value_is_that_of_a_plain_step(name):
    net, theta, x = case(name)
    training, before = TrainingNet.of_net(net).at(SEED), theta.clone()
    loss = lambda w: net.losses(training.call(torch.cat([w, theta[net.p :]]), x), Y).mean()  # noqa: E731
    gradient, after = stepped(net, theta, x)
    torch.testing.assert_close(grad(loss)(theta[: net.p]), gradient, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(training.moved(theta, x), after[net.p :], rtol=1e-9, atol=1e-12)
    assert torch.equal(theta, before)
    assert (len(net.buffers) > 0) == bool((after[net.p :] != theta[net.p :]).any())


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_finite_differences_of_the_plain_step(name):
    net, theta, x = case(name)
    training, vectors = TrainingNet.of_net(net).at(SEED), directions(net)
    moved = differences(lambda state: stepped(net, state, x)[1][net.p : net.real], theta, vectors)
    carried = training.carried(theta, x, vectors)
    torch.testing.assert_close(carried[: net.real - net.p], moved, rtol=1e-6, atol=1e-8)
    assert not carried[net.real - net.p :].any()
    curved = differences(lambda state: stepped(net, state, x)[0], theta, vectors)
    product = FullHessian(training, theta, x, Y).apply(vectors[: net.p])
    torch.testing.assert_close(product, curved, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_samples_go_through_the_batch(name):
    net, theta, x = case(name)
    training = TrainingNet.of_net(net).at(SEED)
    rows = torch.tensor([5, 0, 3])
    found = training.sample_gradients(theta, x, Y, rows)
    way = lambda w: net.losses(training.call(torch.cat([w, theta[net.p :]]), x), Y)[rows]  # noqa: E731
    jacobian = torch.autograd.functional.jacobian(way, theta[: net.p])
    torch.testing.assert_close(found, jacobian, rtol=1e-9, atol=1e-12)
    every = training.sample_gradients(theta, x, Y, torch.arange(7))
    torch.testing.assert_close(every.mean(0), stepped(net, theta, x)[0], rtol=1e-9, atol=1e-12)


def chosen(name, draws=None):
    net, theta, x = case(name)
    return net, trained_as(net, formulations()["looped"](net), theta, x, Y, draws)


def test_a_model_is_differentiated_as_it_is_trained(monkeypatch):
    for name in MODELS:
        assert isinstance(chosen(name, (lambda step: SEED) if name in ("dropout", "both") else None)[1], TrainingNet)
    monkeypatch.setitem(MODELS, "plain", lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3)))
    net, found = chosen("plain")
    assert found is net


def test_a_mean_that_is_zero_but_for_rounding_is_no_other_step():
    """Behind a normalisation and a matrix without bias, as in bottlenecks: each way of the step rounds otherwise."""
    between = nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4, momentum=0.01), nn.ReLU()
    layers = nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False), *between, nn.Linear(4, 3)
    net = Net.of(nn.Sequential(*layers).double())
    assert isinstance(trained_as(net, formulations()["looped"](net), net.flat(), X, Y), TrainingNet)


def settled():
    """Spectral normalisation after so many power iterations that its vectors move by rounding only."""
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3, dtype=torch.float64), n_power_iterations=9)
    for _ in range(50):
        layer(X)
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: [nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten()],
        lambda: [settled(), nn.Linear(3, 4)],
    ],
    ids=["instances", "spectral"],
)
def test_what_has_no_known_derivative_is_refused_in_one_line(monkeypatch, make):
    monkeypatch.setitem(MODELS, "odd", lambda: nn.Sequential(*make(), nn.Linear(4, 3)))
    with pytest.raises(SpecError, match="no derivative of this model's training step") as caught:
        chosen("odd")
    assert caught.value.where == "model" and "BatchNorm" in caught.value.todo
