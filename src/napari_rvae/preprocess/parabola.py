"""Maxima of sampled values, to a fraction of a sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["top_offset"]


def top_offset(below: ArrayLike, at: ArrayLike, above: ArrayLike) -> NDArray[np.float64]:
    """Find the top of the parabola through three values a sample apart.

    Parameters
    ----------
    below, at, above
        The values, of any shape; the middle one is about the largest.

    Returns
    -------
    ndarray
        Offset of the top from the middle one, from -0.5 to 0.5; 0 where there is no top.
    """
    first, middle, last = (np.asarray(values, float) for values in (below, at, above))
    bend = first + last - 2 * middle
    offset = np.where(bend < 0, (first - last) / np.where(bend < 0, 2 * bend, 1.0), 0.0)
    return np.clip(offset, -0.5, 0.5)
