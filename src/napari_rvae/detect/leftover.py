"""What fitted Gaussians leave of a frame: the tails of the atoms, and shifts of its rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_rvae.detect.fit import TAIL_WIDTH, AtomFit
from napari_rvae.detect.sampling import middle
from napari_rvae.preprocess.background import finer, slow_background
from napari_rvae.preprocess.noise import fill_missing
from napari_rvae.render import render_gaussians

__all__ = ["Leftover", "measure_leftover"]

#: What is smooth over this many sigma is background.
_SMOOTH = 5.0

#: Tails are measured on the middle of a frame, of about this side in pixels.
_TAIL_SIDE = 1024

#: Tails are drawn in pixels of which their width is this many or more.
_TAIL_PIXELS = 2.2

#: Tails, and shifts of rows, this many standard errors above zero are there.
_SURE = 5.0

#: Tails have at most this share of an atom's height, and rows are shifted by no more than this
#: share of sigma: what seems to be more is something else.
_MOST_TAIL, _MOST_SHIFT = 0.3, 0.3


class Leftover(NamedTuple):
    """What can be told of the whole frame once its atoms are fitted.

    Parameters
    ----------
    tail
        Height of the tails, as a share of the atom's; 0 where none are sure.
    tails
        All tails (Y, X).
    shift
        Shift (Y,) of each row along x in pixels, as far as it is told.
    shift_sd
        Standard deviation of what is left of the shifts, in pixels.
    moved
        What the shifts have done to the picture (Y, X).
    """

    tail: float
    tails: NDArray[np.float64]
    shift: NDArray[np.float64]
    shift_sd: float
    moved: NDArray[np.float64]

    def atom_sd(self, sigma: float) -> float:
        """Error along x that is left to an atom: a mean over its rows, weighted by their share.

        A row at height y tells of x as exp(-y^2 / sigma^2).
        """
        return self.shift_sd / math.sqrt(math.sqrt(2 * math.pi) * sigma)


def measure_leftover(
    image: NDArray[np.float64], variance: NDArray[np.float64], fit: AtomFit, sigma: float
) -> Leftover:
    """Look at what the atoms leave, all of them together.

    Every atom has the same tails, so bright ones tell those of the dim. They are one wider
    Gaussian, whose height follows by weighted least squares from the frame less the atoms.
    Every row shows many atoms, so it tells its own shift (jitter of the scan, vibration): the
    residual of a shifted row looks like the slope of the atoms along x. The spread of the
    shifts beyond their errors is that of true ones, and each is trusted as far as that says
    (Wiener).

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels tell nothing.
    variance
        Noise variance of each pixel (Y, X).
    fit
        The fitted atoms.
    sigma
        Width with which they were fitted, in pixels.

    Returns
    -------
    Leftover
        Zero where nothing is sure.
    """
    shape = (image.shape[0], image.shape[1])
    atoms = render_gaussians(fit.y, fit.x, fit.amplitude, sigma, shape)
    known = np.isfinite(image)
    weight = np.where(known, 1 / variance, 0.0)
    width = _width(sigma)
    left = fill_missing(image - atoms)
    rest, tails = _without_smooth(left, width), _tails(fit, sigma, shape)
    height, tail = _heights(rest, atoms, tails, weight, sigma)
    tails *= tail
    if tail:
        left -= height * atoms
        left -= tails
        rest = _without_smooth(left, width)
    slope = np.gradient(atoms, axis=1)
    shift, shift_sd = _row_shifts(rest, slope, weight, sigma)
    return Leftover(tail, tails, shift, shift_sd, -shift[:, None] * slope)


def _width(sigma: float) -> int:
    """Side of a box that smooths over _SMOOTH sigma when it is applied twice."""
    return 2 * int(_SMOOTH * sigma * math.sqrt(6) / 2) + 1


def _without_smooth(picture: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    return np.asarray(picture - slow_background(picture, width))


def _at_pixels(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    value: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Picture (Y, X) of points, each shared by the four pixels about it."""
    low_y, low_x = np.floor(y).astype(int), np.floor(x).astype(int)
    picture = np.zeros(shape[0] * shape[1])
    for step_y in (0, 1):
        for step_x in (0, 1):
            row, column = low_y + step_y, low_x + step_x
            share = (1 - np.abs(y - row)) * (1 - np.abs(x - column)) * value
            inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
            index = (row * shape[1] + column)[inside]
            picture += np.bincount(index, share[inside], minlength=picture.size)
    return picture.reshape(shape)


def _tails(fit: AtomFit, sigma: float, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Tails as high as their atoms (Y, X); so smooth that coarser pixels tell them."""
    step = max(1, int(TAIL_WIDTH * sigma / _TAIL_PIXELS))
    wide = TAIL_WIDTH * sigma / step
    y, x = ((p + 0.5) / step - 0.5 for p in (fit.y, fit.x))
    points = _at_pixels(y, x, fit.amplitude, (-(-shape[0] // step), -(-shape[1] // step)))
    # points between pixels, and values between these, are spread by lines
    spread = ndimage.gaussian_filter(
        points, math.sqrt(wide**2 - (2 if step > 1 else 1) / 6), mode="constant"
    )
    spread *= 2 * math.pi * wide**2
    return spread if step == 1 else finer(spread, step, shape)


def _heights(
    rest: NDArray[np.float64],
    atoms: NDArray[np.float64],
    tails: NDArray[np.float64],
    weight: NDArray[np.float64],
    sigma: float,
) -> tuple[float, float]:
    """Heights of core and tails in the residual; zero where the tails are not sure.

    How tall the core is must be free, too: with tails, its Gaussian is another.
    """
    side = _TAIL_SIDE + 2 * int(4 * TAIL_WIDTH * sigma)
    rest, atoms, tails, weight = (middle(part, side) for part in (rest, atoms, tails, weight))
    width = _width(sigma)
    looks = [_without_smooth(part, width) for part in (atoms, tails)]
    matrix = np.array([[(weight * a * b).sum() for a in looks] for b in looks])
    right = np.array([(weight * a * rest).sum() for a in looks])
    if not np.linalg.cond(matrix) < 1e8:
        return 0.0, 0.0
    inverse = np.linalg.inv(matrix)
    height, tail = inverse @ right
    if not tail > _SURE * math.sqrt(inverse[1, 1]):
        return 0.0, 0.0
    return float(height), float(min(tail, _MOST_TAIL))


def _row_shifts(
    rest: NDArray[np.float64],
    slope: NDArray[np.float64],
    weight: NDArray[np.float64],
    sigma: float,
) -> tuple[NDArray[np.float64], float]:
    """Shift (Y,) of each row as far as it is told, and the spread of what is left."""
    none = np.zeros(len(rest))
    sureness = (weight * slope**2).sum(1)
    told = sureness > 1e-3 * sureness.max()
    if told.sum() < 8 * sigma:
        return none, 0.0
    raw = np.zeros(len(rest))
    raw[told] = -(weight * rest * slope).sum(1)[told] / sureness[told]
    error = np.zeros(len(rest))
    error[told] = 1 / sureness[told]
    # by precision, so that rows with hardly an atom do not count
    share = np.where(told, sureness, 0.0)
    excess = float((share * (raw**2 - error)).sum() / share.sum())
    chance = math.sqrt(2 * float(((share * error) ** 2).sum())) / share.sum()
    if not excess > _SURE * chance or excess > (_MOST_SHIFT * sigma) ** 2:
        return none, 0.0
    shift = np.where(told, raw * excess / (excess + error), 0.0)
    left = float((share * excess * error / (excess + error)).sum() / share.sum())
    return shift, math.sqrt(left)
