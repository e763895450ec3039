"""States in files: what fits, what does not, what is refused."""

from __future__ import annotations

import contextlib
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.errors import MissingError, SpecError
from experiments.core.models.state import first_mismatch, read_arrays, read_state


def small():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def test_a_module_s_own_state_fits_with_or_without_the_count_of_batches():
    module = small()
    state = module.state_dict()
    assert first_mismatch(module, state) is None
    counted = "1.num_batches_tracked"
    assert counted in state and first_mismatch(module, {k: v for k, v in state.items() if k != counted}) is None
    # What the engine records is a state too: its slots are parameters and floating-point buffers.
    net = Net.of(module)
    assert first_mismatch(module, net.views(net.flat())) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("1.weight"), "tensor 1.weight is missing"),
        (lambda s: s.pop("1.running_var"), "tensor 1.running_var is missing"),
        (lambda s: (s.pop("3.bias"), s.pop("0.weight")), "tensor 0.weight is missing"),  # the model's own order
        (lambda s: s.update({"4.weight": torch.zeros(1)}), "tensor 4.weight is not in the model"),
        (
            lambda s: s.update({"3.weight": torch.zeros(4, 8)}),
            "tensor 3.weight has shape (4, 8), the model needs (3, 8)",
        ),
        (lambda s: s.update({"1.num_batches_tracked": torch.zeros(2)}), "1.num_batches_tracked has shape (2,)"),
    ],
)
def test_the_first_fault_is_named(change, said):
    module = small()
    state = OrderedDict(module.state_dict())
    change(state)
    assert said in first_mismatch(module, state)
    with pytest.raises((RuntimeError, KeyError)):  # PyTorch's own strict loading agrees that something is wrong
        module.load_state_dict(state)


def test_integers_are_no_weights_but_a_count_may_be_a_mean():
    """PyTorch's own loading takes integers for weights in silence; a server's mean of counts is a real number."""
    module = small()
    state = module.state_dict()
    whole = first_mismatch(module, {**state, "3.weight": torch.ones(3, 8, dtype=torch.int64)})
    assert whole == "tensor 3.weight holds torch.int64, the model needs real numbers"
    assert first_mismatch(module, {**state, "3.weight": torch.ones(3, 8, dtype=torch.float16)}) is None
    assert first_mismatch(module, {**state, "1.num_batches_tracked": torch.tensor(2.5)}) is None


def test_a_shared_tensor_is_needed_once():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    both = module.state_dict()
    assert "1.weight" in both and first_mismatch(module, both) is None
    del both["1.weight"]
    assert first_mismatch(module, both) is None


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net.pt"])
def test_files_that_are_read(tmp_path, name):
    state = small().state_dict()
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    held = read_state(tmp_path / name)
    assert held.keys() == state.keys() and all(torch.equal(held[k], v) for k, v in state.items())


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "<i8", "|b1", "<u2"])
def test_arrays_keep_their_numbers(tmp_path, dtype):
    held = {"a": np.arange(6).reshape(2, 3).astype(dtype), "count": np.array(3).astype(dtype)}
    np.savez(tmp_path / "net.npz", **held)
    np.savez_compressed(tmp_path / "packed.npz", **held)
    for name in ("net.npz", "packed.npz"):
        found = read_state(tmp_path / name)
        assert {n: tuple(t.shape) for n, t in found.items()} == {"a": (2, 3), "count": ()}
        assert all(found[n].double().tolist() == held[n].astype(float).tolist() for n in held)


def test_every_type_of_real_numbers(tmp_path):
    """Numbers that PyTorch only stores come as float32, the same numbers."""
    known = {d for d in vars(torch).values() if isinstance(d, torch.dtype) and not d.is_complex}
    read = []
    for dtype in known:
        try:
            held = torch.tensor([1.0, 0.5, 2.0]).to(dtype)
            save_file({"a": held}, tmp_path / "net.safetensors")
        except (RuntimeError, NotImplementedError, TypeError, KeyError):  # cannot be made, or not be saved
            continue
        found = read_state(tmp_path / "net.safetensors")["a"]
        wide = held.is_floating_point() and held.element_size() == 1
        assert torch.equal(found, held.float() if wide else held)
        read.append(dtype)
    assert {torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.int8} <= set(read)


@pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="PyTorch has no such type")
def test_numbers_that_pytorch_does_not_convert(tmp_path):
    torch.save({"a": torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)}, tmp_path / "net.pt")
    with pytest.raises(SpecError, match=r"a holds torch\.float4_e2m1fn_x2, which PyTorch does not convert"):
        read_state(tmp_path / "net.pt")


