"""Contributions in Hugging Face's models against the hooked way; skipped without transformers."""

import pytest
import torch
from torch import nn

from experiments.core.engine.net import Net
from experiments.core.estimators.numerics import _tracing
from experiments.core.estimators.numerics.tracefl import contributions, provenance, traced_layers
from experiments.core.estimators.numerics.tracefl_hooked import hooked
from tests.core.estimators.cases import generator, normal

transformers = pytest.importorskip("transformers", reason="needs the text extra")

SMALL = {"vocab_size": 40, "num_labels": 5, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BERT = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
GPT = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16}
KINDS = {
    "bert": (transformers.BertConfig, transformers.BertForSequenceClassification, BERT),
    "gpt": (transformers.OpenAIGPTConfig, transformers.OpenAIGPTForSequenceClassification, GPT),
    "gpt2": (transformers.GPT2Config, transformers.GPT2ForSequenceClassification, GPT),
}
LAYERS = {"bert": 1 + 2 * 8 + 2, "gpt": 2 * 6 + 1, "gpt2": 2 * 6 + 2}
"""GPT: 2 attention Conv1D, 2 MLP Conv1D and 2 LayerNorm a block, and the head; BERT's blocks are opened up."""


class Classifier(nn.Module):
    def __init__(self, arch):
        super().__init__()
        config, model, sizes = KINDS[arch]
        self.model = model(config(**SMALL, **sizes, attn_implementation="eager"))

    def forward(self, ids):
        return self.model(input_ids=ids, attention_mask=(ids != 0).long()).logits


@pytest.mark.parametrize("arch", KINDS)
def test_equals_the_hooked_way(arch):
    net = Net.of(Classifier(arch).double())
    theta = 0.3 * normal(net.size, seed=1)
    locals = theta + 0.05 * normal(4, net.size, seed=2)
    ids = torch.randint(3, 40, (6, 12), generator=generator(3))
    for i in range(6):
        ids[i, 4 + i :] = 0
    assert len(traced_layers(net.module)) == LAYERS[arch]
    for options in ({}, {"active": True}):
        found = provenance(contributions(net, theta, locals, ids, **options))
        torch.testing.assert_close(found, hooked(net, theta, locals, ids, **options), rtol=1e-9, atol=1e-11)
    assert _tracing.plan_of(net, theta, ids).together == {s.name for s in net.params}
