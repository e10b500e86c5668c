"""Ferroelastic walls of one scan: a step of the response's level, or a kink of the height."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.signal import savgol_filter
from scipy.spatial import cKDTree
from scipy.special import ndtr

from napari_rvae.curves import curve_points, field_at, zero_curves
from napari_rvae.detect.polar_walls import Scan, Wall, runs_along, signed_distance
from napari_rvae.tables import fold_angle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.config import WallConfig

    Array = NDArray[np.float64]

__all__ = ["level_of_response", "trace_kinks", "trace_steps"]

#: Level and height are smoothed by so many px.
_LEVEL, _HEIGHT = 3.0, 3.0
#: Levels are compared so far from a wall, in px.
_REACH = 6.0
#: Along a wall that is believed somewhere, this share of the least step is enough.
_HYSTERESIS = 0.5
#: A step is so many times the usual one of its scan.
_STANDS_OUT = 3.0
#: Ferroelastic walls lie along planes of the crystal: one that bends more than this, in 1/px, on
#: the average, is an edge of another kind.
_STRAIGHT = 1 / 50
#: So near to a 180-degree wall, in its half-widths, and so parallel to it, a step is due to it.
_BESIDE, _PARALLEL = 2.5, math.radians(30)
#: The half-width of a wall is known to be within these bounds, in px.
_WIDTHS = (0.7, 12.0)
#: A ferroelastic wall is nearly straight over so many px.
_PIECE = 31
#: Its ends of so many px are left off where it was traced, and it goes on straight for up to so
#: many; places nearer than this are one wall.
_ENDS, _GO_ON, _SAME = 6, 40, 4.0
#: No wall begins so near to the edge of what is known, in px.
_EDGE = 6
#: It is then looked for up to so many px beside, in either direction, and moved by up to so many.
_SNAP, _MOVE = 7.0, 4.0
#: A kink stands so many usual bends of the surface above them, over a length of so many px.
_KINK, _KINK_LENGTH = 5.0, 24.0


class _Slopes(NamedTuple):
    """First and second derivatives of a smoothed field."""

    y: Array
    x: Array
    yy: Array
    xx: Array
    yx: Array


def _slopes(field: Array, sigma: float) -> _Slopes:
    orders = ((1, 0), (0, 1), (2, 0), (0, 2), (1, 1))
    return _Slopes(
        *(ndimage.gaussian_filter(field, sigma, order=o, mode="nearest") for o in orders)
    )


def level_of_response(scan: Scan, curves: list[Array], walls: list[Wall]) -> tuple[Array, float]:
    """Size of the response (Y, X) as it would be without 180-degree walls, and their half-width.

    Near a wall at the signed distance d the response is level x tanh(d / w). The level is the one
    that fits best about each pixel: the smoothed product with that profile, over its smoothed
    square.

    Parameters
    ----------
    scan
        The measured scan.
    curves, walls
        Its 180-degree walls.
    """
    if not curves:
        smooth = ndimage.gaussian_filter(np.abs(scan.smooth), _LEVEL, mode="nearest")
        return np.asarray(smooth), 0.0
    points = np.concatenate([wall.points for wall in walls])
    slopes = _slopes(scan.response, scan.sigma)
    steep = np.hypot(field_at(slopes.y, points), field_at(slopes.x, points))
    strength = np.concatenate([wall.strength for wall in walls])
    # the smoothing has widened the wall: sech^2 of half-width w has a standard deviation of 0.91 w
    wide = float(np.median(strength / np.maximum(steep, 1e-300)))
    width = math.sqrt(max(wide**2 - 1.2 * scan.sigma**2, 0.0))
    width = float(np.clip(width, *_WIDTHS))
    profile = np.tanh(signed_distance(curves, scan.smooth) / width)
    top = ndimage.gaussian_filter(scan.response * profile, _LEVEL, mode="nearest")
    bottom = ndimage.gaussian_filter(profile**2, _LEVEL, mode="nearest")
    return np.asarray(top / np.maximum(bottom, 0.02)), width


class _Steps:
    """Steps of the level, measured anywhere."""

    def __init__(self, level: Array, width: float, walls: list[Wall]) -> None:
        self._level, self._slopes = level, _slopes(level, 1.0)
        self._beside = _BESIDE * width
        self._walls = walls

    def ridge(self) -> Array:
        """Field (Y, X) that is zero where the slope is largest, or smallest, along itself."""
        d = self._slopes
        return np.asarray(d.y**2 * d.yy + 2 * d.y * d.x * d.yx + d.x**2 * d.xx)

    def across(self, points: Array, angle: Array) -> Array:
        """Step (N,) of the level along normals of these angles."""
        normal = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
        ahead, back = (field_at(self._level, points + side * normal) for side in (_REACH, -_REACH))
        return ahead - back

    def steepness(self, points: Array, angle: Array) -> Array:
        """Slope (N,) of the level along normals of these angles, of the usual sign positive."""
        d = self._slopes
        slope = np.cos(angle) * field_at(d.x, points) - np.sin(angle) * field_at(d.y, points)
        return np.maximum(slope * (1.0 if np.median(slope) >= 0 else -1.0), 0.0)

    def strength(self, points: Array) -> Array:
        """Step (N,) at points of the ridge; 0 where the slope is no maximum or due to a wall."""
        d = self._slopes
        gy, gx = field_at(d.y, points), field_at(d.x, points)
        angle, here = np.arctan2(-gy, gx), np.hypot(gy, gx)
        normal = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
        step = self.across(points, angle)
        for side in (2.0, -2.0):
            there = points + side * normal
            step[np.hypot(field_at(d.y, there), field_at(d.x, there)) > here] = 0.0
        step[_near_parallel(points, angle, self._walls, self._beside)] = 0.0
        return step


def trace_steps(
    scan: Scan, curves: list[Array], walls: list[Wall], config: WallConfig
) -> list[Wall]:
    """Follow the steps of the level: where its slope is largest along its own direction.

    Parameters
    ----------
    scan
        The measured scan.
    curves, walls
        Its 180-degree walls.
    config
        The options.

    Returns
    -------
    list of Wall
        Strength is the step; normals are axes, in (-pi/2, pi/2].
    """
    level, width = level_of_response(scan, curves, walls)
    steps = _Steps(level, width, walls)
    noise = scan.noise * scan.sigma / _LEVEL
    ridge = steps.ridge()
    # where domains are uneven, a wall stands out from what is usual there
    usual = [np.abs(steps.strength(curve)) for curve in zero_curves(ridge, mask=scan.known)]
    sizes = np.concatenate([np.zeros(1), *usual])
    texture = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 0.0
    least = max(config.min_step * scan.size, 4 * noise, _STANDS_OUT * texture)
    return _traced(ridge, scan, steps, least, noise, config)


def trace_kinks(scan: Scan, height: Array, config: WallConfig) -> list[Wall]:
    """Follow the kinks of the height: ridges of its second derivative across them.

    Parameters
    ----------
    scan
        The measured scan, which tells where it was measured.
    height
        Levelled height (Y, X), without gaps.
    config
        The options.

    Returns
    -------
    list of Wall
        Strength is the change of the slope, in units of the height per pixel.
    """
    slopes = _slopes(height, _HEIGHT)
    # the larger of the two principal bends, and its direction
    turn = 0.5 * np.arctan2(2 * slopes.yx, slopes.xx - slopes.yy)
    mean = (slopes.xx + slopes.yy) / 2
    spread = np.hypot((slopes.xx - slopes.yy) / 2, slopes.yx)
    turn = np.where(mean < 0, turn + math.pi / 2, turn)
    bend = np.abs(mean) + spread
    usual = float(np.median(bend[scan.known]))
    dy, dx = np.sin(turn), np.cos(turn)
    rising = _slopes(bend, 1.0)
    across = rising.y * dy + rising.x * dx
    # a direction is known up to its sign: compare with that of the steepest neighbours by hand
    sign = np.where(np.abs(dx) > np.abs(dy), np.sign(dx), np.sign(dy))
    scale = math.sqrt(2 * math.pi) * _HEIGHT

    least = _KINK * usual * scale
    longer = dataclasses.replace(config, min_length=max(config.min_length, _KINK_LENGTH))
    kinks = _Kinks(scale * bend, dy, dx)
    return _traced(across * sign, scan, kinks, least, usual * scale, longer)


class _Kinks:
    """Changes of the surface's slope, measured anywhere."""

    def __init__(self, change: Array, dy: Array, dx: Array) -> None:
        self._change, self._dy, self._dx = change, dy, dx

    def across(self, points: Array, angle: Array) -> Array:
        """Change (N,) of the slope, where it is about that along normals of these angles."""
        rows, columns = self._pixels(points)
        own = np.arctan2(-self._dy[rows, columns], self._dx[rows, columns])
        agrees = np.abs(fold_angle(own - angle, 2)) < _PARALLEL
        return np.where(agrees, field_at(self._change, points), 0.0)

    def steepness(self, points: Array, angle: Array) -> Array:
        """The change (N,) itself."""
        return self.across(points, angle)

    def strength(self, points: Array) -> Array:
        """Change (N,) at points of the ridge; 0 where it is no maximum."""
        rows, columns = self._pixels(points)
        normal = np.stack([self._dy[rows, columns], self._dx[rows, columns]], axis=1)
        here = field_at(self._change, points)
        for side in (2.5, -2.5):
            here = np.where(field_at(self._change, points + side * normal) > here, 0.0, here)
        return here

    def _pixels(self, points: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, columns = np.rint(points).astype(np.int64).T
        height, width = self._change.shape
        return np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)


