"""How the scan distorts a crystal: shear and pixels that are not square, from the atoms alone.

Around an atom of a lattice with three- or higher-fold symmetry the vectors v to the atoms of one
shell are isotropic: the sum of v v^T is a multiple of the unit matrix, whichever way the crystal is
turned. A linear distortion F turns it into a multiple of F F^T, whose square root V is the
distortion but for a rotation, which no one could tell from a rotation of the crystal.
"""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max

from napari_rvae.errors import InputError
from napari_rvae.frames import Frames
from napari_rvae.preprocess.parabola import top_offset
from napari_rvae.tables import group_rows, make_sites, neighbour_distance, validate_sites

__all__ = [
    "LatticeDistortion",
    "blob_distortion",
    "frame_distortions",
    "lattice_distortion",
    "physical_spacing",
]

logger = logging.getLogger(__name__)

#: What a shell of neighbours may hold: three in graphene, four in a square lattice, six in a
#: triangular one. The two nearest shells have no more than twelve atoms together.
_SHELLS, _NEIGHBOURS = (3, 4, 6), 13

#: After the atoms of a shell comes a gap: the next one is farther away by this factor, or more
#: (a quarter of it after the second shell). In graphene it is 1.73, then 1.15.
_GAP = 1.12

#: Atoms whose shell is larger or smaller than usual by this share are no part of the crystal.
_SAME_SIZE = 0.15

#: The middle of a whole shell is no farther from the atom than this share of its radius.
_CENTRED = 0.3

#: Fewer whole shells say nothing. So many, all with whole shells about them, do without those at
#: edges and beside defects.
_LEAST, _ENOUGH = 16, 48

#: What is within so many standard errors of none is none: of both parts together, as chance
#: exceeds once in 500. Shells that differ by more than the other number disagree.
_SURE, _DISAGREE = 2.5, 4.0

#: A lattice longer along one direction than across it by more than this share is no distorted
#: symmetric one.
_MOST = 0.09

#: Maxima are looked for in a frame smoothed by this many widths of a blob, and are this many apart
#: or more.
_SMOOTHING, _APART = 0.7, 1.5

#: Pieces of the field of view along each axis, whose scatter gives the standard error.
_PIECES = 4


class LatticeDistortion(NamedTuple):
    """What a scan does to offsets between points of the specimen.

    Returned by :func:`~napari_rvae.lattice_distortion`.

    Parameters
    ----------
    matrix
        (2, 2), determinant 1: an offset (dy, dx) in physical axes appears in the frame, in
        pixels of the mean size, at ``matrix @ (dy, dx)``. Where nothing could be told of the
        lattice, it holds the shape of the pixels alone.
    stretch
        How much longer the frame shows the lattice along one direction than across it, as a
        share, the shape of the pixels taken off; 0.02 for a shear by 2 %. NaN where it cannot be
        told.
    stretch_sd
        Its standard error.
    n_sites
        Number of whole shells that it comes from.
    reason
        Why the lattice is not corrected; empty where it is.
    """

    matrix: NDArray[np.float64]
    stretch: float
    stretch_sd: float
    n_sites: int
    reason: str


class _Shell(NamedTuple):
    """What one shell of neighbours tells: half the difference and the product (2,), with errors."""

    value: NDArray[np.float64]
    sd: NDArray[np.float64]
    n_sites: int


