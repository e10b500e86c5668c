"""Coarser pixels, where a frame has more of them than its atoms need."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from skimage.transform import downscale_local_mean

__all__ = ["bin_variance", "binned", "binned_whole", "binned_width"]


def binned(image: NDArray[np.float64], binning: int) -> NDArray[np.float64]:
    """Mean over squares of pixels, the last ones of a line perhaps not full; NaN pixels left out.

    A square of which less than half is known is NaN.
    """
    if binning == 1:
        return image
    spare = [(0, -n % binning) for n in image.shape]
    known = np.isfinite(image)
    if known.all() and not any(after for _, after in spare):
        return np.asarray(downscale_local_mean(image, (binning, binning)))
    share = downscale_local_mean(np.pad(known.astype(float), spare), (binning, binning))
    filled = np.pad(np.where(known, image, 0.0), spare)
    total = downscale_local_mean(filled, (binning, binning))
    return np.where(share >= 0.5, total / np.maximum(share, 1e-12), np.nan)


def binned_whole(image: NDArray[np.float64], binning: int) -> NDArray[np.float64]:
    """Mean over whole squares of pixels; what is left over at the end of a line is cut off."""
    rows, columns = (n // binning * binning for n in image.shape)
    return binned(image[:rows, :columns], binning)


def bin_variance(binning: int) -> float:
    """What the mean over a bin adds to the variance of an atom's image, in square bins."""
    return (1 - binning**-2) / 12


def binned_width(sigma: float, binning: int) -> float:
    """Width of an atom's image in bins, of one of `sigma` pixels."""
    return math.sqrt((sigma / binning) ** 2 + bin_variance(binning))
