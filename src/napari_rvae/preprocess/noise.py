"""Noise of a frame: its level, how it grows with the signal, and what the scan adds to rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["NoiseCurve", "fill_missing", "noise_curve", "noise_level", "row_noise"]

#: sd of a normal distribution divided by its median absolute deviation
_MAD = 1.4826

#: Immerkaer's kernel: blind to planes and to most of a smooth picture; white noise keeps its sd.
#: J. Immerkaer, Computer Vision and Image Understanding 64, 300 (1996).
_KERNEL = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]) / 6.0


class NoiseCurve(NamedTuple):
    """Noise variance against signal: variance = gain x signal + floor."""

    gain: float
    floor: float

    def variance(self, signal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Noise variance at the given signal, never far below what is usual in the picture."""
        values = self.gain * signal + self.floor
        usual = max(float(np.median(values)), 1e-30)
        return np.clip(values, 0.1 * usual, None)


def fill_missing(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill NaN pixels with the picture's median, so that filters do not spread them."""
    missing = ~np.isfinite(image)
    if not missing.any():
        return image
    if missing.all():
        return np.zeros_like(image)
    return np.where(missing, np.median(image[~missing]), image)


def _residual(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return ndimage.convolve(image, _KERNEL, mode="nearest")[1:-1, 1:-1]


def noise_level(image: NDArray[np.float64]) -> float:
    """Standard deviation of white noise.

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels are left out.

    Returns
    -------
    float
        In the units of the image; 0 for a constant frame.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess.noise import noise_level
    >>> noisy = np.random.default_rng(0).normal(0, 2, (200, 200))
    >>> round(noise_level(noisy))
    2
    """
    residual = _residual(image)
    residual = residual[np.isfinite(residual)]
    return float(_MAD * np.median(np.abs(residual))) if residual.size else 0.0


def noise_curve(image: NDArray[np.float64], *, bins: int = 16) -> NoiseCurve:
    """Fit noise variance = gain x signal + floor over the brightness of a frame.

    Parameters
    ----------
    image
        One frame (Y, X) without NaN.
    bins
        Number of brightness classes.

    Returns
    -------
    NoiseCurve
        A gain below zero is taken for none.
    """
    residual = np.abs(_residual(image)).ravel()
    signal = ndimage.uniform_filter(image, 3)[1:-1, 1:-1].ravel()
    ends = np.array([part[0] for part in np.array_split(np.arange(signal.size), bins)[1:]])
    order = np.array_split(np.argpartition(signal, ends), bins)
    level = np.array([signal[part].mean() for part in order])
    variance = np.array([(_MAD * np.median(residual[part])) ** 2 for part in order])
    flat = NoiseCurve(0.0, max(noise_level(image) ** 2, 1e-30))
    if np.ptp(level) <= 0 or not np.isfinite(variance).all():
        return flat
    gain, floor = np.polyfit(level, variance, 1)
    return NoiseCurve(float(gain), float(floor)) if gain > 0 else flat


def row_noise(image: NDArray[np.float64]) -> float:
    """Standard deviation of the offset that each row of the scan has of its own.

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels are left out.

    Returns
    -------
    float
        In the units of the image, white noise taken off.
    """
    bend = (image[:-2] - 2 * image[1:-1] + image[2:]) / np.sqrt(6)
    good = np.isfinite(bend).sum(1)
    if not (good > 1).any():
        return 0.0
    rows = np.nansum(bend, 1)[good > 1] / good[good > 1]
    white = noise_level(image) ** 2 / image.shape[1]
    measured = (_MAD * np.median(np.abs(rows - np.median(rows)))) ** 2
    return float(np.sqrt(max(measured - white, 0.0)))
