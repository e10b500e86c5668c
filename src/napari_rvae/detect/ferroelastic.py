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
from napari_rvae.detect.level_steps import LEVEL, LevelSteps, level_of_response, slopes_of
from napari_rvae.detect.polar_walls import Scan, Wall, runs_along
from napari_rvae.detect.wall_lines import (
    StepProfile,
    normals_along,
    smooth_curve,
)
from napari_rvae.tables import fold_angle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.config import WallConfig

    Array = NDArray[np.float64]

__all__ = ["Line", "Steps", "lacks", "seek_steps", "trace_kinks", "trace_steps"]

#: The height is smoothed by so many px.
_HEIGHT = 3.0
#: Along a wall that is believed somewhere, this share of the least step is enough.
_HYSTERESIS = 0.5
#: A step is so many times the usual one of its scan.
_STANDS_OUT = 3.0
#: Ferroelastic walls lie along planes of the crystal: one that bends more than this, in 1/px, on
#: the average, is an edge of another kind.
_STRAIGHT = 1 / 50
#: A ferroelastic wall is nearly straight over so many px.
_PIECE = 31
#: Its ends of so many px are left off where it was traced, and it goes on straight for up to so
#: many; places nearer than this are one wall.
_ENDS, _GO_ON, _SAME = 6, 40, 4.0
#: A line needs so many px at least, and so many where it was traced are kept to go on from.
_SHORTEST, _KEPT = 8, 13
#: No wall begins so near to the edge of what is known, in px.
_EDGE = 6
#: A kink is looked for up to so many px beside a curve, which is moved by up to so many at a time.
_SNAP, _MOVE = 7.0, 4.0
#: A line is the same in another scan within so many px.
_STAYS = 6.0
#: Where its place is known with this weight, of 1 on the average, it is hidden.
_HIDDEN = 0.1
#: A kink has the direction of its wall within this angle.
_AGREES = math.radians(30)
#: A kink stands so many usual bends of the surface above them, over a length of so many px.
_KINK, _KINK_LENGTH = 5.0, 24.0


class Line(NamedTuple):
    """A ferroelastic wall of one scan."""

    curve: Array  # (N, 2): at steps of about one px
    step: float  # along the normals of the curve
    wall: Wall


class Steps(NamedTuple):
    """Ferroelastic walls of one scan, and by what they were found."""

    lines: list[Line]
    curves: list[Array]  # its 180-degree walls
    walls: list[Wall]  # the same at equal steps
    least: float  # step of a wall


