"""Crystal lattices in the plane: points, orientations, two grains and their boundary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Motif", "Points", "bearing", "grown_points", "honeycomb", "rocksalt", "rotated"]

#: Atoms of two grains that are closer than this share of the neighbour distance collide.
_COLLISION = 0.7


class Motif(NamedTuple):
    """A lattice at angle 0: cell vectors and atoms of the cell, as (y, x) offsets."""

    cell: NDArray[np.float64]  # (2, 2), one vector a row
    basis: NDArray[np.float64]  # (B, 2), one atom a sublattice


class Points(NamedTuple):
    """Lattice points of all grains."""

    position: NDArray[np.float64]  # (N, 2): y, x
    sublattice: NDArray[np.int64]  # (N,)
    grain: NDArray[np.int64]  # (N,)
    boundary_distance: NDArray[np.float64]  # (N,): px to the grain boundary, inf without one


def rotated(offset: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Turn (dy, dx) offsets (..., 2) by `angle`, counter-clockwise on the screen (y down)."""
    dy, dx = offset[..., 0], offset[..., 1]
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack([dy * cos - dx * sin, dx * cos + dy * sin], axis=-1)


def bearing(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle by which the offset (0, 1), to the right, is turned into `offset` (..., 2)."""
    result: NDArray[np.float64] = np.arctan2(-offset[..., 0], offset[..., 1])
    return result


def honeycomb(distance: float) -> Motif:
    """Graphene: an atom of sublattice 0 has a neighbour to its right, sublattice 1 to its left."""
    bonds = np.array([rotated(np.array([0.0, distance]), k * 2 * math.pi / 3) for k in range(3)])
    return Motif(
        cell=np.array([bonds[0] - bonds[1], bonds[0] - bonds[2]]),
        basis=np.array([[0.0, 0.0], bonds[0]]),
    )


def rocksalt(distance: float) -> Motif:
    """Perovskite along [001]: A on the corners of an upright square, B in its middle."""
    side = math.sqrt(2) * distance
    return Motif(cell=side * np.eye(2), basis=np.array([[0.0, 0.0], [side / 2, side / 2]]))


def _fill(
    motif: Motif, angle: float, centre: NDArray[np.float64], reach: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All points of a turned lattice within `reach` of `centre`, and their sublattice."""
    # a cell vector's share of a distance is at most that distance times the reciprocal vector
    steps = math.ceil(reach * np.linalg.norm(np.linalg.inv(motif.cell), axis=0).max()) + 1
    numbers = np.arange(-steps, steps + 1)
    grid = np.stack(np.meshgrid(numbers, numbers, indexing="ij"), axis=-1).reshape(-1, 2)
    points = (grid @ motif.cell)[:, None, :] + motif.basis
    sublattice = np.broadcast_to(np.arange(len(motif.basis)), points.shape[:2])
    flat = rotated(points.reshape(-1, 2), angle)
    inside = np.hypot(*flat.T) <= reach
    return centre + flat[inside], sublattice.reshape(-1)[inside].astype(np.int64)


def grown_points(
    motif: Motif,
    angles: tuple[float, ...],
    shape: tuple[int, int],
    margin: float,
    rng: np.random.Generator,
) -> Points:
    """Fill a frame and its surroundings with one grain, or with two that meet at a line.

    Parameters
    ----------
    motif
        The lattice.
    angles
        Orientation of each grain in radians; one or two.
    shape
        Rows and columns (Y, X) of the frame.
    margin
        Fill so many pixels beyond the frame.
    rng
        Source of the lattices' origins and of the boundary.
    """
    centre = (np.array(shape) - 1) / 2
    # to the corners, from an origin up to a cell off the centre
    reach = math.hypot(*(centre + margin)) + float(np.abs(motif.cell).sum())
    slant = rng.uniform(-0.3, 0.3)
    normal = np.array([math.sin(slant), math.cos(slant)])
    middle = centre + np.array([0.0, rng.uniform(0.15, 0.2) * shape[1]])
    parts: list[Points] = []
    for grain, angle in enumerate(angles):
        origin = centre + rng.uniform(-0.5, 0.5, 2) @ motif.cell
        position, sublattice = _fill(motif, angle, origin, reach)
        side = (position - middle) @ normal
        keep = np.asarray((np.abs(position - centre) <= centre + margin).all(axis=1))
        away = np.full(len(side), np.inf)
        if len(angles) > 1:
            keep &= (side > 0) == bool(grain)
            away = np.abs(side)
        numbers = np.full(len(side), grain, dtype=np.int64)
        parts.append(_selected(Points(position, sublattice, numbers, away), keep))
    whole = Points(
        position=np.concatenate([part.position for part in parts]),
        sublattice=np.concatenate([part.sublattice for part in parts]),
        grain=np.concatenate([part.grain for part in parts]),
        boundary_distance=np.concatenate([part.boundary_distance for part in parts]),
    )
    return _without_collisions(whole, motif)


def _selected(points: Points, keep: NDArray[np.bool_]) -> Points:
    """Return the points that `keep` (N,) marks."""
    return Points(
        position=points.position[keep],
        sublattice=points.sublattice[keep],
        grain=points.grain[keep],
        boundary_distance=points.boundary_distance[keep],
    )


def _without_collisions(points: Points, motif: Motif) -> Points:
    """Drop the atoms of grain 1 that came too close to one of grain 0."""
    first, second = (np.flatnonzero(points.grain == grain) for grain in (0, 1))
    if not second.size:
        return points
    distance = float(np.linalg.norm(motif.basis[1]))
    gap, _ = cKDTree(points.position[first]).query(points.position[second])
    keep = np.ones(len(points.grain), bool)
    keep[second[gap < _COLLISION * distance]] = False
    return _selected(points, keep)