def test_a_bad_number_of_few_bits(tmp_path):
    save_file({"a": torch.tensor([1.0, float("nan")]).to(torch.float8_e5m2)}, tmp_path / "net.safetensors")
    with pytest.raises(SpecError, match="a holds NaN"):
        read_state(tmp_path / "net.safetensors")


def test_arrays_that_hold_something_else(tmp_path):
    fled = tmp_path / "fled"
    for content, said in (
        (np.array(["a", "b"]), "a holds numbers of type <U1"),
        (np.zeros(2, dtype="V2"), r"a holds numbers of type \|V2"),  # bfloat16, as numpy saves it
        (np.zeros(2, dtype=np.longdouble), "a holds numbers of type float128"),
        (np.array([Trap(fled), None], dtype=object), "not a valid .npz file"),
        (np.array([1.0, np.inf]), "a holds NaN or infinity"),
        (np.zeros(2, dtype=np.complex64), "a is not a dense tensor"),
    ):
        np.savez(tmp_path / "net.npz", a=content)
        with pytest.raises(SpecError, match=said) as caught:
            read_state(tmp_path / "net.npz")
        assert caught.value.where.endswith("net.npz") and caught.value.todo
    assert not fled.exists()


def test_arrays_that_unpack_to_more_than_the_memory(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "net.npz", a=np.zeros(10**6))
    assert read_state(tmp_path / "net.npz")["a"].shape == (10**6,)
    monkeypatch.setattr("experiments.core.memory.available_bytes", lambda: 10**6)
    with pytest.raises(SpecError, match="the memory that is free"):
        read_state(tmp_path / "net.npz")


@pytest.mark.parametrize("name", ["net.npz", "net.npy", "net.safetensors"])
def test_files_with_flipped_and_lost_bytes(tmp_path, name):
    """Whatever is done to a file: tensors, or one of our errors."""
    rng, file = np.random.default_rng(5), tmp_path / name
    if name == "net.npz":
        np.savez_compressed(file, **small().state_dict())
    elif name == "net.npy":
        np.save(file, np.ones((3, 4), dtype=np.float32))
    else:
        save_file(small().state_dict(), file)
    whole = file.read_bytes()
    for _ in range(150):
        spoilt = bytearray(whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.3 else whole)
        for at in rng.integers(0, len(spoilt), rng.integers(1, 4)):
            spoilt[at] = rng.integers(256)
        file.write_bytes(spoilt)
        with contextlib.suppress(SpecError, MissingError):
            (read_arrays if name == "net.npy" else read_state)(file)


class Trap:
    """Unpickled in the old way it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_what_is_refused(tmp_path):
    file, fled = tmp_path / "net.pth", tmp_path / "fled"
    for content, said in (
        (small(), "not a file of tensors only"),
        ({"0.weight": Trap(fled)}, "not a file of tensors only"),
        ({"0.weight": torch.zeros(2), "epoch": 3}, "'epoch' in the file is a int"),
        ({"state_dict": {"0.weight": torch.zeros(2)}}, "'state_dict' in the file is a dict"),
        ([torch.zeros(2)], "holds a list"),
        ({}, "holds a dict"),
        ({"0.weight": torch.tensor([1.0, float("nan")])}, "0.weight holds NaN"),
        ({"0.weight": torch.zeros(2, dtype=torch.complex64)}, "0.weight is not a dense tensor"),
        ({"0.weight": torch.eye(2).to_sparse()}, "0.weight is not a dense tensor"),
        ({"0.weight": torch.zeros(1).expand(10**7, 10**7)}, "0.weight is not a dense tensor"),  # of 400 TB
    ):
        torch.save(content, file)
        with pytest.raises(SpecError, match=said) as caught:
            read_state(file)
        assert caught.value.where == str(file) and caught.value.todo
    assert not fled.exists()


def test_damaged_files(tmp_path):
    torch.save(small().state_dict(), tmp_path / "net.pth")
    save_file(small().state_dict(), tmp_path / "net.safetensors")
    np.savez(tmp_path / "net.npz", **small().state_dict())
    for name in ("net.pth", "net.safetensors", "net.npz"):
        whole = (tmp_path / name).read_bytes()
        for content in (b"", whole[:-40], whole[: len(whole) // 2], b"hello", pickle.dumps(Trap(tmp_path / "fled"))):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(SpecError):
                read_state(tmp_path / name)
        (tmp_path / name).unlink()
        with pytest.raises(MissingError, match="cannot read the file"):
            read_state(tmp_path / name)
    assert not (tmp_path / "fled").exists()
