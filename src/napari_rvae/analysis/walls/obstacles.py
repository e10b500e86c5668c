"""Places that hold walls, as obstacles of one shape fitted to the share of force that is taken.

An obstacle at a place takes the force s exp(-r^2 / 2 w^2), and never more than there is: a wall
that it stops tells only that it takes all. So walls need not have gone round an obstacle to show
it: where they were stopped, and where they went on freely, says where it must lie ahead of them.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage, signal

from napari_rvae.analysis.walls.friction import SLOPE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.walls.friction import Passage

    Array = NDArray[np.float64]

__all__ = ["Obstacle", "find_obstacles"]

#: Strengths that are tried, in units of the mean drive.
_STRENGTHS = np.geomspace(0.35, 5.6, 13)

#: Reach of an obstacle in its width (standard deviation): all but an eighth of it lies within.
_REACH = 1.6

#: Widths that are tried, as shares of what the radius says.
_WIDTHS = np.array([0.67, 1.0, 1.5])

#: Directions of lines that are tried instead of an obstacle.
_DIRECTIONS = 12

#: The share of the force is told no better than this: the law of motion is not exact.
_LEAST_NOISE = 0.1

#: Walls that were faster than expected by more than this were so for other reasons (they merged).
_FASTEST = -0.3

#: An obstacle explains what is seen better than a line or a slow wall does by so much, at least.
_LEAST_LEAD = 3.0


class Obstacle(NamedTuple):
    """A place that holds walls."""

    y: float
    x: float
    error: float  # standard deviation of the place in px
    strength: float  # in units of the mean drive
    evidence: float  # log-likelihood ratio


class _Around(NamedTuple):
    """What walls tell around a place."""

    y: Array  # (N,): px from the place
    x: Array
    held: Array  # (N,): the share taken, beyond what is usual around there
    force: Array  # (N,)
    told: Array  # (N,): weights


def find_obstacles(
    passage: Passage, *, radius: float, smooth: float, least_evidence: float
) -> list[Obstacle]:
    """Obstacles that walls met, the one with most evidence first.

    Parameters
    ----------
    passage
        Walls under a drive of one sign.
    radius
        Reach of an obstacle in px.
    smooth
        Standard deviation in px at which the response was smoothed.
    least_evidence
        Logarithm of the likelihood ratio against no obstacle, at least.
    """
    from skimage.feature import peak_local_max

    width = radius / _REACH
    # neighbours share their noise: so many pixels count as one
    area = 4 * np.pi * (smooth**2 + SLOPE**2)
    weight = 1 / (2 * max(passage.noise, _LEAST_NOISE) ** 2 * area)
    gain = weight * _gain(passage, width)
    places = peak_local_max(
        gain,
        min_distance=max(int(radius) // 2, 1),
        threshold_abs=least_evidence / 2,
        exclude_border=False,
    )
    # an obstacle that seems far ahead of all walls is looked for from where these are
    away, nearest = ndimage.distance_transform_edt(passage.weight == 0, return_indices=True)
    places = [nearest[:, y, x] if away[y, x] > radius else np.array([y, x]) for y, x in places]
    late = _latest(passage, radius)
    found = [_fitted(passage, late, place, radius, weight) for place in places]
    clear = [one for one in found if one is not None and one.evidence >= least_evidence]
    kept: list[Obstacle] = []
    for one in sorted(clear, key=lambda one: -one.evidence):
        if all(np.hypot(one.y - k.y, one.x - k.x) > 1.5 * radius for k in kept):
            kept.append(one)
    return kept


def _gain(passage: Passage, width: float) -> Array:
    """How much less is unexplained, in squares, with the best obstacle at each place."""
    reach = int(np.ceil(3 * width * _WIDTHS.max()))
    squared = np.square(np.mgrid[-reach : reach + 1, -reach : reach + 1]).sum(0)
    told = np.pad(passage.weight, reach)
    held = np.pad(np.clip(passage.held, _FASTEST, 1.0), reach) * told
    best = np.zeros(passage.held.shape)
    inside = (slice(reach, -reach),) * 2
    for share, strength in itertools.product(_WIDTHS, _STRENGTHS):
        shape = np.minimum(strength * np.exp(-squared / (2 * (share * width) ** 2)), 1.0)
        gain = 2 * signal.fftconvolve(held, shape, "same")
        gain -= signal.fftconvolve(told, shape**2, "same")
        best = np.maximum(best, gain[inside])
    return best


def _fitted(
    passage: Passage, late: Array, place: NDArray[np.int64], radius: float, weight: float
) -> Obstacle | None:
    """The obstacle near a place; None where something else explains better what is seen there."""
    around = _around(passage, place, radius)
    if around is None:
        return None
    steps = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
    dy, dx = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    squared = (around.y - dy[:, None]) ** 2 + (around.x - dx[:, None]) ** 2
    width = radius / _REACH
    gain = weight * _gains(squared, around, width)  # (W S, C)
    other = weight * max(_line_gain(around, steps, width), _level_gain(around))
    most = float(gain.max())
    if most - max(other, 0.0) < _LEAST_LEAD:
        return None
    chance = np.exp(gain - most)
    chance /= chance.sum()
    here = chance.sum(0)
    y, x = float(here @ dy), float(here @ dx)
    error = float(np.sqrt(here @ ((dy - y) ** 2 + (dx - x) ** 2) / 2))
    strength = float(np.exp(chance.sum(1) @ np.log(np.tile(_STRENGTHS, _WIDTHS.size))))
    last = _last_near(late, place[0] + y, place[1] + x, radius)
    # both tell the place about as well, by different errors
    y, x = (place[0] + y + last[0]) / 2, (place[1] + x + last[1]) / 2
    return Obstacle(y, x, error, strength, most)


def _latest(passage: Passage, radius: float) -> Array:
    """How late each place (Y, X) switched against all sides of it: the lesser bend of the drive."""
    from skimage.feature import hessian_matrix, hessian_matrix_eigvals

    sigma = radius / 2
    wide = int(np.ceil(5 * sigma))
    padded = np.pad(passage.needed, wide, mode="reflect", reflect_type="odd")
    bends = hessian_matrix(padded, sigma=sigma, use_gaussian_derivatives=True)
    found = -hessian_matrix_eigvals(bends)[0]
    return np.asarray(found[wide:-wide, wide:-wide])


def _last_near(late: Array, y: float, x: float, radius: float) -> tuple[int, int]:
    """Pixel within the radius of a place that switched latest against all sides."""
    reach = int(np.ceil(radius)) + 1
    # the place may lie beyond the frame, by no more than the radius
    middle = [int(np.clip(round(v), 0, n - 1)) for v, n in zip((y, x), late.shape, strict=True)]
    top, left = (max(value - reach, 0) for value in middle)
    part = late[top : middle[0] + reach + 1, left : middle[1] + reach + 1]
    rows, columns = np.indices(part.shape)
    distance = np.hypot(rows + top - y, columns + left - x)
    number = int(np.where(distance <= max(radius, distance.min()), part, -np.inf).argmax())
    return int(rows.flat[number]) + top, int(columns.flat[number]) + left


def _around(passage: Passage, place: NDArray[np.int64], radius: float) -> _Around | None:
    """What is known around a place, relative to how walls are further out."""
    reach = int(np.ceil(2.5 * radius))
    low = np.maximum(place - reach, 0)
    window = tuple(slice(a, b + reach + 1) for a, b in zip(low, place, strict=True))
    y, x = np.nonzero(passage.weight[window])
    held, force, told = (
        field[window][y, x] for field in (passage.held, passage.force, passage.weight)
    )
    y, x = y + low[0] - float(place[0]), x + low[1] - float(place[1])
    far = np.hypot(y, x) > 1.5 * radius
    if far.sum() < np.pi * radius**2 / 4 or far.all():
        return None  # nothing to see, or to compare with
    usual = max(float(np.median(held[far])), 0.0)
    if usual > 1 - _LEAST_NOISE:
        return None  # walls stand still all around
    return _Around(y, x, np.clip((held - usual) / (1 - usual), _FASTEST, 1.0), force, told)


def _gains(squared: Array, around: _Around, width: float) -> Array:
    """Gain (W S, C) of obstacles of each width and strength at squared distances (C, N)."""
    found = []
    for share in _WIDTHS:
        shape = np.exp(-squared / (2 * (share * width) ** 2)) / around.force
        for strength in _STRENGTHS:
            taken = np.minimum(strength * shape, 1.0)
            found.append((taken * (2 * around.held - taken)) @ around.told)
    return np.stack(found)


def _line_gain(around: _Around, steps: Array, width: float) -> float:
    """Best gain of a straight line that holds walls, in any direction."""
    angle = np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    across = np.cos(angle)[:, None] * around.y + np.sin(angle)[:, None] * around.x
    squared = (across[:, None] - steps[:, None]) ** 2
    return float(_gains(squared.reshape(-1, around.y.size), around, width).max())


def _level_gain(around: _Around) -> float:
    """Best gain of walls that are slower by one share everywhere."""
    level = float(np.clip(np.average(around.held, weights=around.told), 0.0, 1.0))
    return float((level * (2 * around.held - level)) @ around.told)