def _near_parallel(
    points: Array, angle: Array, walls: list[Wall], reach: float
) -> NDArray[np.bool_]:
    """Which points (N,) lie beside a 180-degree wall and have about its direction."""
    if not walls:
        return np.zeros(len(points), bool)
    place = np.concatenate([wall.points for wall in walls])
    normal = np.concatenate([wall.angle for wall in walls])
    distance, nearest = (np.asarray(part) for part in cKDTree(place).query(points))
    turned = np.abs(fold_angle(angle - normal[nearest], 2))
    return np.asarray((distance < reach) & (turned < _PARALLEL))


def _traced(
    field: Array,
    scan: Scan,
    measure: _Steps | _Kinks,
    least: float,
    noise: float,
    config: WallConfig,
) -> list[Wall]:
    """Walls along the zeros of a field that are strong enough, the longest first."""
    pieces = []
    # near what is not known the field shows its edge; walls go on there, straight, afterwards
    inner = ndimage.binary_erosion(scan.known, iterations=_EDGE)
    for curve in zero_curves(field, mask=inner):
        dense = curve_points(curve, 1.0)
        strength = ndimage.median_filter(measure.strength(dense), 9, mode="nearest")
        closed = bool((curve[0] == curve[-1]).all())
        runs = runs_along(strength, least, _HYSTERESIS * least, closed=closed)
        pieces += [dense[run] for run in runs if len(run) >= max(config.min_length, 3)]
    walls: list[Wall] = []
    taken = np.empty((0, 2))
    for piece in sorted(pieces, key=len, reverse=True):
        rest = _longest_free(piece, taken)
        if len(rest) < max(config.min_length, 3):
            continue
        whole = _extended(rest, measure, _HYSTERESIS * least, scan, taken)
        if _bending(whole) > _STRAIGHT:
            continue
        taken = np.concatenate([taken, whole])
        walls.append(_axis_wall(whole, config, measure, noise))
    return walls