def lattice_distortion(sites: pd.DataFrame, *, pixel_aspect: float = 1.0) -> LatticeDistortion:
    """Estimate the linear distortion of a lattice by the scan.

    The median over the atoms counts, of those shells only that are whole and of the usual size,
    and of the two nearest shells; so edges, vacancies and several grains do no harm. The middle of
    a shell is taken off, so that displacements of a sublattice do none either. The standard error
    comes from the scatter between 16 pieces of the field of view.

    Left alone, with a reason, are: less than 2.5 standard errors; more than 9 %; shells that
    disagree; lattices without a shell of three, four or six. Symmetry is an assumption: a lattice
    that is truly a little off (tetragonal with c/a = 1.06, seen along a) cannot be told from a
    distorted one and is taken for it.

    Parameters
    ----------
    sites
        Sites table of one source: of a movie, or some of its frames. Atoms alone count.
    pixel_aspect
        Height of a pixel divided by its width, as :attr:`Frames.pixel_aspect` gives it.

    Returns
    -------
    LatticeDistortion
        The distortion, pixels included, its standard error, and why the lattice was left alone.

    Raises
    ------
    InputError
        If the table is no sites table of one source, or the aspect is not positive.

    Examples
    --------
    >>> from napari_rvae import simulate_graphene
    >>> from napari_rvae.preprocess import lattice_distortion
    >>> movie = simulate_graphene(n_frames=1, grains=1, hole_end=0, shear=0.04, disorder=0)
    >>> round(lattice_distortion(movie.sites).stretch, 2)
    0.04
    """
    table = validate_sites(sites)
    if len(table["source"].unique()) > 1:
        raise InputError(
            "The sites come from several movies: take the distortion of one at a time."
        )
    pixels = _pixel_matrix(pixel_aspect)
    frames = _atom_positions(table)
    frames = [points / np.diag(pixels) for points in frames]
    stretch, shells = np.eye(2), list[_Shell]()
    for _ in range(3):  # where the distances are no longer distorted, shells are sharper
        shells = _shells(frames, np.asarray(np.linalg.inv(stretch), np.float64))
        if not shells:
            return LatticeDistortion(pixels, math.nan, math.nan, 0, "no shell of neighbours")
        value, sd = _combined(shells)
        stretch = _stretch_matrix(value)
        if _share(value) > 2 * _MOST:
            break
    share, share_sd = _share(value), float(np.hypot(*sd))
    count = shells[0].n_sites
    reason = _objection(shells, value, sd)
    if reason and reason != "none measured":
        return LatticeDistortion(pixels, math.nan, math.nan, count, reason)
    matrix = pixels if reason else pixels @ stretch
    return LatticeDistortion(matrix, share, share_sd, count, reason)


def blob_distortion(
    image: NDArray[np.float64], sigma: float, *, pixel_aspect: float = 1.0
) -> LatticeDistortion:
    """Estimate the distortion of a lattice from the maxima of a frame, atoms unknown.

    Its brightest and darkest places form lattices of the same shape, so it does not matter
    whether atoms are bright.

    Parameters
    ----------
    image
        One frame (Y, X) without NaN.
    sigma
        Width of its blobs in pixels; NaN where there are none.
    pixel_aspect
        Height of a pixel divided by its width.

    Returns
    -------
    LatticeDistortion
        As :func:`lattice_distortion` tells it; less sure, since noise has maxima too.
    """
    points = _maxima(image, sigma) if math.isfinite(sigma) else np.zeros((0, 2))
    sites = make_sites(frame=0, y=points[:, 0], x=points[:, 1])
    return lattice_distortion(sites, pixel_aspect=pixel_aspect)


