"""Client contributions: against the paper's hooks, plain autograd, closed forms, and re-aggregation."""

import pytest
import torch
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.errors import NumericalError, SpecError
from experiments.core.estimators.numerics import _tracing
from experiments.core.estimators.numerics.tracefl import (
    contributions,
    first_order,
    normalised,
    provenance,
    traced_layers,
)
from experiments.core.estimators.numerics.tracefl_hooked import hooked
from tests.core.estimators.cases import drawn, normal
from tests.core.estimators.tracefl_cases import CASES, EVERY_LAYER, Conv1D, round_of

CLOSE = {"rtol": 1e-9, "atol": 1e-11}
OPTIONS = [
    {},
    {"decay": 1.0, "bias": "none"},
    {"decay": 0.5, "bias": "centred"},
    {"decay": 0.7, "weighed": True},
    {"active": True},
    {"active": True, "decay": 1.0, "bias": "centred", "weighed": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: " ".join(f"{k}={v}" for k, v in o.items()) or "default")
@pytest.mark.parametrize("name", EVERY_LAYER)
def test_equals_the_hooked_way(name, options):
    net, theta, locals, x, p = round_of(name)
    given = dict(options)
    active, shares = given.pop("active", False), p if given.pop("weighed", False) else None
    c = contributions(net, theta, locals, x, active=active)
    expected = hooked(net, theta, locals, x, active=active, shares=shares, **given)
    torch.testing.assert_close(provenance(c, shares=shares, **given), expected, **CLOSE)
    assert (expected.amax(1) - expected.amin(1)).min() > 1e-6


@pytest.mark.parametrize("name", CASES)
def test_products_equal_plain_autograd_input_by_input(name):
    net, theta, locals, x, _ = round_of(name)
    c = contributions(net, theta, locals, x)
    module, parameters = net.module.eval(), {slot.name for slot in net.params}
    for i in range(len(x)):
        views = {k: v.clone().requires_grad_(k in parameters) for k, v in net.views(theta).items()}
        logits = torch.func.functional_call(module, views, (x[i : i + 1],))[0]
        torch.testing.assert_close(c.outputs[i], logits.detach())
        assert int(c.target[i]) == int(logits.argmax())
        grads = torch.autograd.grad(
            logits[c.target[i]], [views[s.name] for s in net.params], allow_unused=True, materialize_grads=True
        )
        for j, (slot, g) in enumerate(zip(net.params, grads, strict=True)):
            own, g = slice(slot.start, slot.stop), g.to_dense()
            torch.testing.assert_close(c.base[i, j], theta[own] @ g.flatten(), **CLOSE)
            torch.testing.assert_close(c.delta[i, :, j], (locals[:, own] - theta[own]) @ g.flatten(), **CLOSE)


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_one_by_one_equals_all_together(name, active):
    """Fewer inputs than are worth a common backward go one by one, through other code."""
    net, theta, locals, x, _ = round_of(name)
    c = contributions(net, theta, locals, x, active=active)
    for i in range(len(x)):
        one = contributions(net, theta, locals, x[i : i + 1], active=active)
        torch.testing.assert_close(one.base[0], c.base[i], **CLOSE)
        torch.testing.assert_close(one.delta[0], c.delta[i], **CLOSE)


TOGETHER = {
    "mlp": set(),
    "conv net": set(),
    "branches": set(),
    "shared": set(),
    "attention": set(),
    "sequence first": {"first", "flat", "bare", "shift", "grouped", "unused"},
    "changed": set(),
    "frozen": {"body"},
    "ordered": {"sorted", "reversed"},
    "repeated": {"words", "start", "last"},
}


@pytest.mark.parametrize("name", TOGETHER)
def test_only_what_a_common_backward_cannot_give_is_left_to_autograd(name):
    net, theta, _, x, _ = round_of(name)
    plan = _tracing.plan_of(net, theta, x)
    assert {s.name.partition(".")[0] for s in net.params if s.name not in plan.together} == TOGETHER[name]


def test_a_module_that_mixes_inputs_is_never_run_on_several():
    net, theta, _, x, _ = round_of("own statistics")
    assert not _tracing.plan_of(net, theta, x).together


@pytest.mark.parametrize("name", ["conv net", "attention"])
def test_blocks_and_chunks_change_nothing(name, monkeypatch):
    net, theta, locals, x, _ = round_of(name)
    whole = contributions(net, theta, locals, x)
    monkeypatch.setattr("experiments.core.estimators.numerics._products._BLOCK", {"cpu": 64})
    monkeypatch.setattr(_tracing, "free_bytes", lambda device: 4 * 3 * _tracing.plan_of(net, theta, x).memory)
    seen = []
    parts = contributions(net, theta, locals, x, progress=lambda done, n: seen.append((done, n)))
    torch.testing.assert_close(parts.delta, whole.delta, **CLOSE)
    assert seen == [(3, 7), (6, 7), (7, 7)]


def test_layers_that_are_not_recorded_count_in_the_memory_of_an_input():
    """Else so many inputs would go together that their graph outgrows the machine."""
    layers = [nn.Conv3d(1, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)]
    net, theta = drawn(nn.Sequential(*layers))
    x = normal(4, 1, 8, 8, 8)
    assert _tracing.plan_of(net, theta, x).memory >= 27 * x[0].nbytes
    middle = [nn.Upsample(scale_factor=1000), nn.Tanh(), nn.AvgPool1d(1000), nn.Flatten()]
    net, theta = drawn(nn.Sequential(nn.Linear(3, 3), *middle, nn.Linear(3, 2)))
    assert _tracing.plan_of(net, theta, normal(4, 1, 3)).memory >= 2 * 3000 * 8


def test_numbers_that_are_not_finite_decide_nothing_for_later_inputs():
    net, theta, locals, x, _ = round_of("mlp")
    with pytest.raises(NumericalError):
        contributions(net, theta, locals, x * torch.nan)
    assert _tracing.plan_of(net, theta, x).together == {s.name for s in net.params}


class Writes(nn.Module):
    """Changes its input, a buffer and an embedding's weight (that is what max_norm does) whenever it runs."""

    def __init__(self):
        super().__init__()
        self.layer, self.words, self.last = nn.Linear(4, 4), nn.Embedding(2, 4, max_norm=0.1), nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x):
        x -= 1
        self.seen += 1
        return self.last(torch.tanh(self.layer(x) + self.seen + self.words((x[:, 0] > 0).long())))


