"""Walls as curves through their sites, and where lines along normals cross them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Crossings", "WallSites", "crossings", "spacing_of"]

#: The next site along a wall lies so many spacings away at most, and so nearly ahead (cosine).
_NEXT, _AHEAD = 1.75, 0.3
#: Sites that are looked at for the next one.
_NEIGHBOURS = 9
#: A wall goes on so many spacings beyond its last site: half of one up to where it was traced,
#: and a little for what moves along the edge of the frame.
_PAST = 0.75
#: Curves are drawn by straight steps of about so many px, within these numbers for two sites.
_STEP, _STEPS = 0.5, (2, 32)
#: Lines that are looked at together, so that memory stays small.
_TOGETHER = 1000


class WallSites(NamedTuple):
    """Sites of one kind of wall in one frame."""

    rows: Ids  # of the table
    point: Array  # (N, 2)
    normal: Array  # (N, 2): dy, dx
    bend: Array  # (N,): 1/px, positive towards the normal
    wall: Ids  # (N,): number of the connected wall
    polar: bool


class Crossings(NamedTuple):
    """Where lines along normals cross curves."""

    line: Ids  # (M,): number of the site from which the line goes, in order
    place: Array  # (M,): along its normal, px
    aligned: Array  # (M,): cosine of the angle between the site's normal and that of the curve


def spacing_of(wall: WallSites) -> float:
    """Usual distance of a site to the nearest other one; there are two or more."""
    return float(np.median(np.asarray(cKDTree(wall.point).query(wall.point, 2)[0])[:, 1]))


def crossings(wall: WallSites, curves: WallSites, most: float) -> Crossings:
    """Where the lines along the normals of sites cross other walls, or their own.

    Parameters
    ----------
    wall
        Sites from which lines go, both ways.
    curves
        Two or more sites of the walls that are crossed. Those that follow each other are joined
        by a cubic curve with their tangents (Hermite's), so that a wall ends where its sites do,
        and two that come near to each other are not joined.
    most
        Length of the lines, px.
    """
    start, end = _segments(curves)
    middle = cKDTree((start + end) / 2)
    reach = most + float(np.hypot(*(end - start).T).max())
    parts = [Crossings(np.empty(0, np.int64), np.empty(0), np.empty(0))]
    for first in range(0, len(wall.point), _TOGETHER):
        lines = wall.point[first : first + _TOGETHER]
        found = np.asarray(middle.query_ball_point(lines, reach), object).tolist()
        line = np.repeat(np.arange(len(found)) + first, [len(near) for near in found])
        near = np.concatenate([np.asarray(each, np.int64) for each in found])
        parts.append(_crossed(wall, line, start[near], end[near], most))
    return Crossings(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _crossed(wall: WallSites, line: Ids, start: Array, end: Array, most: float) -> Crossings:
    """Pairs of a line and a segment that cross."""
    normal, point = wall.normal[line], wall.point[line]
    along = _turned(normal)
    one, two = ((place - point) for place in (start, end))
    before, after = ((away * along).sum(1) for away in (one, two))
    cross = (before <= 0) != (after <= 0)
    share = before[cross] / (before[cross] - after[cross])
    step = two[cross] - one[cross]
    place = ((one[cross] + share[:, None] * step) * normal[cross]).sum(1)
    length = np.maximum(np.hypot(*step.T), 1e-12)
    aligned = (-_turned(step) * normal[cross]).sum(1) / length
    good = np.abs(place) <= most
    return Crossings(line[cross][good], place[good], aligned[good])


def _turned(vector: Array) -> Array:
    """Vectors (N, 2), turned so that a normal becomes the tangent that its wall is followed by."""
    return np.stack([-vector[:, 1], vector[:, 0]], axis=1)


def _segments(wall: WallSites) -> tuple[Array, Array]:
    """Short straight pieces of walls, from (M, 2) to (M, 2) in the sense of their tangents."""
    spacing = spacing_of(wall)
    (here, following), ends = _links(wall, spacing)
    tangent = _turned(wall.normal)
    share = np.linspace(0, 1, int(np.clip(np.ceil(spacing / _STEP), *_STEPS)) + 1)[:, None]
    one, two = wall.point[here], wall.point[following]
    length = np.hypot(*(two - one).T)[:, None]
    leaves, comes = length * tangent[here], length * tangent[following]
    leaves, comes = (  # normals of an axis point either way
        np.where((way * (two - one)).sum(1, keepdims=True) < 0, -way, way)
        for way in (leaves, comes)
    )
    square, cube = share**2, share**3
    curves = [
        (2 * cube - 3 * square + 1) * one[:, None]
        + (cube - 2 * square + share) * leaves[:, None]
        + (3 * square - 2 * cube) * two[:, None]
        + (cube - square) * comes[:, None]
    ]
    for way, last in zip((1.0, -1.0), ends, strict=True):
        past = way * _PAST * spacing * share
        beyond = (
            wall.point[last][:, None]
            + past * tangent[last][:, None]
            + 0.5 * past**2 * (wall.bend[last, None] * wall.normal[last])[:, None]
        )
        curves.append(beyond if way > 0 else beyond[:, ::-1])
    whole = np.concatenate(curves)
    return whole[:, :-1].reshape(-1, 2), whole[:, 1:].reshape(-1, 2)


def _links(wall: WallSites, spacing: float) -> tuple[tuple[Ids, Ids], tuple[Ids, Ids]]:
    """Pairs of sites that follow each other, and the sites that none follows, or none precedes."""
    count = min(_NEIGHBOURS, len(wall.point))
    distance, near = (np.asarray(part) for part in cKDTree(wall.point).query(wall.point, count))
    offset = wall.point[near] - wall.point[:, None]
    ahead = (offset * _turned(wall.normal)[:, None]).sum(2)
    aligned = (wall.normal[near] * wall.normal[:, None]).sum(2)
    if not wall.polar:
        aligned = np.abs(aligned)
    fits = (distance > 0) & (distance <= _NEXT * spacing) & (aligned > 0)
    fits &= wall.wall[near] == wall.wall[:, None]
    pairs, ends = [], []
    for way in (1.0, -1.0):
        ones = fits & (way * ahead > _AHEAD * distance)
        here = np.flatnonzero(ones.any(1))
        best = np.where(ones, distance, np.inf)[here].argmin(1)
        pairs.append(np.stack([here, near[here, best]], axis=1)[:, :: int(way)])
        ends.append(np.flatnonzero(~ones.any(1)))
    if not wall.polar:  # one pair may have been met from either side
        pairs = [np.sort(both, axis=1) for both in pairs]
    one, two = np.unique(np.concatenate(pairs), axis=0).T
    return (one, two), (ends[0], ends[1])
