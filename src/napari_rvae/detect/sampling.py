"""A few frames of a movie, ready to be measured."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_rvae.detect.images import FrameImages
from napari_rvae.device import side_by_side
from napari_rvae.preprocess.blur import BlobScale, blob_scale
from napari_rvae.preprocess.noise import drop_spikes, fill_missing, some_rows

__all__ = ["PlainImage", "Sample", "middle", "plain_image", "rows_agree", "spread"]

#: A movie is measured on so many frames.
_FRAMES = 3

#: The width of the blobs is measured on the middle of a frame, of this side in pixels; on twice of
#: it where they are larger than this share of it.
_SIDE, _LARGE = 1024, 1 / 40

#: Agreement of rows that is this many times its standard error is no chance.
_BEYOND_CHANCE = 4.0


class PlainImage(NamedTuple):
    """A frame without spikes, its values from about 0 to 1: value x unit + level."""

    values: NDArray[np.float64]
    level: float
    unit: float


def plain_image(image: NDArray[np.float64]) -> PlainImage | None:
    """Take spikes, offset and unit from a frame (Y, X); None where nothing is left to see.

    Frames come in volts, amperes, or counts on a high offset; the search works in one unit.
    """
    if not np.isfinite(image).any():
        return None
    smooth = drop_spikes(image)
    some = some_rows(smooth)
    level = float(np.nanmedian(some if np.isfinite(some).any() else smooth))
    unit = float(np.nanmax(smooth) - np.nanmin(smooth))
    return PlainImage((smooth - level) / unit, level, unit) if unit > 0 else None


class Sample:
    """A few frames spread over a movie, and the blobs in them; read when they are asked for.

    Parameters
    ----------
    movie
        The frames.
    channel
        Number of the channel to look at.
    """

    def __init__(self, movie: FrameImages, channel: int) -> None:
        self._movie, self._channel = movie, channel

    @cached_property
    def images(self) -> list[NDArray[np.float64]]:
        """Frames (Y, X) without spikes and missing pixels, bright or dark as they are."""
        movie = self._movie
        plain = [plain_image(movie.frame(k, self._channel)) for k in spread(movie.n_frames)]
        return [fill_missing(image.values) for image in plain if image is not None]

    @cached_property
    def blobs(self) -> list[BlobScale]:
        """Width of the blobs in each of the images; NaN where there are none."""
        return list(side_by_side(_blobs, self.images, most=len(self.images) or None))


def spread(count: int, most: int = _FRAMES) -> list[int]:
    """Numbers of at most so many things, spread evenly, of a number of them."""
    return sorted({int(k) for k in np.linspace(0, count - 1, min(count, most))})


def _blobs(image: NDArray[np.float64]) -> BlobScale:
    blob = blob_scale(middle(image, _SIDE))
    if min(image.shape) > _SIDE and not blob.valley <= _LARGE * _SIDE:
        return blob_scale(middle(image, 2 * _SIDE))
    return blob


def middle(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Middle part of a picture, at most `side` pixels high and wide."""
    start = [max(0, (n - side) // 2) for n in image.shape]
    return image[start[0] : start[0] + side, start[1] : start[1] + side]


def rows_agree(image: NDArray[np.float64], sigma: float) -> bool:
    """Whether pixels above each other agree beyond chance, as those of an atom do.

    What slow detectors and the offsets of rows make lies along the rows.

    Parameters
    ----------
    image
        Picture (Y, X) without NaN.
    sigma
        Width of an atom's image in pixels.

    Returns
    -------
    bool
        True also where there are too few rows to tell.
    """
    flat = image - ndimage.uniform_filter(image, 2 * math.ceil(3 * sigma) + 1)
    flat = flat - np.median(flat, axis=1, keepdims=True)
    step = max(1, round(sigma / 2))
    if len(flat) < 8 * step:
        return True
    rows = (flat[step:] * flat[:-step]).mean(1)
    return bool(rows.mean() > _BEYOND_CHANCE * rows.std() / math.sqrt(rows.size))
