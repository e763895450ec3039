"""Opening one image file: formats that run no other program; pixels are scaled by their range or rejected."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from experiments.core.data._files import first_line
from experiments.core.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF",
    ".webp": "WEBP",
}  # fmt: skip
"""Suffix of an image file -> Pillow's name of the format. No other is opened: Pillow hands PostScript to `gs`."""

Colour = Literal["grey", "rgb"]

_DEEP = 65535  # the largest value of a 16-bit image
_TODO = "save it with 8 or 16 bits a channel"


def read_image(
    source: Path | IO[bytes], where: str, colour: Colour, size: tuple[int, int] | None = None,
    formats: tuple[str, ...] = tuple(dict.fromkeys(FORMATS.values())),
) -> np.ndarray:  # fmt: skip
    """One image [C, H, W] float32 in 0..1, as a viewer shows it.

    Only the first frame is read. EXIF orientation is applied, transparency is composited on white, and colour is
    converted to grey by ITU-R 601-2. 16-bit images are divided by 65535, floats must be in 0..1 already.

    Args:
        source: file or stream. where: its name in messages. colour: 1 or 3 channels.
        size: (height, width); an image of another size is resized (bilinear). formats: Pillow's names.

    Raises:
        SpecError: not an image of these formats, damaged, implausibly large, or pixels without a known range.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=formats) as opened:
                opened.load()
                return np.ascontiguousarray(_pixels(opened, where, colour, size))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        what = "an image of so many pixels that it may be meant to fill the memory"
        raise SpecError(what, where, "make it smaller, or remove the file") from error
    except (SpecError, MemoryError):
        raise
    except Exception as error:  # on a damaged file a decoder may raise anything
        reason = f"none of {', '.join(formats)}" if isinstance(error, UnidentifiedImageError) else first_line(error)
        raise SpecError(f"not a readable image ({reason})", where, "repair or remove the file") from error


def _pixels(image: Image, where: str, colour: Colour, size: tuple[int, int] | None) -> np.ndarray:
    """[C, H, W] of an open image."""
    import numpy as np
    from PIL import Image as Pillow
    from PIL import ImageOps

    deep = image.mode.startswith(("I", "F"))
    png = image.format == "PNG"
    image = ImageOps.exif_transpose(image)
    if not deep:
        image = _eight_bits(image, where, colour)
    elif "transparency" in image.info:
        raise SpecError("a deep image with a transparent colour", where, _TODO)
    else:
        image = _deep(image, where, png)
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], Pillow.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.float32) / np.float32(1 if deep else 255)
    pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    return np.repeat(pixels, 3, 0) if deep and colour == "rgb" else pixels


def _eight_bits(image: Image, where: str, colour: Colour) -> Image:
    """An image of up to 8 bits a channel as L or RGB, transparency composited on white."""
    from PIL import Image as Pillow

    if image.mode == "LAB":
        raise SpecError("an image in CIELAB colours", where, "save it in RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", image.size, "white"), image)
    return image.convert("L" if colour == "grey" else "RGB")


def _deep(image: Image, where: str, png: bool) -> Image:
    """An image of more than 8 bits a pixel as floats in 0..1."""
    import numpy as np
    from PIL import Image as Pillow

    # Older Pillows open a 16-bit PNG as 32-bit integers; a PNG never has more than 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and png):
        values = np.asarray(image, dtype=np.float32) / _DEEP
    elif image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise SpecError("an image of floats outside 0..1", where, f"scale them to 0..1, or {_TODO}")
    else:
        raise SpecError(f"an image of Pillow's mode {image.mode}, whose range is not known", where, _TODO)
    return Pillow.fromarray(values)
