"""`fedlab trace --run` on the states that other servers save: wrapped, nameless, with something left out."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from tests.toys import recorded as own

NETS = """
from torch import nn


def plain(shape, classes):
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, classes))


def bn(shape, classes):
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, classes))


def half_frozen(shape, classes):
    net = plain(shape, classes)
    net[0].requires_grad_(False)
    nn.init.constant_(net[0].weight, 0.25)
    nn.init.constant_(net[0].bias, -0.5)
    return net


class NoArguments(nn.Sequential):
    def __init__(self):
        super().__init__(*plain((4,), 3))


made = plain((4,), 3)
"""


@pytest.fixture(autouse=True)
def nets(tmp_path, monkeypatch):
    """A module of the user's own, and inputs."""
    (tmp_path / "othernets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    np.savez("x.npz", x=x)
    import othernets

    return othernets


def moved(module, clients=3, seed=1):
    """As `own.states`, in float64 and with statistics that were moved."""
    torch.manual_seed(seed)
    module = module.double()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return own.states(module, clients)


def traced(folder, capsys, model="plain"):
    """What is said of a run: per input and client T, change and score, and the notes less those on sizes."""
    own.trace(folder, "--inputs", "x.npz", "--model", f"othernets:{model}", "--json")
    found = json.loads(capsys.readouterr().out)
    numbers = {
        (i["input"], row["client"]): (row["T"], row["change_without"], row["score"], i["logit"])
        for i in found["inputs"] for row in i["clients"]
    }  # fmt: skip
    return numbers, [note for note in found["notes"] if "numbers of samples" not in note]


def renamed(dicts, *prefixes):
    return [{p + n: t for n, t in d.items()} for d, p in zip(dicts, prefixes, strict=True)]


def without(dicts, pattern):
    return [{n: t for n, t in d.items() if not re.search(pattern, n)} for d in dicts]


def test_prefixes_are_taken_off_and_named(nets, capsys, tmp_path):
    """The server's and each client's may differ."""
    dicts = moved(nets.plain((4,), 3))
    whole, notes = traced(own.save(tmp_path / "a", dicts, classes=3), capsys)
    assert notes == []
    same = renamed(dicts, *["_orig_mod."] * 4)
    found, notes = traced(own.save(tmp_path / "b", same, classes=3), capsys)
    assert found == whole
    assert notes == [
        "global.safetensors, client_0.safetensors and 2 more: prefix `_orig_mod.` taken off the names"
    ]  # fmt: skip
    mixed = renamed(dicts, "", "module.", "net.", "module.")
    found, notes = traced(own.save(tmp_path / "c", mixed, classes=3), capsys)
    assert found == whole
    assert notes == [
        "client_0.safetensors, client_2.safetensors: prefix `module.` taken off the names",
        "client_1.safetensors: prefix `net.` taken off the names",
    ]


def test_a_server_s_mean_of_counters_decides_no_arithmetic(nets, capsys, tmp_path):
    """Means of integers are float64 with numpy; the weights are float32, and stay it."""
    dicts = [{n: t.float() if t.is_floating_point() else t for n, t in d.items()} for d in moved(nets.bn((4,), 3))]
    whole, _ = traced(own.save(tmp_path / "a", dicts, classes=3), capsys, "bn")
    meant = {**dicts[0], "1.num_batches_tracked": torch.tensor(2.5, dtype=torch.float64)}
    assert traced(own.save(tmp_path / "b", [meant, *dicts[1:]], classes=3), capsys, "bn")[0] == whole


@pytest.mark.parametrize("names", [True, False])
def test_arrays_in_npz_files(nets, capsys, tmp_path, names):
    """With and without names: numpy.savez(path, **state) and numpy.savez(path, *arrays)."""
    dicts = moved(nets.bn((4,), 3))
    whole, _ = traced(own.save(tmp_path / "a", dicts, classes=3), capsys, "bn")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/run.yaml").write_text("classes: 3\n")
    own.save_arrays(tmp_path / "b", dicts, [0, 1, 2], names)
    found, notes = traced(tmp_path / "b", capsys, "bn")
    assert found == whole
    said = "global.npz, client_0.npz and 2 more: 9 arrays without names taken for the model's state dict, in order"
    assert notes == ([] if names else [said])


def test_arrays_of_parameters_alone(nets, capsys, tmp_path):
    """As [p.numpy() for p in model.parameters()] of a model without statistics: nothing is missing."""
    dicts = moved(nets.plain((4,), 3))
    whole, _ = traced(own.save(tmp_path / "a", dicts, classes=3), capsys)
    listed = [{str(i): t for i, t in enumerate(d.values())} for d in dicts]
    found, notes = traced(own.save(tmp_path / "b", listed, classes=3), capsys)
    assert found == whole and len(notes) == 1 and "4 arrays without names" in notes[0]


def test_clients_without_statistics_change_nothing(nets, capsys, tmp_path):
    """Neither T nor the change of the logit looks at a client's statistics."""
    dicts = moved(nets.bn((4,), 3))
    whole, _ = traced(own.save(tmp_path / "a", dicts, classes=3), capsys, "bn")
    found, notes = traced(own.save(tmp_path / "b", [dicts[0], *without(dicts[1:], "running|tracked")], classes=3),
                          capsys, "bn")  # fmt: skip
    assert found == whole
    (note,) = notes
    assert note.startswith("the clients' states leave out 1.running_mean, 1.running_var (BatchNorm1d): taken as in")


def test_local_layers_that_only_clients_saved(nets, capsys, tmp_path):
    """A server that aggregates all but BatchNorm (FedBN), clients that saved everything: as the mean of them all."""
    dicts = moved(nets.bn((4,), 3))
    whole, _ = traced(own.save(tmp_path / "a", dicts, classes=3), capsys, "bn")
    partly = [without(dicts[:1], r"^1\.")[0], *dicts[1:]]
    found, notes = traced(own.save(tmp_path / "b", partly, classes=3), capsys, "bn")
    assert found.keys() == whole.keys()
    for key in whole:
        assert found[key] == pytest.approx(whole[key], rel=1e-9, abs=1e-12)
    (note,) = notes
    assert note.startswith("the global state leaves out 1.weight, 1.bias, 1.running_mean and 1 more (BatchNorm1d)")
    weighed = own.save(tmp_path / "c", partly, classes=3, sizes={"0": 10, "1": 1, "2": 1})
    assert traced(weighed, capsys, "bn")[0] != found  # the mean is weighed as the round was


def test_statistics_that_nobody_saved(nets, capsys, tmp_path):
    """Parameters only: the model's own statistics, as a server's load_state_dict(strict=False) has them; said so."""
    dicts = moved(nets.bn((4,), 3))
    bare = without(dicts, "running|tracked")
    found, notes = traced(own.save(tmp_path / "a", bare, classes=3), capsys, "bn")
    fresh = nets.bn((4,), 3).double()
    fresh.load_state_dict(bare[0], strict=False)
    x = torch.from_numpy(np.load("x.npz")["x"])
    logits = fresh.eval()(x).max(1).values
    assert [found[i, "0"][3] for i in range(5)] == pytest.approx(logits.tolist(), rel=1e-12)
    (note,) = notes
    assert note.startswith("no state holds 1.running_mean, 1.running_var (BatchNorm1d)") and "zeros and ones" in note


def test_frozen_parameters_that_nobody_sent(nets, capsys, tmp_path):
    """They are constants of the model that `--model` builds."""
    module = nets.half_frozen((4,), 3).double()
    dicts = own.states(module, 3)
    for held in dicts:
        held.update({n: module.state_dict()[n] for n in ("0.weight", "0.bias")})
    whole, _ = traced(own.save(tmp_path / "a", dicts, classes=3), capsys, "half_frozen")
    found, notes = traced(own.save(tmp_path / "b", without(dicts, "^0"), classes=3), capsys, "half_frozen")
    assert found == whole and len(notes) == 1 and "no state holds 0.weight, 0.bias (Linear)" in notes[0]
    listed = [{str(i): t for i, t in enumerate(d.values())} for d in without(dicts, "^0")]
    found, notes = traced(own.save(tmp_path / "c", listed, classes=3), capsys, "half_frozen")
    assert found == whole and any("trained parameters, in order" in note for note in notes)


def test_recorded_values_go_before_those_of_a_frozen_layer(nets, capsys, tmp_path):
    """What `--model` builds need not be what the server started from; clients may even differ in it."""
    torch.manual_seed(4)
    dicts = own.states(nets.plain((4,), 3).double(), 3)
    found, notes = traced(own.save(tmp_path / "a", dicts, classes=3), capsys, "half_frozen")
    assert notes == [] and found == traced(own.save(tmp_path / "b", dicts, classes=3), capsys, "plain")[0]


@pytest.mark.parametrize("model", ["NoArguments", "made"])
def test_classes_without_arguments_and_modules(nets, capsys, tmp_path, model):
    run = own.save(tmp_path / "a", moved(nets.plain((4,), 3)), classes=3)
    assert traced(run, capsys, model) == traced(run, capsys, "plain")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_states_of_few_bits_are_widened(nets, capsys, tmp_path, dtype):
    """The same numbers as the rounded states in float32, and a word about the precision where the mean shows it."""
    few = [{n: t.to(dtype) for n, t in d.items()} for d in moved(nets.plain((4,), 3))]
    wide = [{n: t.float() for n, t in d.items()} for d in few]
    found, notes = traced(own.save(tmp_path / "a", few, classes=3), capsys)
    assert (found, notes) == traced(own.save(tmp_path / "b", wide, classes=3), capsys)
    assert all("states saved in low precision" in note for note in notes)
    assert notes or dtype == torch.float16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # what nobody holds and the model trains cannot be made up
        (lambda d: without(d, r"^1\."), "neither the global state nor the clients' hold 1.weight, 1.bias, 1.run"),
        (lambda d: without(d, r"^3\."), "neither the global state nor the clients' hold 3.weight, 3.bias (Linear)"),
        (lambda d: [*d[:2], *without(d[2:], "running_var")], "tensor 1.running_var is missing, and client_0.safetens"),
        (lambda d: [d[0], *without(d[1:2], "^1"), *d[2:]], "it holds 1.bias, and client_0.safetensors does not"),
        (lambda d: renamed(without(d, "^3.bias"), *["model."] * 4), "hold 3.bias (Linear)"),
        (lambda d: [{**d[0], "aux.weight": d[0]["3.weight"]}, *d[1:]], "tensor aux.weight is not in the model"),
        (lambda d: [{str(i): t for i, t in enumerate(e.values())} for e in without(d, "^1.b")],
         "arrays without names do not fit the model: number 5 has shape (), 1.running_var needs (6,)"),
        (lambda d: [{str(i): t for i, t in enumerate(e.values())} for e in without(d, "^1.w|^1.b")],
         "arrays without names do not fit the model: 7 of them, and it has 6"),
        (lambda d: [{str(i): t for i, t in enumerate(reversed(e.values()))} for e in d],
         "arrays without names do not fit the model: number 0 has shape (3,), 0.weight needs (6, 4)"),
    ],
)  # fmt: skip
def test_what_cannot_be_traced_is_told_in_a_line(nets, capsys, tmp_path, change, said):
    run = own.save(tmp_path / "a", change(moved(nets.bn((4,), 3))), classes=3)
    own.trace(run, "--inputs", "x.npz", "--model", "othernets:bn", code=2)
    err = capsys.readouterr()
    assert said in err.err and err.out == "" and len(err.err.splitlines()) == 3


def test_weights_named_by_the_run_fill_what_the_record_leaves_out(capsys, tmp_path):
    """Statistics of a pretrained model whose parameters alone were exchanged."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    module = get_model("shufflenet_v2_x0_5", num_classes=3).eval()
    for name, tensor in module.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
    torch.save(module.state_dict(), tmp_path / "start.pth")
    bare = without(own.states(module, 2), "running|tracked")
    block = {"kind": "torchvision", "name": "shufflenet_v2_x0_5", "weights": str(tmp_path / "start.pth")}
    run = own.save(tmp_path / "a", bare, model=block, classes=3)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    np.savez("x.npz", x=x)
    own.trace(run, "--inputs", "x.npz", "--json")
    found = json.loads(capsys.readouterr().out)
    module.load_state_dict(bare[0], strict=False)
    logits = module(x).max(1).values
    assert [i["logit"] for i in found["inputs"]] == pytest.approx(logits.tolist(), rel=1e-4)
    assert any(
        "no state holds conv1.1.running_mean" in note and "zeros and ones" not in note for note in found["notes"]
    )
