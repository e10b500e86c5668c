"""Curves in a frame: where a field is zero, points along them, and distances from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.signal import savgol_filter
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "curve_points",
    "distance_to_curves",
    "field_at",
    "normals_and_bends",
    "slopes_at",
    "zero_curves",
]


def zero_curves(field: Array, mask: NDArray[np.bool_] | None = None) -> list[Array]:
    """Curves along which a field is zero, by linear interpolation between pixels.

    Parameters
    ----------
    field
        Values (Y, X); NaN ends a curve.
    mask
        Pixels (Y, X) that may be used; None: all.

    Returns
    -------
    list of ndarray
        One (N, 2) a curve, (y, x) in pixels; the last point of a closed one is its first.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.curves import zero_curves
    >>> field = np.tile(np.arange(8.0) - 2.5, (8, 1))
    >>> float(zero_curves(field)[0][0, 1])
    2.5
    """
    from skimage.measure import find_contours  # takes 0.3 s to load, and few need it at once

    return [np.asarray(curve, float) for curve in find_contours(field, 0.0, mask=mask)]


def curve_points(curve: Array, spacing: float) -> Array:
    """Points (M, 2) at equal steps along a curve.

    Parameters
    ----------
    curve
        Points (N, 2) of the curve; closed where the last one is the first.
    spacing
        Length of a step; the true one is as near to it as a whole number of steps allows.

    Returns
    -------
    ndarray of shape (M, 2)
        A closed curve begins anywhere and its first point is not repeated; an open one is
        sampled in the middle of its steps. At least one point.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.curves import curve_points
    >>> curve_points(np.array([[0.0, 0.0], [0.0, 4.0]]), 2.0).tolist()
    [[0.0, 1.0], [0.0, 3.0]]
    """
    steps = np.hypot(*np.diff(curve, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    number = max(round(float(along[-1]) / spacing), 1)
    at = (np.arange(number) + 0.5) * along[-1] / number
    return np.stack([np.interp(at, along, axis) for axis in curve.T], axis=1)


def distance_to_curves(curves: Sequence[Array], points: Array) -> Array:
    """Distance (M,) in pixels of points (M, 2) from the nearest of the curves; inf without any.

    Parameters
    ----------
    curves
        Points (N, 2) of each curve, in order.
    points
        Places (M, 2), as (y, x).

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.curves import distance_to_curves
    >>> line = np.array([[0.0, 0.0], [0.0, 4.0]])
    >>> distance_to_curves([line], np.array([[3.0, 2.0]])).tolist()
    [3.0]
    """
    if not curves:
        return np.full(len(points), np.inf)
    corner = np.concatenate(curves)
    before = np.concatenate([np.vstack([c[:1], c[:-1]]) for c in curves])
    after = np.concatenate([np.vstack([c[1:], c[-1:]]) for c in curves])
    # a long step of a curve may pass nearer to a point than either of its ends
    _, near = cKDTree(corner).query(points)
    sides = [_segment_distance(points, corner[near], other[near]) for other in (before, after)]
    return np.minimum(*sides)


def _segment_distance(points: Array, start: Array, end: Array) -> Array:
    """Distance (M,) of each point from a segment of its own."""
    step = end - start
    length = np.maximum((step**2).sum(axis=1), 1e-12)
    share = np.clip(((points - start) * step).sum(axis=1) / length, 0.0, 1.0)
    return np.asarray(np.hypot(*(points - start - share[:, None] * step).T))


def field_at(field: Array, points: Array) -> Array:
    """Values (M,) of a field (Y, X) at points (M, 2), linear in between; beyond it as at its edge.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.curves import field_at
    >>> field_at(np.eye(2), np.array([[0.0, 0.5]])).tolist()
    [0.5]
    """
    return np.asarray(ndimage.map_coordinates(field, points.T, order=1, mode="nearest"))


def slopes_at(field: Array, points: Array, *, sigma: float) -> Array:
    """Slopes (M, 2) of a field along y and x at points (M, 2), by derivatives of a Gaussian.

    Parameters
    ----------
    field
        Values (Y, X).
    points
        Places (M, 2), as (y, x).
    sigma
        Standard deviation of the Gaussian in pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.curves import slopes_at
    >>> field = np.tile(3.0 * np.arange(32), (32, 1))
    >>> slopes_at(field, np.array([[16.0, 0.0]]), sigma=2.0).round(6).tolist()
    [[0.0, 3.0]]
    """
    wide, reach = _continued(field, sigma)
    return np.stack(
        [
            field_at(
                ndimage.gaussian_filter(wide, sigma, order=order, mode="nearest"), points + reach
            )
            for order in ((1, 0), (0, 1))
        ],
        axis=1,
    )


def _continued(field: Array, sigma: float) -> tuple[Array, int]:
    """A field that goes on straight beyond its edges, and how far it does, in px.

    A field that repeats its edge, or is mirrored there, has no slope across it: level curves would
    bend towards its normal. The line at each pixel of an edge is fitted to what lies within some
    sigma of it.
    """
    reach = int(np.ceil(4 * sigma))
    for axis in (0, 1):
        rows = np.moveaxis(field, axis, 0)
        near = np.arange(min(int(3 * sigma) + 2, len(rows)), dtype=float)
        weight = np.exp(-(near**2) / (2 * sigma**2))
        line = np.stack([np.ones_like(near), near], axis=1)
        fit = np.linalg.pinv(line * np.sqrt(weight)[:, None]) * np.sqrt(weight)
        beyond = np.arange(1, reach + 1)[:, None]
        along = min(2 * int(2 * sigma) + 1, rows.shape[1] - 1 + rows.shape[1] % 2)
        ends = []
        for side in (rows, rows[::-1]):
            line_of = fit @ side[: near.size]
            if along > 2:  # steadier along the edge, by lines as well
                line_of = savgol_filter(line_of, along, 1, axis=1)
            ends.append(line_of[0] - line_of[1] * beyond)
        field = np.moveaxis(np.concatenate([ends[0][::-1], rows, ends[1]]), 0, axis)
    return field, reach


def normals_and_bends(field: Array, points: Array, *, sigma: float) -> tuple[Array, Array]:
    """Direction in which a field grows and the bend of its level curve, at points of it.

    Parameters
    ----------
    field
        Values (Y, X).
    points
        Places (M, 2), as (y, x).
    sigma
        Standard deviation in pixels of the Gaussian whose derivatives are taken.

    Returns
    -------
    angle : ndarray of shape (M,)
        Direction in radians: (dy, dx) = (-sin a, cos a), counter-clockwise on the screen.
    bend : ndarray of shape (M,)
        Curvature in 1/px, positive where the centre of the bend lies where the field is larger.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.curves import normals_and_bends
    >>> y, x = np.indices((41, 41)) - 20.0
    >>> disc = 10 - np.hypot(y, x)
    >>> angle, bend = normals_and_bends(disc, np.array([[20.0, 10.0]]), sigma=1.0)
    >>> bool(abs(angle[0]) < 1e-6), round(float(bend[0]), 2)
    (True, 0.1)
    """
    wide, reach = _continued(field, sigma)
    gy, gx, gyy, gxx, gyx = (
        field_at(ndimage.gaussian_filter(wide, sigma, order=order, mode="nearest"), points + reach)
        for order in ((1, 0), (0, 1), (2, 0), (0, 2), (1, 1))
    )
    length = np.maximum(np.hypot(gy, gx), 1e-12)
    bend = -(gxx * gy**2 - 2 * gx * gy * gyx + gyy * gx**2) / length**3
    return np.arctan2(-gy, gx), np.asarray(bend)
