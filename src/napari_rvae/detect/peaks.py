"""Candidates: a filter that suits blobs of the measured width, and its local maxima."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial import cKDTree

from napari_rvae.device import bands, side_by_side, thread_count
from napari_rvae.preprocess.parabola import top_offset

__all__ = ["SLOW", "blob_filter", "highest_near", "local_maxima"]

#: What a Gaussian of this many widths of a blob leaves is slow background.
SLOW = 3.0

#: Spectra are filtered so many rows at a time.
_ROWS = 64


def blob_filter(
    image: NDArray[np.float64], sigma: float, noise_sd: float, *, density: float
) -> tuple[NDArray[np.float64], float]:
    """Wiener filter for Gaussian blobs that lie anywhere, with the slow background removed.

    A blob's spectrum is S = density (2 pi sigma^2 A)^2 exp(-4 pi^2 sigma^2 k^2); white noise
    has N = noise_sd^2. The filter S / (S + N) smooths no more than the noise asks for. It knows
    no lattice, so it does not fill vacancies.

    Parameters
    ----------
    image
        One frame (Y, X) without NaN.
    sigma
        Standard deviation of a blob in pixels.
    noise_sd
        Standard deviation of the noise.
    density
        Blobs per square pixel.

    Returns
    -------
    filtered : ndarray of shape (Y, X)
        Filtered frame, zero on the average.
    noise : float
        Standard deviation of the noise that is left in it.
    """
    pad = int(4 * sigma) + 1
    padded = np.pad(image, pad, mode="reflect" if min(image.shape) > pad else "edge")
    shape = [fft.next_fast_len(n, real=True) for n in padded.shape]
    k2 = fft.fftfreq(shape[0]) ** 2, fft.rfftfreq(shape[1]) ** 2  # of the two axes
    threads = thread_count()
    padded -= padded.mean()
    spectrum = fft.rfft2(padded.astype(np.float32), shape, workers=threads)
    del padded
    form = [np.exp(-4 * np.pi**2 * sigma**2 * k) for k in k2]
    slow = [np.exp(-2 * np.pi**2 * (SLOW * sigma) ** 2 * k) for k in k2]
    # mean height of the blobs: the noise-free variance is density * A^2 * pi sigma^2
    power = (float(np.var(image)) - noise_sd**2) / (density * np.pi * sigma**2)
    power = max(power, noise_sd**2)  # few blobs in a large frame hardly show in its variance
    form[0] *= density * power * (2 * np.pi * sigma**2) ** 2
    power_left = np.zeros(len(k2[1]))
    for start in range(0, shape[0], _ROWS):  # a whole picture of gains would only fill the memory
        rows = slice(start, start + _ROWS)
        signal = np.multiply.outer(form[0][rows], form[1])
        gain = signal / (signal + noise_sd**2 + 1e-30)
        gain *= 1 - np.multiply.outer(slow[0][rows], slow[1])
        spectrum[rows] *= gain.astype(np.float32)
        power_left += np.einsum("yx,yx->x", gain, gain)
    filtered = fft.irfft2(spectrum, shape, workers=threads, overwrite_x=True)
    both = power_left.sum() + power_left[1 : (shape[1] + 1) // 2].sum()  # both halves of the plane
    left = noise_sd * math.sqrt(both / (shape[0] * shape[1]))
    return filtered[pad:-pad, pad:-pad][: image.shape[0], : image.shape[1]].astype(float), left


def local_maxima(
    filtered: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Local maxima of a filtered frame, at least `radius` apart, to a fraction of a pixel.

    Returns
    -------
    y, x, height : ndarray of shape (N,)
        Positions in pixels and the filtered value there.
    """
    row, column = _tops(filtered, max(radius, 1.5))
    # a top between pixels can give several equal ones: the first of them stands for all
    pairs = cKDTree(np.stack([row, column], 1)).query_pairs(max(radius, 1.5), output_type="ndarray")
    first = np.ones(row.size, bool)
    first[pairs.max(axis=1)] = False
    row, column = row[first], column[first]
    inner_y = np.clip(row, 1, filtered.shape[0] - 2)
    inner_x = np.clip(column, 1, filtered.shape[1] - 2)
    dy = top_offset(*(filtered[inner_y + k, column] for k in (-1, 0, 1)))
    dx = top_offset(*(filtered[row, inner_x + k] for k in (-1, 0, 1)))
    dy, dx = np.where(row == inner_y, dy, 0.0), np.where(column == inner_x, dx, 0.0)
    return row + dy, column + dx, filtered[row, column]


def highest_near(
    picture: NDArray[np.float64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    *,
    corners: bool,
) -> NDArray[np.float64]:
    """Largest value of each pixel (N,) and those that share a side with it, or a corner."""
    last = np.array(picture.shape) - 1
    highest = np.full(row.shape, -np.inf)
    for dy, dx in np.ndindex(3, 3):
        if corners or dy == 1 or dx == 1:
            y, x = np.clip(row + dy - 1, 0, last[0]), np.clip(column + dx - 1, 0, last[1])
            np.maximum(highest, picture[y, x], out=highest)
    return highest


def _tops(
    filtered: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels (N,), (N,) above zero of which none within a radius is higher."""
    halo = int(radius) + 1

    def tops(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first = max(0, rows.start - halo)
        row, column = _tops_of_part(filtered[first : rows.stop + halo], radius)
        row = row + first
        mine = (row >= rows.start) & (row < rows.stop)
        return row[mine], column[mine]

    parts = bands(len(filtered))
    found = side_by_side(tops, parts, most=len(parts))
    row, column = (np.concatenate(values) for values in zip(*found, strict=True))
    return row, column


def _tops_of_part(
    filtered: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Look at some rows; those that the radius needs beyond them are among them."""
    ends = np.pad(filtered, 1, mode="edge")
    lines = np.maximum(np.maximum(ends[:-2], ends[2:]), ends[1:-1])
    beside = np.maximum(np.maximum(lines[:, :-2], lines[:, 2:]), lines[:, 1:-1])
    row, column = np.nonzero((filtered >= beside) & (filtered > 0))
    height, reach = filtered[row, column], int(radius)
    for dy, dx in np.ndindex(2 * reach + 1, 2 * reach + 1):
        if 2 < (dy - reach) ** 2 + (dx - reach) ** 2 <= radius**2:
            y = np.clip(row + dy - reach, 0, filtered.shape[0] - 1)
            x = np.clip(column + dx - reach, 0, filtered.shape[1] - 1)
            top = filtered[y, x] <= height
            row, column, height = row[top], column[top], height[top]
    return row, column
