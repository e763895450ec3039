"""`fedlab train` on texts: a small transformer learns them, and what does not fit is told."""

from __future__ import annotations

import csv
import random

import pytest
from safetensors.torch import load_file

from experiments.core.errors import SpecError
from experiments.core.study.federated import build
from experiments.core.sweep.cell import Context
from tests.toys import federated as tiny

pytest.importorskip("transformers", reason="the extra [text] is not installed")

TOPICS = ("rain wind cloud storm", "bread soup pepper oven", "violin drum song choir")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def setting(tmp_path):
    """A setting on texts of eight words each, most of them of their topic."""
    draw = random.Random(0)
    (tmp_path / "news").mkdir()
    for part, n in (("train", 120), ("test", 45)):
        with (tmp_path / "news" / f"{part}.csv").open("w", newline="") as out:
            writer = csv.writer(out, quoting=csv.QUOTE_ALL)
            for k in range(n):
                words = draw.choices(TOPICS[k % 3].split(), k=5) + draw.choices(" ".join(TOPICS).split(), k=3)
                writer.writerow((1 + k % 3, "title", " ".join(words)))
    own = {
        "data": {"kind": "text_csv", "path": str(tmp_path / "news"), "columns": [2], "max_length": 12,
                 "vocabulary": 320},
        "partition": {"kind": "iid", "clients": 6},
        "local": {"lr": 0.02, "epochs": 2, "batch_size": 10, "optimizer": "adam"},
        "init": "default",
        "rounds": 12,
        "dtype": "float32",
        "formulation": "auto",
    }  # fmt: skip

    def write(arch="bert", vocabulary=320):
        model = {"kind": "transformer", "arch": arch, "layers": 1, "width": 16, "vocabulary": vocabulary}
        return tiny.write(tmp_path, paper="train", **own, model=model)

    return write


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["bert", "gpt"])
def test_topics_are_learnt_and_recorded(setting, tmp_path, arch):
    assert tiny.command("train", setting(arch), tmp_path / "out", "--record") == 0
    frame = tiny.metrics(tmp_path / "out")
    accuracy = frame[frame.metric == "accuracy"].sort_values("round")["value"].tolist()
    assert accuracy[-1] > 80 > 50 > 100 / 3
    assert set(frame["model"]) == {arch} and set(frame["dataset"]) == {"news"}
    rounds = sorted((tmp_path / "out").rglob("rounds/*"))
    assert len(rounds) == 12
    state = load_file(rounds[-1] / "global.safetensors")
    name = "bert.embeddings.word_embeddings.weight" if arch == "bert" else "transformer.tokens_embed.weight"
    assert state[name].shape == (320, 16)


def test_a_model_that_knows_fewer_ids_than_the_texts_hold(setting, tmp_path):
    with pytest.raises(SpecError, match="but the model knows 100 ids") as caught:
        build(tiny.loaded(setting(vocabulary=100)), 0, Context(tmp_path))
    assert caught.value.where == "model.vocabulary" and "data.vocabulary" in caught.value.todo


def test_other_models_and_other_data_do_not_fit(setting, tmp_path):
    own = tiny.loaded(setting())
    numbers = tiny.loaded(tiny.write(tmp_path, "numbers", paper="train"))
    with pytest.raises(SpecError, match=r"does not take inputs of shape \(12,\)"):
        build(own.model_copy(update={"model": numbers.model}), 0, Context(tmp_path))
    with pytest.raises(SpecError, match=r"does not take inputs of shape \(60,\)"):
        build(numbers.model_copy(update={"model": own.model}), 0, Context(tmp_path))
