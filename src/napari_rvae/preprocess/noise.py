"""Noise of a frame: its level, how it grows with the signal, and what the scan adds to rows."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NoiseCurve",
    "drop_spikes",
    "fill_missing",
    "is_constant",
    "noise_curve",
    "noise_level",
    "pixel_weights",
    "robust_sd",
    "row_noise",
    "some_rows",
]

#: Medians are those of about so many pixels at most: a standard deviation is then known to 0.4 %.
_ENOUGH = 2**17

#: sd of a normal distribution divided by its median absolute deviation
_MAD = 1.4826

#: A pixel this many times brighter than any two adjacent ones is no picture of anything.
_SPIKE = 5.0

#: Where more than this share of the pixels stands alone, that is the picture.
_MOST_SPIKES = 0.05

#: A gain this many times above its standard error, by which the variance grows by this factor
#: over the frame's brightness, is known.
_SURE_GAIN, _LEAST_GROWTH = 5.0, 1.3


class NoiseCurve(NamedTuple):
    """Noise variance against signal: variance = gain x signal + floor.

    Parameters
    ----------
    gain
        Growth of the variance per unit of signal.
    floor
        Variance where the signal is zero.
    gain_sd
        Standard error of the gain, from the scatter about the line; NaN where none was fitted.
    growth
        Variance of the line in the brightest class by that in the darkest.
    """

    gain: float
    floor: float
    gain_sd: float = math.nan
    growth: float = 1.0

    @property
    def is_known(self) -> bool:
        """Whether the noise grows with the signal beyond doubt, and along a line.

        That is, the gain is five times its standard error or more, the line rises by 30 % or
        more, and it is positive everywhere. Atoms narrower than 1.5 px (standard deviation) far
        above the noise can feign it.
        """
        rises = _LEAST_GROWTH < self.growth < math.inf
        return rises and self.gain > _SURE_GAIN * self.gain_sd

    def variance(self, signal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Noise variance at the given signal, never far below what is usual in the picture."""
        values = self.gain * signal + self.floor
        usual = max(float(np.median(some_rows(np.atleast_1d(values)))), 1e-30)
        return np.clip(values, 0.1 * usual, None)


def fill_missing(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill NaN pixels with the picture's median, so that filters do not spread them."""
    missing = ~np.isfinite(image)
    if not missing.any():
        return image
    if missing.all():
        return np.zeros_like(image)
    return np.where(missing, np.median(image[~missing]), image)


def is_constant(values: NDArray[Any]) -> bool:
    """Whether values are all the same, or none is known (NaN)."""
    known = values[np.isfinite(values)]
    return not known.size or float(np.ptp(known)) == 0


def pixel_weights(image: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of each pixel in a sum of squares: one over its variance, 0 where it is NaN."""
    return np.where(np.isfinite(image), 1 / variance, 0.0)


def some_rows(rows: NDArray[Any], *, per_row: int | None = None) -> NDArray[Any]:
    """Some of the rows of a large picture, spread evenly, of about 2^17 pixels; else all.

    Parameters
    ----------
    rows
        Picture (Y, X), or anything (Y, ...) that belongs to its rows.
    per_row
        Pixels in a row; those of `rows` when left out.
    """
    per_row = math.prod(rows.shape[1:]) if per_row is None else per_row
    count = _ENOUGH // max(per_row, 1)
    if count < 1 or count >= len(rows):
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, count).astype(int)])


def drop_spikes(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make pixels NaN that stand alone far above or below all others: hot pixels, cosmic rays.

    What a probe draws spreads over more than one pixel, so the brightest of it is the most that
    any two adjacent pixels share.

    Parameters
    ----------
    image
        One frame (Y, X) with a finite pixel.

    Returns
    -------
    ndarray of shape (Y, X)
        The same picture where nothing stands out, else a copy.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess.noise import drop_spikes
    >>> frame = np.arange(64.0).reshape(8, 8)
    >>> frame[2, 2] = 1e6
    >>> np.argwhere(np.isnan(drop_spikes(frame))).tolist()
    [[2, 2]]
    """
    some = some_rows(image)
    level = np.nanmedian(some if np.isfinite(some).any() else image)
    pairs = ((image[1:], image[:-1]), (image[:, 1:], image[:, :-1]))
    # fmax and fmin: NaN only where all is NaN
    high = max(np.fmax.reduce(np.minimum(*pair), axis=None, initial=level) for pair in pairs)
    low = min(np.fmin.reduce(np.maximum(*pair), axis=None, initial=level) for pair in pairs)
    limits = level + _SPIKE * (low - level), level + _SPIKE * (high - level)
    alone = (image < limits[0]) | (image > limits[1])
    rare = 0 < alone.sum() <= _MOST_SPIKES * image.size
    return np.where(alone, np.nan, image) if rare else image


def robust_sd(values: NDArray[np.float64]) -> float:
    """Standard deviation by the median absolute deviation, NaN left out; 0 for no values."""
    some = some_rows(values)
    some = some[np.isfinite(some)]
    if not some.size:
        return 0.0
    return float(_MAD * np.median(np.abs(some - np.median(some))))


def _inner_rows(image: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers of some rows, not the first and the last."""
    return some_rows(np.arange(1, len(image) - 1), per_row=image.shape[1])


def _residual(image: NDArray[np.float64], row: NDArray[np.int64]) -> NDArray[np.float64]:
    """What the picture has beyond planes in some rows, but for its first and last column.

    Blind to most of a smooth picture; white noise keeps its sd. The kernel is that of
    J. Immerkaer, Computer Vision and Image Understanding 64, 300 (1996).
    """
    bend = image[row - 1] - 2 * image[row] + image[row + 1]
    return np.asarray((bend[:, :-2] - 2 * bend[:, 1:-1] + bend[:, 2:]) / 6)


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
    residual = _residual(image, _inner_rows(image))
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
    row = _inner_rows(image)
    residual = np.abs(_residual(image, row)).ravel()
    lines = image[row - 1] + image[row] + image[row + 1]
    signal = ((lines[:, :-2] + lines[:, 1:-1] + lines[:, 2:]) / 9).ravel()
    ends = np.array([part[0] for part in np.array_split(np.arange(signal.size), bins)[1:]])
    order = np.array_split(np.argpartition(signal, ends), bins)
    level = np.array([signal[part].mean() for part in order])
    variance = np.array([(_MAD * np.median(residual[part])) ** 2 for part in order])
    flat = NoiseCurve(0.0, max(noise_level(image) ** 2, 1e-30))
    if np.ptp(level) <= 1e-9 * np.abs(level).max() or not np.isfinite(variance).all():
        return flat
    (gain, floor), covariance = np.polyfit(level, variance, 1, cov=True)
    if not gain > 0:
        return flat
    low, high = gain * level.min() + floor, gain * level.max() + floor
    growth = float(high / low) if low > 0 else math.inf
    return NoiseCurve(float(gain), float(floor), math.sqrt(covariance[0, 0]), growth)


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
    # the fourth difference: what is smooth, as atoms in line with the rows are, goes; the
    # offsets keep their spread
    bend = np.diff(image, n=4, axis=0) / np.sqrt(70)
    good = np.isfinite(bend).sum(1)
    if not (good > 1).any():
        return 0.0
    rows = np.nansum(bend, 1)[good > 1] / good[good > 1]
    white = noise_level(image) ** 2 / image.shape[1]
    measured = (_MAD * np.median(np.abs(rows - np.median(rows)))) ** 2
    return float(np.sqrt(max(measured - white, 0.0)))
