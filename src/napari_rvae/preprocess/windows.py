"""Sample a frame in windows about points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_rvae.preprocess.noise import fill_missing

__all__ = ["round_window", "sample_windows", "smooth_for"]


def round_window(pixels: int) -> NDArray[np.float64]:
    """Weights (S, S) of the disc inside a square window, with a soft edge; their sum is 1.

    A mean over the square would change when the lattice in it is turned.
    """
    line = np.arange(pixels) - (pixels - 1) / 2
    weight = np.clip(pixels / 2 - np.hypot(line[:, None], line), 0.0, 1.0)
    return np.asarray(weight / weight.sum())


def smooth_for(image: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the pixels that one sample stands for, where samples lie further apart (y, x)."""
    if (step <= 1).all():
        return image
    missing = ~np.isfinite(image)
    width = 0.5 * np.sqrt(np.maximum(step**2 - 1, 0.0))
    smooth = ndimage.gaussian_filter(fill_missing(image), width)
    smooth[missing] = np.nan
    return np.asarray(smooth)


def sample_windows(
    image: NDArray[np.float64],
    points: NDArray[np.float64],
    samples: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Cubic interpolation of a frame in windows about points; NaN where the frame is."""
    missing = ~np.isfinite(image)
    yy = points[:, 0, None, None] + samples[0]
    xx = points[:, 1, None, None] + samples[1]
    full = fill_missing(image)
    cut = ndimage.map_coordinates(full, [yy, xx], order=3, mode="mirror")
    if missing.any():
        touched = ndimage.map_coordinates(missing.astype(float), [yy, xx], order=1)
        cut[touched > 0] = np.nan
    return np.asarray(cut, np.float64)
