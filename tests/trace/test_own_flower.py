"""The README's recipe for Flower, run as it stands there: with Flower where it is installed, and with a stand-in."""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from experiments import trace
from experiments.core.recorded.run_file import RecordSpec, read_run_file
from tests.toys import recorded as own

SIZES = {71: 10, 2**63 + 5: 30, 4: 60}
"""Samples of each node; Flower's ids of nodes are drawn from 64 bits."""


def recipe():
    """The README's class, made anew."""
    text = Path(trace.__file__).with_name("README.md").read_text(encoding="utf-8")
    held: dict = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], held)
    return held["Recorded"]


def sent():
    """What each node sends back after training."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(4, 3))
    return dict(zip(SIZES, own.states(module, 3)[1:], strict=True))


class Record(dict):
    """As much of flwr.app.ArrayRecord as a strategy needs."""

    def to_torch_state_dict(self):
        return dict(self)


class Averaging:
    """As much of flwr.serverapp.strategy.FedAvg."""

    def aggregate_train(self, server_round, replies):
        good = [reply.content for reply in replies if not reply.has_error()]
        if not good:
            return None, None
        weights = np.array([content["metrics"]["num-examples"] for content in good], dtype=float)
        p = weights / weights.sum()
        names = good[0]["arrays"]
        mean = {n: sum(q * c["arrays"][n].numpy() for q, c in zip(p, good, strict=True)) for n in names}
        return Record({n: torch.from_numpy(m) for n, m in mean.items()}), {"loss": 0.5}


def reply(node, content):
    """A message to the server; without content a failure. Flower's own can be made in a running server only."""
    metadata, error = SimpleNamespace(src_node_id=node), SimpleNamespace(reason="lost")
    return SimpleNamespace(metadata=metadata, content=content, error=error, has_error=lambda: content is None)


def stood_in(monkeypatch):
    strategy = ModuleType("flwr.serverapp.strategy")
    strategy.FedAvg = Averaging
    for module in (ModuleType("flwr"), ModuleType("flwr.serverapp"), strategy):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return [reply(k, {"arrays": Record(s), "metrics": {"num-examples": SIZES[k]}}) for k, s in sent().items()]


def real(monkeypatch):
    from flwr.app import ArrayRecord, MetricRecord, RecordDict

    return [
        reply(k, RecordDict({"arrays": ArrayRecord(s), "metrics": MetricRecord({"num-examples": SIZES[k]})}))
        for k, s in sent().items()
    ]


FORMS = {
    "stand-in": stood_in,
    "flower": pytest.param(real, marks=pytest.mark.skipif(find_spec("flwr") is None, reason="Flower is not installed")),
}


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_the_recipe_records_rounds_that_are_traced(tmp_path, monkeypatch, capsys, make):
    """A lost reply is left out; what the strategy returns is what Flower's own would."""
    monkeypatch.chdir(tmp_path)
    good = make(monkeypatch)
    arrays, metrics = recipe()().aggregate_train(7, iter([good[0], reply(5, None), *good[1:]]))
    assert metrics is not None
    Path("my_run/run.yaml").write_text("model: {kind: logreg}\nclasses: 3\n")
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(3))
    np.savez("x.npz", x=x)
    own.trace(Path("my_run"), "--inputs", "x.npz", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["round"] == 7 and found["notes"] == []  # the global model is the weighted mean of what was sent
    assert {c["client"]: c["samples"] for c in found["clients"]} == {str(k): n for k, n in SIZES.items()}
    whole = arrays.to_torch_state_dict()
    logits = (x @ whole["0.weight"].float().T + whole["0.bias"].float()).max(1).values
    assert [i["logit"] for i in found["inputs"]] == pytest.approx(logits.tolist(), rel=1e-5)


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_a_round_without_replies_is_no_round(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    make(monkeypatch)
    assert recipe()().aggregate_train(1, [reply(5, None)]) == (None, None)
    assert not Path("my_run").exists()


def test_the_readme_s_run_yaml_is_read_and_names_every_field(tmp_path):
    text = Path(trace.__file__).with_name("README.md").read_text(encoding="utf-8")
    (tmp_path / "run.yaml").write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    spec = read_run_file(tmp_path).spec
    assert spec.model_fields_set == set(RecordSpec.model_fields)
    assert (spec.classes, spec.sizes["1"], spec.clients["0"], len(spec.labels)) == (10, 80, "Oslo", 10)
