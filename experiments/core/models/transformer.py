"""BERT, GPT and GPT-2 as classifiers of texts, through the library transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from experiments.core.block import Block
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    from torch import nn

VOCABULARIES = {"bert": 30522, "gpt": 40479, "gpt2": 50258}
"""Entries of each family's published vocabulary, GPT's and GPT-2's with the padding that `Tokens` puts first."""

_SMALL = {"layers": 2, "width": 128}


class Transformer(Block):
    """A sequence classifier of the library transformers: token ids [n, L] to outputs [n, classes].

    Id 0 is padding and is masked. BERT classifies by its first token, GPT and GPT-2 by the last that is no padding
    (Gill et al. 2025 use these heads). From a checkpoint's folder, or new: its size is then by default that of BERT's
    tiniest published model, 2 layers of width 128 with 2 heads.

    Dropout is 0 by default, so that all formulations can compute it; the published configurations use 0.1.
    """

    kind: Literal["transformer"] = "transformer"
    arch: Literal["bert", "gpt", "gpt2"] = Field("bert", description="the family of models")
    checkpoint: str | None = Field(
        None,
        description="folder with config.json and model.safetensors or pytorch_model.bin, from the working directory or "
        "else inside the data folder; nothing is fetched; default: a new model",
    )
    layers: int | None = Field(None, ge=1, description="of a new model; default: 2")
    width: int | None = Field(None, ge=1, description="of a new model's hidden states; default: 128")
    heads: int | None = Field(None, ge=1, description="of a new model's attention; default: one every 64 of the width")
    vocabulary: int | None = Field(
        None, ge=2, description="of a new model: ids with padding; default: BERT 30522, GPT 40479, GPT-2 50258"
    )
    positions: int | None = Field(None, ge=1, description="of a new model: longest text; default: the data's length")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of units dropped in training, wherever the family drops")

    @model_validator(mode="after")
    def _agree(self) -> Transformer:
        sizes = [k for k in ("layers", "width", "heads", "vocabulary", "positions") if getattr(self, k) is not None]
        if self.checkpoint is not None and sizes:
            raise ValueError(f"{sizes[0]}: the checkpoint tells it; leave it out")
        width = self.width or _SMALL["width"]
        if width % (self.heads or max(1, width // 64)):
            raise ValueError(f"heads: a width of {width} cannot be shared by {self.heads or width // 64} heads")
        return self

    @property
    def called(self) -> str:
        """The family's name."""
        return self.arch

    def located(self, data_dir: Path | None) -> Transformer:
        """The block with its checkpoint resolved in the working directory or the data folder.

        Raises:
            MissingError: it is in neither.
        """
        from experiments.core.data._files import locate

        if self.checkpoint is None:
            return self
        return self.model_copy(update={"checkpoint": str(locate(self.checkpoint, data_dir, "model.checkpoint"))})

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`."""
        from experiments.core.models._transformers import require_transformers

        require_transformers()
        self.located(data_dir)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """A module from ids [n, L] to outputs [n, classes].

        Its `vocabulary` is the number of ids it knows. `loaded_tensors` names what came from the checkpoint,
        `weights_from` says which it was ("none" for a new model). Names and shapes of the state are the library's own,
        but for the row of padding that GPT's and GPT-2's embeddings get in front.

        Raises:
            MissingError: transformers or the checkpoint is not there.
            SpecError: the inputs are no texts, or longer than the positions; the checkpoint is another model's.
        """
        from experiments.core.models._checkpoints import load
        from experiments.core.models._transformers import new, require_transformers

        if len(shape) != 1:
            raise SpecError(
                f"a transformer needs token ids, not inputs of shape {tuple(shape)}",
                "model.kind",
                "use data of kind text_csv, or another model",
            )
        require_transformers()
        if self.checkpoint is not None:
            module = load(self.arch, Path(self.checkpoint), classes, self.dropout)
        else:
            module = new(self.arch, {**self._settings(shape[0]), "num_labels": classes}, self.dropout)
        if shape[0] > module.config.max_position_embeddings:
            raise SpecError(
                f"texts of {shape[0]} tokens, but the model has {module.config.max_position_embeddings} positions",
                "data.max_length",
                "lower data.max_length, or raise model.positions of a new model",
            )
        return module

    def _settings(self, length: int) -> dict[str, Any]:
        """Sizes of a new model, by the library's common names."""
        width = self.width or _SMALL["width"]
        more = {"intermediate_size": 4 * width} if self.arch == "bert" else {}
        return {
            "vocab_size": self.vocabulary or VOCABULARIES[self.arch],
            "num_hidden_layers": self.layers or _SMALL["layers"],
            "hidden_size": width,
            "num_attention_heads": self.heads or max(1, width // 64),
            "max_position_embeddings": self.positions or length,
            **more,
        }
