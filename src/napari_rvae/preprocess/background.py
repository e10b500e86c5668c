"""The slow background of a picture: what is smooth over many pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["finer", "slow_background"]

#: The means are taken of so many points along the side of a square; between them the background
#: is a straight line.
_POINTS = 8


def slow_background(image: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean over a square about each pixel, taken twice.

    What is that smooth needs no sample in every pixel: of wide squares the means are those of
    every so many pixels, and the rest lies on lines between them. Its cost does not grow with the
    width.

    Parameters
    ----------
    image
        Picture (Y, X) without NaN, mirrored at its edges.
    width
        Side of the square in pixels, odd.

    Returns
    -------
    ndarray of shape (Y, X)
        In the units of the picture.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess.background import slow_background
    >>> noise = np.random.default_rng(0).normal(size=(128, 128))
    >>> bool(np.std(slow_background(noise, 31)) < 0.05)
    True
    """
    step = max(1, width // _POINTS)
    if step == 1:
        return _mean_twice(image, width)
    rows, columns = image.shape
    spare = [(0, -n % step) for n in image.shape]
    whole = np.pad(image, spare, mode="symmetric") if any(n for _, n in spare) else image
    down, along = (n // step for n in whole.shape)
    coarse = whole.reshape(down, step, -1).mean(axis=1).reshape(down, along, step).mean(axis=2)
    # two means make a triangle; that over a step, and the lines, have smoothed already
    reach = math.sqrt(width**2 - 1.5 * step**2) / step
    offsets = np.arange(-int(reach), int(reach) + 1)
    triangle = 1 - np.abs(offsets) / reach
    triangle /= triangle.sum()
    smooth = ndimage.correlate1d(ndimage.correlate1d(coarse, triangle, axis=0), triangle, axis=1)
    return finer(smooth, step, (rows, columns))


def finer(coarse: NDArray[np.float64], step: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Interpolate a smooth picture of coarse pixels linearly.

    Parameters
    ----------
    coarse
        Picture (Y', X').
    step
        Pixels along a side of one of its pixels.
    shape
        Rows and columns of the finer picture, from the same corner; no more than step times those.
    """
    along = _between(np.ascontiguousarray(coarse.T), step)[: shape[1]]
    return np.asarray(_between(np.ascontiguousarray(along.T), step)[: shape[0]])


def _mean_twice(image: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    return np.asarray(ndimage.uniform_filter(ndimage.uniform_filter(image, width), width))


def _between(lines: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Lines (N, X) that stand for so many rows each -> rows (N * step, X), linear between them."""
    ends = np.pad(lines, ((1, 1), (0, 0)), mode="edge")
    place = (np.arange(step) + 0.5) / step + 0.5  # from the middle of the line before
    low = place < 1
    out = np.empty((len(lines), step, lines.shape[1]))
    for number, (share, before) in enumerate(zip(place % 1, low, strict=True)):
        first = ends[:-2] if before else ends[1:-1]
        second = ends[1:-1] if before else ends[2:]
        np.multiply(first, 1 - share, out=out[:, number])
        out[:, number] += share * second
    return out.reshape(-1, lines.shape[1])
