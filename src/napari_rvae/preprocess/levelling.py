"""Rows and planes of a force microscope's scan: lost rows mended, height levelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_Number = TypeVar("_Number", np.float64, np.complex128)

__all__ = ["level_height", "lost_rows", "mend_rows"]

#: Rows in which this share of the values is missing, or exactly that of a neighbour, are lost.
_LOST = 0.9
#: So many lost rows side by side are mended, at the border of the scan one; more are a gap.
_LONGEST = 4


def lost_rows(image: Array) -> NDArray[np.bool_]:
    """Rows (Y,) of a scan (Y, X) that hold no measurement.

    They are missing (NaN), have one value throughout, or repeat the row before them exactly.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess.levelling import lost_rows
    >>> scan = np.random.default_rng(0).normal(size=(4, 16))
    >>> scan[2] = 0
    >>> lost_rows(scan).tolist()
    [False, False, True, False]
    """
    missing = (~np.isfinite(image)).mean(axis=1) > _LOST
    with np.errstate(invalid="ignore"):
        flat = np.ptp(image, axis=1) == 0
        same = np.zeros(len(image), bool)
        same[1:] = (image[1:] == image[:-1]).mean(axis=1) > _LOST
    # where everything is one value, no row stands out
    return np.asarray(missing | (np.zeros_like(flat) if flat.all() else flat | same))


def mend_rows(image: NDArray[_Number], lost: NDArray[np.bool_]) -> NDArray[_Number]:
    """Fill lost rows of a scan (Y, X), real or complex, linearly from the rows beside them.

    Parameters
    ----------
    image
        The scan.
    lost
        Rows (Y,) to fill.

    Returns
    -------
    ndarray of shape (Y, X)
        A copy, NaN in more than four lost rows side by side, and in more than one at the border;
        `image` itself where no row is lost.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess.levelling import mend_rows
    >>> scan = np.repeat([[1.0], [9.0], [3.0]], 4, axis=1)
    >>> mend_rows(scan, np.array([False, True, False]))[1].tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    if not lost.any():
        return image
    mended = image.copy()
    mended[lost] = np.nan
    label, count = ndimage.label(lost)
    for number in range(1, count + 1):
        rows = np.flatnonzero(label == number)
        above, below = int(rows[0]) - 1, int(rows[-1]) + 1
        inside = above >= 0 and below < len(image)
        if inside and len(rows) <= _LONGEST:
            share = ((rows - above) / (below - above))[:, None]
            mended[rows] = (1 - share) * image[above] + share * image[below]
        elif len(rows) == 1 and len(image) > 1:
            mended[rows] = image[below if above < 0 else above]
    return mended


def level_height(image: Array, *, rows: bool = True) -> Array:
    """Take the plane, and the offsets between rows, off a height.

    The offset of a row is the median of its difference from the row before, so that what stands
    on the surface does not count; the plane is fitted twice, the second time without what is more
    than three standard deviations off.

    Parameters
    ----------
    image
        Height (Y, X) in any unit; NaN stays.
    rows
        False leaves the rows as they are.

    Returns
    -------
    ndarray of shape (Y, X)
        Height about zero.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess import level_height
    >>> y, x = np.indices((32, 32))
    >>> offset = np.random.default_rng(0).normal(size=(32, 1))
    >>> bool(np.ptp(level_height(0.2 * y + 0.1 * x + offset)) < 1e-9)
    True
    """
    height = np.asarray(image, float)
    if not np.isfinite(height).any():
        return height
    if rows:
        difference = np.diff(height, axis=0)
        empty = ~np.isfinite(difference).any(axis=1)
        steps = np.zeros(len(difference))
        steps[~empty] = np.nanmedian(difference[~empty], axis=1)
        height = height - np.concatenate([[0.0], np.cumsum(steps)])[:, None]
    y, x = np.indices(height.shape)
    base = np.stack([np.ones(height.size), y.ravel(), x.ravel()], axis=1)
    flat = height.ravel()
    use = np.isfinite(flat)
    for _ in range(2):
        plane = base @ np.linalg.lstsq(base[use], flat[use], rcond=None)[0]
        rest = flat - plane
        use &= np.abs(rest) <= 3 * np.nanstd(rest[use]) + 1e-300
        if use.sum() < 3:
            break
    return np.asarray((flat - plane).reshape(height.shape))
