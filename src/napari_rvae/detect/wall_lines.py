"""Lines of ferroelastic walls: where along their normals the level steps, and smooth curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.interpolate import make_smoothing_spline

from napari_rvae.curves import field_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "STRIP",
    "Evidence",
    "StepProfile",
    "normals_along",
    "smooth_curve",
    "step_evidence",
    "step_profile",
]

#: A step is looked at so far on either side of a wall, in px.
STRIP = 9
#: A step is looked for so far beside a wall, in px.
_BESIDE = 4.0
#: Half-width of a ferroelastic wall, in px: its place hardly depends on it.
_WIDTH = 2.5
#: Places along a wall are averaged over so many px (standard deviation) before a step is sought.
_ALONG = 8.0
#: A fit along a normal has so many pixels' worth at least.
_LEAST = 0.3
#: Where a wall is known as well as on the average, bends shorter than this are smoothed, in px.
_STIFF = 40.0


class StepProfile(NamedTuple):
    """Step of the level at points along a curve, and where it lies."""

    offset: Array  # (N,): along the normals, px
    weight: Array  # (N,): how well that is known, 1 on the average; 0: not at all
    step: Array  # (N,): at the curve itself, in the unit of the response


def smooth_curve(curve: Array, move: Array | None = None, weight: Array | None = None) -> Array:
    """Stiff smoothing spline through a curve (N, 2), or through it moved along its normals.

    The spline is stiff as the walls of a crystal are: it bends only where the points say so, and
    goes on straight where their weights are 0 (Reinsch 1967).

    Parameters
    ----------
    curve
        Points (N, 2) at steps of about one px.
    move
        Distances (N,) along the normals; None: 0.
    weight
        How well each is known; None: all alike.
    """
    if len(curve) < 6:
        return curve
    place = np.arange(len(curve), dtype=float)
    moved = curve if move is None else curve + move[:, None] * normals_along(curve)
    known = np.ones(len(curve)) if weight is None else np.maximum(weight, 1e-4)
    return np.stack(
        [
            np.asarray(make_smoothing_spline(place, axis, known, _STIFF**4)(place))
            for axis in moved.T
        ],
        axis=1,
    )


def normals_along(curve: Array) -> Array:
    """Unit normals (N, 2) of a smooth curve (N, 2)."""
    ty, tx = np.gradient(curve, axis=0).T
    normal = np.stack([-tx, ty], axis=1)
    return np.asarray(normal / np.maximum(np.hypot(ty, tx), 1e-12)[:, None])


def step_profile(response: Array, profile: Array, known: Array, curve: Array) -> StepProfile:
    """Fit steps of the level along the normals of a curve, by least squares.

    Across the curve the response is p (a + b tanh((s - o) / w)): p is the profile of the 180-degree
    walls, s the distance from the curve, o the offset sought; a and b are free at every place and
    offset. So a 180-degree wall beside the curve moves nothing: it takes weight away.

    Parameters
    ----------
    response
        Response (Y, X).
    profile
        The same of a level of 1.
    known
        1 where the response was measured, else 0, (Y, X).
    curve
        Points (N, 2) at steps of about one px.
    """
    r, p, k, far = _strip(response, profile, known, curve)
    offsets = np.arange(-_BESIDE, _BESIDE + 0.25, 0.5)
    gain, step = np.zeros((2, len(curve), offsets.size))
    for column, offset in enumerate(offsets):
        both, own = (_along(part) for part in _rows(r, p, k, far - offset))
        good = own > _LEAST
        step[:, column] = np.where(good, 2 * both / np.where(good, own, 1.0), 0.0)
        gain[:, column] = np.where(good, both**2 / np.where(good, own, 1.0), 0.0)
    middle = step[:, offsets.size // 2]
    sign = 1.0 if gain[step > 0].sum() >= gain[step < 0].sum() else -1.0
    return _best(offsets, np.where(sign * step > 0, gain, 0.0), middle)


class Evidence(NamedTuple):
    """What each row across a curve says of a step there."""

    both: Array  # (N,): product of the response with an edge
    own: Array  # (N,): that of the edge with itself

    def step(self) -> Array:
        """Step (N,) of the level, rows nearby taken together."""
        both, own = _along(self.both), _along(self.own)
        return np.where(own > _LEAST, 2 * both / np.maximum(own, _LEAST), 0.0)

    def score(self, used: NDArray[np.bool_]) -> float:
        """Step along the rows that count in all, in pixels' worth of noise.

        White noise of standard deviation 1 has scores of standard deviation 1, whatever the curve.
        """
        both, own = self.both[used].sum(), self.own[used].sum()
        return float(both / np.sqrt(own)) if own > _LEAST else 0.0


def step_evidence(
    response: Array, profile: Array, clear: Array, curve: Array, *, polar: bool
) -> Evidence:
    """What is seen of a step of the level along a curve (N, 2), 180-degree walls left out.

    Positive and negative domains have levels of their own there, which a background that was not
    taken off whole makes different: a 180-degree wall beside the curve is no step.

    Parameters
    ----------
    response
        Response (Y, X).
    profile
        The same of a level of 1.
    clear
        1 where the response was measured and is not within a 180-degree wall, else 0, (Y, X).
    curve
        Points (N, 2) at steps of about one px.
    polar
        Whether the scan has domains of either sign; else the sign is that of the noise.
    """
    r, p, k, far = _strip(response, profile, clear, curve)
    s, k = np.where((p >= 0) | (not polar), 1.0, -1.0), k * p**2
    edge, r = np.tanh(far / _WIDTH), r / np.where(k > 0, p, 1.0)
    count, mixed = _along(k.sum(1)) + _LEAST, _along((k * s).sum(1))
    area = count**2 - mixed**2

    def rest(values: Array) -> Array:
        """Values (N, S) without what a level of either sign explains."""
        one, two = _along((k * values).sum(1)), _along((k * s * values).sum(1))
        level, odd = (count * one - mixed * two) / area, (count * two - mixed * one) / area
        return np.asarray(values - level[:, None] - odd[:, None] * s)

    step = rest(np.broadcast_to(edge, r.shape))
    return Evidence((k * step * rest(r)).sum(1), (k * step**2).sum(1))


def _strip(
    response: Array, profile: Array, known: Array, curve: Array
) -> tuple[Array, Array, Array, Array]:
    """Response, profile and what is known (N, S) beside a curve, and the distances (S,)."""
    far = np.arange(-STRIP, STRIP + 1.0)
    points = curve[:, None] + far[:, None] * normals_along(curve)[:, None]
    shape = points.shape[:2]
    inside = ((points >= 0) & (points <= np.array(response.shape) - 1)).all(axis=2)
    r, p, k = (
        field_at(f, points.reshape(-1, 2)).reshape(shape) for f in (response, profile, known)
    )
    return r, p, np.where(inside & (k > 0.99), 1.0, 0.0), far


def _rows(r: Array, p: Array, k: Array, away: Array) -> tuple[Array, Array]:
    """Product of each row with an edge at 0, and that of the edge with itself, (N,).

    What a level that is the same on both sides leaves is taken off both.
    """
    edge = np.tanh(away / _WIDTH)
    weight = k * p**2
    even = np.maximum(_along(weight.sum(1)), _LEAST)
    mixed, level = _along((weight * edge).sum(1)), _along((k * r * p).sum(1))
    rest = edge - (mixed / even)[:, None]
    own = (weight * rest**2).sum(1)
    both = (k * p * rest * (r - p * (level / even)[:, None])).sum(1)
    return both, own


def _along(values: Array) -> Array:
    return np.asarray(ndimage.gaussian_filter1d(values, _ALONG, axis=0, mode="nearest"))


def _best(offsets: Array, gain: Array, step: Array) -> StepProfile:
    """Where each row (N, O) of a gain is largest, by the parabola through its top."""
    rows, top = np.arange(len(gain)), np.clip(gain.argmax(1), 1, offsets.size - 2)
    low, here, high = (gain[rows, top + k] for k in (-1, 0, 1))
    bend = low - 2 * here + high
    peaked = (bend < 0) & (here >= low) & (here >= high)
    safe = np.where(peaked, bend, -1.0)
    offset = offsets[top] + 0.5 * (low - high) / safe * (offsets[1] - offsets[0])
    weight = np.where(peaked, -bend, 0.0)
    mean = float(weight.mean())
    return StepProfile(np.where(peaked, offset, 0.0), weight / mean if mean else weight, step)
