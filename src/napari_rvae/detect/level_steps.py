"""Steps of the level of a scan's response: how large, where, and whether chance explains them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree
from scipy.special import ndtri

from napari_rvae.curves import field_at
from napari_rvae.detect.polar_walls import Scan, Wall, signed_distance
from napari_rvae.detect.wall_lines import (
    STRIP,
    Evidence,
    StepProfile,
    normals_along,
    step_evidence,
    step_profile,
)
from napari_rvae.tables import fold_angle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["LEVEL", "LevelSteps", "Profile", "Slopes", "level_of_response", "slopes_of"]

#: The level is smoothed by so many px.
LEVEL = 3.0
#: Levels are compared so far from a wall, in px.
_REACH = 6.0
#: So near to a 180-degree wall, in its half-widths, and so parallel to it, a step is due to it.
_BESIDE, _PARALLEL = 2.5, math.radians(30)
#: The half-width of a wall is known to be within these bounds, in px.
_WIDTHS = (0.7, 12.0)
#: The strength of chance lines is that of so many; the best of them passes in this share of scans.
_CHANCE, _FALSE = 300, 0.001
#: A line that stands in another scan is there with so many of those standard deviations.
_AGAIN = 4.0
#: It steps alike along its whole length: the least tenth by so much of the median at least; and it
#: follows the steps to within so many px (rms).
_EVEN, _FOLLOWS = 0.5, 1.5
#: Rows across a line count with this weight at least (one that is seen whole has 14), and so many
#: must.
_SEEN, _LEAST_SEEN = 3.0, 8
#: Within so many half-widths of a 180-degree wall no step is seen, and within so many not where the
#: response is below this share of the usual one: two such walls nearly touch there.
_WITHIN, _NECK, _LOW = 1.5, 4.0, 0.4
#: No wall has this share of its step between two rows, all along.
_ABRUPT = 0.6
#: Walls cross where the cosine between their normals is below this.
_CROSSED = math.cos(math.radians(20))
#: A step within so many rows may be one of the scan, not of the specimen.
_ROWS = 6


class Slopes(NamedTuple):
    """First and second derivatives of a smoothed field."""

    y: Array
    x: Array
    yy: Array
    xx: Array
    yx: Array


def slopes_of(field: Array, sigma: float) -> Slopes:
    """Derivatives of a field (Y, X) by those of a Gaussian."""
    orders = ((1, 0), (0, 1), (2, 0), (0, 2), (1, 1))
    return Slopes(*(ndimage.gaussian_filter(field, sigma, order=o, mode="nearest") for o in orders))


class Profile(NamedTuple):
    """What 180-degree walls leave of a level of 1."""

    profile: Array  # (Y, X): from -1 to 1
    width: float  # half-width of the walls, px; 0 without any


def level_of_response(scan: Scan, curves: list[Array], walls: list[Wall]) -> tuple[Array, Profile]:
    """Size of the response (Y, X) as it would be without 180-degree walls, and their profile.

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
        smooth = ndimage.gaussian_filter(np.abs(scan.smooth), LEVEL, mode="nearest")
        return np.asarray(smooth), Profile(np.where(scan.smooth >= 0, 1.0, -1.0), 0.0)
    points = np.concatenate([wall.points for wall in walls])
    slopes = slopes_of(scan.response, scan.sigma)
    steep = np.hypot(field_at(slopes.y, points), field_at(slopes.x, points))
    strength = np.concatenate([wall.strength for wall in walls])
    # the smoothing has widened the wall: sech^2 of half-width w has a standard deviation of 0.91 w
    wide = float(np.median(strength / np.maximum(steep, 1e-300)))
    width = math.sqrt(max(wide**2 - 1.2 * scan.sigma**2, 0.0))
    width = float(np.clip(width, *_WIDTHS))
    profile = np.tanh(signed_distance(curves, scan.smooth) / width)
    top = ndimage.gaussian_filter(scan.response * profile, LEVEL, mode="nearest")
    bottom = ndimage.gaussian_filter(profile**2, LEVEL, mode="nearest")
    return np.asarray(top / np.maximum(bottom, 0.02)), Profile(profile, width)


