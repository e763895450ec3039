"""The sequence classifiers of the library transformers, with ids in and outputs out."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from experiments.core.data._tokens import PAD, TEXT_EXTRA
from experiments.core.errors import MissingError
from experiments.core.models._weights import SCRATCH

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FAMILIES = {
    "bert": ("bert", "BertConfig", "BertForSequenceClassification"),
    "gpt": ("openai-gpt", "OpenAIGPTConfig", "OpenAIGPTForSequenceClassification"),
    "gpt2": ("gpt2", "GPT2Config", "GPT2ForSequenceClassification"),
}
"""The library's model type, configuration and classifier of each family."""

_DROPS = {
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "gpt": ("embd_pdrop", "resid_pdrop", "attn_pdrop"),
    "gpt2": ("embd_pdrop", "resid_pdrop", "attn_pdrop"),
}


def require_transformers() -> None:
    """Check that the library is installed; the error says which extra provides it.

    Raises:
        MissingError: it is not.
    """
    if find_spec("transformers") is None:
        raise MissingError("model.kind: transformer needs the package transformers", "model.kind", TEXT_EXTRA)


def new(arch: str, settings: dict[str, Any], dropout: float) -> Any:
    """A classifier with `settings` of the library's configuration; see `built`."""
    import transformers

    # GPT-2's end-of-text token belongs to its published vocabulary; a small one need not have it.
    config = getattr(transformers, FAMILIES[arch][1])(**settings, bos_token_id=None, eos_token_id=None)
    return built(arch, config, dropout)


def built(arch: str, config: Any, dropout: float) -> Any:
    """A classifier of the library's configuration, adapted to this package; its weights are to be initialised."""
    config.update(dict.fromkeys(_DROPS[arch], dropout))
    config.update({"pad_token_id": PAD, "use_cache": False})
    config._attn_implementation = "eager"
    module = classifier(arch)(config)
    for part in module.modules():
        _constants(part)
        _quick_gelu(part)
    return module


def _constants(part: nn.Module) -> None:
    """Make GPT's triangular masks integers: the engine treats them as constants, without averaging or noise."""
    import torch

    for name, buffer in part._buffers.items():
        if buffer is not None and buffer.is_floating_point():
            part._buffers[name] = buffer.to(torch.int8)


def _quick_gelu(part: nn.Module) -> None:
    """GPT's activation in one kernel of torch: the same formula; on a CPU it halves the time of a small GPT's step."""
    from torch import nn

    for name, child in part.named_children():
        if type(child).__name__ == "NewGELUActivation":
            setattr(part, name, nn.GELU("tanh"))


@cache
def classifier(arch: str) -> Any:
    """The library's sequence classifier of a family, taking ids [n, L] alone and returning outputs [n, classes]."""
    import transformers

    base: Any = getattr(transformers, FAMILIES[arch][2])

    class TextClassifier(base):
        """Ids in, outputs out; padding is masked, except at position 0, so that an empty text has an output too."""

        loaded_tensors: frozenset[str] = frozenset()
        weights_from: str = SCRATCH

        @property
        def vocabulary(self) -> int:
            """Number of ids that the embedding holds."""
            return int(self.config.vocab_size)

        def forward(self, ids: Tensor) -> Tensor:
            """Outputs [n, classes] of ids [n, L]."""
            mask = _mask(arch, ids, self.get_input_embeddings().weight.dtype)
            return super().forward(ids, attention_mask=mask).logits

        def reset_parameters(self) -> None:
            """Initialise again, as the library does, everything that did not come from a checkpoint."""
            fresh = type(self)(self.config).to(self.device, self.dtype).state_dict()
            loaded = {name: tensor for name, tensor in self.state_dict().items() if name in self.loaded_tensors}
            self.load_state_dict({**fresh, **loaded})

    return TextClassifier


def _mask(arch: str, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """The attention mask of ids [n, L]: ones and zeros for GPT, else the term added to the scores.

    For BERT and GPT-2 the library can build this term from ones and zeros, but it inspects the values: that would
    synchronise with the device in every pass, and rule out vmap over samples and the meta device.
    """
    import torch

    attended = ids != PAD
    attended[:, 0] = True
    if arch == "gpt":
        return attended.to(dtype)
    allowed = attended[:, None, None, :]
    if arch == "gpt2":
        allowed = allowed & torch.ones(2 * ids.shape[1:], dtype=torch.bool, device=ids.device).tril()
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)
