"""Width and contrast of the blobs in a frame, from the autocorrelation at short distances."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, optimize

from napari_rvae.preprocess.background import slow_background
from napari_rvae.preprocess.noise import fill_missing

__all__ = ["BlobEllipse", "BlobScale", "blob_contrast", "blob_ellipse", "blob_scale"]

#: Height, background, and the quadratic form in units of the round blob's.
_ELLIPSE_BOUNDS = ([0.0, -2.0, 0.1, -5.0, 0.1], [10.0, 2.0, 10.0, 5.0, 10.0])


class BlobScale(NamedTuple):
    """Width of the blobs and the distance at which the next one begins, both in pixels."""

    sigma: float
    valley: float


class BlobEllipse(NamedTuple):
    """How much longer blobs are along one axis than across it, and where that axis points.

    Parameters
    ----------
    ellipticity
        Longest by shortest width, less 1: 0 for round blobs.
    angle
        The longer axis points along (dy, dx) = (-sin angle, cos angle), in radians in
        (-pi/2, pi/2].
    """

    ellipticity: float
    angle: float


def _autocorrelation(image: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Mean product of pixels at lags 0..reach (rows) and -reach..reach (columns)."""
    rows, columns = image.shape
    shape = [fft.next_fast_len(n + reach, real=True) for n in (rows, columns)]
    unit = float(np.abs(image).max()) or 1.0  # squares of 1e30 have no place in single precision
    power = np.abs(fft.rfft2((image / unit).astype(np.float32), shape)) ** 2
    product = unit**2 * fft.irfft2(power, shape)[: reach + 1].astype(float)
    product = np.concatenate([product[:, -reach:], product[:, : reach + 1]], axis=1)
    lag_y, lag_x = np.arange(reach + 1)[:, None], np.abs(np.arange(-reach, reach + 1))
    return np.asarray(product / ((rows - lag_y) * (columns - lag_x)))


def _profile(image: NDArray[np.float64], reach: int) -> tuple[NDArray[np.float64], ...]:
    """Radial mean of the autocorrelation, and the map and distances that it comes from.

    The lags along a row are left out: white noise sits at lag zero only, and the noise of the
    scan (row offsets, slow detectors) along rows only.
    """
    values = _autocorrelation(image, reach)[1:]
    distance = np.hypot(np.arange(1, reach + 1)[:, None], np.arange(-reach, reach + 1)[None])
    ring = np.rint(distance).astype(int)
    count = np.bincount(ring.ravel(), minlength=reach + 1)[: reach + 1]
    total = np.bincount(ring.ravel(), values.ravel(), minlength=reach + 1)[: reach + 1]
    return total / np.maximum(count, 1), values, distance