def test_a_module_that_writes_gets_copies():
    net, theta = drawn(Writes())
    locals, x = theta + 0.1 * normal(3, net.size, seed=1), normal(6, 4, seed=2)
    kept = [t.clone() for t in (theta, locals, x)]
    c = contributions(net, theta, locals, x)
    assert all(torch.equal(a, b) for a, b in zip(kept, (theta, locals, x), strict=True))
    one = contributions(net, theta, locals, x[5:])
    torch.testing.assert_close(one.delta[0], c.delta[5], **CLOSE)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Hardswish, nn.PReLU, nn.Tanh, nn.Softmax], ids=lambda a: a.__name__)
def test_active_neurons_of_two_layers_by_hand(activation):
    """Section IV-A: the activation decides, or, where none follows (a softmax is none), the output itself."""
    act = activation(-1) if activation is nn.Softmax else activation()
    net, theta = drawn(nn.Sequential(nn.Linear(4, 6), act, nn.Linear(6, 3)))
    locals, x = normal(3, net.size, seed=5), normal(5, 4, seed=6)
    found = provenance(contributions(net, theta, locals, x, active=True), decay=0.5)
    views, clients = net.views(theta), net.views(locals)
    if activation is nn.PReLU:
        act.weight.data = views["1.weight"]
    for i, one in enumerate(x):
        z = (views["0.weight"] @ one + views["0.bias"]).requires_grad_()
        h = act(z)
        y = views["2.weight"] @ h + views["2.bias"]
        c = int(y.argmax())
        g = torch.autograd.grad(y[c], z)[0] * ((z if activation is nn.Softmax else h) > 0)
        for k in range(3):
            first = (clients["0.weight"][k] @ one + clients["0.bias"][k]) @ g
            second = (clients["2.weight"][k, c] @ h + clients["2.bias"][k, c]) * (y[c] > 0)
            torch.testing.assert_close(found[i, k], 0.5 * first + second, **CLOSE)


