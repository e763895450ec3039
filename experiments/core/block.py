"""The base of every block of a spec: frozen, strict, no unknown keys, only finite numbers. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """A part of a YAML spec. Each field has a default and a description; `kind` distinguishes a family's members."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @property
    def called(self) -> str:
        """Its name in results: its kind; a block that covers several variants names the variant."""
        return str(getattr(self, "kind", ""))

    def require(self, data_dir: Path | None) -> None:
        """Check that the files and packages it needs exist, without reading them or loading torch.

        Raises:
            MissingError: one is missing; the error names the command that downloads it, or says that there is none.
        """
