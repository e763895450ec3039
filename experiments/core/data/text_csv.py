"""Texts in the csv files of the character-level ConvNet paper (Zhang, Zhao, LeCun 2015): DBpedia, Yahoo, AG's News."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from experiments.core.data._split import KeptData
from experiments.core.data.pool import Pool
from experiments.core.errors import MissingError, SpecError

if TYPE_CHECKING:
    import numpy as np

    from experiments.core.data._tokens import Tokens

Rows = tuple[list[str], "np.ndarray"]


class TextCsv(KeptData):
    r"""A folder of `train.csv` and `test.csv`: no header, the class from 1, then columns of text.

    A `classes.txt` beside them counts the classes. The columns of a row are joined by a space, and the two signs \n
    that these files write for a new line become one. A sample is its token ids [max_length], padded with 0 at the end
    (see `Tokens`). There are no natural clients.

    Without a tokenizer a byte-level BPE is trained on the training texts that are kept, those of all clients together:
    a convenience, which a federation without a common vocabulary would not have.
    """

    integers: ClassVar[bool] = True

    kind: Literal["text_csv"] = "text_csv"
    path: str = Field("dbpedia_csv", description="folder, from the working directory or else inside the data folder")
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

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read and encode the texts; see `DataBlock.load`."""
        from experiments.core.data._tokens import require_tokenizers
        from experiments.core.data.pool import make_pool

        require_tokenizers()
        folder = self._folder(data_dir)
        (texts, y), (test_texts, test_y) = self._texts(folder, "train"), self._texts(folder, "test")
        tokens = self._tokens(texts, data_dir)
        x, test_x = (tokens.encode(part, self.max_length) for part in (texts, test_texts))
        classes = self.outputs or max(int(max(y.max(), test_y.max())) + 1, len(_class_names(folder)), 2)
        name = self.name or folder.resolve().name.lower()
        return make_pool(str(folder), (x, y), (test_x, test_y), classes, name, tokens=True)

    def tokens(self, data_dir: Path | None) -> Tokens:
        """The vocabulary that `load` uses: `tokens(data_dir).decode(ids)` is the text of a sample, `.size` its entries.

        Raises:
            MissingError, SpecError: as `load`.
        """
        texts = [] if self.tokenizer else self._texts(self._folder(data_dir), "train")[0]
        return self._tokens(texts, data_dir)

    def _tokens(self, texts: list[str], data_dir: Path | None) -> Tokens:
        from experiments.core.data._files import locate
        from experiments.core.data._tokens import read_tokens, train_tokens

        if self.tokenizer:
            return read_tokens(locate(self.tokenizer, data_dir, "data.tokenizer"))
        return train_tokens(texts, self.vocabulary)

    def _folder(self, data_dir: Path | None) -> Path:
        from experiments.core.data._files import locate

        return locate(self.path, data_dir)

    def _texts(self, folder: Path, part: Literal["train", "test"]) -> Rows:
        """Kept texts and their labels from 0."""
        import numpy as np

        texts, labels = _read(folder / f"{part}.csv", self.columns)
        rows = self.kept(len(labels), part)
        return np.array(texts, object)[rows].tolist(), labels[rows]


def _read(file: Path, columns: tuple[int, ...] | None) -> Rows:
    """All texts of a file and their labels from 0.

    Raises:
        MissingError: the file cannot be read. SpecError: a row has no class, or not the columns asked for.
    """
    import numpy as np

    texts, labels = [], []
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            for number, row in enumerate(csv.reader(opened), 1):
                label, parts = _row(row, columns, f"{file}, row {number}")
                labels.append(label)
                texts.append(" ".join(parts).replace("\\n", " "))
    except (csv.Error, UnicodeDecodeError) as error:
        raise SpecError(f"not a sound csv file ({error})", str(file), "fetch it again") from error
    except OSError as error:
        raise MissingError(f"cannot read the file ({error.strerror})", str(file), "check that it is there") from error
    if not texts:
        raise SpecError("no rows", str(file), "give rows of a class and a text")
    return texts, np.array(labels, np.int64)


def _row(row: list[str], columns: tuple[int, ...] | None, where: str) -> tuple[int, list[str]]:
    """Label from 0, and the text columns that are not empty."""
    if len(row) < 2 or not row[0].strip().isdecimal() or int(row[0]) < 1:
        what = f"the row starts with {row[0][:20]!r}" if row else "an empty row"
        raise SpecError(what, where, "give every row a class 1, 2, ... and at least one text")
    most = max(columns or (1,))
    if most >= len(row):
        raise SpecError(f"{len(row) - 1} text columns, not {most}", where, "correct data.columns")
    picked = [row[c] for c in columns] if columns else row[1:]
    return int(row[0]) - 1, [part for part in picked if part]


def _class_names(folder: Path) -> list[str]:
    """The lines of classes.txt, or none."""
    file = folder / "classes.txt"
    return [line for line in file.read_text("utf-8").splitlines() if line.strip()] if file.is_file() else []
