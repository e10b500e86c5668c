"""Draw the atoms of a frame, parts of them side by side."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_rvae.device import bands, side_by_side
from napari_rvae.render import render_gaussians

__all__ = ["draw_atoms"]

#: So many atoms are drawn at a time, whatever the number of threads.
_ATOMS = 2048

#: Rows on which an atom is drawn reach so many sigma from it, and more.
_REACH = 6.0


def draw_atoms(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    amplitude: NDArray[np.float64],
    sigma: float,
    shape: tuple[int, ...],
    *,
    form: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Draw what :func:`~napari_rvae.render.render_gaussians` does, on several threads.

    Parameters
    ----------
    y, x
        Positions (N,) in pixels.
    amplitude
        Heights (N,).
    sigma
        Width of all of them in pixels.
    shape
        Rows and columns (Y, X) of the picture.
    form
        Quadratic form (2, 2) of ellipses.

    Returns
    -------
    ndarray of shape (Y, X)
        The picture, the same for any number of threads.
    """
    rows, columns = shape
    order = np.argsort(y, kind="stable")
    reach = math.ceil(_REACH * sigma) + 2

    def drawn(part: slice) -> tuple[int, NDArray[np.float64]]:
        """Atoms of a part, and the first row of their picture."""
        some = order[part]
        first, last = (np.clip(np.rint(y[some[[0, -1]]]), 0, rows - 1)).astype(int)
        first, last = max(0, first - reach), min(rows, last + reach + 1)
        lines = (last - first, columns)
        return first, render_gaussians(
            y[some] - first, x[some], amplitude[some], sigma, lines, form=form
        )

    picture = np.zeros((rows, columns))
    parts = bands(len(order), _ATOMS)
    for first, lines in side_by_side(drawn, parts, most=len(parts) or None):
        picture[first : first + len(lines)] += lines
    return picture
