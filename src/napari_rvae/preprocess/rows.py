"""Destriping: take off the offset that each row of the scan has of its own."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special

from napari_rvae.preprocess.background import slow_background
from napari_rvae.preprocess.noise import drop_spikes, fill_missing, robust_sd, some_rows
from napari_rvae.render import render_gaussians

__all__ = ["destripe", "destripe_fitted"]

#: An offset may change along its row as slowly as these cosines do: over a quarter of it.
_MODES = 9

#: The level of the noise is taken from so many times as many modes beside them.
_REFERENCE = 8

#: Bright things that were not fitted count for no more than so many standard deviations, to
#: which values are bent smoothly: a kink would look like noise.
_CLIP = 4.0

#: The slow background is a running mean over this share of the frame.
_BACKGROUND = 0.25

#: Mean of a squared normal variable over its median, and over its mean up to _CUT.
_CUT = 6.0
_MEDIAN = 2 * special.gammaincinv(0.5, 0.5)
_TRIMMED = special.gammainc(1.5, _CUT / 2) / special.gammainc(0.5, _CUT / 2)

#: Standard error of such a level from one value, as a share of it, measured on noise; offsets
#: smaller than so many errors are none. Noise alone exceeds it in one frame of a thousand.
_LEVEL_SD, _SURE = 1.85, 5.0

#: Frames with fewer rows or columns are left alone.
_LEAST_ROWS, _LEAST_COLUMNS = 32, 8

#: White noise below this share of the residual's spread is none, and so are offsets then.
_NOTHING = 1e-2

#: What stands so far above the noise, alone or on the average over _WIDTH frequencies, is
#: picture. Where the atoms are known, no lattice stands alone, and of some thousand coefficients
#: chance lifts few above the first number, but none above the last.
_ALONE, _TOGETHER, _WIDTH, _ALONE_BESIDE_ATOMS = 12.0, 2.5, 25, 25.0

#: Rows this near to the upper and lower edge, in widths of an atom's image, show atoms that lie
#: outside and were not fitted.
_RIM = 3.0


def destripe(
    image: NDArray[np.float64], atoms: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Take off the rows' own offsets, and their slow change along the row.

    The offsets of rows are white from row to row; what the specimen shows is not. So the
    frame less its fitted atoms, with what is still bright cut off, is split along the rows into
    the slowest cosines, and each of these along y into frequencies: their usual level in the
    upper half, which is finer than an atom, less that of the quicker cosines, is due to the
    offsets. A Wiener filter takes that share off every frequency; where more stands out, which
    is a lattice with its rows along the scan, or the background, less or nothing.

    Not taken off is noise that changes along a row within less than a quarter of it, which
    could not be told from the specimen without making the picture anisotropic, and shifts of
    rows along x. Of rendered atoms or probability maps nothing should be taken off.

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels stay.
    atoms
        What is known to be in it (Y, X), in any unit and of either sign, such as the fitted
        atoms; NaN where nothing is known. It protects single bright atoms, beside which a
        streak would remain, and lattices along the rows.

    Returns
    -------
    ndarray of shape (Y, X)
        The picture without offsets; `image` itself where none are measured, it has no noise, or
        fewer than 32 rows or 8 columns.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess import destripe
    >>> rng = np.random.default_rng(0)
    >>> white, offset = rng.normal(size=(256, 256)), rng.normal(size=(256, 1))
    >>> bool(np.std(destripe(white + offset) - white) < 0.4)
    True
    >>> destripe(white) is white
    True
    """
    rows, columns = image.shape
    if rows < _LEAST_ROWS or columns < _LEAST_COLUMNS:
        return image
    residual, spread = _residual(image, atoms)
    if spread == 0:
        return image
    n_modes = min(_MODES, max(1, columns // 16))
    waves = _cosines(columns, _REFERENCE * n_modes)
    along = residual @ waves  # (Y, modes): what every row has of each cosine
    level = _noise_level(_fine_power(along))
    white = float(np.median(level[n_modes : _REFERENCE * n_modes]))
    least = _SURE * _LEVEL_SD / math.sqrt(rows / 2) * white
    offset = level[:n_modes] - white
    offset[offset <= least] = 0.0
    if white < _NOTHING**2 or not offset.any():
        return image
    slow = fft.dct(along[:, :n_modes], axis=0, norm="ortho")
    noise = offset + white
    alone = _ALONE if atoms is None or not np.nan_to_num(atoms).any() else _ALONE_BESIDE_ATOMS
    share = offset / (noise + _picture_power(slow**2, noise, alone))
    share[0] = 0.0  # the mean of the frame is no one row's
    stripes = fft.idct(share * slow, axis=0, norm="ortho")
    return np.asarray(image - spread * (stripes @ waves[:, :n_modes].T))


def destripe_fitted(
    image: NDArray[np.float64],
    atoms: NDArray[np.float64],
    *,
    plain: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Destripe a frame whose atoms are fitted.

    Near the upper and lower edge, where atoms that lie outside show and were not fitted, the
    offsets are those that can be told without the atoms.

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels stay.
    atoms
        Their y, x, amplitude and sigma (4, n), in pixels and any unit; n may be 0.
    plain
        What :func:`destripe` makes of the frame without atoms, where that is known already.

    Returns
    -------
    ndarray of shape (Y, X)
        The picture without offsets; `image` itself where none are measured.
    """
    plain = destripe(image) if plain is None else plain
    # drawing the atoms takes longer than looking whether there are stripes
    if plain is image or not atoms.shape[1]:
        return plain
    rows, columns = image.shape
    y, x, amplitude, sigma = atoms
    drawn = render_gaussians(y, x, amplitude, sigma, (rows, columns))
    rim = min(math.ceil(_RIM * float(np.median(sigma))), rows // 4)
    drawn[:rim], drawn[rows - rim :] = np.nan, np.nan
    clean = destripe(image, drawn)
    if clean is not image:
        clean[:rim], clean[rows - rim :] = plain[:rim], plain[rows - rim :]
    return clean


def _residual(
    image: NDArray[np.float64], atoms: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], float]:
    """Frame less atoms and background, in units of its spread, and that spread."""
    if not np.isfinite(image).any():
        return image, 0.0
    clean = drop_spikes(image)  # one of them would spread over the whole background
    known = np.isfinite(clean)
    residual = fill_missing(clean)
    residual = residual - np.median(some_rows(residual))
    if atoms is not None:
        known = known & np.isfinite(atoms)
        model = fill_missing(atoms)
        model = model - model.mean()
        size = float(np.abs(model).max())
        if size > 0:
            model = model / size
            residual = residual - (residual * model).sum() / (model**2).sum() * model
    width = 2 * int(_BACKGROUND * min(image.shape) / 2) + 1
    residual = residual - slow_background(residual, width)
    spread = robust_sd(residual if known.all() else residual[known])
    if spread == 0:
        return residual, 0.0
    # what is bright is so beside the rest of its row, or a row far off would count for less
    usual = np.median(residual, axis=1, keepdims=True)
    rest = residual - usual
    limit = _CLIP * robust_sd(rest if known.all() else rest[known])
    if limit > 0:
        bent = np.tanh(rest / limit)
        slope = max(0.5, float(1 - np.mean(bent[known] ** 2)))
        rest = limit / slope * bent
    residual = (usual + rest) / spread
    if known.all():
        return residual, spread
    # what is missing is taken for the mean of its row, so that it does not dilute it
    count = np.maximum(known.sum(1), 1)
    mean = np.where(known, residual, 0.0).sum(1) / count
    return np.where(known, residual, mean[:, None]), spread


def _cosines(length: int, count: int) -> NDArray[np.float64]:
    """The slowest cosines (length, count or less) of an orthonormal transform (DCT-II)."""
    number, place = np.arange(min(count, length)), np.arange(length) + 0.5
    waves = np.cos(np.pi / length * np.multiply.outer(place, number))
    waves *= math.sqrt(2 / length)
    waves[:, 0] /= math.sqrt(2)
    return np.asarray(waves)


def _fine_power(along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power (upper half of the frequencies along y, modes) of the rows' cosines (Y, modes).

    By way of the second difference along y, which leaves no smooth picture whose ends would look
    like something fine.
    """
    bend = fft.dct(np.diff(along, n=2, axis=0), axis=0, norm="ortho")
    count = len(bend)
    fine = np.arange(count // 2, count)
    weight = 2 - 2 * np.cos(np.pi * fine / count)  # of the difference
    return np.asarray((bend[fine] / weight[:, None]) ** 2)


def _noise_level(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power (modes,) of normal noise in (frequencies, modes), robust against few peaks."""
    usual = np.median(power, axis=0) / _MEDIAN
    low = power < _CUT * usual
    total = np.where(low, power, 0.0).sum(0)
    return np.asarray(total / np.maximum(low.sum(0), 1) / _TRIMMED)


def _picture_power(
    power: NDArray[np.float64], noise: NDArray[np.float64], least: float
) -> NDArray[np.float64]:
    """Power of the picture in each coefficient (frequencies, modes), 0 where none stands out.

    Alone, one must stand `least` times above the noise.
    """
    alone = np.where(power > least * noise, power - noise, 0.0)
    mean = ndimage.uniform_filter1d(power, _WIDTH, axis=0, mode="nearest")
    return np.maximum(alone, np.where(mean > _TOGETHER * noise, mean - noise, 0.0))
