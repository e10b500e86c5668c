"""Walls of a vector: between domains whose polarizations point elsewhere."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from napari_rvae.detect.polar_walls import Scan, Wall, measured_scan, trace_polar_walls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.config import WallConfig

    Array = NDArray[np.float64]

__all__ = ["VectorWalls", "trace_vector_walls"]

#: Pixels are of one variant within this of the size of a usual response, or so many standard
#: deviations of the noise.
_WIDE, _NOISE = 0.3, 3.0
#: Variants are looked for among so many pixels.
_SAMPLES = 2000
#: A domain has room for a disc of this radius somewhere, in px, and ends where one of that radius
#: does not fit: what a wall turns through is a strip.
_ROOM, _STRIP = 5.0, 2.5
#: A smaller one has so many pixels, and this share of what lies about it is of one other domain.
_SPOT, _ENCLOSED = 4, 0.95
#: Of the pixels of a variant this share is in its domains at least, not in strips.
_INSIDE = 0.5
#: The vectors of two domains differ by this share of a usual response.
_APART = 0.4
#: What lies in no domain goes to the nearest within so many px; a wall has its domains on either
#: side at one of these distances.
_GROW, _SIDES = 12.0, (2.0, 3.5, 5.0)


class VectorWalls(NamedTuple):
    """Walls between two variants."""

    walls: list[Wall]
    turn: float  # angle between the two polarizations, radians, 0 to pi


def trace_vector_walls(vector: Array, config: WallConfig) -> list[VectorWalls]:
    """Follow the walls between domains of different polarization.

    The variants are the modes of the vectors of all pixels (mean shift: Comaniciu and Meer 2002)
    that fill a domain somewhere. Between two of them, a and b, the projection of the vector from
    their middle (a + b) / 2 onto b - a has a sign, and a wall is where it is zero, with domain a on
    the one side and b on the other: a 180-degree wall is one where b = -a.

    Parameters
    ----------
    vector
        Components (C, Y, X) in one unit; NaN where nothing was measured.
    config
        The options.

    Returns
    -------
    list of VectorWalls
        Normals point to the larger value of the component in which the two differ most; the
        strength is half the difference of the two vectors, on the weaker side.
    """
    known = np.asarray(np.isfinite(vector).all(axis=0))
    size = _usual_size(vector, known)
    if size == 0:
        return []
    scans = [measured_scan(np.where(known, part, np.nan), config, size=size) for part in vector]
    sigma = max(scan.sigma for scan in scans)
    smooth = np.stack([ndimage.gaussian_filter(s.response, sigma, mode="nearest") for s in scans])
    wide = max(_WIDE * size, _NOISE * max(scan.noise for scan in scans))
    variants, domain = _variants(smooth, known, wide)
    found = []
    for one, two in itertools.combinations(range(len(variants)), 2):
        a, b = variants[one], variants[two]
        if np.linalg.norm(b - a) < _APART * size:
            continue
        sides = _Sides(domain, one, two)
        if (b - a)[np.abs(b - a).argmax()] < 0:
            a, b, sides = b, a, _Sides(domain, two, one)
        walls, _ = trace_polar_walls(_projected(scans, a, b, known, config), config, sides=sides)
        if walls:
            found.append(VectorWalls(walls, _angle(a, b)))
    return found


def _usual_size(vector: Array, known: NDArray[np.bool_]) -> float:
    """Length of the vector in a usual domain; 0 where nothing was measured."""
    length = np.sqrt((vector**2).sum(axis=0))[known]
    return float(np.quantile(length, 0.75)) if length.size else 0.0


def _variants(
    smooth: Array, known: NDArray[np.bool_], wide: float
) -> tuple[Array, NDArray[np.int64]]:
    """Vectors (K, C) of the variants, and which one's domain each pixel (Y, X) is in, or -1."""
    from sklearn.cluster import MeanShift  # takes a second to load

    points = smooth[:, known].T
    some = np.random.default_rng(0).permutation(len(points))[:_SAMPLES]
    shift = MeanShift(bandwidth=wide, bin_seeding=True, min_bin_freq=3, cluster_all=True)
    centres = np.asarray(shift.fit(points[some]).cluster_centers_, float)
    apart = np.sqrt(((points[:, None] - centres) ** 2).sum(axis=2))
    nearest = np.where(apart.min(axis=1) < wide, apart.argmin(axis=1), -1)
    number = np.full(known.shape, -1)
    number[known] = nearest
    domain = np.full(known.shape, -1)
    kept: list[Array] = []
    left = np.full(known.shape, -1)
    for k in range(len(centres)):
        inside = _without_strips(number == k)
        if inside.sum() > _INSIDE * (number == k).sum():
            domain[inside] = len(kept)
            left[(number == k) & ~inside] = len(kept)
            kept.append(np.median(smooth[:, inside], axis=1))
    domain = _with_small_domains(domain, left)
    distance, nearest = ndimage.distance_transform_edt(domain < 0, return_indices=True)
    return np.array(kept), np.where(distance < _GROW, domain[tuple(nearest)], -1)


