"""Images of one's own in folders named by class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.core.data.pool import DataBlock, Pool
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


class ImageFolder(DataBlock):
    """`<path>/train/<class>/*.png` and `<path>/test/<class>/*.png`, or `<path>/<class>/*.png` to be split here.

    Classes are numbered in the order of their names. Pixels become 0..1. Without natural clients: choose a partition.
    """

    kind: Literal["image_folder"] = "image_folder"
    path: str = Field(description="folder, from the working directory or else inside the data folder")
    name: str | None = Field(None, description="name in results; default: the folder's")
    height: int = Field(28, ge=1, description="pixels; images of another size are resized (bilinear)")
    width: int = Field(28, ge=1, description="pixels")
    colour: Literal["grey", "rgb"] = Field("grey", description="1 channel or 3")
    train_fraction: float = Field(0.9, gt=0, lt=1, description="share that trains, where there are no train/ and test/")
    split_seed: int = Field(0, ge=0, description="seed of that split")

    def load(self, seed: int, data_dir: Path | None) -> Pool:
        """Read the images; see `DataBlock.load`."""
        import numpy as np

        from experiments.core.data._files import locate
        from experiments.core.data._split import split_rows
        from experiments.core.data.pool import make_pool
        from experiments.core.engine.seeds import stream

        folder = locate(self.path, data_dir)
        split = (folder / "train").is_dir() and (folder / "test").is_dir()
        roots = [folder / "train", folder / "test"] if split else [folder]
        names = sorted({entry.name for root in roots for entry in root.iterdir() if entry.is_dir()})
        if len(names) < 2:
            raise SpecError(f"{len(names)} class folders", str(roots[0]), "give one folder of images for each class")
        parts = [self._read(root, names) for root in roots]
        if not split:
            x, y = parts[0]
            rows = split_rows(len(y), self.train_fraction, stream(self.split_seed, "split", part="images"))
            parts = [(x[part], y[part]) for part in rows]
        train, test = ((np.asarray(x), y) for x, y in parts)
        return make_pool(str(folder), train, test, len(names), self.name or folder.resolve().name)

    def _read(self, root: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """All images below `root`: x [n, C, H, W], y [n]."""
        import numpy as np

        files = [
            (file, label)
            for label, name in enumerate(names)
            for file in sorted((root / name).glob("*"))
            if file.suffix.lower() in SUFFIXES
        ]
        if not files:
            raise SpecError("no images in the class folders", str(root), f"put images there ({', '.join(SUFFIXES)})")
        return np.stack([self._image(file) for file, _ in files]), np.array([label for _, label in files])

    def _image(self, file: Path) -> np.ndarray:
        """One image as [C, H, W] in 0..1."""
        import numpy as np
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(file) as opened:
                image = opened.convert("L" if self.colour == "grey" else "RGB")
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise SpecError(f"not a readable image ({error})", str(file), "mend or remove the file") from error
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.float32) / 255
        return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