def test_a_head_of_zeros_says_nothing_about_the_layers_behind_it():
    """Their gradients vanish in both ways; the verdict must wait for a state that shows something."""
    net, theta, locals, x, _ = round_of("shared")
    dead = theta.clone()
    for slot in net.params[-2:]:
        dead[slot.start : slot.stop] = 0
    assert _tracing.plan_of(net, dead, x).together == {"last.weight", "last.bias"}
    assert _tracing.plan_of(net, theta, x).together == {s.name for s in net.params}
    torch.testing.assert_close(provenance(contributions(net, dead, locals, x)), hooked(net, dead, locals, x), **CLOSE)


def test_shares_of_a_linear_model_without_bias_add_up_to_the_logit():
    net, _ = drawn(nn.Linear(6, 4, bias=False))
    locals, x = normal(5, net.size, seed=1), normal(8, 6, seed=2)
    p = torch.tensor([0.1, 0.3, 0.2, 0.15, 0.25], dtype=torch.float64)
    c = contributions(net, p @ locals, locals, x)
    total = provenance(c, decay=1, shares=p).sum(1)
    torch.testing.assert_close(total, c.outputs.amax(1), **CLOSE)


def test_permuting_clients_permutes_scores():
    net, theta, locals, x, p = round_of("branches")
    order = torch.tensor([3, 0, 4, 1, 2])
    a, b = contributions(net, theta, locals, x), contributions(net, theta, locals[order], x)
    for bias in ("all", "none", "centred"):
        torch.testing.assert_close(provenance(a, bias=bias)[:, order], provenance(b, bias=bias), **CLOSE)
    torch.testing.assert_close(first_order(a, p)[:, order], first_order(b, p[order]), **CLOSE)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_first_order_is_exact_on_a_model_linear_in_its_parameters(noise):
    """With noise on the global model, too, which is the same without a client."""
    net, _ = drawn(nn.Sequential(nn.Flatten(), nn.Linear(6, 4)))
    locals, x = normal(5, net.size, seed=1), normal(8, 2, 3, seed=2)
    n = torch.tensor([10.0, 30, 20, 15, 25], dtype=torch.float64)
    drift = noise * normal(net.size, seed=3)
    theta = n @ locals / n.sum() + drift
    c = contributions(net, theta, locals, x)
    for k in range(5):
        left = n.clone()
        left[k] = 0
        without = net.call(left @ locals / left.sum() + drift, x)
        change = without.gather(1, c.target[:, None])[:, 0] - c.outputs.amax(1)
        torch.testing.assert_close(first_order(c, n / n.sum(), noisy=noise > 0)[:, k], change, **CLOSE)


@pytest.mark.parametrize("name", ["branches", "sequence first"])
def test_first_order_tends_to_the_change_of_the_logit(name):
    """All parameters count, also those of BatchNorm and loose ones: the error falls faster than the change."""
    errors = []
    for spread in (0.02, 0.002):
        net, theta, locals, x, p = round_of(name, spread=spread)
        for slot in net.buffers:  # the statistics are constants to a gradient
            locals[:, slot.start : slot.stop] = theta[slot.start : slot.stop]
        c = contributions(net, theta, locals, x)
        without = [(theta - p[k] * locals[k]) / (1 - p[k]) for k in range(len(locals))]
        module = net.module.eval()
        with torch.no_grad():
            outputs = [torch.func.functional_call(module, net.views(w), (x,)) for w in without]
        change = torch.stack([o.gather(1, c.target[:, None])[:, 0] for o in outputs], 1) - c.outputs.amax(1)[:, None]
        errors.append(float((first_order(c, p) - change).norm() / change.norm()))
    assert errors[1] < 0.2 * errors[0] < 0.05


def test_a_given_class_is_traced_instead_of_the_predicted_one():
    net, theta, locals, x, _ = round_of("attention")
    target = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    c = contributions(net, theta, locals, x, target=target)
    torch.testing.assert_close(provenance(c), hooked(net, theta, locals, x, target=target), **CLOSE)
    assert c.target.tolist() == target.tolist()


def test_padding_tokens_do_not_matter():
    """The published code forgets the mask in the client branch; here masked tokens reach nobody."""
    net, theta, locals, x, _ = round_of("attention")
    short = provenance(contributions(net, theta, locals, x[:1, :2]))
    torch.testing.assert_close(provenance(contributions(net, theta, locals, x))[:1], short, **CLOSE)


