"""How fast walls pass every place, and the share of what drives them that is taken there.

The drive of a frame is the size of its bias times its duration, in units of its mean over the
frames; 1 where no bias is known. A place needs the drive U(y, x) until it has switched; the slope
of U is the drive that the wall needs for a pixel, the reciprocal of its speed. A free wall is
driven by the bias and by its own tension, which draws it towards the inside of its bends:

    speed = free (drive - tension x curvature)

with a positive curvature where the domain that grows is convex. Both constants are read from the
movie itself. What is missing from that speed was taken by friction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage

from napari_rvae.analysis.walls.switching import polarity
from napari_rvae.curves import zero_curves
from napari_rvae.detect.polar_walls import signed_distance
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.frames import Frames

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["CURVATURE", "SLOPE", "Passage", "wall_passages"]

#: Standard deviations in px at which the slope of the drive and the bends of walls are taken.
SLOPE, CURVATURE = 1.0, 1.5

#: Places that switch within this much drive of the beginning or the end were not passed by a wall.
_ENDS = 1.5

#: A wall has passed where the response changed its sign by more than so many times its noise.
_CLEAR = 4.0

#: A place that is missing from a larger share of the frames tells nothing, nor do its neighbours.
_MISSING = 0.2

#: A wall stands at places up to so many px ahead of where it is in the last frame.
_STANDS = 0.5

#: Walls that are faster than expected by this share of the force meet others there, or the place
#: belongs to a new domain: such speeds are not those of a wall.
_MEETING = -0.5

#: Bends are less than this, in 1/px: the field of a wall of some pixels cannot bend more.
_SHARPEST = 0.4

#: Shares are taken of a force of at least so much, in units of the mean drive.
_LEAST_FORCE = 0.25


class Passage(NamedTuple):
    """A part of the movie with a drive of one sign."""

    frames: NDArray[np.int64]  # (F,): those at whose end the drive has acted
    drive: Array  # (F,): of each
    needed: Array  # (Y, X): the drive until a place has switched; as if free beyond the ends
    slope: Array  # (Y, X): of it, per px
    free: float  # its median where walls passed
    force: Array  # (Y, X): drive and tension when the wall came, in units of the mean drive
    held: Array  # (Y, X): the share of it that friction took, 1 where the wall stood still
    weight: Array  # (Y, X): how much the share tells, 0 where no wall passed or stands, 1 at most
    noise: float  # of the share

    @property
    def total(self) -> float:
        """Drive of all frames."""
        return float(self.drive.sum())


def wall_passages(response: Any, smooth: float) -> list[Passage]:
    """Passages of walls under a drive of either sign.

    Parameters
    ----------
    response
        What :func:`~napari_rvae.signed_response` gives, or an array (T, Y, X).
    smooth
        Standard deviation of a Gaussian in px against noise.

    Raises
    ------
    InputError
        If there are fewer than five frames, or no wall passed anywhere.
    """
    movie, sign = polarity(response, smooth=smooth)
    if movie.n_frames < 5:
        raise InputError(f"{movie.n_frames} frames do not show where walls stay: 5 are the least.")
    sign, told = _filled(sign)
    drive, direction = _drive(movie)
    clear = min(_CLEAR * _noise(sign), 0.5)
    found = []
    for way in (1, -1):
        frames = np.flatnonzero((direction == way) & (drive > 0))
        frames = frames[frames > 0]  # what the first frame's drive has moved was not seen
        if frames.size >= 3:
            passage = _passage(sign, told, frames, drive[frames], clear)
            found += [passage] if passage else []
    if not found:
        raise InputError("No wall passed any place: the domains stay as they are in all frames.")
    return found


def _passage(
    sign: Array, told: Mask, frames: NDArray[np.int64], drive: Array, clear: float
) -> Passage | None:
    """Walls under one drive; None where none has moved."""
    grows = 1 if sign[frames[-1]].mean() >= sign[frames[0] - 1].mean() else -1
    part = grows * sign
    needed = sum(
        (d * _share_left(part[f - 1], part[f]) for f, d in zip(frames, drive, strict=True)),
        np.zeros(told.shape),
    )
    total = float(drive.sum())
    passed = told & (part[frames[0] - 1] < -clear) & (part[frames[-1]] > clear)
    passed &= (needed > _ENDS) & (needed < total - _ENDS)
    if not passed.any():
        return None
    ends = [signed_distance(zero_curves(part[f]), part[f]) for f in (frames[0] - 1, frames[-1])]
    before, after = np.maximum(ends[0], 0.0), np.maximum(-ends[1], 0.0)
    # the speed there matters little, so that the median will do
    free = float(np.median(_slope(needed)[passed]))
    beyond = np.where(needed > 0.999999 * total, total + after * free, needed)
    needed = np.where(needed <= 0, -before * free, beyond)
    slope, bend = _slope(needed), _bend(needed)
    when = np.searchsorted(np.cumsum(drive), np.clip(needed, 0.0, 0.999 * total))
    now = drive[when]
    speed = 1 / np.maximum(slope, 1e-2)
    usual, tension = _law(speed[passed], now[passed], bend[passed])
    force = now - tension * bend
    typical = max(float(np.median(force[passed])), _LEAST_FORCE)
    held = np.clip(1 - speed / usual * now / np.maximum(force, _LEAST_FORCE), -1.0, 1.0)
    known = told & (ends[1] > -_STANDS) & (ends[0] < _STANDS) & (held > _MEETING)
    # the error of the share goes with the reciprocal of the force
    weight = known * np.clip(force / typical, 0.0, 1.0) ** 2
    force = np.maximum(force, _LEAST_FORCE)
    noise = 1.4826 * float(np.median(np.abs(held[passed])))
    free = float(np.median(slope[passed]))
    return Passage(frames, drive, needed, slope, free, force, held, weight, noise)


def _law(speed: Array, now: Array, bend: Array) -> tuple[float, float]:
    """Speed of a free straight wall per unit of drive, and tension in units of the mean drive.

    By least squares that give little weight to what does not follow: places that hold walls.
    """
    gentle = np.abs(bend) < _SHARPEST / 2
    if gentle.sum() < 3:
        return float(np.median(speed)), 0.0
    columns = np.stack([now, -bend], axis=1)[gentle]
    values = (np.minimum(speed, 5 * np.median(speed)) * now)[gentle]
    weight = np.ones(len(values))
    usual, tension = 0.0, 0.0
    for _ in range(20):
        usual, tension = np.linalg.lstsq(columns * weight[:, None], values * weight, rcond=None)[0]
        if tension < 0:  # no wall is drawn outwards
            usual, tension = float(np.median(values / columns[:, 0])), 0.0
        rest = values - columns @ np.array([usual, tension])
        scale = 1.5 * 1.4826 * float(np.median(np.abs(rest))) + 1e-9
        weight = 1 / np.sqrt(1 + (rest / scale) ** 2)
    return float(usual), float(tension / usual)


def _noise(sign: Array) -> float:
    """Noise of the response, from what changes between frames."""
    inside = np.abs(sign) < 1  # the others were clipped
    change = np.diff(sign, axis=0)[inside[1:] & inside[:-1]]
    return 1.4826 * float(np.median(np.abs(change))) / np.sqrt(2) if change.size else 0.0


def _share_left(before: Array, after: Array) -> Array:
    """Share of the time between two frames in which a place has not switched yet."""
    low = np.maximum(-before, 0) + np.maximum(-after, 0)
    return np.asarray(low / np.maximum(np.abs(before) + np.abs(after), 1e-12))


def _slope(needed: Array) -> Array:
    """Size (Y, X) of the gradient."""
    return np.hypot(_smoothed(needed, SLOPE, (1, 0)), _smoothed(needed, SLOPE, (0, 1)))


def _bend(needed: Array) -> Array:
    """Curvature (Y, X) of the lines of equal drive, in 1/px."""
    orders = ((1, 0), (0, 1), (2, 0), (0, 2), (1, 1))
    y, x, yy, xx, xy = (_smoothed(needed, CURVATURE, order) for order in orders)
    # of a place that switches at once, such as a new domain, it is not known
    size = np.maximum(x**2 + y**2, 1e-3) ** 1.5
    return np.clip((xx * y**2 - 2 * x * y * xy + yy * x**2) / size, -_SHARPEST, _SHARPEST)


def _smoothed(needed: Array, sigma: float, order: tuple[int, int]) -> Array:
    """Derivative (Y, X) of a field that goes on beyond the frame as it does inside."""
    wide = int(np.ceil(4 * sigma)) + 1
    padded = np.pad(needed, wide, mode="reflect", reflect_type="odd")
    found = ndimage.gaussian_filter(padded, sigma, order=order)
    return np.asarray(found[wide:-wide, wide:-wide])


def _filled(sign: Array) -> tuple[Array, Mask]:
    """The response with gaps filled in time and then from nearby, and where (Y, X) it is told."""
    gap = ~np.isfinite(sign)
    if not gap.any():
        return sign, np.ones(sign.shape[1:], bool)
    sign, frames = sign.copy(), np.arange(len(sign))
    for y, x in np.argwhere(gap.any(0) & ~gap.all(0)):
        good = ~gap[:, y, x]
        sign[:, y, x] = np.interp(frames, frames[good], sign[good, y, x])
    never = gap.all(0)
    if never.any():
        _, nearest = ndimage.distance_transform_edt(np.asarray(never), return_indices=True)
        sign = sign[:, nearest[0], nearest[1]]
    poor = gap.mean(0) > _MISSING
    # a slope or bend next to such a place is made of it
    return sign, ~ndimage.binary_dilation(poor, iterations=2) if poor.any() else ~poor


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
