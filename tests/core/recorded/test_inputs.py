"""Inputs to trace, in every form in which they may be given."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from experiments.core.errors import SpecError
from experiments.core.recorded.inputs import read_inputs
from experiments.core.recorded.run import open_round
from tests.toys import recorded as own


def logreg():
    return nn.Sequential(nn.Linear(4, 3))


@pytest.mark.parametrize("form", ["npy", "safetensors", "images"])
def test_forms_of_inputs(tmp_path, form):
    spec = open_round(
        own.save(tmp_path / "run", own.states(logreg(), 2), model={"kind": "logreg"}, classes=3, shape=[1, 2, 2])
    ).described.spec
    x = np.arange(12, dtype=np.float32).reshape(3, 1, 2, 2)
    file = tmp_path / f"x.{form if form != 'images' else 'npz'}"
    if form == "npy":
        np.save(file, x)
    elif form == "safetensors":
        safetensors.torch.save_file({"x": torch.from_numpy(x).half(), "y": torch.tensor([2, 0, 1])}, file)
    else:
        np.savez(file, test_images=x.astype(np.uint8)[:, 0], test_labels=np.array([[2], [0], [1]]))
    found = read_inputs(file, spec)
    torch.testing.assert_close(found.x, torch.from_numpy(x) / (255 if form == "images" else 1))
    assert found.labels is None if form == "npy" else found.labels.tolist() == [2, 0, 1]
    assert found.x.dtype == torch.float32


def test_colour_images_come_channels_first(tmp_path):
    spec = open_round(
        own.save(tmp_path / "run", own.states(logreg(), 2), model={"kind": "logreg"}, classes=3)
    ).described.spec
    pictures = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", images=pictures)
    x = read_inputs(tmp_path / "x.npz", spec).x
    assert x.shape == (2, 3, 5, 4) and float(x[1, 2, 4, 3]) == pytest.approx(pictures[1, 4, 3, 2] / 255)


BYTES = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)


def spec(folder, **told):
    run = own.save(folder / "run", own.states(logreg(), 2), model={"kind": "logreg"}, classes=3, **told)
    return open_round(run).described.spec


@pytest.mark.parametrize("shape", [None, [3, 5, 4]])
def test_bytes_are_shifted_and_scaled_as_in_training(tmp_path, shape):
    mean, deviation = [0.5, 0.25, 0.125], [0.5, 2.0, 0.25]
    np.savez(tmp_path / "x.npz", images=BYTES)
    found = read_inputs(tmp_path / "x.npz", spec(tmp_path, mean=mean, deviation=deviation, shape=shape))
    for c in range(3):
        expected = (torch.from_numpy(BYTES[..., c]).double() / 255 - mean[c]) / deviation[c]
        torch.testing.assert_close(found.x[:, c].double(), expected, rtol=1e-6, atol=1e-6)
    assert found.remarks == () and found.x.dtype == torch.float32


def test_floats_are_taken_as_they_are(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.moveaxis(BYTES, 3, 1).astype(np.float32))
    found = read_inputs(tmp_path / "x.npz", spec(tmp_path, mean=[0.5] * 3, deviation=[0.5] * 3))
    assert torch.equal(found.x, torch.from_numpy(np.moveaxis(BYTES, 3, 1).astype(np.float32))) and not found.remarks


def test_bytes_of_unknown_training_get_a_remark(tmp_path):
    np.savez(tmp_path / "x.npz", images=BYTES)
    (remark,) = read_inputs(tmp_path / "x.npz", spec(tmp_path)).remarks
    assert "divided by 255" in remark and "mean and deviation" in remark


def test_numbers_for_other_channels(tmp_path):
    np.savez(tmp_path / "x.npz", images=BYTES[..., 0])
    with pytest.raises(SpecError, match=r"images of shape \[1, 5, 4\], but run.yaml has mean and deviation of 3"):
        read_inputs(tmp_path / "x.npz", spec(tmp_path, mean=[0.5] * 3, deviation=[0.5] * 3))


@pytest.mark.parametrize("told", [{"mean": [0.5]}, {"mean": [0.5], "deviation": [0.0]}, {"deviation": [1.0, 1.0]}])
def test_mean_and_deviation_go_together(tmp_path, told):
    with pytest.raises(SpecError, match="deviation"):
        spec(tmp_path, **told)