def _longest_free(piece: Array, taken: Array) -> Array:
    """The longest stretch of a curve that no other wall has taken."""
    if not len(taken):
        return piece
    free = np.asarray(cKDTree(taken).query(piece)[0]) > _SAME
    label, count = ndimage.label(free)
    if not count:
        return piece[:0]
    sizes = np.bincount(label)[1:]
    return np.asarray(piece[label == sizes.argmax() + 1])


def _extended(
    curve: Array, measure: _Steps | _Kinks, least: float, scan: Scan, taken: Array
) -> Array:
    """A wall without its ends, which bend at borders and other walls, and gone on straight.

    It goes on as long as the step along its normal is there, on the average over a few pixels.
    """
    cut = min(_ENDS, len(curve) // 4)
    smooth = _lines(curve[cut : len(curve) - cut], 0)
    for _ in range(2):  # at its end, then, turned round, at its beginning
        tail = smooth[-_PIECE:]
        towards = tail[-1] - tail[0]
        towards = towards / max(float(np.hypot(*towards)), 1e-12)
        ahead = smooth[-1] + np.arange(1.0, _GO_ON + 1)[:, None] * towards
        inside = ((ahead >= 0) & (ahead <= np.array(scan.smooth.shape) - 1)).all(axis=1)
        angle = np.full(len(ahead), math.atan2(towards[1], towards[0]))
        step = ndimage.uniform_filter1d(np.abs(measure.across(ahead, angle)), 9, mode="nearest")
        good = inside & (step >= least)
        if len(taken):
            good &= np.asarray(cKDTree(taken).query(ahead)[0]) > _SAME
        length = len(good) if good.all() else int(np.argmin(good))
        smooth = np.concatenate([smooth, ahead[:length]])[::-1]
    for _ in range(2):
        smooth = _snapped(smooth, measure)
    return smooth


def _snapped(curve: Array, measure: _Steps | _Kinks) -> Array:
    """A wall moved along its normals to where it is steepest, by one line a piece.

    The steepness across the wall is averaged along it, as a pixel's noise is as large as the slope,
    and its top is that of a parabola.
    """
    ty, tx = _lines(curve, 1).T
    normal = np.stack([-tx, ty], axis=1) / np.maximum(np.hypot(ty, tx), 1e-12)[:, None]
    angle = np.arctan2(-normal[:, 0], normal[:, 1])
    offsets = np.arange(-_SNAP, _SNAP + 0.25, 0.5)
    steep = np.stack(
        [measure.steepness(curve + offset * normal, angle) for offset in offsets], axis=1
    )
    piece = 2 * _PIECE - 1
    steep = ndimage.uniform_filter1d(steep, piece, axis=0, mode="nearest")
    bend, slope, _ = np.polyfit(offsets, steep.T, 2)
    move = np.where(bend < 0, -slope / np.where(bend < 0, 2 * bend, 1.0), 0.0)
    move = np.clip(move, -_MOVE, _MOVE)
    window = min(piece, len(move) - 1 + len(move) % 2)
    return np.asarray(curve + savgol_filter(move, window, 1)[:, None] * normal)


def _bending(curve: Array) -> float:
    """Mean change of a wall's direction in radians per px, fine wiggles left out."""
    ty, tx = _lines(curve, 1)[:: max(_PIECE // 2, 1)].T
    turns = np.abs(fold_angle(np.diff(np.arctan2(ty, tx)), 1))
    return float(turns.sum() / len(curve))


def _lines(curve: Array, order: int, degree: int = 1) -> Array:
    """Derivative of a curve (N, 2) of that order, by polynomials through pieces of it."""
    window = min(_PIECE, len(curve) - 1 + len(curve) % 2)
    return np.asarray(savgol_filter(curve, window, degree, deriv=order, axis=0))


def _axis_wall(curve: Array, config: WallConfig, measure: _Steps | _Kinks, noise: float) -> Wall:
    """Sites of a wall that is nearly straight."""
    parts = _lines(curve, 0), _lines(curve, 1), _lines(curve, 2, 2)
    number = max(round(len(curve) / config.spacing), 1)
    at = (np.arange(number) + 0.5) * (len(curve) - 1) / number
    place = np.arange(len(curve))
    points, (ty, tx), (by, bx) = (
        np.stack([np.interp(at, place, axis) for axis in part.T]) for part in parts
    )
    angle = fold_angle(np.arctan2(tx, ty), 2)  # of (-tx, ty), which is across (ty, tx)
    strength = np.abs(measure.across(points.T, angle))
    return Wall(
        points=points.T,
        angle=angle,
        curvature=(bx * np.cos(angle) - by * np.sin(angle)) / np.maximum(ty**2 + tx**2, 1e-12),
        strength=strength,
        confidence=ndtr(strength / max(noise, 1e-300) - 2.0),
    )