def _clear_of_walls(scan: Scan, curves: list[Array], width: float) -> NDArray[np.bool_]:
    """Pixels (Y, X) whose level is not lowered by 180-degree walls.

    Where two of these nearly touch neither has response on its two sides. They are not followed
    there, and in the neck between two domains the sign does not even change.
    """
    sign = scan.smooth >= 0
    change = np.zeros(sign.shape, bool)
    change[:, 1:] |= sign[:, 1:] != sign[:, :-1]
    change[1:] |= sign[1:] != sign[:-1]
    points = np.rint(np.concatenate(curves)).astype(np.int64)
    followed = np.zeros(sign.shape, bool)
    followed[tuple(np.clip(points.T, 0, np.array([sign.shape]).T - 1))] = True
    clear = ndimage.distance_transform_edt(~change) > _WITHIN * width
    neck = ndimage.distance_transform_edt(~followed) < _NECK * width
    return np.asarray(clear & ~(neck & (np.abs(scan.smooth) < _LOW * scan.size)))


def _crossed(curve: Array, others: list[Array]) -> NDArray[np.bool_]:
    """Points (N,) of a curve where others cross it."""
    normal = normals_along(curve)
    found = np.zeros(len(curve), bool)
    for other in others:
        distance, nearest = cKDTree(other).query(curve)
        turned = np.abs((normals_along(other)[nearest] * normal).sum(axis=1)) < _CROSSED
        found |= turned & (distance < STRIP)
    return found


class _Lines:
    """Curves, to be found by what lies beside them."""

    def __init__(self, curves: list[Array]) -> None:
        self._tree = cKDTree(np.concatenate(curves)) if curves else None
        along = [gaussian_filter1d(np.gradient(c, axis=0), 3.0, axis=0) for c in curves]
        ty, tx = np.concatenate(along).T if along else np.empty((2, 0))
        self._angle = np.arctan2(tx, ty)

    def beside(self, points: Array, angle: Array, *, parallel: float) -> NDArray[np.bool_]:
        """Which points (N,) of a line lie beside a curve.

        Parameters
        ----------
        points, angle
            Places (N, 2), and directions (N,) of the line's normal there.
        parallel
            Within this of a curve of about the line's direction, in px.
        """
        if self._tree is None:
            return np.zeros(len(points), bool)
        distance, nearest = (np.asarray(part) for part in self._tree.query(points))
        turned = np.abs(fold_angle(angle - self._angle[nearest], 2))
        return np.asarray((distance < parallel) & (turned < _PARALLEL))


