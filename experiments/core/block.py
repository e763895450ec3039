"""The base of every block of a spec: frozen, strict, no unknown keys, only finite numbers. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """A part of a YAML spec. Each field has a default and a description; a family of blocks is told apart by `kind`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @property
    def called(self) -> str:
        """What results call it: its kind; a family of one kind says which of them it is."""
        return str(getattr(self, "kind", ""))

    def require(self, data_dir: Path | None) -> None:
        """Look whether the files and packages that it names are there: reads nothing, loads no torch.

        Raises:
            MissingError: something is not; ends with the command that gets it, or says that there is none.
        """
