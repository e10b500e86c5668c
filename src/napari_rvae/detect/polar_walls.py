"""180-degree walls of one scan: where its signed response is zero, with response on both sides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.signal import savgol_filter
from scipy.special import ndtr

from napari_rvae.curves import (
    curve_points,
    distance_to_curves,
    field_at,
    normals_and_bends,
    slopes_at,
    zero_curves,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_rvae.config import WallConfig

    Array = NDArray[np.float64]

__all__ = ["Scan", "Wall", "measured_scan", "runs_along", "signed_distance", "trace_polar_walls"]

#: The noise is smoothed down to this share of a domain's response, within these bounds in px.
_NOISE_SHARE, _SMOOTHING = 0.04, (1.0, 3.0)
#: Response of a wall's sides is looked for at these distances, in px.
_SIDES = (2.0, 3.5, 5.0, 7.0)
#: Along a wall that is believed somewhere, this share of the least strength is enough.
_HYSTERESIS = 0.5
#: A wall's sides stand so many standard deviations of the smoothed noise above zero.
_SNR = 4.0
#: The direction of a wall is that of the slope of the field smoothed by so many px more: a strong
#: slope, which is less noisy, counts more. Along the wall parabolas are fitted to it
#: and to the wall's places, over a length in px between these ...
_SLOPE, _LENGTHS = 1.0, (11, 15, 19, 23)
#: ... on which the wall turns by so many radians at the most; lengths change no faster than over so
#: many px along it.
_LENGTH_STEP, _TURN, _SLOPE_STEADY = 4, 1.0, 2.0
#: Bends are those of the field smoothed by so many px more, averaged along the wall over so many.
_BEND, _BEND_ALONG = 2.0, 9


class Scan(NamedTuple):
    """The response of one scan, without gaps, and its scales."""

    response: Array  # (Y, X)
    smooth: Array  # (Y, X): smoothed as the noise asks for
    known: NDArray[np.bool_]  # (Y, X): where it was measured
    size: float  # response of a usual domain
    noise: float  # standard deviation of a pixel of `smooth`
    sigma: float  # of the Gaussian that made it, px


class Wall(NamedTuple):
    """A connected wall at equal steps."""

    points: Array  # (N, 2): y, x
    angle: Array  # (N,): direction of the normal
    curvature: Array  # (N,)
    strength: Array  # (N,): in the response's unit
    confidence: Array  # (N,): 0 to 1


def measured_scan(response: Array, config: WallConfig, *, size: float | None = None) -> Scan:
    """Measure noise and size of a response (Y, X), unless given, fill its gaps, and smooth it."""
    known = np.isfinite(response)
    filled = response
    if not known.all():
        _, nearest = ndimage.distance_transform_edt(~known, return_indices=True)
        filled = response[tuple(nearest)]
    # differences that a plane and a wall hardly have (Immerkaer 1996)
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6.0
    pixel = 1.4826 * float(np.median(np.abs(ndimage.convolve(filled, mask))[known]))
    if size is None:
        size = float(np.median(np.abs(filled[known])))
        size = max(size - 0.5 * pixel**2 / size if size else 0.0, 1e-300)
    sigma = config.smoothing
    if sigma is None:
        sigma = pixel / (_NOISE_SHARE * size) / math.sqrt(4 * math.pi)
        sigma = float(np.clip(sigma, *_SMOOTHING))
    smooth = ndimage.gaussian_filter(filled, sigma, mode="nearest")
    return Scan(filled, smooth, known, size, pixel / (math.sqrt(4 * math.pi) * sigma), sigma)


def trace_polar_walls(
    scan: Scan,
    config: WallConfig,
    *,
    sides: Callable[[Array, Array], NDArray[np.bool_]] | None = None,
) -> tuple[list[Wall], list[Array]]:
    """Follow the 180-degree walls of a scan.

    Parameters
    ----------
    scan
        The measured scan.
    config
        The options.
    sides
        Says of points (N, 2) with unit normals (N, 2) whether a wall may be there; None: anywhere.

    Returns
    -------
    walls : list of Wall
        Strength is the response on the weaker side; normals point from - to +.
    curves : list of ndarray
        The same walls as dense curves (N, 2).
    """
    walls, curves = [], []
    least = max(config.min_strength * scan.size, _SNR * scan.noise)
    for curve in zero_curves(scan.smooth, mask=scan.known):
        dense = curve_points(curve, 1.0)
        angle = _direction(_slopes(scan, dense))
        strength = _sides(scan.smooth, dense, angle).min(axis=0)
        if sides is not None:
            fits = sides(dense, np.stack([-np.sin(angle), np.cos(angle)], axis=1))
            strength = np.where(fits, strength, 0.0)
        closed = bool((curve[0] == curve[-1]).all())
        for run in runs_along(strength, least, _HYSTERESIS * least, closed=closed):
            piece = dense[run]
            if len(piece) < config.min_length:
                continue
            if closed and len(piece) == len(dense):
                piece = np.concatenate([piece, piece[:1]])
            piece = _steady(piece, scan)
            curves.append(piece)
            walls.append(_sampled(piece, scan, config.spacing))
    return walls, curves


def _slopes(scan: Scan, curve: Array) -> Array:
    """Slope (N, 2) of the response at points of a curve."""
    return slopes_at(scan.response, curve, sigma=math.hypot(scan.sigma, _SLOPE))


def _averaged_along(values: Array, bend: Array, ends: Literal["wrap", "nearest"]) -> Array:
    """Values (N, 2), slopes or places, averaged along a wall over lengths that its bends allow.

    A parabola fitted to what lies about a point (Savitzky and Golay 1964) is right there whatever
    the curvature, and out only where that changes fast: there the length is short.

    Parameters
    ----------
    values
        At points at steps of about one px.
    bend
        Curvature (N,) there.
    ends
        How the wall goes on beyond its ends.
    """
    if len(values) < _LENGTHS[0]:
        return values
    longest = len(values) - 1 + len(values) % 2
    mode: Literal["wrap", "interp"] = "wrap" if ends == "wrap" else "interp"
    fits = [savgol_filter(values, min(size, longest), 2, axis=0, mode=mode) for size in _LENGTHS]
    bend = ndimage.maximum_filter1d(np.abs(bend), _BEND_ALONG, mode=ends)
    length = np.clip(_TURN / np.maximum(bend, 1e-9), _LENGTHS[0], _LENGTHS[-1])
    length = ndimage.gaussian_filter1d(length, _SLOPE_STEADY, mode=ends)
    # between two lengths a share of either
    share = np.clip(1 - np.abs(length - np.array(_LENGTHS)[:, None]) / _LENGTH_STEP, 0, 1)
    return np.asarray((share[:, :, None] * np.stack(fits)).sum(axis=0))


def _steady(curve: Array, scan: Scan) -> Array:
    """Points (N, 2) of a wall where parabolas along it lie: steadier than each point alone.

    A Gaussian of width s moves the zero line of a field that bends with k by s^2 k / 2 towards the
    centre of the bend (its Laplacian on the line is the slope times k); that is taken back.
    """
    ends = _ends(curve)
    points = curve[:-1] if ends == "wrap" else curve
    bend = _bends(points, scan, ends)
    angle = _direction(_slopes(scan, points))
    normal = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    # bends as sharp as the Gaussian itself are not measured
    moved = 0.5 * scan.sigma**2 * np.clip(bend, -0.5 / scan.sigma, 0.5 / scan.sigma)
    steady = _averaged_along(points - moved[:, None] * normal, bend, ends)
    steady = np.clip(steady, 0.0, np.array(scan.response.shape) - 1.0)
    return np.concatenate([steady, steady[:1]]) if ends == "wrap" else steady


def _bends(curve: Array, scan: Scan, ends: Literal["wrap", "nearest"]) -> Array:
    """Curvature (N,) at points of a wall."""
    _, bend = normals_and_bends(scan.response, curve, sigma=math.hypot(scan.sigma, _BEND))
    return np.asarray(ndimage.uniform_filter1d(bend, _BEND_ALONG, mode=ends))


def _direction(slope: Array) -> Array:
    """Direction (N,) in which a field of these slopes (N, 2) grows."""
    return np.asarray(np.arctan2(-slope[:, 0], slope[:, 1]))


def _ends(curve: Array) -> Literal["wrap", "nearest"]:
    """How a curve goes on beyond its ends."""
    return "wrap" if (curve[0] == curve[-1]).all() else "nearest"


def _sides(smooth: Array, points: Array, angle: Array) -> Array:
    """Response (2, N) of the + side, and that of the - side with its sign turned."""
    normal = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    values = [
        [sign * field_at(smooth, points + sign * far * normal) for far in _SIDES]
        for sign in (1.0, -1.0)
    ]
    return np.asarray(np.max(values, axis=1))


def runs_along(
    strength: Array, high: float, low: float, *, closed: bool
) -> list[NDArray[np.int64]]:
    """Stretches of a curve that are strong enough, with hysteresis, as indices in order.

    Parameters
    ----------
    strength
        Strength (N,) along the curve.
    high, low
        A stretch is above `low` throughout and above `high` somewhere.
    closed
        Whether the curve's end joins its beginning.
    """
    order = np.arange(len(strength))
    weak = strength < low
    if closed and weak.any():  # begin in a gap, so that no stretch is cut
        order = np.roll(order, -int(weak.argmax()))
    label, count = ndimage.label(~weak[order])
    runs = [order[label == number] for number in range(1, count + 1)]
    return [run for run in runs if strength[run].max() >= high]


def _sampled(curve: Array, scan: Scan, spacing: float) -> Wall:
    """Sites along a wall, with what is measured there."""
    points = curve_points(curve, spacing)
    bend = _bends(curve, scan, _ends(curve))
    normal = _direction(_averaged_along(_slopes(scan, curve), bend, _ends(curve)))
    steps = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    at = (np.arange(len(points)) + 0.5) * steps[-1] / len(points)
    sine, cosine, curvature = (
        np.interp(at, steps, values) for values in (np.sin(normal), np.cos(normal), bend)
    )
    angle = np.arctan2(sine, cosine)
    sides = _sides(scan.smooth, points, angle)
    return Wall(
        points=points,
        angle=angle,
        curvature=curvature,
        strength=sides.min(axis=0),
        confidence=np.prod(ndtr(sides / max(scan.noise, 1e-300) - 1.0), axis=0),
    )


def signed_distance(curves: list[Array], smooth: Array) -> Array:
    """Distance (Y, X) in px of every pixel from the curves, with the response's sign."""
    places = np.argwhere(np.ones(smooth.shape, bool)).astype(float)
    distance = distance_to_curves(curves, places).reshape(smooth.shape)
    return np.where(smooth >= 0, distance, -distance)
