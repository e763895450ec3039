"""Texts in the csv files of the character-level ConvNet paper (Zhang, Zhao, LeCun 2015): DBpedia, Yahoo, AG's News."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from experiments.core.data._own_test import TestFile
from experiments.core.data._split import KeptData
from experiments.core.data.pool import FILES, Pool

if TYPE_CHECKING:
    import numpy as np

    from experiments.core.data._tokens import Tokens


class TextCsv(KeptData, TestFile):
    r"""A folder, or its tar archive, of `train.csv` and `test.csv`: no header, the class from 1, then columns of text.

    A `classes.txt` beside them counts the classes. The columns of a row are joined by a space, and so are its lines,
    whose ends these files write as the two signs \n. A sample is its token ids [max_length], padded with 0 at the end
    (see `Tokens`). There are no natural clients. `test` names a csv file that takes the place of `test.csv`.

    Without a tokenizer a byte-level BPE is trained on the training texts that are kept, those of all clients together:
    a convenience, which a federation without a common vocabulary would not have.
    """

    integers: ClassVar[bool] = True

    kind: Literal["text_csv"] = "text_csv"
    path: str = Field(
        "dbpedia_csv",
        description="folder (or path.tgz, path.tar.gz), from the working directory or else the data folder",
    )
    name: str | None = Field(None, description="name in results; default: the folder's in small letters")
    columns: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, Field(strict=False)] = Field(
        None, min_length=1, description="text columns to join, counted from 1 after the class; default: all"
    )
    tokenizer: str | None = Field(
        None,
        description="folder with vocab.txt (BERT) or vocab.json and merges.txt (GPT, GPT-2), found as path is; "
        "default: one is trained on the training texts",
    )
    vocabulary: int = Field(4000, ge=300, description="entries of a vocabulary trained here, at most")
    max_length: int = Field(128, ge=2, description="tokens of a text; longer ones are cut, shorter ones padded")
    outputs: int | None = Field(None, ge=2, description="number of model outputs; default: that of the classes")

    def outline(self) -> tuple[tuple[int, ...], int, float, int] | None:
        """See `DataBlock.outline`: known where outputs and keep_train are given."""
        if self.outputs is None or self.keep_train is None:
            return None
        return (self.max_length,), self.outputs, float(self.keep_train), 1

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`."""
        from experiments.core.data._files import locate
        from experiments.core.data._text_files import find
        from experiments.core.data._tokens import require_tokenizers

        require_tokenizers()
        find(self.path, data_dir)
        for key in ("tokenizer", "test"):
            if (named := getattr(self, key)) is not None:
                locate(named, data_dir, f"data.{key}")

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read and encode the texts; see `DataBlock.load`."""
        from experiments.core.data._text_files import class_names, find, name_of
        from experiments.core.data._tokens import require_tokenizers
        from experiments.core.data.pool import make_pool

        require_tokenizers()
        source = find(self.path, data_dir)
        (texts, y), (test_texts, test_y) = self._texts(source, "train"), self._texts(source, "test", data_dir)
        test_from = FILES if self.test is None else f"the file {Path(self.test).name}"
        tokens = self._tokens(texts, data_dir)
        x, test_x = (tokens.encode(part, self.max_length) for part in (texts, test_texts))
        classes = self.outputs or max(int(max(y.max(), test_y.max())) + 1, len(class_names(source)), 2)
        return make_pool(
            str(source), (x, y), (test_x, test_y), classes, self.name or name_of(source),
            tokens=True, test_from=test_from,
        )  # fmt: skip

    def tokens(self, data_dir: Path | None = None) -> Tokens:
        """The vocabulary that `load` uses; its `size` is the number of ids a model must know.

        Raises:
            MissingError, SpecError: as `load`.
        """
        from experiments.core.data._text_files import find

        texts = [] if self.tokenizer else self._texts(find(self.path, data_dir), "train")[0]
        return self._tokens(texts, data_dir)

    def decode(self, ids: Iterable[int], data_dir: Path | None = None) -> str:
        """The text of one sample's ids [max_length], truncated as in `load`; `data_dir` as for `load`.

        Raises:
            MissingError, SpecError: as `load`.
        """
        return _vocabulary(self, data_dir).decode(ids)

    def _tokens(self, texts: list[str], data_dir: Path | None) -> Tokens:
        from experiments.core.data._files import locate
        from experiments.core.data._tokens import read_tokens, train_tokens

        if self.tokenizer:
            return read_tokens(locate(self.tokenizer, data_dir, "data.tokenizer"))
        return train_tokens(texts, self.vocabulary)

    def _texts(
        self, source: Path, part: Literal["train", "test"], data_dir: Path | None = None
    ) -> tuple[list[str], np.ndarray]:
        """The texts kept and their labels from 0."""
        import numpy as np

        from experiments.core.data._files import test_file
        from experiments.core.data._text_files import read

        if part == "test" and self.test is not None:
            texts, labels = read(test_file(self.test, data_dir, source), None, self.columns)
        else:
            texts, labels = read(source, f"{part}.csv", self.columns)
        rows = self.kept_rows(labels, part)
        return np.array(texts, object)[rows].tolist(), labels[rows]


@lru_cache(maxsize=4)
def _vocabulary(block: TextCsv, data_dir: Path | None) -> Tokens:
    """Cached, because `decode` is called text by text."""
    return block.tokens(data_dir)
