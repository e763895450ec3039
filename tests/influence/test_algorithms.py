"""`fedlab influence` with another algorithm than FedAvg: the truth is that algorithm's own."""

import pytest
import torch

from experiments.core.engine.simulate_plain import load, simulate_plain
from experiments.core.engine.worlds import BASE, without_client
from experiments.core.errors import SpecError
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from tests.toys import federated as tiny

pytestmark = pytest.mark.usefixtures("no_pictures")
ALGORITHMS = {
    "scaffold": {"kind": "scaffold"},
    "feddyn": {"kind": "feddyn", "alpha": 0.5},
    "fedimpro": {"kind": "fedimpro", "split": "fc1", "until": 4},
}
SPLIT = {"model": {"kind": "mlp", "hidden": [4], "activation": "tanh"}, "formulation": "looped"}


def log(folder):
    """What the one cell under `folder` wrote down of itself, warnings included."""
    (file,) = folder.rglob("log.txt")
    return file.read_text()


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_the_truth_is_plain_counterfactual_runs(tmp_path, name):
    more = SPLIT if name == "fedimpro" else {}
    config = tiny.write(tmp_path, algorithm=ALGORITHMS[name], cleansing=None, variants=["lwet_fisher"], **more)
    assert tiny.command("influence", config, tmp_path / "runs") == 0
    assert f"the truth is that of {name}; the estimates are derived for FedAvg" in log(tmp_path)
    truth = tiny.metrics(tmp_path / "runs")
    built = build(tiny.loaded(config), 0, Context(tmp_path / "built"))
    problem, federation = built.problem, built.problem.federation

    def loss(world):
        *_, (_, state) = simulate_plain(problem, world, built.start)
        with torch.no_grad():
            outputs = load(problem.net, state).eval()(federation.test_x)
            return float(torch.nn.functional.cross_entropy(outputs, federation.test_y))

    base = tiny.value(truth, method="base", metric="loss", round=6)
    assert base == pytest.approx(loss(BASE), rel=1e-9)
    for client in (7, 3):
        change = tiny.value(truth, method="exact", metric="fil", subject=f"client={client}", round=6)
        assert abs(change) > 1e-4
        assert base + change == pytest.approx(loss(without_client(client)), rel=1e-9)


def test_fedavg_warns_of_nothing(tmp_path):
    config = tiny.write(tmp_path, cleansing=None, variants=["lwet_fisher"])
    assert tiny.command("influence", config, tmp_path / "runs") == 0
    assert "derived for" not in log(tmp_path)


def test_cleansing_is_rejected(tmp_path):
    with pytest.raises(SpecError, match="cleansing: continues from a round's model alone, which only fedavg can"):
        tiny.loaded(tiny.write(tmp_path, algorithm=ALGORITHMS["scaffold"]))