def test_training_mode_and_the_template_are_left_alone():
    net, theta, locals, x, _ = round_of("conv net")
    before = net.flat()
    net.module.train()
    in_training = contributions(net, theta, locals, x)
    assert net.module.training and net.module[2].inplace and not net.module[0]._forward_hooks
    assert torch.equal(net.flat(), before)
    net.module.eval()
    assert torch.equal(in_training.delta, contributions(net, theta, locals, x).delta)


def test_traced_layers_follow_registration_and_name_tensors_as_the_net_does():
    module = nn.ModuleDict({"b": Conv1D(2, 3), "norm": nn.BatchNorm1d(3), "a": nn.Linear(2, 3), "ln": nn.LayerNorm(3)})
    module["tied"] = nn.Linear(2, 3, bias=False)
    module["tied"].weight = module["a"].weight
    module["plain"] = nn.LayerNorm(3, elementwise_affine=False)
    found = [(layer.name, layer.tensors) for layer in traced_layers(module)]
    assert found == [("b", ("b.weight", "b.bias")), ("a", ("a.weight", "a.bias")), ("ln", ("ln.weight", "ln.bias"))]


def test_a_weight_shared_by_two_layers_counts_with_all_its_uses():
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 3))
    module[2].weight = module[0].weight
    net, theta = drawn(module)
    locals, x = theta + 0.1 * normal(3, net.size, seed=1), normal(6, 4, seed=2)
    c = contributions(net, theta, locals, x)
    views = {k: v.clone().requires_grad_() for k, v in net.views(theta).items()}
    outputs = torch.func.functional_call(module, views, (x[:1],))[0]
    (g,) = torch.autograd.grad(outputs[c.target[0]], [views["0.weight"]])
    torch.testing.assert_close(c.base[0, 0], (views["0.weight"] * g).sum().detach(), **CLOSE)


def test_single_precision_keeps_small_differences():
    """theta_k and theta_G agree in five digits; their difference must not drown in the product with theta_G."""
    net, theta, locals, x, _ = round_of("conv net")
    locals = theta + 1e-5 * (locals - theta)
    net32 = Net.of(CASES["conv net"][0]())
    exact = contributions(net, theta.float().double(), locals.float().double(), x.float().double())
    found = contributions(net32, theta.float(), locals.float(), x.float())
    torch.testing.assert_close(found.delta, exact.delta, rtol=1e-3, atol=1e-3 * float(exact.delta.abs().max()))


def test_a_bias_before_a_softmax_has_no_gradient_but_rounding():
    """Such a tensor must not send every input through plain autograd."""
    _, theta, _, x, _ = round_of("attention")
    single = Net.of(CASES["attention"][0]())
    plan = _tracing.plan_of(single, theta.float(), x)
    assert plan.together == {s.name for s in single.params}


def test_normalised_is_a_softmax_over_clients():
    raw = torch.tensor([[1000.0, 999.0], [0.0, 0.0]], dtype=torch.float64)
    e = torch.e
    torch.testing.assert_close(normalised(raw), torch.tensor([[e / (1 + e), 1 / (1 + e)], [0.5, 0.5]]).double())


def test_one_client_is_refused():
    net, theta, locals, x, _ = round_of("mlp")
    with pytest.raises(SpecError, match="one client only"):
        contributions(net, theta, locals[:1], x)
    with pytest.raises(SpecError, match="no inputs"):
        contributions(net, theta, locals, x[:0])


@pytest.mark.parametrize("n", [2, 6])
def test_numbers_that_are_not_finite_are_named(n):
    net, theta, locals, x, _ = round_of("mlp", n=n)
    x[1, 0] = float("nan")
    with pytest.raises(NumericalError, match="input 1"):
        contributions(net, theta, locals, x)
    broken = locals.clone()
    broken[3, 0] = float("inf")
    with pytest.raises(NumericalError, match="client number 3"):
        contributions(net, theta, broken, x.nan_to_num())


def test_an_unknown_bias_is_refused():
    net, theta, locals, x, _ = round_of("mlp")
    with pytest.raises(ValueError, match="centred"):
        provenance(contributions(net, theta, locals, x), bias="some")