def trace_steps(scan: Scan, curves: list[Array], walls: list[Wall], config: WallConfig) -> Steps:
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
    Steps
        Strength of the walls is the step; normals are axes, in (-pi/2, pi/2].
    """
    steps, noise = _level_steps(scan, curves, walls)
    ridge = steps.ridge()
    # where domains are uneven, a wall stands out from what is usual there
    usual = [np.abs(steps.strength(curve)) for curve in zero_curves(ridge, mask=scan.known)]
    sizes = np.concatenate([np.zeros(1), *usual])
    texture = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 0.0
    least = max(config.min_step * scan.size, 4 * noise, _STANDS_OUT * texture)
    lines = _traced(ridge, scan, steps, least, noise, config)
    return Steps(lines, curves, walls, least)


def seek_steps(scan: Scan, steps: Steps, known: list[Line], config: WallConfig) -> Steps:
    """Look where lines of the scan before or after are, which this one lacks.

    Ferroelastic walls stay in their place while 180-degree walls move and hide them. A line that
    is looked for at one place needs less evidence than one that may be anywhere, and half the step.

    Parameters
    ----------
    scan
        The measured scan.
    steps
        What was found in it.
    known
        The lines of the other scan.
    config
        The options.
    """
    measure, noise = _level_steps(scan, steps.curves, steps.walls)
    lines = list(steps.lines)
    for line in known:
        curve = _again(line, measure, _HYSTERESIS * steps.least, scan)
        if len(curve) < max(config.min_length, _SHORTEST):
            continue
        same = [float(_apart(other.curve, curve).mean()) < 0.5 for other in lines]
        rest = [other for other, yes in zip(lines, same, strict=True) if not yes]
        had = sum(len(other.curve) for other, yes in zip(lines, same, strict=True) if yes)
        more = len(curve) - had >= _SHORTEST
        if more and measure.stands_again(curve, [other.curve for other in rest], line.step):
            lines = [*rest, _line(curve, config, measure, noise)]
    return steps._replace(lines=lines)


def lacks(steps: Steps, line: Line) -> bool:
    """Whether a line of another scan, or a piece of it, has none beside it in this one."""
    apart = np.ones(len(line.curve), bool)
    for other in steps.lines:
        apart &= _apart(line.curve, other.curve)
    return bool(apart.sum() >= _SHORTEST)


def _apart(curve: Array, other: Array) -> NDArray[np.bool_]:
    """Which points (N,) of a curve have no other curve beside them."""
    return np.asarray(cKDTree(other).query(curve)[0] > _STAYS)


def _again(line: Line, measure: LevelSteps, least: float, scan: Scan) -> Array:
    """The longest stretch of a line that steps in this scan as it does in another one."""
    inside = ((line.curve >= 0) & (line.curve <= np.array(scan.smooth.shape) - 1)).all(axis=1)
    curve = _grown(line.curve[inside], measure, least, scan)
    if len(curve) < _SHORTEST or _apart(line.curve[_ENDS:-_ENDS], curve).any():
        return curve[:0]
    found = measure.beside(curve)
    # where another wall hides it, it goes on
    good = (math.copysign(1.0, line.step) * found.step >= least) | (found.weight < _HIDDEN)
    label, count = ndimage.label(good)
    if not count:
        return curve[:0]
    return np.asarray(curve[label == np.bincount(label)[1:].argmax() + 1])


def _level_steps(scan: Scan, curves: list[Array], walls: list[Wall]) -> tuple[LevelSteps, float]:
    """Steps of the level of a scan, and their noise."""
    level, profile = level_of_response(scan, curves, walls)
    return LevelSteps(scan, level, curves, profile), scan.noise * scan.sigma / LEVEL


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
    slopes = slopes_of(height, _HEIGHT)
    # the larger of the two principal bends, and its direction
    turn = 0.5 * np.arctan2(2 * slopes.yx, slopes.xx - slopes.yy)
    mean = (slopes.xx + slopes.yy) / 2
    spread = np.hypot((slopes.xx - slopes.yy) / 2, slopes.yx)
    turn = np.where(mean < 0, turn + math.pi / 2, turn)
    bend = np.abs(mean) + spread
    usual = float(np.median(bend[scan.known]))
    dy, dx = np.sin(turn), np.cos(turn)
    rising = slopes_of(bend, 1.0)
    across = rising.y * dy + rising.x * dx
    # a direction is known up to its sign: compare with that of the steepest neighbours by hand
    sign = np.where(np.abs(dx) > np.abs(dy), np.sign(dx), np.sign(dy))
    scale = math.sqrt(2 * math.pi) * _HEIGHT

    least = _KINK * usual * scale
    longer = dataclasses.replace(config, min_length=max(config.min_length, _KINK_LENGTH))
    kinks = _Kinks(scale * bend, dy, dx)
    lines = _traced(across * sign, scan, kinks, least, usual * scale, longer)
    return [line.wall for line in lines]


class _Kinks:
    """Changes of the surface's slope, measured anywhere."""

    def __init__(self, change: Array, dy: Array, dx: Array) -> None:
        self._change, self._dy, self._dx = change, dy, dx

    def across(self, points: Array, angle: Array) -> Array:
        """Change (N,) of the slope, where it is about that along normals of these angles."""
        rows, columns = self._pixels(points)
        own = np.arctan2(-self._dy[rows, columns], self._dx[rows, columns])
        agrees = np.abs(fold_angle(own - angle, 2)) < _AGREES
        return np.where(agrees, field_at(self._change, points), 0.0)

    def beside(self, curve: Array) -> StepProfile:
        """Where the slope changes most beside a curve (N, 2), by parabolas across it.

        The change is averaged along the curve, as a pixel's noise is as large as the change.
        """
        normal = normals_along(curve)
        angle = np.arctan2(-normal[:, 0], normal[:, 1])
        offsets = np.arange(-_SNAP, _SNAP + 0.25, 0.5)
        change = np.stack([self.across(curve + o * normal, angle) for o in offsets], axis=1)
        step = ndimage.uniform_filter1d(self.across(curve, angle), 9, mode="nearest")
        change = ndimage.uniform_filter1d(change, _PIECE, axis=0, mode="nearest")
        bend, slope, _ = np.polyfit(offsets, change.T, 2)
        peaked = bend < 0
        move = np.where(peaked, -slope / np.where(peaked, 2 * bend, 1.0), 0.0)
        return StepProfile(np.clip(move, -_MOVE, _MOVE), peaked.astype(float), step)

    def stands_out(self, _curve: Array, _others: list[Array]) -> bool:
        """Whether there is a kink: the least change and length say so."""
        return True

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


