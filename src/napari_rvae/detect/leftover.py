"""What fitted Gaussians leave of a frame: the tails of the atoms, and shifts of its rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_rvae.detect.drawing import draw_atoms
from napari_rvae.detect.fit import TAIL_WIDTH, AtomFit
from napari_rvae.detect.row_errors import RowErrors, measure_rows, trusted
from napari_rvae.detect.sampling import middle
from napari_rvae.device import bands, do_side_by_side
from napari_rvae.preprocess.background import finer, slow_background
from napari_rvae.preprocess.noise import fill_missing, pixel_weights
from napari_rvae.render import render_gaussians

__all__ = ["Leftover", "common_width", "measure_leftover"]

#: What is smooth over this many sigma is background.
_SMOOTH = 5.0

#: Tails are measured on the middle of a frame, of about this side in pixels.
_TAIL_SIDE = 1024

#: Tails are drawn in pixels of which their width is this many or more.
_TAIL_PIXELS = 2.2

#: Tails have at most this share of an atom's height.
_MOST_TAIL = 0.3


class Leftover(NamedTuple):
    """What can be told of the whole frame once its atoms are fitted.

    Parameters
    ----------
    tail
        Height of the tails, as a share of the atom's; 0 where none are seen.
    tails
        All tails (Y, X).
    rows
        Shifts and offsets of the rows, as far as they are told.
    moved
        What these have done to the picture (Y, X).
    trust
        How sure the surest of them is, from 0 to 1: all are smaller already as far as they are not
        sure, and what a fit without them changes should count by this share.
    """

    tail: float
    tails: NDArray[np.float64]
    rows: RowErrors
    moved: NDArray[np.float64]
    trust: float


def measure_leftover(
    image: NDArray[np.float64],
    variance: NDArray[np.float64],
    fit: AtomFit,
    sigma: float,
    form: NDArray[np.float64] | None = None,
    *,
    taken: NDArray[np.float64] | None = None,
    inflation: float = 1.0,
) -> Leftover:
    """Look at what the atoms leave, all of them together.

    Every atom has the same tails, so bright ones tell those of the dim. They are one wider
    Gaussian, whose height follows by weighted least squares from the frame less the atoms. Every
    row shows many atoms, so it tells its own shift (jitter of the scan, vibration) and offset
    (:func:`~napari_rvae.detect.row_errors.measure_rows`).

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
    form
        Quadratic form (2, 2) of the ellipses that they were fitted with, if they were.
    taken
        Offsets (Y,) that were taken off the rows before; without any, none are looked for.
    inflation
        How many times larger the noise is over an atom than `variance` says.

    Returns
    -------
    Leftover
        Zero where nothing is sure.
    """
    shape = (image.shape[0], image.shape[1])
    atoms = draw_atoms(fit.y, fit.x, fit.amplitude, sigma, shape, form=form)
    width, left = _width(sigma), fill_missing(image - atoms)
    tails = _tails(fit, sigma, shape)
    height, tail, trust = _heights(image, variance, left, atoms, tails, sigma)
    tails *= tail
    if tail:
        left -= height * atoms
        left -= tails
    left -= slow_background(left, width)
    rows = measure_rows(
        *(image, variance, left, atoms, fit, sigma), form=form, taken=taken, inflation=inflation
    )
    moved = atoms  # in its place

    def move(part: slice) -> None:
        moved[part] = rows.offset[part, None] - rows.shift[part, None] * np.gradient(
            atoms[part], axis=1
        )

    do_side_by_side(move, bands(len(image)))
    return Leftover(tail, tails, rows, moved, max(trust, rows.trust))


def common_width(
    image: NDArray[np.float64], variance: NDArray[np.float64], fit: AtomFit, sigma: float
) -> tuple[float, float]:
    """Width of an atom's image that fits a frame best, if it is the same for all atoms.

    One step of weighted least squares of the width, of a factor for all heights and of tails as
    far as they are sure, with what is smooth left out: fits of single atoms with a wrong width are
    too high or too low all alike, and take what is left for background.

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
    width, error : float
        In pixels; `sigma` with an infinite error where the frame does not tell. The error holds
        the whole of what is added for the noise of the positions.
    """
    shape = (image.shape[0], image.shape[1])
    smooth = _width(sigma)
    inner = np.s_[smooth:-smooth, smooth:-smooth]  # nobody draws the atoms beyond the rim
    weight = pixel_weights(image, variance)[inner]
    picture = _without_smooth(fill_missing(image), smooth)[inner]
    wide, narrow = (
        render_gaussians(fit.y, fit.x, fit.amplitude, sigma * factor, shape)
        for factor in (1.01, 0.99)
    )
    looks = [(wide + narrow) / 2, (wide - narrow) / 0.02, _tails(fit, sigma, shape)]
    looks = [_without_smooth(part, smooth)[inner] for part in looks]
    matrix, right = _equations(looks, picture, weight)
    if not weight.any() or not np.linalg.cond(matrix) < 1e8:
        return sigma, math.inf
    plain, tailed = np.linalg.solve(matrix[:2, :2], right[:2]), np.linalg.solve(matrix, right)
    inverse = np.linalg.inv(matrix)
    trust = trusted(float(tailed[2]), math.sqrt(inverse[2, 2]))
    height, change = (1 - trust) * plain + trust * tailed[:2]
    if not height > 0:
        return sigma, math.inf
    error = sigma * math.sqrt(inverse[1, 1]) / float(height)
    width = sigma * (1 + float(change / height))
    # fitted positions lean towards the noise, so that the atoms seem narrower about them
    lean = 0.5 * float(np.average(fit.y_sd**2 + fit.x_sd**2, weights=fit.amplitude**2))
    return math.hypot(width, math.sqrt(lean)), math.hypot(error, lean / (2 * width))


def _equations(
    looks: list[NDArray[np.float64]], picture: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normal matrix (F, F) and right side (F,) of a picture as a sum of others (Y, X)."""
    weighted = [weight * look for look in looks]
    products = [[np.vdot(w, part) for part in (*looks, picture)] for w in weighted]
    return np.array(products)[:, :-1], np.array(products)[:, -1]


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
    image: NDArray[np.float64],
    variance: NDArray[np.float64],
    left: NDArray[np.float64],
    atoms: NDArray[np.float64],
    tails: NDArray[np.float64],
    sigma: float,
) -> tuple[float, float, float]:
    """Heights of core and tails in what the atoms leave, and how far the tails are believed.

    How tall the core is must be free, too: with tails, its Gaussian is another.
    """
    width = _width(sigma)
    side = _TAIL_SIDE + 2 * int(4 * TAIL_WIDTH * sigma)
    # the background at the rim of the middle part is that of the frame
    rest = middle(_without_smooth(middle(left, side + 4 * width), width), side)
    image, variance, atoms, tails = (middle(part, side) for part in (image, variance, atoms, tails))
    weight = pixel_weights(image, variance)
    looks = [_without_smooth(part, width) for part in (atoms, tails)]
    matrix, right = _equations(looks, rest, weight)
    if not np.linalg.cond(matrix) < 1e8:
        return 0.0, 0.0, 0.0
    inverse = np.linalg.inv(matrix)
    height, tail = inverse @ right
    trust = trusted(float(tail), math.sqrt(inverse[1, 1]))
    return trust * float(height), trust * float(min(tail, _MOST_TAIL)), trust
