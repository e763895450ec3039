"""Contributions and FedDebug on a CUDA device give what they give on a CPU."""

import pytest
import torch

from experiments.core.estimators._feddebug import feddebug, random_inputs
from experiments.core.estimators.numerics.tracefl import contributions, provenance
from tests.core.estimators.test_feddebug import clients_of, net_of, plant
from tests.core.estimators.tracefl_cases import round_of

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("name", ["mlp", "conv net", "branches", "shared", "sequence first"])
def test_contributions_do_not_depend_on_the_device(name, active):
    net, theta, locals, x, _ = round_of(name)
    here = contributions(net, theta, locals, x, active=active)
    there = contributions(net, theta.cuda(), locals.cuda(), x.cuda(), active=active)
    assert there.delta.device.type == there.outputs.device.type == "cpu"
    torch.testing.assert_close(provenance(there), provenance(here), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(there.delta, here.delta, rtol=1e-9, atol=1e-11)


def test_a_planted_fault_is_found_there():
    net = net_of()
    locals = clients_of(net, 8)
    plant(net, locals, 5, seed=3)
    assert feddebug(net, locals.cuda(), random_inputs((1, 8, 8), 4, seed=0).double().cuda()) == [(5,)] * 4
