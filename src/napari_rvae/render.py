"""Positions and amplitudes of atoms -> pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_rvae.errors import InputError

__all__ = ["render_gaussians"]

#: Gaussians are drawn out to this many standard deviations (1e-6 of the peak is left out).
_CUT = 5.3

#: So many pixels are drawn at a time, which bounds the memory.
_BATCH_PIXELS = 200_000


def render_gaussians(
    y: ArrayLike,
    x: ArrayLike,
    amplitude: ArrayLike,
    sigma: ArrayLike,
    shape: tuple[int, int],
    *,
    row_shift: ArrayLike | None = None,
    form: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Draw a sum of Gaussians.

    Parameters
    ----------
    y, x
        Positions (N,) in pixels; the centre of the first pixel is (0, 0). What is not finite
        is left out.
    amplitude
        Peak heights (N,) or one for all.
    sigma
        Standard deviations (N,) or one for all, in pixels.
    shape
        Rows and columns (Y, X) of the picture.
    row_shift
        Horizontal displacement (Y,) of each row in pixels, as a jittering scan makes it.
    form
        Quadratic form F (2, 2) of ellipses in place of circles: the exponent at a step d from the
        middle is -d F d / (2 sigma^2).

    Returns
    -------
    ndarray of shape (Y, X)
        The picture, zero where no Gaussian reaches.

    Raises
    ------
    InputError
        If a width is not positive.

    Examples
    --------
    >>> from napari_rvae.render import render_gaussians
    >>> render_gaussians([5], [5], [2.0], [1.5], (11, 11))[5, 5]
    2.0
    """
    rows, columns = shape
    arrays = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in (y, x, amplitude, sigma)))
    py, px, height, width = (np.ravel(a) for a in arrays)
    if np.any(~(width > 0)):
        raise InputError("sigma must be positive: give widths in pixels.")
    known = np.isfinite(py) & np.isfinite(px) & np.isfinite(height)
    py, px, height, width = py[known], px[known], height[known], width[known]
    picture = np.zeros(rows * columns)
    if py.size == 0:
        return picture.reshape(shape)
    half = int(np.ceil(_CUT * width.max())) + 1
    ellipse = np.eye(2) if form is None else np.asarray(form, dtype=float)
    jitter = np.zeros(rows) if row_shift is None else np.asarray(row_shift, dtype=float)
    offsets = np.arange(-half, half + 1)
    batch = max(1, _BATCH_PIXELS // (2 * half + 1) ** 2)
    order = np.argsort(py, kind="stable")  # so that a batch touches few rows
    py, px, height, width = py[order], px[order], height[order], width[order]
    for start in range(0, py.size, batch):
        part = slice(start, start + batch)
        yi = np.rint(py[part]).astype(np.int64)[:, None] + offsets
        xi = np.rint(px[part]).astype(np.int64)[:, None] + offsets
        inside_y, inside_x = (yi >= 0) & (yi < rows), (xi >= 0) & (xi < columns)
        safe_y, safe_x = np.clip(yi, 0, rows - 1), np.clip(xi, 0, columns - 1)
        twice = 2 * width[part, None] ** 2
        dy = yi - py[part, None]
        column = np.exp(-ellipse[0, 0] * dy**2 / twice) * inside_y
        dx = xi[:, None, :] - px[part, None, None]  # (n, 1, width): one row serves all
        if row_shift is not None:
            dx = dx - jitter[safe_y][:, :, None]
        row = np.exp(-ellipse[1, 1] * dx**2 / twice[..., None]) * inside_x[:, None, :]
        values = height[part, None, None] * column[:, :, None] * row
        if ellipse[0, 1]:
            values *= np.exp(-2 * ellipse[0, 1] * dy[:, :, None] * dx / twice[..., None])
        first, last = safe_y.min() * columns, (safe_y.max() + 1) * columns
        index = safe_y[:, :, None] * columns + safe_x[:, None, :] - first
        picture[first:last] += np.bincount(index.ravel(), values.ravel(), minlength=last - first)
    return picture.reshape(shape)
