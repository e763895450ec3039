"""BERT, GPT and GPT-2: the library's own models and checkpoints, with ids in and outputs out."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from experiments.core.engine.formulations import formulations
from experiments.core.engine.net import Net, initialise
from experiments.core.engine.sample_trial import by_vmap
from experiments.core.errors import MissingError, SpecError
from experiments.core.estimators.numerics.tracefl import contributions, traced_layers
from experiments.core.models import _transformers
from experiments.core.models.transformer import Transformer

transformers = pytest.importorskip("transformers", reason="the extra [text] is not installed")

ARCHS = ("bert", "gpt", "gpt2")
NAMES = {"bert": "Bert", "gpt": "OpenAIGPT", "gpt2": "GPT2"}
TINY = {"layers": 2, "width": 12, "heads": 3, "vocabulary": 40}
LENGTH, CLASSES = 7, 4


def build(arch, **more):
    torch.manual_seed(0)
    module = Transformer(arch=arch, **{**TINY, **more}).build((LENGTH,), CLASSES).double().eval()
    for tensor in module.parameters():  # biases and shifts too, which the library sets to zero
        tensor.data.add_(0.1 * torch.randn(tensor.shape, dtype=torch.float64))
    return module


def ids(n=5, seed=0):
    """Ids [n, LENGTH]; row 0 is full, the others end in padding."""
    found = torch.randint(1, 40, (n, LENGTH), generator=torch.Generator().manual_seed(seed))
    for row in range(1, n):
        found[row, LENGTH - row :] = 0
    return found


def theirs(arch, module, x):
    """The library's own classifier with the same tensors, each text alone and without its padding."""
    config = getattr(transformers, f"{NAMES[arch]}Config")(**module.config.to_diff_dict())
    own = getattr(transformers, f"{NAMES[arch]}ForSequenceClassification")(config).double().eval()
    own.load_state_dict(module.state_dict())
    with torch.no_grad():
        return torch.cat([own(row[row != 0][None]).logits for row in x])


@pytest.mark.parametrize("arch", ARCHS)
def test_outputs_are_the_library_s_on_each_text_without_its_padding(arch):
    module, x = build(arch), ids()
    with torch.no_grad():
        outputs = module(x)
    assert outputs.shape == (5, CLASSES)
    torch.testing.assert_close(outputs, theirs(arch, module, x), rtol=1e-9, atol=1e-9)
    assert module.vocabulary == 40 and (module.loaded_tensors, module.weights_from) == (frozenset(), "none")


@pytest.mark.parametrize("arch", ARCHS)
def test_a_text_of_nothing_has_an_output(arch):
    x = torch.zeros(2, LENGTH, dtype=torch.int64)
    outputs = build(arch)(x)
    assert torch.isfinite(outputs).all() and torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("arch", ARCHS)