def _smooth(image: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Slow background at this scale."""
    return slow_background(image, 2 * int(width) + 1)


def _first_valley(profile: NDArray[np.float64]) -> int:
    """Ring of the first minimum (1 when the profile only rises, the last when it only falls)."""
    smooth = ndimage.gaussian_filter1d(profile[1:], 0.7)
    rising = np.flatnonzero(np.diff(smooth) > 0)
    return int(rising[0]) + 1 if rising.size else profile.size - 1


def blob_scale(image: NDArray[np.float64], *, valley: float | None = None) -> BlobScale:
    """Estimate the width of the blobs in a frame.

    Fits A exp(-r^2 / (4 sigma^2)) + B, the autocorrelation of Gaussian blobs, out to where it
    first stops falling. In a dense lattice the neighbours cut the fit short: with atoms 4 to 5
    sigma apart the width comes out 10 to 25 % too small.

    Parameters
    ----------
    image
        One frame (Y, X) without NaN.
    valley
        Distance in pixels at which the autocorrelation first stops falling, to measure two
        pictures over the same distances; found when left out.

    Returns
    -------
    BlobScale
        ``sigma`` and ``valley`` in pixels; NaN when there are no blobs (noise, constant frame).
    """
    side = min(image.shape)
    measured = valley is None
    if valley is None:
        reach = max(4, side // 6)
        found = _first_valley(_profile(image - _smooth(image, side / 8), reach)[0])
        if found < 2:
            return BlobScale(math.nan, math.nan)
        # once more, with the background removed at the right scale
        reach = int(min(side // 3, max(4, 3 * found)))
        found = _first_valley(_profile(image - _smooth(image, 2.0 * found), reach)[0])
        if found < 2:
            return BlobScale(math.nan, math.nan)
        valley = float(found)
    reach = int(min(side // 3, max(4, math.ceil(valley))))
    _, values, distance = _profile(image - _smooth(image, 2.0 * valley), reach)
    near = distance <= max(2.3, 0.6 * valley)
    blob = _fit_width(distance[near] ** 2, values[near], valley)
    low, high = _limits(valley)
    # a width at the end of what is allowed was not found
    if measured and not 1.02 * low < blob.sigma < 0.98 * high:
        return BlobScale(math.nan, math.nan)
    return blob


def blob_ellipse(image: NDArray[np.float64], scale: BlobScale) -> BlobEllipse:
    """Estimate the shape of the blobs in a frame: of the probe, where atoms are points.

    Fits the autocorrelation as :func:`blob_scale` does, with an ellipse in place of the circle.
    What is beside an atom in one direction only, as in a dumbbell, counts as its shape.

    Parameters
    ----------
    image
        One frame (Y, X) without NaN.
    scale
        Width of the blobs and distance of the valley, from :func:`blob_scale`.

    Returns
    -------
    BlobEllipse
        In pixels of the frame, whatever their shape; NaN where there are no blobs.
    """
    if not math.isfinite(scale.sigma):
        return BlobEllipse(math.nan, math.nan)
    reach = int(min(min(image.shape) // 3, max(4, math.ceil(scale.valley))))
    _, values, distance = _profile(image - _smooth(image, 2.0 * scale.valley), reach)
    near = distance <= max(2.3, 0.6 * scale.valley)
    grid = np.meshgrid(np.arange(1, reach + 1), np.arange(-reach, reach + 1), indexing="ij")
    dy, dx, seen = grid[0][near], grid[1][near], values[near] / np.abs(values[near]).max()

    def misfit(p: NDArray[np.float64]) -> NDArray[np.float64]:
        exponent = (p[2] * dy**2 + 2 * p[3] * dy * dx + p[4] * dx**2) / (4 * scale.sigma**2)
        return np.asarray(p[0] * np.exp(-exponent) + p[1] - seen)

    fit = optimize.least_squares(misfit, [1.0, 0.0, 1.0, 0.0, 1.0], bounds=_ELLIPSE_BOUNDS)
    form = np.array([[fit.x[2], fit.x[3]], [fit.x[3], fit.x[4]]])
    size, axes = np.linalg.eigh(form)
    if not size[0] > 0:
        return BlobEllipse(math.nan, math.nan)
    dy_long, dx_long = axes[:, 0]  # where the autocorrelation falls least
    angle = math.remainder(math.atan2(-dy_long, dx_long), math.pi)
    return BlobEllipse(math.sqrt(size[1] / size[0]) - 1, angle)


def _limits(valley: float) -> tuple[float, float]:
    """Least and largest width in pixels that a blob with such a valley may have."""
    return 0.4, max(0.5, 0.8 * valley)


def _fit_width(r2: NDArray[np.float64], y: NDArray[np.float64], valley: float) -> BlobScale:
    def misfit(log_sigma: float) -> tuple[float, float]:
        design = np.stack([np.exp(-r2 / (4 * math.exp(2 * log_sigma))), np.ones_like(r2)], 1)
        coef, *_ = np.linalg.lstsq(design, y, rcond=None)
        return float(np.sum((design @ coef - y) ** 2)), float(coef[0])

    low, high = (math.log(limit) for limit in _limits(valley))
    best = optimize.minimize_scalar(lambda s: misfit(s)[0], bounds=(low, high), method="bounded")
    amplitude = misfit(best.x)[1]
    scatter = math.sqrt(best.fun / max(y.size - 3, 1))
    # blobs must stand out of the scatter of the map, else it is noise
    if amplitude <= 4 * scatter:
        return BlobScale(math.nan, math.nan)
    return BlobScale(math.exp(best.x), valley)


def blob_contrast(image: NDArray[np.float64]) -> float:
    """Standard deviation of what a frame shows, without its noise.

    From the product of pixels above each other, in which neither white noise nor the noise of
    the scan's rows takes part; the slow background is taken off.

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels are left out.

    Returns
    -------
    float
        In the units of the image; 0 where there is noise alone.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess.blur import blob_contrast
    >>> waves = np.sin(np.arange(200)[:, None] / 3) + np.sin(np.arange(200) / 3)
    >>> noisy = waves + np.random.default_rng(0).normal(0, 3, waves.shape)
    >>> round(blob_contrast(noisy), 1)
    1.0
    """
    good, full = np.isfinite(image), fill_missing(image)
    full = full - np.median(full)  # a constant frame becomes exactly zero
    structure = np.where(good, full - _smooth(full, min(full.shape) / 8), 0.0)
    pairs = int((good[1:] & good[:-1]).sum())
    product = float(np.sum(structure[1:] * structure[:-1])) / max(pairs, 1)
    return math.sqrt(max(product, 0.0))
