"""What a run will cost, counted on shapes alone."""

import pytest
import torch
import yaml

from experiments.core.study.price import EVALUATION_RATE, RATE, TASK, TEST_SHARE, memory, operations, size_of, training
from experiments.influence.cells import cells
from tests.toys import federated as tiny


def spec_of(folder, *overrides, **more):
    return tiny.loaded(tiny.write(folder, paper="train", **more), "smoke", *overrides)


def test_operations_of_a_forward_pass():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(4 * 7 * 7, 10),
    )  # fmt: skip
    convolution = 2 * (4 * 14 * 14) * (3 * 5 * 5)
    assert operations(net, torch.zeros(1, 3, 14, 14)) == convolution + 2 * 10 * (4 * 49)
    assert not any(m._forward_hooks for m in net.modules())


def test_size_of_a_linear_model(tmp_path):
    size = size_of(spec_of(tmp_path))
    assert (size.forward, size.parameters, size.classes, size.clients) == (2 * 60 * 5, 305, 5, 20)


def test_size_of_an_iid_split(tmp_path):
    more = {"data": {"kind": "sklearn_digits"}, "model": {"kind": "cnn1"},
            "partition": {"kind": "iid", "clients": 12, "samples_per_client": 33}}  # fmt: skip
    size = size_of(spec_of(tmp_path, **more))
    assert (size.parameters, size.samples, size.clients, size.classes) == (17146, 33, 12, 62)


def test_size_of_samples_that_are_dealt_anew(tmp_path):
    cifar = {"kind": "cifar", "keep_train": 3000}
    size = size_of(
        spec_of(tmp_path, data=cifar, model={"kind": "cnn1"}, partition={"kind": "dirichlet", "clients": 12})
    )
    assert (size.samples, size.clients) == (250, 12)


@pytest.mark.parametrize("arch", ["bert", "gpt"])
def test_size_of_a_transformer_on_texts(tmp_path, arch):
    pytest.importorskip("transformers", reason="the extra [text] is not installed")
    text = {"kind": "text_csv", "outputs": 5, "keep_train": 240, "max_length": 16, "vocabulary": 300}
    model = {"kind": "transformer", "arch": arch, "layers": 3, "width": 8, "vocabulary": 300}
    more = {"data": text, "model": model, "partition": {"kind": "dirichlet", "clients": 12}}
    size = size_of(spec_of(tmp_path, **more))
    assert (size.samples, size.classes, size.clients) == (20, 5, 12)
    blocks = 2 * 16 * 3 * 12 * 8**2  # four matrices of attention and two of four times the width, at every place
    head = 2 * (8**2 + 8 * 5) if arch == "bert" else 2 * 16 * 8 * 5
    assert size.forward == blocks + head and size.parameters > 300 * 8
    assert size_of(spec_of(tmp_path, **{**more, "data": {**text, "outputs": None}})) is None


def test_unknown_before_loading(tmp_path):
    assert size_of(spec_of(tmp_path, data={"kind": "csv", "path": "none.csv"})) is None


@pytest.mark.parametrize("fault", [ValueError("x"), AttributeError("x"), RuntimeError("x"), TypeError("x")])
def test_a_model_that_fails_has_no_estimate(tmp_path, fault):
    class Bad:
        kind = "bad"

        def build(self, shape, classes):
            raise fault

    assert size_of(spec_of(tmp_path).model_copy(update={"model": Bad()})) is None


def test_seconds_of_training_by_hand(tmp_path):
    spec = spec_of(tmp_path)
    size = size_of(spec)
    pairs, worlds = 6 * 6, 11
    local = pairs * worlds * 2 * size.samples * 3 * 600 / RATE
    tests = 6 / 2 * worlds * TEST_SHARE * 20 * size.samples * 600 / EVALUATION_RATE
    assert training(spec, size, worlds) == pytest.approx(local + tests + pairs * TASK)
    assert training(spec, size, 22) > training(spec, size, 11)


SENT = {"fednova": 305 + 1, "scaffold": 2 * 305}  # of 305 parameters, where more than the model is sent
REMEMBERED = {  # numbers of one world: 305 parameters, 20 clients
    "{kind: fednova}": 0,
    "{kind: fedavgm}": 305,
    "{kind: fedadam}": 2 * 305,
    "{kind: scaffold}": 305 + 20 * 305,
    "{kind: feddyn, alpha: 1}": 305 + 20 * 305,
}


@pytest.mark.parametrize("algorithm", list(REMEMBERED))
def test_memory_counts_what_the_algorithm_remembers_in_each_world(tmp_path, algorithm):
    """8 bytes a number in float64, in the base world and in the 20 without a client; what is sent, and its mean."""
    spec, block = spec_of(tmp_path), yaml.safe_load(algorithm)
    size, each = size_of(spec), spec.clients_per_round
    without, sent = memory(spec, size, 21), SENT.get(block["kind"])
    more = (sent - 305) * (21 + each) + 305 * each if sent else 0
    assert memory(spec_of(tmp_path, algorithm=block), size, 21) == without + 8 * (21 * REMEMBERED[algorithm] + more)


def test_clients_that_never_take_part_cost_no_memory(tmp_path):
    """Two rounds of three clients of twenty: at most six have a state."""
    size = size_of(spec_of(tmp_path))
    more = {"rounds": 2, "clients_per_round": 3}
    without = memory(spec_of(tmp_path, **more), size, 21)
    scaffold = memory(spec_of(tmp_path, algorithm={"kind": "scaffold"}, **more), size, 21)
    assert scaffold == without + 8 * 305 * (21 * (1 + 6) + (21 + 3) + 3)


def test_the_price_of_a_cell_of_influence_counts_them(tmp_path):
    """Twenty worlds and the base world: what `fedlab influence --dry-run` tells."""
    plan = {}
    for name in ("fedavg", "scaffold"):
        config = tiny.write(tmp_path, name, cleansing=None, algorithm={"kind": name})
        (cell,) = cells(tiny.loaded(config))
        plan[name] = cell.memory
    each = tiny.loaded(config).clients_per_round
    assert plan["scaffold"] - plan["fedavg"] == 8 * 305 * (21 * 21 + (21 + each) + each)
