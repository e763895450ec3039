"""`fedlab trace --run` on recorded rounds, held against closed forms, autograd and exact re-aggregation."""

import csv
import json
import re

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.func import functional_call

from experiments.core.models import build
from experiments.core.models.transformer import Transformer
from experiments.core.recorded.inputs import read_inputs
from experiments.core.recorded.run import open_round
from experiments.core.recorded.states import RoundStates
from experiments.trace import own_trace
from experiments.trace.own_trace import Choices, trace_own
from tests.toys import federated as tiny
from tests.toys import recorded as own

LOGREG = {"model": {"kind": "logreg"}, "classes": 3, "shape": [4]}
CPU = torch.device("cpu")


def nothing(done, total):
    """No progress."""


def logreg(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3)).to(dtype)


def inputs(folder, x, name="x.npz", **more):
    np.savez(folder / name, inputs=np.asarray(x), **more)
    return folder / name


def told(capsys):
    """What --json printed, and T, change and score as [n, K] in the order of the participants."""
    found = json.loads(capsys.readouterr().out)
    places = {row["client"]: k for k, row in enumerate(found["clients"])}

    def grid(key):
        numbers = torch.zeros(len(found["inputs"]), len(places), dtype=torch.float64)
        for i, item in enumerate(found["inputs"]):
            for row in item["clients"]:
                numbers[i, places[row["client"]]] = row[key]
        return numbers

    return found, grid("T"), grid("change_without"), grid("score")


@pytest.fixture
def linear_round(tmp_path):
    """A round of a linear model with three clients of 10, 30 and 60 samples, and five inputs."""
    shares, sizes = [0.1, 0.3, 0.6], [10, 30, 60]
    dicts = own.states(logreg(), 3, shares=shares)
    run = own.save(tmp_path / "run", dicts, ["7", "b", "2"], sizes, **LOGREG)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return run, dicts, x, shares, inputs(tmp_path, x, labels=np.array([0, 1, 2, 0, 1]))