def _maxima(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Positions (n, 2) of the blobs of a frame, below a pixel."""
    smooth = ndimage.gaussian_filter(image, _SMOOTHING * sigma)
    least = max(1, math.floor(_APART * sigma))
    row, column = peak_local_max(smooth, min_distance=least, threshold_abs=np.median(smooth)).T
    place = []
    for axis, (before, after) in enumerate((((-1, 0), (1, 0)), ((0, -1), (0, 1)))):
        left, right = (smooth[row + dy, column + dx] for dy, dx in (before, after))
        place.append((row, column)[axis] + top_offset(left, smooth[row, column], right))
    return np.stack(place, axis=1)


def _pixel_matrix(aspect: float) -> NDArray[np.float64]:
    """Return what pixels of a height `aspect` times their width do to offsets (2, 2).

    Raises
    ------
    InputError
        If the aspect is not positive and finite.
    """
    if not (math.isfinite(aspect) and aspect > 0):
        raise InputError(f"pixel_aspect = {aspect}: give height by width, positive.")
    root = math.sqrt(aspect)
    return np.diag([1 / root, root])


def _objection(shells: list[_Shell], value: NDArray[np.float64], sd: NDArray[np.float64]) -> str:
    """Why the lattice is not to be corrected; empty if it is."""
    if _share(value) > _MOST:
        return "a lattice of lower symmetry"
    for shell in shells[1:]:
        error = np.hypot(shell.sd, shells[0].sd)
        if (np.abs(shell.value - shells[0].value) > _DISAGREE * error + 1e-9).any():
            return "the shells of neighbours disagree"
    # without any scatter, what is left is rounding
    return "" if np.hypot(*value) > _SURE * np.hypot(*sd) + 1e-9 else "none measured"


def _atom_positions(table: pd.DataFrame) -> list[NDArray[np.float64]]:
    """Positions (n, 2) of the atoms of each frame."""
    points = table[["y", "x"]].to_numpy(float)
    good = (table["kind"] == "atom").to_numpy() & np.isfinite(points).all(1)
    frames = [points[rows[good[rows]]] for _, _, rows in group_rows(table)]
    return [np.unique(part, axis=0) for part in frames if len(part) > _LEAST // 2]


def _shells(frames: list[NDArray[np.float64]], undo: NDArray[np.float64]) -> list[_Shell]:
    """What the one or two nearest shells tell; none where there is no lattice."""
    distance, neighbour, points = _neighbours(frames, undo)
    if not len(points):
        return []
    gaps = np.stack([distance[:, size] / distance[:, size - 1] for size in _SHELLS], 1)
    whole = gaps.max(1) > _GAP
    if whole.sum() < _LEAST:
        return []
    found = np.array(_SHELLS)[gaps.argmax(1)]
    first = int(np.bincount(found[whole]).argmax())
    radius = distance[:, :first].mean(1)
    whole &= found == first
    whole &= np.abs(radius / np.median(radius[whole]) - 1) < _SAME_SIZE
    inner = whole & whole[neighbour[:, :first]].all(1)
    used = inner if inner.sum() >= _ENOUGH else whole
    shells = [_moments(points, neighbour[used, :first], points[used])]
    if used.any():
        sizes = [size for size in _SHELLS if first + size < distance.shape[1]]
        next_gap = distance[used][:, [first + s for s in sizes]]
        next_gap = next_gap / distance[used][:, [first + s - 1 for s in sizes]]
        best = int(np.median(next_gap, axis=0).argmax())
        clear = next_gap[:, best] > 1 + (_GAP - 1) / 4
        ring = neighbour[used][clear, first : first + sizes[best]]
        shells.append(_moments(points, ring, points[used][clear]))
    return [shell for shell in shells if shell is not None]


def _neighbours(
    frames: list[NDArray[np.float64]], undo: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Undistorted distances (N, 13) and numbers of the neighbours; positions (N, 2)."""
    distances, numbers, points, start = [], [], [], 0
    for part in frames:
        if len(part) <= _NEIGHBOURS:
            continue
        flat = part @ undo.T
        distance, number = cKDTree(flat).query(flat, _NEIGHBOURS + 1)
        distances.append(np.asarray(distance)[:, 1:])
        numbers.append(np.asarray(number)[:, 1:] + start)
        points.append(part)
        start += len(part)
    if not points:
        return np.zeros((0, 13)), np.zeros((0, 13), np.int64), np.zeros((0, 2))
    return np.concatenate(distances), np.concatenate(numbers), np.concatenate(points)


def _moments(
    points: NDArray[np.float64], ring: NDArray[np.int64], centre: NDArray[np.float64]
) -> _Shell | None:
    """Anisotropy of the shells `ring` (n, size) about `centre` (n, 2)."""
    if len(ring) < _LEAST:
        return None
    vector = points[ring] - centre[:, None]
    middle = vector.mean(1, keepdims=True)
    reach = np.hypot(vector[..., 0], vector[..., 1]).mean(1)
    vector = vector - middle
    second = np.einsum("nki,nkj->nij", vector, vector) / vector.shape[1]
    size = np.sqrt(np.maximum(np.linalg.det(second), 0.0))
    good = (np.hypot(*middle[:, 0].T) < _CENTRED * reach) & (size > 1e-3 * reach**2)
    if good.sum() < _LEAST:
        return None
    second = second[good] / size[good][:, None, None]
    value = np.stack([(second[:, 0, 0] - second[:, 1, 1]) / 2, second[:, 0, 1]], 1)
    pieces = np.array([np.median(value[rows], axis=0) for rows in _pieces(centre[good])])
    sd = 1.25 * pieces.std(axis=0, ddof=1) / math.sqrt(len(pieces))  # 1.25: of a median
    return _Shell(np.median(value, axis=0), sd, int(good.sum()))


def _pieces(points: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Rows of the points (N, 2) in each piece of the field of view, equally many in each."""
    strips = np.array_split(np.argsort(points[:, 0], kind="stable"), _PIECES)
    return [
        piece
        for strip in strips
        for piece in np.array_split(strip[np.argsort(points[strip, 1], kind="stable")], _PIECES)
    ]


def _combined(shells: list[_Shell]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of the shells and its error; both come from the same atoms, so it shrinks no further."""
    weight = np.array([1 / (float((shell.sd**2).sum()) + 1e-18) for shell in shells])
    weight /= weight.sum()
    value = weight @ np.stack([shell.value for shell in shells])
    return np.asarray(value), np.asarray(weight @ np.stack([shell.sd for shell in shells]))


def _stretch_matrix(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric matrix of determinant 1 whose square has these entries."""
    middle = math.sqrt(1 + float(value @ value))
    square = np.array([[middle + value[0], value[1]], [value[1], middle - value[0]]])
    # of a square A with determinant 1: root = (A + 1) / sqrt(trace(A) + 2)
    return np.asarray((square + np.eye(2)) / math.sqrt(2 * middle + 2))


def _share(value: NDArray[np.float64]) -> float:
    """Longest by shortest direction, less 1."""
    return math.exp(math.asinh(float(np.hypot(*value)))) - 1


def frame_distortions(
    movie: Frames, table: pd.DataFrame, how: str
) -> dict[int, NDArray[np.float64]]:
    """What the scan does to offsets, by frame; that of the movie is at -1."""
    aspect = movie.pixel_aspect if movie.units[-2] == movie.units[-1] else 1.0
    frames = [frame for _, frame, _ in group_rows(table)]
    if how == "off":
        return dict.fromkeys([-1, *frames], _pixel_matrix(aspect))
    whole = lattice_distortion(table, pixel_aspect=aspect)
    logger.info(
        "lattice stretched by %.2f %% (+- %.2f %%)%s",
        100 * whole.stretch,
        100 * whole.stretch_sd,
        f", left alone: {whole.reason}" if whole.reason else "",
    )
    found = dict.fromkeys([-1, *frames], whole.matrix)
    if how == "frame":
        for _, frame, rows in group_rows(table):
            own = lattice_distortion(table.iloc[rows], pixel_aspect=aspect)
            found[frame] = own.matrix if math.isfinite(own.stretch) else whole.matrix
    return found


def physical_spacing(table: pd.DataFrame, distortion: NDArray[np.float64]) -> float:
    """Nearest-neighbour distance without the distortion, in frame pixels of the mean size."""
    straight = table[["y", "x"]].to_numpy(float) @ np.linalg.inv(distortion).T
    return neighbour_distance(table.assign(y=straight[:, 0], x=straight[:, 1]))