def test_only_parameters_are_trained_and_many_models_go_at_once(arch):
    module, x, y = build(arch), ids(), torch.tensor([0, 1, 2, 3, 0])
    net = Net.of(module)
    assert not net.buffers and net.size == net.p == sum(p.numel() for p in module.parameters())
    theta = net.flat() + 0.05 * torch.randn(3, net.size, dtype=torch.float64)
    looped, vmapped = (formulations()[name](net) for name in ("looped", "vmapped"))
    assert vmapped.supports(net, torch.device("cpu"), torch.float64)
    weight = torch.tensor([[1.0, 1, 1, 1, 1], [1, 0, 1, 1, 1], [0.5, 1, 2, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(vmapped.outputs(theta, x), looped.outputs(theta, x), rtol=1e-9, atol=1e-12)
    one, two = (f.gradient(theta.clone(), x, y, weight) for f in (looped, vmapped))
    torch.testing.assert_close(two, one, rtol=1e-8, atol=1e-11)
    for row, state in enumerate(theta):  # plain autograd on the module itself
        torch.nn.utils.vector_to_parameters(state, module.parameters())
        losses = torch.nn.functional.cross_entropy(module(x), y, reduction="none")
        loss = (losses * weight[row]).sum() / weight[row].sum()
        expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(module.parameters()))])
        torch.testing.assert_close(one[row], expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("arch", ARCHS)
def test_each_sample_s_gradient_by_vmap(arch):
    net, x, y = Net.of(build(arch)), ids(), torch.tensor([0, 1, 2, 3, 0])
    found = by_vmap(net, net.flat(), x, y)
    looped = formulations()["looped"](net)
    expected = [looped.gradient(net.flat()[None], x[i : i + 1], y[i : i + 1], None)[0] for i in range(5)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("arch", ARCHS)
def test_predictions_are_traced_through_masks_heads_and_conv1d(arch):
    module, x = build(arch), ids(3)
    net = Net.of(module)
    theta = net.flat()
    clients = theta + 0.01 * torch.randn(2, net.size, dtype=torch.float64)
    found = contributions(net, theta, clients, x)
    assert len(traced_layers(module)) == {"bert": 1 + 2 * 8 + 2, "gpt": 2 * 6 + 1, "gpt2": 2 * 6 + 2}[arch]
    for row in range(3):
        logit = module(x[row : row + 1])[0, found.target[row]]
        gradients = torch.autograd.grad(logit, list(module.parameters()))
        for place, (slot, gradient) in enumerate(zip(net.params, gradients, strict=True)):
            change = (clients - theta)[:, slot.start : slot.stop] @ gradient.reshape(-1)
            torch.testing.assert_close(found.delta[row, :, place], change, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_library_s_own_initialisation_by_seed(arch):
    module = Transformer(arch=arch, layers=1, width=64, vocabulary=500).build((LENGTH,), CLASSES)
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        module.reset_parameters()
        states.append({name: tensor.clone() for name, tensor in module.named_parameters()})
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    torch.manual_seed(1)
    own = dict(getattr(transformers, f"{NAMES[arch]}ForSequenceClassification")(module.config).named_parameters())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, own[name])
        if tensor.dim() > 1 and tensor.numel() > 4000:
            assert not torch.equal(tensor, states[2][name])
            assert 0.01 < tensor.std() < 0.03, name
        elif name.endswith("bias"):
            assert (tensor == 0).all()


def test_dropout_draws_from_the_step_s_stream():
    x, y = ids(), torch.tensor([0, 1, 2, 3, 0])
    net = replace(Net.of(build("bert", dropout=0.3)), draws=True)
    looped, theta, before = formulations()["looped"], net.flat()[None], torch.get_rng_state()
    first, again, other = (looped(net).at(seed).gradient(theta.clone(), x, y, None) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, again) and not torch.allclose(first, other)
    still = looped(Net.of(build("bert")))
    assert not torch.allclose(first, still.gradient(theta.clone(), x, y, None))
    assert torch.equal(looped(net).outputs(theta, x), still.outputs(theta, x))


def save(arch, folder, classes=CLASSES, kind="ForSequenceClassification", **more):
    """A checkpoint as the library writes it, with weights far from any initialisation."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "max_position_embeddings": 9}
    more = {"intermediate_size": 20} if arch == "bert" else {"bos_token_id": None, "eos_token_id": None}
    config = getattr(transformers, f"{NAMES[arch]}Config")(vocab_size=40, num_labels=classes, **sizes, **more)
    model = getattr(transformers, NAMES[arch] + kind)(config)
    for tensor in model.parameters():
        tensor.data.normal_()
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("arch", ARCHS)
def test_a_checkpoint_computes_what_the_library_computes_with_it(arch, tmp_path, capfd):
    own = save(arch, tmp_path / "models" / "mine")
    capfd.readouterr()
    block = Transformer(arch=arch, checkpoint="models/mine").located(tmp_path)
    module = block.build((9,), CLASSES).eval()
    assert capfd.readouterr() == ("", "")
    shift = 0 if arch == "bert" else 1  # padding comes before GPT's entries
    assert module.vocabulary == 40 + shift
    x = torch.randint(1, 40, (3, 9))
    with torch.no_grad():
        expected = torch.cat([own(row[None]).logits for row in x])
        torch.testing.assert_close(module(x + shift), expected, rtol=1e-4, atol=1e-4)
    assert module.loaded_tensors == set(module.state_dict())
    digest = hashlib.sha256((tmp_path / "models/mine/model.safetensors").read_bytes()).hexdigest()
    assert module.weights_from == f"mine sha256:{digest[:16]}"
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for scheme in ("default", "glorot_uniform"):
        initialise(module, 0, scheme)
        assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    with torch.device("meta"):
        shapes = block.build((9,), CLASSES).state_dict()
    assert {n: t.shape for n, t in shapes.items()} == {n: t.shape for n, t in before.items()}


@pytest.mark.parametrize("arch", ARCHS)
def test_a_language_model_gets_a_head(arch, tmp_path):
    save(arch, tmp_path, kind="Model")
    module = Transformer(arch=arch, checkpoint=str(tmp_path)).build((5,), 6)
    drawn = set(module.state_dict()) - module.loaded_tensors
    assert drawn == ({"classifier.weight", "classifier.bias"} if arch == "bert" else {"score.weight"})
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.reset_parameters()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name in module.loaded_tensors or name.endswith("bias")), name
    other = Transformer(arch=arch, checkpoint=str(tmp_path)).build((5,), 2)
    assert other(torch.ones(1, 5, dtype=torch.int64)).shape == (1, 2)


def test_a_head_of_another_width_is_drawn(tmp_path):
    save("bert", tmp_path, classes=3)
    module = Transformer(checkpoint=str(tmp_path)).build((5,), 6)
    assert set(module.state_dict()) - module.loaded_tensors == {"classifier.weight", "classifier.bias"}


def test_pickles_of_tensors_are_read_and_others_refused(tmp_path):
    own = save("gpt2", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(own.state_dict(), tmp_path / "pytorch_model.bin")
    assert Transformer(arch="gpt2", checkpoint=str(tmp_path)).build((5,), CLASSES).loaded_tensors
    harm = tmp_path / "harm"

    class Evil:
        def __reduce__(self):
            return Path.touch, (harm,)

    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"score.weight": Evil()}))
    with pytest.raises(SpecError, match="not a file of tensors only") as caught:
        Transformer(arch="gpt2", checkpoint=str(tmp_path)).build((5,), CLASSES)
    assert not harm.exists() and "weights_only" not in str(caught.value)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_checkpoint_with_numbers_that_are_none(tmp_path, arch):
    from safetensors.torch import load, save_file

    save(arch, tmp_path)
    tensors = load((tmp_path / "model.safetensors").read_bytes())
    name = next(n for n in sorted(tensors) if n.endswith("weight") and tensors[n].dim() == 2)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(SpecError, match=f"{name} holds NaN"):
        Transformer(arch=arch, checkpoint=str(tmp_path)).build((5,), CLASSES)


def test_checkpoints_that_are_not_there_or_of_another_kind(tmp_path):
    folder = tmp_path / "mine"
    save("bert", folder)

    def told(error, arch="bert"):
        with pytest.raises(error) as caught:
            Transformer(arch=arch, checkpoint=str(folder)).build((5,), CLASSES)
        assert caught.value.todo
        return caught.value

    assert "a checkpoint of bert, not of gpt2" in told(SpecError, "gpt2").what
    weights = folder / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[: len(kept) // 2])
    assert "cannot read the checkpoint" in told(SpecError).what
    weights.unlink()
    assert "no file named" in told(MissingError).what
    from safetensors.torch import load, save_file

    tensors = load(kept)
    missing = "bert.encoder.layer.1.output.dense.weight"
    save_file({n: t for n, t in tensors.items() if n != missing}, weights)
    assert told(SpecError).what.startswith(missing)
    save_file({**tensors, missing: torch.zeros(3, 3)}, weights)
    assert told(SpecError).what.startswith(missing)
    (folder / "config.json").write_text("[]")
    assert "not a model's configuration" in told(SpecError).what
    (folder / "config.json").unlink()
    assert "no config.json" in told(MissingError).what
    shutil.rmtree(folder)
    with pytest.raises(MissingError, match="nothing at mine") as caught:
        Transformer(checkpoint="mine").located(tmp_path)
    assert "model.checkpoint" in caught.value.todo
    assert Transformer().located(tmp_path) == Transformer()


def test_what_does_not_fit():
    with pytest.raises(SpecError, match="needs token ids") as caught:
        Transformer().build((1, 28, 28), 3)
    assert "text_csv" in caught.value.todo
    with pytest.raises(SpecError, match="texts of 9 tokens, but the model has 8 positions"):
        Transformer(**TINY, positions=8).build((9,), 3)
    for wrong, said in (
        ({"width": 10, "heads": 3}, "heads: a width of 10"),
        ({"checkpoint": "x", "layers": 2}, "layers: the checkpoint tells it"),
        ({"arch": "llama"}, "arch"),
        ({"dropout": 1.0}, "dropout"),
    ):
        with pytest.raises(ValidationError, match=said):
            Transformer.model_validate({"kind": "transformer", **wrong})


def test_sizes_by_default():
    with torch.device("meta"):
        modules = [Transformer(arch=arch).build((64,), 14) for arch in ARCHS]
    assert [m.vocabulary for m in modules] == [30522, 40479, 50258]
    assert [(m.config.num_hidden_layers, m.config.hidden_size, m.config.num_attention_heads) for m in modules] == [
        (2, 128, 2)
    ] * 3


def test_without_the_library(monkeypatch):
    monkeypatch.setattr(_transformers, "find_spec", lambda name: None)
    with pytest.raises(MissingError) as caught:
        Transformer().build((5,), 3)
    assert caught.value.todo == "install fedlab-influence[text]" and caught.value.exit_code == 4


def test_nothing_is_said_while_a_model_is_built(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for arch in ARCHS:
            Transformer(arch=arch, **TINY).build((LENGTH,), CLASSES)
    assert capfd.readouterr() == ("", "")


def test_settings_are_plain_json():
    assert json.loads(json.dumps(Transformer(arch="gpt", **TINY).model_dump(mode="json")))["arch"] == "gpt"
