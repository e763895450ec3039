"""Theorem 4.2: it holds to rounding where its premises do, and fails where clients draw their own features."""

import pytest
import torch
from torch import nn

from experiments.core.engine.halves import Halves
from experiments.core.engine.net import Net
from experiments.core.engine.seeds import stream
from experiments.core.scores.dissimilarity import bound
from experiments.impro.gradients import Client, variances
from experiments.impro.sampled import FeatureDistribution, estimated

SIZES = (40, 16, 8)


@pytest.fixture
def problem():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    net = Net.of(module)
    data = []
    for k, n in enumerate(SIZES):
        y = torch.randint(0, 3, (n,)) if k else torch.zeros(n, dtype=torch.long)  # the largest client: one class
        data.append((torch.randn(n, 6, dtype=torch.float64) + y[:, None] + k, y))
    halves = Halves.of(net, "1", data[0][0])
    return module, halves, net.flat(), data


def _measured(problem, ratio, sampled_of, per_sample=True):
    _, halves, theta, data = problem
    clients = [Client(len(y), x, y, {"way": sampled_of(k, len(y))}) for k, (x, y) in enumerate(data)]
    high = halves.high(theta, halves.features(theta, data[0][0]))
    return variances(halves, theta, clients, high, ratio, per_sample)


def _features(halves, theta, data):
    return estimated(halves, theta, data, 3)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_shared_features_shrink_the_high_part_by_exactly_the_bound(problem, ratio):
    generator = torch.Generator().manual_seed(9)
    shared = torch.randn(50, 8, generator=generator, dtype=torch.float64), torch.arange(50) % 3
    found = _measured(problem, ratio, lambda k, n: shared)
    plain, decoupled, summed = found["plain", ""], found["decoupled", "way"], found["summed", "way"]
    real = sum(SIZES)
    for over in ("over_clients", "over_samples"):
        before, after, added = (getattr(v, over) for v in (plain, decoupled, summed))
        assert after("high") / before("high") == pytest.approx(bound(real, ratio * real), abs=1e-9)
        assert after("low") == pytest.approx(before("low"), rel=1e-9)
        assert added("high") == pytest.approx(before("high"), rel=1e-9)  # Eq. 5's sum: nothing shrinks


def test_independent_finite_draws_add_their_own_variance_to_the_bound(problem):
    _, halves, theta, data = problem
    h = _features(halves, theta, data)

    def ratio(draw, share=1.0):
        def own(k, n):
            labels = h.balanced(3 * max(1, int(share * n) // 3))  # all classes alike: no client's mean is its own
            return h.draw(labels, stream(draw, "features", client=k)), labels

        found = _measured(problem, 1.0, own, per_sample=False)
        return found["decoupled", "way"].over_clients("high") / found["plain", ""].over_clients("high")

    many, few = (torch.tensor([ratio(draw, share) for draw in range(60)]) for share in (1.0, 0.25))
    error = many.std() / 60**0.5
    assert many.mean() - 4 * error > 0.25  # the premise fails, and so does the theorem
    assert few.mean() > many.mean()


def test_labels_of_the_clients_own_samples_are_no_common_distribution(problem):
    _, halves, theta, data = problem
    h = _features(halves, theta, data)

    def sampled(k, n):  # so many that what draws add is small: what is left is the difference of labels
        labels = data[k][1].repeat(300)
        return h.draw(labels, stream(0, "features", client=k)), labels

    found = _measured(problem, 1.0, sampled, per_sample=False)
    assert found["decoupled", "way"].over_clients("high") > 1.5 * 0.25 * found["plain", ""].over_clients("high")


def test_against_one_loss_on_the_whole_model_and_a_two_pass_variance(problem):
    module, halves, theta, data = problem
    h = _features(halves, theta, data)
    drawn = {k: (h.draw(y, stream(0, "f", client=k)), y) for k, (_, y) in enumerate(data)}
    found = _measured(problem, 1.0, lambda k, n: drawn[k])
    rows = []
    for k, (x, y) in enumerate(data):
        low = torch.autograd.grad(nn.functional.cross_entropy(module(x), y), [*module[0].parameters()])
        joint = torch.cat([module[1](module[0](x)).detach(), drawn[k][0]])  # one pass above: n_m + n^_m samples
        loss = nn.functional.cross_entropy(module[4](module[3](module[2](joint))), torch.cat([y, y]))
        high = torch.autograd.grad(loss, [*module[2].parameters(), *module[4].parameters()])
        rows.append((torch.cat([g.flatten() for g in low]), torch.cat([g.flatten() for g in high])))
    p = torch.tensor(SIZES, dtype=torch.float64) / sum(SIZES)
    for index, part in enumerate(("low", "high")):
        g = torch.stack([row[index] for row in rows])
        wanted = (p * (g - p @ g).square().sum(1)).sum()
        assert found["decoupled", "way"].over_clients(part) == pytest.approx(float(wanted), rel=1e-9)


def test_the_definition_over_samples_against_each_samples_gradient(problem):
    module, _, _, data = problem
    found = _measured(problem, 1.0, lambda k, n: (torch.zeros(2, 8, dtype=torch.float64), torch.tensor([0, 1])))
    rows = []
    for x, y in data:
        for i in range(len(y)):
            loss = nn.functional.cross_entropy(module(x[i : i + 1]), y[i : i + 1])
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))]))
    g = torch.stack(rows)
    both = (g - g.mean(0)).square()
    assert found["plain", ""].over_samples("low") == pytest.approx(float(both[:, :56].sum(1).mean()), rel=1e-9)
    assert found["plain", ""].over_samples("high") == pytest.approx(float(both[:, 56:].sum(1).mean()), rel=1e-9)


def test_without_single_samples_the_variance_between_clients_is_the_same(problem):
    shared = torch.zeros(2, 8, dtype=torch.float64), torch.tensor([0, 1])
    both = [_measured(problem, 1.0, lambda k, n: shared, single) for single in (True, False)]
    for key in both[0]:
        assert both[0][key].over_clients("high") == pytest.approx(both[1][key].over_clients("high"), rel=1e-9)


def test_draws_have_the_classes_moments_and_skip_classes_that_nobody_holds():
    mean = torch.tensor([[0.0, 5.0], [9.0, 9.0], [-3.0, 1.0]])
    deviation = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.5, 2.0]])
    h = FeatureDistribution(mean, deviation, torch.tensor([True, False, True]))
    labels = h.balanced(20000)
    assert sorted(set(labels.tolist())) == [0, 2]
    drawn = h.draw(labels, stream(0, "h"))
    for c in (0, 2):
        of_class = drawn[labels == c]
        torch.testing.assert_close(of_class.mean(0), mean[c], atol=0.06, rtol=0)
        torch.testing.assert_close(of_class.std(0), deviation[c], atol=0.06, rtol=0)


def test_estimated_moments_are_those_of_all_clients_features(problem):
    module, halves, theta, data = problem
    h = _features(halves, theta, data)
    features = torch.cat([module[1](module[0](x)) for x, _ in data]).detach()
    y = torch.cat([y for _, y in data])
    torch.testing.assert_close(h.mean[2], features[y == 2].mean(0))
    torch.testing.assert_close(h.deviation[2], features[y == 2].std(0, unbiased=False))