def _traced(
    field: Array,
    scan: Scan,
    measure: LevelSteps | _Kinks,
    least: float,
    noise: float,
    config: WallConfig,
) -> list[Line]:
    """Walls along the zeros of a field that are strong enough, the longest first."""
    pieces = []
    # near what is not known the field shows its edge; walls go on there, straight, afterwards
    inner = ndimage.binary_erosion(scan.known, iterations=_EDGE)
    for curve in zero_curves(field, mask=inner):
        dense = curve_points(curve, 1.0)
        strength = ndimage.median_filter(measure.strength(dense), 9, mode="nearest")
        closed = bool((curve[0] == curve[-1]).all())
        runs = runs_along(strength, least, _HYSTERESIS * least, closed=closed)
        pieces += [dense[run] for run in runs if len(run) >= max(config.min_length, _SHORTEST)]
    lines: list[Line] = []
    taken = np.empty((0, 2))
    for piece in sorted(pieces, key=len, reverse=True):
        rest = _longest_free(piece, taken)
        if len(rest) < max(config.min_length, _SHORTEST):
            continue
        whole = _grown(rest, measure, _HYSTERESIS * least, scan)
        if len(taken) and np.mean(cKDTree(taken).query(whole)[0] <= _SAME) > 0.5:
            continue  # it has grown along a wall that was found
        straight = len(whole) >= max(config.min_length, 3) and _bending(whole) <= _STRAIGHT
        if not straight or not measure.stands_out(whole, [line.curve for line in lines]):
            continue
        taken = np.concatenate([taken, whole])
        lines.append(_line(whole, config, measure, noise))
    return lines


def _line(curve: Array, config: WallConfig, measure: LevelSteps | _Kinks, noise: float) -> Line:
    step = float(np.median(measure.beside(curve).step))
    return Line(curve, step, _axis_wall(curve, config, measure, noise))


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


def _grown(curve: Array, measure: LevelSteps | _Kinks, least: float, scan: Scan) -> Array:
    """A wall without its ends, which bend at borders and other walls, where it steps, and gone on.

    It goes on straight as long as the step is there.
    """
    cut = min(_ENDS, max(len(curve) - _KEPT, 0) // 2)
    smooth = _placed(curve_points(smooth_curve(curve[cut : len(curve) - cut]), 1.0), measure)
    if len(smooth) < _SHORTEST:
        return smooth
    for _ in range(2):  # at its end, then, turned round, at its beginning
        more = _ahead(smooth, measure, least, scan)
        while len(more) and len(smooth) < sum(scan.smooth.shape):
            smooth = _placed(np.concatenate([smooth, more]), measure)
            more = _ahead(smooth, measure, least, scan) if len(more) >= _GO_ON / 2 else more[:0]
        smooth = smooth[::-1]
    return smooth


def _placed(curve: Array, measure: LevelSteps | _Kinks) -> Array:
    """A wall moved along its normals to where it steps; too short a one is left as it is."""
    for _ in range(2):
        if len(curve) < _SHORTEST:
            return curve
        found = measure.beside(curve)
        curve = curve_points(smooth_curve(curve, found.offset, found.weight), 1.0)
    return curve


def _ahead(curve: Array, measure: LevelSteps | _Kinks, least: float, scan: Scan) -> Array:
    """Points (N, 2) by which a wall goes on at its end."""
    tail = curve[-_PIECE:]
    towards = tail[-1] - tail[0]
    towards = towards / max(float(np.hypot(*towards)), 1e-12)
    more = curve[-1] + np.arange(1.0, _GO_ON + 1)[:, None] * towards
    inside = ((more >= 0) & (more <= np.array(scan.smooth.shape) - 1)).all(axis=1)
    sign = np.sign(np.median(measure.beside(curve).step))
    good = inside & (sign * measure.beside(more).step >= least)
    return np.asarray(more[: len(good) if good.all() else int(np.argmin(good))])


def _bending(curve: Array) -> float:
    """Mean change of a wall's direction in radians per px, fine wiggles left out."""
    ty, tx = _lines(curve, 1)[:: max(_PIECE // 2, 1)].T
    turns = np.abs(fold_angle(np.diff(np.arctan2(ty, tx)), 1))
    return float(turns.sum() / len(curve))


def _lines(curve: Array, order: int, degree: int = 1) -> Array:
    """Derivative of a curve (N, 2) of that order, by polynomials through pieces of it."""
    window = min(_PIECE, len(curve) - 1 + len(curve) % 2)
    return np.asarray(savgol_filter(curve, window, degree, deriv=order, axis=0))


def _axis_wall(
    curve: Array, config: WallConfig, measure: LevelSteps | _Kinks, noise: float
) -> Wall:
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
