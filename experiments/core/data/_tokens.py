"""From texts to token ids and back: BERT's, GPT's and GPT-2's vocabularies, or one trained here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np

PAD = 0
"""The id of padding, whatever the vocabulary: a model masks positions whose id is 0."""

TEXT_EXTRA = "install fedlab-influence[text]"
SPECIAL = ("[PAD]", "[CLS]")
"""The first entries of a vocabulary trained here: padding, and the token before every text (BERT classifies by it)."""

_BLOCK = 10_000  # texts encoded at a time: the library keeps kilobytes of each


@dataclass(frozen=True)
class Tokens:
    """A tokenizer with its vocabulary.

    Attributes:
        rules: the tokenizer of the `tokenizers` library.
        shift: what is added to the library's ids so that 0 is free for padding: 1 for GPT and GPT-2, else 0.
    """

    rules: Any
    shift: int

    @property
    def size(self) -> int:
        """Number of ids, padding included: what a model's embedding must hold."""
        return int(self.rules.get_vocab_size()) + self.shift

    def encode(self, texts: Sequence[str], length: int) -> np.ndarray:
        """Texts as ids [n, length] int64, cut or padded with 0 at the end to `length`; a cut keeps BERT's [SEP]."""
        import numpy as np

        self.rules.enable_truncation(length)
        ids = np.full((len(texts), length), PAD, np.int64)
        for start in range(0, len(texts), _BLOCK):
            for row, encoding in enumerate(self.rules.encode_batch(list(texts[start : start + _BLOCK])), start):
                ids[row, : len(encoding.ids)] = np.asarray(encoding.ids, np.int64) + self.shift
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids [L], without padding and special tokens: lower case and spaces as the vocabulary has them."""
        return str(self.rules.decode([int(i) - self.shift for i in ids if int(i) != PAD]))


def require_tokenizers() -> None:
    """Check that the `tokenizers` library is installed; the error says which extra provides it.

    Raises:
        MissingError: it is not.
    """
    if find_spec("tokenizers") is None:
        raise MissingError("text needs the package tokenizers, which is not installed", "data.kind", TEXT_EXTRA)


def read_tokens(folder: Path) -> Tokens:
    """The vocabulary in `folder`: vocab.txt (BERT's), or vocab.json with merges.txt (GPT's, GPT-2's).

    It is GPT's where words end in </w>. BERT's is lower-cased unless a tokenizer_config.json beside it says
    `"do_lower_case": false`.

    Raises:
        MissingError: the files or the library are not there.
        SpecError: they are damaged, or [PAD] is not the first entry of a vocab.txt.
    """
    require_tokenizers()
    files = [folder / name for name in ("vocab.txt", "vocab.json", "merges.txt")]
    if not files[0].is_file() and not (files[1].is_file() and files[2].is_file()):
        todo = "name a folder with vocab.txt (BERT), or with vocab.json and merges.txt (GPT, GPT-2)"
        raise MissingError("no vocabulary in the folder", str(folder), todo)
    try:
        return _bert(files[0]) if files[0].is_file() else _gpt(files[1], files[2])
    except SpecError:
        raise
    except Exception as error:  # the library raises plain Exception
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpecError(f"not a valid vocabulary ({first})", str(folder), "fetch its files again") from error


def _bert(file: Path) -> Tokens:
    """WordPiece with [CLS] before and [SEP] after a text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    entries = models.WordPiece.read_file(str(file))
    missing = [sign for sign in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if sign not in entries]
    if missing or entries["[PAD]"] != PAD:
        what = f"no {', '.join(missing)} in the vocabulary" if missing else "[PAD] is not the first entry"
        raise SpecError(what, str(file), "use a vocabulary of BERT, whose first line is [PAD]")
    settings = file.with_name("tokenizer_config.json")
    lower = not settings.is_file() or json.loads(settings.read_text("utf-8")).get("do_lower_case", True)
    rules = Tokenizer(models.WordPiece(entries, unk_token="[UNK]"))
    rules.normalizer = normalizers.BertNormalizer(lowercase=bool(lower))
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rules.post_processor = processors.BertProcessing(("[SEP]", entries["[SEP]"]), ("[CLS]", entries["[CLS]"]))
    rules.decoder = decoders.WordPiece()
    rules.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return Tokens(rules, 0)


def _gpt(vocabulary: Path, merges: Path) -> Tokens:
    """Byte pairs: GPT's on lower-cased words, GPT-2's on bytes. Neither has padding, so ids are shifted by one."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    entries, pairs = models.BPE.read_file(str(vocabulary), str(merges))
    if any(entry.endswith("</w>") for entry in entries):
        unknown = "<unk>" if "<unk>" in entries else None
        rules = Tokenizer(models.BPE(entries, pairs, end_of_word_suffix="</w>", unk_token=unknown))
        rules.normalizer = normalizers.BertNormalizer(lowercase=True)
        rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        rules.decoder = decoders.BPEDecoder(suffix="</w>")
    else:
        rules = Tokenizer(models.BPE(entries, pairs))
        rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        rules.decoder = decoders.ByteLevel()
    return Tokens(rules, 1)


def train_tokens(texts: Iterable[str], vocabulary: int) -> Tokens:
    """A byte-level BPE of at most `vocabulary` entries trained on `texts`; the same texts give the same entries.

    [PAD] is 0 and [CLS], put before every text, is 1. Every text can be encoded, because all 256 bytes are entries.

    Raises:
        MissingError: the library is not there.
    """
    require_tokenizers()
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    rules = Tokenizer(models.BPE())
    rules.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    rules.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    rules.train_from_iterator(texts, trainer)
    rules.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    return Tokens(rules, 0)