def test_a_linear_model_is_its_closed_form(linear_round, capsys):
    """T_k is client k's own logit of the predicted class; the change is that of the re-aggregated model."""
    run, dicts, x, p, file = linear_round
    own.trace(run, "--inputs", file, "--json")
    found, raw, change, score = told(capsys)
    outputs = [x @ d["0.weight"].T + d["0.bias"] for d in dicts]
    chosen = outputs[0].argmax(1)
    logits = torch.stack([o.gather(1, chosen[:, None])[:, 0] for o in outputs], 1)
    torch.testing.assert_close(raw, logits[:, 1:], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(score, torch.softmax(logits[:, 1:], 1), rtol=1e-9, atol=1e-12)
    left = [[p[j] / (1 - p[k]) * (j != k) for j in range(3)] for k in range(3)]
    without = logits[:, 1:] @ torch.tensor(left, dtype=torch.float64).T
    torch.testing.assert_close(change, without - logits[:, :1], rtol=1e-9, atol=1e-12)
    assert [i["predicted"] for i in found["inputs"]] == chosen.tolist()
    assert [i["label"] for i in found["inputs"]] == [0, 1, 2, 0, 1]
    assert [i["right"] for i in found["inputs"]] == (chosen == torch.tensor([0, 1, 2, 0, 1])).tolist()
    assert [c["client"] for c in found["clients"]] == ["7", "b", "2"] and found["round"] == 4
    assert [c["samples"] for c in found["clients"]] == [10, 30, 60] and found["notes"] == []
    for i, item in enumerate(found["inputs"]):
        ranked = [row["client"] for row in item["clients"]]
        assert ranked == [["7", "b", "2"][k] for k in raw[i].argsort(descending=True).tolist()]
        assert [row["rank"] for row in item["clients"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--shares"], lambda w, b, p: p * (w + b)),
        (["--bias", "none"], lambda w, b, p: w),
        (["--bias", "centred", "--shares"], lambda w, b, p: p * (w + b - b.mean(1, keepdim=True))),
    ],
)
def test_options_of_the_score(linear_round, capsys, options, expected):
    run, dicts, x, p, file = linear_round
    own.trace(run, "--inputs", file, "--json", *options)
    _, raw, _, _ = told(capsys)
    chosen = (x @ dicts[0]["0.weight"].T + dicts[0]["0.bias"]).argmax(1)
    w = torch.stack([(x * d["0.weight"][chosen]).sum(1) for d in dicts[1:]], 1)
    b = torch.stack([d["0.bias"][chosen] for d in dicts[1:]], 1)
    torch.testing.assert_close(raw, expected(w, b, torch.tensor(p, dtype=torch.float64)), rtol=1e-9, atol=1e-12)


def test_a_torchvision_model_named_on_the_command_line(tmp_path, capsys):
    """Convolutions, BatchNorm and its counters, float32: against autograd's gradient and the exponents counted here."""
    from torchvision.models import get_model

    torch.manual_seed(1)
    module = get_model("shufflenet_v2_x0_5", num_classes=5).eval()
    dicts = own.states(module, 3)
    run = own.save(tmp_path / "run", dicts, classes=5)
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    own.trace(run, "--inputs", inputs(tmp_path, x), "--model", "shufflenet_v2_x0_5", "--json", "--decay", 0.8)
    found, raw, change, _ = told(capsys)
    assert [c["samples"] for c in found["clients"]] == [None] * 3 and "all clients count the same" in found["notes"][0]
    layers = [n for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    weight = {n: 0.8 ** (len(layers) - 1 - i) for i, n in enumerate(layers)}
    names = [n for n, _ in module.named_parameters()]
    for i in range(3):
        at = {n: t.clone().requires_grad_(n in names) for n, t in dicts[0].items()}
        logit = functional_call(module, at, x[i : i + 1]).max()
        grads = dict(zip(names, torch.autograd.grad(logit, [at[n] for n in names]), strict=True))
        for k, client in enumerate(dicts[1:]):
            inner = {n: float((client[n].double() * grads[n].double()).sum()) for n in names}
            expected = sum(weight.get(n.rpartition(".")[0], 0) * value for n, value in inner.items())
            assert float(raw[i, k]) == pytest.approx(expected, rel=1e-3, abs=1e-3)
            delta = sum(float(((client[n] - dicts[0][n]).double() * grads[n].double()).sum()) for n in names)
            assert float(change[i, k]) == pytest.approx(-delta / 2, rel=1e-3, abs=1e-3)  # p / (1 - p) = 1/2


def test_weights_named_by_the_run_are_not_needed(tmp_path):
    """The states of the record take their place, so that their file need not be there any more."""
    from torchvision.models import get_model

    dicts = own.states(get_model("squeezenet1_1", num_classes=5), 2)
    block = {"kind": "torchvision", "name": "squeezenet1_1", "weights": "no/such/file.pth"}
    round_ = open_round(own.save(tmp_path, dicts, model=block, classes=5))
    net = round_.build((3, 32, 32), CPU)
    views = net.views(round_.states(net).locals([1])[0])
    assert all(torch.equal(views[n], dicts[2][n]) for n in views) and len(views) == len(dicts[2])


def test_a_checkpoint_of_the_data_folder_is_found(tmp_path, monkeypatch):
    """A run that named its checkpoint as the specs do leaves the same words in run.yaml."""
    transformers = pytest.importorskip("transformers", reason="the extra [text] is not installed")
    sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "max_position_embeddings": 6}
    config = transformers.GPT2Config(vocab_size=20, bos_token_id=None, eos_token_id=None, **sizes)
    transformers.GPT2ForSequenceClassification(config).save_pretrained(tmp_path / "data/models/mine")
    block = {"kind": "transformer", "arch": "gpt2", "checkpoint": "models/mine"}
    module = build(Transformer.model_validate(block), (5,), 3, tmp_path / "data")
    run = own.save(tmp_path / "run", own.states(module, 2), model=block, classes=3, shape=[5])
    x = inputs(tmp_path, torch.tensor([[3, 4, 0, 0, 0], [7, 1, 2, 5, 0]]))
    own.trace(run, "--inputs", x, code=4)
    own.trace(run, "--inputs", x, "--data-dir", tmp_path / "data")
    monkeypatch.setenv("FEDLAB_DATA_DIR", str(tmp_path / "data"))
    own.trace(run, "--inputs", x)


NETS = """
from torch import nn


class Tied(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.words = nn.Embedding(9, size)
        self.mix = nn.Linear(size, size)
        self.out = nn.Linear(size, 9, bias=False)
        self.out.weight = self.words.weight
        self.register_buffer("scale", self.mix.weight.detach().new_full((), 0.5), persistent=False)

    def forward(self, ids):
        return self.out(self.mix(self.words(ids).mean(1)).tanh()) * self.scale


def tied(shape, classes):
    return Tied(6)


def bn(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, classes))


def sums(shape, classes):
    return nn.ParameterList([])
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A module of the user's own."""
    (tmp_path / "tracednets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import tracednets

    return tracednets


def test_token_ids_shared_tensors_and_a_callable(tmp_path, capsys, nets):
    """The state dict holds the shared tensor under its second name only, as safetensors demands one of them."""
    torch.manual_seed(2)
    module = nets.tied((4,), 9)
    dicts = [{n: t for n, t in d.items() if n != "words.weight"} for d in own.states(module, 3)]
    run = own.save(tmp_path / "run", dicts, classes=9, sizes={"0": 1, "1": 1, "2": 2}, clients={"1": "Anna"})
    ids = np.array([[1, 2, 3, 4], [8, 8, 0, 0]])
    own.trace(run, "--inputs", inputs(tmp_path, ids), "--model", "tracednets:tied", "--json")
    found, _, change, _ = told(capsys)
    assert [c["name"] for c in found["clients"]] == ["0", "Anna", "2"]
    assert "off by" in found["notes"][0]  # the states are equal means, the sizes say otherwise
    held = {**dicts[0], "words.weight": dicts[0]["out.weight"]}
    at = {n: held[n].clone().requires_grad_() for n, _ in module.named_parameters()}
    for i in range(2):
        logit = functional_call(module, at, torch.as_tensor(ids[i : i + 1])).max()
        grads = dict(zip(at, torch.autograd.grad(logit, list(at.values())), strict=True))
        for k, (client, p) in enumerate(zip(dicts[1:], (0.25, 0.25, 0.5), strict=True)):
            both = {**client, "words.weight": client["out.weight"]}
            delta = sum(float(((both[n] - held[n]) * grads[n]).sum()) for n in at)
            assert float(change[i, k]) == pytest.approx(-p / (1 - p) * delta, rel=1e-3, abs=1e-6)


def test_counters_may_be_missing_and_half_precision_is_widened(tmp_path, capsys, nets):
    torch.manual_seed(5)
    dicts = own.states(nets.bn((4,), 3), 2)
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(6))
    whole, bare = tmp_path / "whole", tmp_path / "bare"
    half = [{n: t.bfloat16() if t.is_floating_point() else t for n, t in d.items()} for d in dicts]
    widened = [{n: t.float() if t.is_floating_point() else t for n, t in d.items()} for d in half]
    own.save(whole, widened, **LOGREG)
    own.save(bare, [{n: t for n, t in d.items() if "num_batches" not in n} for d in half], **LOGREG)
    numbers = []
    for run in (whole, bare):
        own.trace(run, "--inputs", inputs(tmp_path, x), "--model", "tracednets:bn", "--json")
        numbers.append(told(capsys)[1])
    assert float(numbers[0].abs().max()) > 0 and torch.equal(*numbers)


def test_clients_are_read_in_parts_that_fit_into_memory(linear_round, monkeypatch):
    run, _, _, _, file = linear_round
    dicts = own.states(logreg(), 7)
    own.save(run.parent / "seven", dicts, **LOGREG)
    numbers, held = [], []
    real = RoundStates.locals
    monkeypatch.setattr(RoundStates, "locals", lambda *a: held.append(len(a[1])) or real(*a))
    for free in (2**30, 2 * 3 * 15 * 8):
        monkeypatch.setattr(own_trace, "free_bytes", lambda device, free=free: free)
        traced = trace_own(
            (o := open_round(run.parent / "seven")), read_inputs(file, o.described.spec), Choices(), CPU, nothing
        )
        numbers.append((traced.raw, traced.change, torch.tensor(traced.gap)))
    assert held == [7, 2, 3, 2] and numbers[0][2] < 1e-9
    for whole, parts in zip(*numbers, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)


def test_what_train_records_is_traced(tmp_path, capsys):
    """`fedlab train --record`, then `fedlab trace --run` on the setting's folder, with the inputs left there."""
    config = tiny.write(tmp_path, paper="train", model={"kind": "logreg"})
    assert tiny.command("train", config, tmp_path / "runs", "--record") == 0
    capsys.readouterr()
    own.trace(tmp_path / "runs/train/tiny-smoke", "--round", 2, "--json", "--quiet")
    found, raw, _, _ = told(capsys)
    (folder,) = (tmp_path / "runs").rglob("rounds/00002")
    wanted = json.loads((folder / "round.json").read_text())
    assert [c["client"] for c in found["clients"]] == [str(k) for k in wanted["participants"]]
    assert [c["samples"] for c in found["clients"]] == wanted["sizes"]
    assert found["round"] == 2 and found["notes"] == [] and len(found["inputs"]) == 32
    held = np.load(folder.parent.parent / "inputs.npz", allow_pickle=False)
    x, client = torch.as_tensor(held["inputs"]), found["clients"][1]["client"]
    local = safetensors.torch.load_file(folder / f"client_{client}.safetensors")
    outputs = x @ local["0.weight"].T + local["0.bias"]
    chosen = torch.tensor([i["predicted"] for i in found["inputs"]])
    torch.testing.assert_close(raw[:, 1], outputs.gather(1, chosen[:, None])[:, 0], rtol=1e-9, atol=1e-12)
    own.trace(folder, "--json", "--quiet")  # the folder of the round itself: run.yaml lies two above
    assert torch.equal(told(capsys)[1], raw)
    for above in (folder.parent, folder.parent.parent):  # the folder of the rounds, and of the cell
        own.trace(above, "--round", 2, "--json", "--quiet")
        assert torch.equal(told(capsys)[1], raw)


def test_the_table_and_the_csv(linear_round, capsys, tmp_path):
    run, _, _, _, file = linear_round
    (run / "run.yaml").write_text("model: {kind: logreg}\nclasses: 3\nlabels: [cat, dog, cow]\nclients: {b: Bern}\n")
    own.trace(run, "--inputs", file, "--top", 2, "--csv", tmp_path / "out.csv")
    out = capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert len(rows) == 15 and len(re.findall(r"input \d: predicted", out)) == 5
    for i in range(5):
        mine = [row for row in rows if row["input"] == str(i)]
        assert [row["rank"] for row in mine] == ["1", "2", "3"]
        assert float(mine[0]["T"]) >= float(mine[1]["T"]) >= float(mine[2]["T"])
        assert sum(float(row["score"]) for row in mine) == pytest.approx(1)
        assert sum(float(row["above_mean"]) for row in mine) == pytest.approx(0, abs=1e-12)
        truth = " (right)" if mine[0]["right"] == "True" else f" (wrong: it is {mine[0]['label']})"
        assert f"input {i}: predicted {mine[0]['predicted']}{truth}, logit" in out
        assert {row["predicted"] for row in mine} <= {"cat", "dog", "cow"}
    assert {row["name"] for row in rows} == {"7", "Bern", "2"}
    first = [row["name"] for row in rows if row["rank"] == "1"]
    assert {name: first.count(name) for name in first} == {"7": 1, "Bern": 2, "2": 2}
    assert out.rstrip().endswith("most responsible of round 4, 5 inputs: client Bern for 2, client 2 for 2")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_says_the_same(linear_round):
    run, _, _, _, file = linear_round
    one = open_round(run)
    given = read_inputs(file, one.described.spec)
    here, there = (trace_own(one, given, Choices(), torch.device(d), nothing) for d in ("cpu", "cuda"))
    for name in ("raw", "score", "change", "logit"):
        torch.testing.assert_close(getattr(here, name), getattr(there, name).cpu(), rtol=1e-9, atol=1e-12)


def test_every_column_is_explained_and_none_is_empty(linear_round, capsys):
    """Numbers of samples that nobody told stand in no column."""
    run, dicts, _, _, file = linear_round
    own.trace(run, "--inputs", file)
    told = capsys.readouterr().out
    header = next(line for line in told.splitlines() if "rank" in line)
    explained = [line.partition(":")[0] for line in told.splitlines() if re.match(r"[A-Za-z ]+: ", line)]
    columns = [name.strip() for name in re.split(r"\s{2,}", header.strip())]
    assert columns == ["rank", "client", "samples", "score", "T", "above mean", "change without"]
    assert set(columns) - {"rank", "client", "samples"} <= set(explained)
    own.trace(own.save(run.parent / "equal", dicts, **LOGREG), "--inputs", file)
    told = capsys.readouterr()
    assert "samples" not in told.out and "all clients count the same" in told.err
