"""PNG, JPEG and BMP: one grey image a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from napari_rvae.errors import ReadError
from napari_rvae.frames import Frames
from napari_rvae.io.lazy import Channel, lazy_planes, make_frames

__all__ = ["grey_plane", "read_image"]

#: Only these are tried: Pillow would hand other content to external programs.
_FORMATS = ("PNG", "JPEG", "BMP")

#: Grey modes of Pillow and the type of their values.
_GREY = {"1": "bool", "L": "u1", "I;16": "<u2", "I;16B": ">u2", "I": "i4", "F": "f4"}


def grey_plane(
    colours: NDArray[Any], name: str, *, advice: str = "convert it to greyscale first"
) -> NDArray[Any]:
    """Return the grey values of a colour image whose colours are all equal.

    Parameters
    ----------
    colours
        Values (Y, X, S): grey; grey, alpha; red, green, blue; or these with alpha.
    name
        The file, for messages.
    advice
        What to do where it shows colours.

    Raises
    ------
    ReadError
        If the image shows colours, or is transparent in parts.
    """
    samples = colours.shape[-1]
    n_colours = samples - (samples % 2 == 0)
    grey: NDArray[Any] = colours[..., 0]
    if any(not np.array_equal(grey, colours[..., i]) for i in range(1, n_colours)):
        raise ReadError(f"{name} is a colour image: {advice}.")
    if n_colours < samples and colours[..., -1].size and np.ptp(colours[..., -1]):
        raise ReadError(f"{name} is transparent in parts: convert it to plain greyscale first.")
    return grey


def _open(path: Path) -> ImageFile:
    try:
        image: ImageFile = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError:
        raise ReadError(
            f"{path.name} is no PNG, JPEG or BMP image: the file is damaged or wrongly named."
        ) from None
    if getattr(image, "n_frames", 1) > 1:
        image.close()
        raise ReadError(
            f"{path.name} is an animated image: save its frames one a file, or as TIFF."
        )
    return image


def _decode(path: Path) -> NDArray[Any]:
    """Read the grey values (Y, X) of an image file."""
    with _open(path) as image:
        # Pillow gives 8 of the 16 bits of deep colours
        deep = image.mode not in _GREY and any(";16" in str(tile[3]) for tile in image.tile)
        image.load()
        if image.mode in _GREY:
            return np.asarray(image)
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            raise ReadError(f"{path.name} is a colour image: convert it to greyscale first.")
        grey = grey_plane(np.asarray(image.convert("RGBA")), path.name)
        if deep:
            raise ReadError(f"{path.name} holds 16-bit colours: save it as 16-bit greyscale.")
        return grey


def _looks_whole(path: Path) -> bool:
    """Whether a PNG file has its last part; other formats are believed."""
    if path.suffix.lower() != ".png":
        return True
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return b"IEND" in file.read()


def read_image(path: Path, channel: Channel) -> Frames:
    """Read the header of a grey image; the pixels are read when they are needed."""
    with _open(path) as image:
        plane, mode = (image.height, image.width), image.mode
    if mode not in _GREY or not _looks_whole(path):
        _decode(path)  # raises now what would be raised in the middle of the work
    data = lazy_planes(
        partial(_decode, path), lead=(), plane=plane, dtype=_GREY.get(mode, "u1"), path=path
    )
    form = {".jpeg": "jpg"}.get(path.suffix.lower(), path.suffix.lower()[1:])
    return make_frames(path, data, form=form, channel=channel)