class LevelSteps:
    """Steps of the level, measured anywhere."""

    def __init__(self, scan: Scan, level: Array, curves: list[Array], profile: Profile) -> None:
        self._polar = _Lines(curves)
        self._level, self._slopes = level, slopes_of(level, 1.0)
        self._beside = _BESIDE * profile.width
        known = scan.known.astype(float)
        self._fields = scan.response, profile.profile, known
        clear = known * _clear_of_walls(scan, curves, profile.width) if curves else known
        self._clear = scan.response, profile.profile, clear
        self._chance: dict[int, float] = {}

    def ridge(self) -> Array:
        """Field (Y, X) that is zero where the slope is largest, or smallest, along itself."""
        d = self._slopes
        return np.asarray(d.y**2 * d.yy + 2 * d.y * d.x * d.yx + d.x**2 * d.xx)

    def across(self, points: Array, angle: Array) -> Array:
        """Step (N,) of the level along normals of these angles."""
        normal = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
        ahead, back = (field_at(self._level, points + side * normal) for side in (_REACH, -_REACH))
        return ahead - back

    def beside(self, curve: Array) -> StepProfile:
        """Where the level steps beside a curve (N, 2)."""
        return step_profile(*self._fields, curve)

    def stands_out(self, curve: Array, others: list[Array]) -> bool:
        """Whether a curve steps more than chance lines of its length anywhere in the scan do.

        It also steps alike along its length, as two variants of a crystal do, and follows the
        steps. Where it crosses other walls, and within 180-degree walls, that does not count:
        the steps are theirs.

        Chance lines meet the noise and the texture of this scan, whatever they are like. A curve is
        chosen among lines through every pixel; the best is to pass in one scan of a thousand.
        """
        least = -float(ndtri(_FALSE / (2 * self._fields[0].size)))
        step, score = self._seen(curve, others)
        if abs(score) <= least or self._is_of_rows(curve):
            return False
        found = self.beside(curve)
        whole = float(np.median(found.step))
        step = step * np.sign(whole)
        # the rest of the line, which is less sure, has that step as well
        alike = np.median(step) >= _EVEN * abs(whole)
        even = np.quantile(step, 0.1) >= _EVEN * np.median(step)
        off = np.average(found.offset**2, weights=found.weight + 1e-12)
        return bool(alike and even and off <= _FOLLOWS**2)

    def stands_again(self, curve: Array, others: list[Array], step: float) -> bool:
        """Whether a curve has the step that a line at this place has in another scan."""
        seen, score = self._seen(curve, others)
        if score * math.copysign(1.0, step) <= _AGAIN or self._is_of_rows(curve):
            return False
        whole = float(np.median(self.beside(curve).step))
        return bool(np.median(seen) * np.sign(whole) >= _EVEN * abs(whole))

    def _seen(self, curve: Array, others: list[Array]) -> tuple[Array, float]:
        """Step at the points of a curve that count, and in all, in those of chance lines."""
        length = 2 ** min(max(round(math.log2(len(curve))), 4), 7)
        if length not in self._chance:
            self._chance[length] = self._usual_score(length)
        seen = self._evidence(curve)
        counts = (seen.own >= _SEEN) & ~_crossed(curve, others)
        if counts.sum() < _LEAST_SEEN or not self._chance[length]:
            return np.zeros(1), 0.0
        return seen.step()[counts], seen.score(counts) / self._chance[length]

    def _evidence(self, curve: Array) -> Evidence:
        return step_evidence(*self._clear, curve, polar=self._beside > 0)

    def _is_of_rows(self, curve: Array) -> bool:
        """Whether a step lies between two rows of the scan: something happened to the tip."""
        response, profile, _ = self._fields
        last = np.array(response.shape) - 1
        row, column = np.clip(np.rint(curve), 0, last).astype(np.int64).T
        if np.ptp(row) > _ROWS:
            return False
        rows = slice(max(int(row.min()) - _ROWS, 0), int(row.max()) + _ROWS + 1)
        level = (response * np.sign(profile))[rows, np.unique(column)].mean(axis=1)
        jumps = np.abs(np.diff(level))
        return bool(jumps.max() >= _ABRUPT * abs(np.median(self.beside(curve).step)))

    def _usual_score(self, length: int) -> float:
        """Standard deviation of the scores of straight lines of a length, as of a normal law."""
        rng = np.random.default_rng(length)
        sides = np.array(self._fields[0].shape) - 1.0
        steps = np.arange(length) - (length - 1) / 2
        scores = []
        for middle, turn in zip(
            rng.uniform(size=(_CHANCE, 2)), rng.uniform(size=_CHANCE), strict=True
        ):
            along = np.array([math.sin(math.pi * turn), math.cos(math.pi * turn)])
            line = sides * middle + steps[:, None] * along
            line = line[((line >= 0) & (line <= sides)).all(axis=1)]
            if len(line) >= length / 2:
                seen = self._evidence(line)
                scores.append(seen.score(np.ones(len(line), bool)))
        return 1.4826 * float(np.median(np.abs(scores))) if scores else 0.0

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
        step[self._polar.beside(points, angle, parallel=self._beside)] = 0.0
        return step