def _with_small_domains(domain: NDArray[np.int64], left: NDArray[np.int64]) -> NDArray[np.int64]:
    """Domains (Y, X) with those too small for a disc, each in the middle of a gap in another.

    What a wall turns through lies between two domains, or beside the middle.
    """
    label, _ = ndimage.label(left >= 0)
    depth = ndimage.distance_transform_edt(domain < 0)
    whole, reach = domain.copy(), math.ceil(_GROW)
    for number, (rows, columns) in enumerate(ndimage.find_objects(label), start=1):
        spot = label[rows, columns] == number
        own = left[rows, columns][spot]
        if max(spot.shape) > 4 * _STRIP or spot.sum() < _SPOT or np.ptp(own):
            continue
        box = (
            slice(max(rows.start - reach, 0), rows.stop + reach),
            slice(max(columns.start - reach, 0), columns.stop + reach),
        )
        middle = depth[rows, columns][spot].max() > depth[box].max() - 1.0
        others = np.bincount(domain[box][domain[box] >= 0], minlength=own[0] + 1)
        enclosed = not others[own[0]] and others.max() > _ENCLOSED * others.sum() > 0
        if middle and enclosed:
            whole[rows, columns][spot] = own[0]
    return whole


def _without_strips(domain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part of a domain (Y, X), which goes on beyond the edges, that discs fit into."""
    margin = math.ceil(_ROOM) + 1
    wide = np.pad(domain, margin, mode="edge")
    depth = ndimage.distance_transform_edt(wide)
    if not domain.any() or depth.max() < _ROOM:
        return np.zeros_like(domain)
    opened = ndimage.distance_transform_edt(depth < _STRIP) < _STRIP
    return np.asarray((opened & wide)[margin:-margin, margin:-margin])


class _Sides:
    """Which points of a curve have one domain behind them, and another ahead."""

    def __init__(self, domain: NDArray[np.int64], behind: int, ahead: int) -> None:
        self._domain, self._sides = domain, ((-1.0, behind), (1.0, ahead))

    def __call__(self, points: Array, normal: Array) -> NDArray[np.bool_]:
        """Whether that is so at points (N, 2) with unit normals (N, 2)."""
        last = np.array(self._domain.shape) - 1
        good = np.ones(len(points), bool)
        for sign, wanted in self._sides:
            there = np.zeros(len(points), bool)
            for far in _SIDES:
                pixels = np.clip(np.rint(points + sign * far * normal), 0, last).astype(int)
                there |= self._domain[tuple(pixels.T)] == wanted
            good &= there
        return good


def _projected(
    scans: list[Scan], a: Array, b: Array, known: NDArray[np.bool_], config: WallConfig
) -> Scan:
    """The vector from the middle of two variants, along their difference."""
    step = float(np.linalg.norm(b - a))
    along, middle = (b - a) / step, (a + b) / 2
    field = sum(
        share * (scan.response - m) for share, scan, m in zip(along, scans, middle, strict=True)
    )
    return measured_scan(np.where(known, field, np.nan), config, size=step / 2)


def _angle(a: Array, b: Array) -> float:
    """Angle between two vectors; that of a right one where one is hardly any."""
    sizes = np.linalg.norm(a), np.linalg.norm(b)
    if min(sizes) < 1e-12:
        return math.pi / 2
    return float(np.arccos(np.clip(a @ b / (sizes[0] * sizes[1]), -1.0, 1.0)))
