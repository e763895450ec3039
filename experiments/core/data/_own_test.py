"""Which user samples form the test set: those of a file, of marked rows, or of clients excluded from training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from experiments.core.data.pool import DataBlock
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

PARTS = {"train": False, "training": False, "test": True, "testing": True}
"""Values of a split column, in any case -> whether they mean the test set."""

_SHOWN = 5  # names in a sentence


def _name(name: Any) -> Any:
    """A name; whole numbers are converted to text."""
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else name


class TestFile(DataBlock):
    """Data whose test set can come from a separate file."""

    test: str | None = Field(None, description="file or folder of the test set, of the same form; found as path is")

    def require(self, data_dir: Path | None) -> None:
        """See `Block.require`: what `test` names must exist as well."""
        from experiments.core.data._files import locate

        super().require(data_dir)
        if self.test is not None:
            locate(self.test, data_dir, "data.test")

    @model_validator(mode="after")
    def _one_test_set(self) -> TestFile:
        keys = [key for key in ("test", "split", "test_clients") if getattr(self, key, None) is not None]
        if len(keys) > 1:
            raise ValueError(f"{keys[1]}: {keys[0]} says already which samples are the test set; give one of the two")
        return self


class TestClients(TestFile):
    """Data whose test set can be the samples of some clients."""

    test_clients: Annotated[tuple[Annotated[str, BeforeValidator(_name)], ...] | None, Field(strict=False)] = Field(
        None, min_length=1, description="clients whose samples are the test set; they do not train"
    )


class TestRows(TestClients):
    """Data with a column that can mark each sample as training or test."""

    split: str | None = Field(None, description="column (or array) that says `train` or `test` of every sample")


def marked(where: str, key: str, words: np.ndarray, naming: Callable[[int], str]) -> np.ndarray:
    """[N] bool: which samples the split column assigns to the test set.

    Args:
        where: the file. key: the column's name. words: [N] str. naming: row -> what a message calls it.

    Raises:
        SpecError: a word that is neither train nor test, or one of the two parts is empty.
    """
    import numpy as np

    distinct, codes = np.unique(words, return_inverse=True)
    for number, word in enumerate(distinct.tolist()):
        if word.strip().lower() not in PARTS:
            row = int(np.flatnonzero(codes == number)[0])
            raise SpecError(f"{naming(row)} has {word!r} in {key!r}", where, "write train or test there")
    tests = np.array([PARTS[word.strip().lower()] for word in distinct.tolist()])[codes]
    if tests.all() or not tests.any():
        raise SpecError(f"{key!r} says {'test' if tests.all() else 'train'} everywhere", where, "mark rows of both")
    return tests


def of_clients(where: str, owner: np.ndarray, names: Sequence[str], chosen: Sequence[str]) -> np.ndarray:
    """[N] bool: which samples belong to the clients `chosen` as the test set; `owner` [N] are indices into `names`.

    Raises:
        SpecError: an unknown client, or no client is left to train.
    """
    import numpy as np

    from experiments.core.names import positions

    out = positions(chosen, names, f"data.test_clients, {where}")
    if len(out) >= len(names):
        raise SpecError("all clients are the test set", f"data.test_clients, {where}", "leave some to train")
    return np.isin(owner, np.array(out))


def clients_left(owner: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Owners [N] and names without the clients that have no samples."""
    import numpy as np

    remaining, places = np.unique(owner, return_inverse=True)
    return places.reshape(-1), tuple(names[k] for k in remaining.tolist())


def sentence_of_clients(chosen: Sequence[str]) -> str:
    """How a test set of whole clients was made."""
    more = f" and {len(chosen) - _SHOWN} more" if len(chosen) > _SHOWN else ""
    return f"all samples of client{'s' * (len(chosen) > 1)} {', '.join(chosen[:_SHOWN])}{more}, which do not train"
