"""Where walls stay, relative to what drives them, and the places that hold them.

The drive of a frame is the size of its bias times its duration, in units of its mean over the
frames; 1 where no bias is known. Up to a place a wall that grows with the drive needs the drive
U(y, x) until this place has switched; the slope of U is the drive that the wall needs for a pixel,
the reciprocal of its speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_rvae.analysis.walls.switching import polarity
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.frames import Frames

    Array = NDArray[np.float64]

__all__ = ["pinning_centres", "residence_map"]

#: Places that switch within this much drive of the beginning or the end were not passed by a wall.
_ENDS = 1.5

#: Standard deviation in px at which the slope of the drive is taken.
_SLOPE = 1.0

#: A centre lies so much higher than what surrounds it, at least, in its bend (scaled by sigma^2),
#: in units of the drive of a frame.
_LEAST_BEND = 0.05


class _Passage(NamedTuple):
    """A part of the movie with a drive of one sign."""

    needed: Array  # (Y, X): the drive until a place has switched
    total: float
    slope: Array  # (Y, X): of it, per px
    free: float  # its median where walls passed


def residence_map(response: Any, *, smooth: float = 1.0) -> Array:
    """Drive that walls needed to pass each place, relative to what they usually need.

    Parameters
    ----------
    response
        What :func:`~napari_rvae.signed_response` gives, or an array (T, Y, X). Its frames table
        tells bias and times; a frame without bias moves no wall.
    smooth
        Standard deviation of a Gaussian in px against noise.

    Returns
    -------
    ndarray of shape (Y, X)
        1 where walls passed at their usual speed under the drive, 2 at half of it, and so on; the
        mean of the passages where walls went both ways. NaN where no wall passed.

    Raises
    ------
    InputError
        If there are fewer than five frames, or no wall passed anywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import residence_map
    >>> x = np.arange(48.0)
    >>> wall = np.minimum(6 + 2.0 * np.arange(16), 30)[:, None, None]  # is held at 30
    >>> found = residence_map(np.tanh((wall - x) / 3) * np.ones((1, 32, 1)))
    >>> round(float(found[16, 18]), 1), bool(found[16, 29] > 1.5)
    (1.0, True)
    """
    _, passages = _passages(response, smooth)
    maps = []
    for passage in passages:
        passed = (passage.needed > 0.1) & (passage.needed < passage.total - 0.1)
        near = ndimage.binary_dilation(passed, iterations=2)
        maps.append(np.where(near, passage.slope / passage.free, np.nan))
    stack = np.stack(maps)
    count = np.isfinite(stack).sum(0)
    mean = np.nansum(stack, axis=0) / np.maximum(count, 1)
    return np.asarray(np.where(count > 0, mean, np.nan))


def pinning_centres(
    response: Any,
    *,
    radius: float = 4.0,
    least_residence: float = 1.05,
    smooth: float = 1.0,
) -> pd.DataFrame:
    """Places that hold walls back: those switch later than all that lies around them.

    A centre is where the drive that was needed has a maximum along every direction, and around
    which walls were slower than usual. The pockets that remain where domains grow together have
    the former only. A centre can be told once walls have passed it on both sides.

    Parameters
    ----------
    response
        What :func:`~napari_rvae.signed_response` gives, or an array (T, Y, X).
    radius
        Reach of a centre in px.
    least_residence
        Residence (see :func:`residence_map`) within the radius, on the average, at least.
    smooth
        Standard deviation of a Gaussian in px against noise.

    Returns
    -------
    DataFrame
        One row per centre, the one that holds most first: ``y``, ``x`` in px; ``residence`` within
        the radius; ``delay``, the drive by which the centre switched later than the earliest
        quarter of its surroundings, in frames of mean drive.

    Raises
    ------
    InputError
        If there are fewer than five frames, or no wall passed anywhere.

    Examples
    --------
    >>> from napari_rvae import pinning_centres, signed_response, simulate_walls
    >>> movie = simulate_walls(n_frames=12, size=96, seed=1).frames
    >>> pinning_centres(signed_response(movie)).columns.tolist()
    ['y', 'x', 'residence', 'delay']
    """
    from skimage.feature import hessian_matrix, hessian_matrix_eigvals, peak_local_max

    _, passages = _passages(response, smooth)
    reach = int(np.ceil(radius))
    grid = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    disc = (grid <= radius) / (grid <= radius).sum()
    wide = int(np.ceil(2.5 * radius))
    ring = np.hypot(*np.mgrid[-wide : wide + 1, -wide : wide + 1]) <= 2.5 * radius
    rows = []
    for passage in passages:
        sigma = radius / 2
        needed = passage.needed
        bends = hessian_matrix_eigvals(
            hessian_matrix(needed, sigma=sigma, use_gaussian_derivatives=True)
        )
        sharp = np.maximum(-bends[0], 0.0) * sigma**2
        residence = ndimage.convolve(passage.slope, disc) / passage.free
        here = ndimage.maximum_filter(residence, 5)
        early = ndimage.percentile_filter(needed, 25, footprint=ring)
        for y, x in peak_local_max(
            sharp, min_distance=reach, threshold_abs=_LEAST_BEND, exclude_border=int(1.5 * reach)
        ):
            if here[y, x] >= least_residence:
                rows.append((float(y), float(x), here[y, x], needed[y, x] - early[y, x]))
    table = pd.DataFrame(rows, columns=["y", "x", "residence", "delay"], dtype=float)
    return table.sort_values("residence", ascending=False, ignore_index=True)


def _passages(response: Any, smooth: float) -> tuple[Frames, list[_Passage]]:
    """What walls needed under a drive of either sign."""
    movie, sign = polarity(response, smooth=smooth)
    if movie.n_frames < 5:
        raise InputError(f"{movie.n_frames} frames do not show where walls stay: 5 are the least.")
    drive, direction = _drive(movie)
    found = []
    for way in (1, -1):
        frames = np.flatnonzero((direction == way) & (drive > 0))
        if frames.size < 3:
            continue
        part = sign[frames]
        grows = 1 if np.nanmean(part[-1]) >= np.nanmean(part[0]) else -1
        # not yet switched; missing pixels count as in the middle
        left = np.clip((1 - grows * np.nan_to_num(part)) / 2, 0.0, 1.0)
        needed = (drive[frames, None, None] * left).sum(0)
        total = float(drive[frames].sum())
        slope = ndimage.gaussian_gradient_magnitude(needed, _SLOPE)
        passed = (part > 0).any(0) & (part <= 0).any(0)
        passed &= (needed > _ENDS) & (needed < total - _ENDS)
        if passed.any():
            found.append(_Passage(needed, total, slope, float(np.median(slope[passed]))))
    if not found:
        raise InputError("No wall passed any place: the domains stay as they are in all frames.")
    return movie, found


def _drive(movie: Frames) -> tuple[Array, NDArray[np.int64]]:
    """Drive (T,) of each frame in units of the mean, and its sign."""
    bias = movie.table["bias"].to_numpy(float)
    time = movie.table["time"].to_numpy(float)
    steps = np.diff(time)
    if steps.size and np.isfinite(steps).all() and (steps > 0).all():
        duration = np.r_[steps[0], steps]
    else:
        duration = np.ones(movie.n_frames)
    if not np.isfinite(bias).any() or not np.nanmax(np.abs(bias)) > 0:
        bias = np.ones(movie.n_frames)
    bias = np.nan_to_num(bias)
    size = np.abs(bias) * duration
    return size / size[size > 0].mean(), np.sign(bias).astype(np.int64)
