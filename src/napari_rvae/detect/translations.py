"""Translations of the lattice in every part of a frame, from the positions of the atoms alone.

A displacement that takes nearly every atom to another one is a translation; one that takes atoms
of one sublattice to another sublattice is shared by the atoms of the first only. So translations
are found without knowing the lattice, and two of them that span the smallest cell make a basis.
Where two grains meet, each has its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

__all__ = ["REACH", "TOLERANCE", "LocalBases", "Pairs", "local_bases", "near_pairs", "whole_steps"]

#: Displacements are looked at up to this many times the square root of the area of an atom: both
#: shortest translations of cells of up to four atoms, and those of their diagonals.
REACH = 3.3

#: An atom this near to where a translation leads stands there, in neighbour distances.
TOLERANCE = 0.2

#: Side of the parts of a frame that have bases of their own, in the unit of `REACH`; each looks
#: half a side beyond its own atoms.
_TILE = 10.0

#: A displacement is a candidate at this share of the atoms, and of the most common one's share.
#: Displacements between different sublattices are shared by two thirds of the atoms at most.
_LEAST_SHARE, _COMMON = 0.25, 0.75

#: Candidates from which a basis is made, the shortest.
_MOST_CANDIDATES = 10

#: Share of the most supported pair of candidates that a pair with a smaller cell must reach.
_AS_GOOD = 0.8

#: Sine of the least angle of a basis.
_LEAST_SINE = 0.3

#: So many pairs are tried, from the smallest cell on, until one is supported by this share of
#: the atoms.
_MOST_TRIALS, _CLEAR = 8, 0.75

#: Neighbours by translation, in translations; an atom that has this share of them supports a basis.
_EIGHT = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)])
_MOST_OF = 0.6

#: A basis needs this many atoms, and this share of those in sight, that have most of the eight
#: neighbours it predicts; so many grains are looked for in one part.
_LEAST_ATOMS, _LEAST_SUPPORT, _MOST_GRAINS = 8, 0.12, 3

#: So many bases are tried at each atom.
_MOST_SLOTS = 4

#: Cells of the count of displacements, in tolerances.
_CELL = 0.4


class Pairs(NamedTuple):
    """Pairs of near atoms, each in both directions."""

    first: NDArray[np.int64]  # (P,)
    second: NDArray[np.int64]  # (P,)
    step: NDArray[np.float64]  # (P, 2): from the first to the second

    def of(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Return the pairs of which both are chosen (N,)."""
        keep = chosen[self.first] & chosen[self.second]
        return Pairs(self.first[keep], self.second[keep], self.step[keep])


class LocalBases(NamedTuple):
    """Bases of a frame's parts; those of one family differ by strain and small turns only."""

    basis: NDArray[np.float64]  # (L, 2, 2): one translation a row
    family: NDArray[np.int64]  # (L,)
    slots: NDArray[np.int64]  # (N, G): bases that may hold at each atom, -1 = none


def near_pairs(points: NDArray[np.float64], reach: float) -> Pairs:
    """Pairs of the points (N, 2) that are nearer than `reach`."""
    one_way = cKDTree(points).query_pairs(reach, output_type="ndarray").astype(np.int64)
    first, second = np.concatenate([one_way, one_way[:, ::-1]]).T
    return Pairs(first, second, points[second] - points[first])


def local_bases(points: NDArray[np.float64], scale: float) -> LocalBases:
    """Find the bases of each part of a frame, and put alike ones into families.

    Parameters
    ----------
    points
        Positions (N, 2) in neighbour distances.
    scale
        Square root of the area of an atom, in neighbour distances.

    Returns
    -------
    LocalBases
        Within a family, bases of neighbouring parts stand for the same two translations.
    """
    low, extent = points.min(axis=0), np.ptp(points, axis=0) + 1e-9
    counts = np.maximum(1, np.rint(extent / (_TILE * scale))).astype(int)
    size = extent / counts
    tile = np.minimum(((points - low) / size).astype(int), counts - 1)
    tile_number = tile[:, 0] * counts[1] + tile[:, 1]
    order = np.argsort(tile_number, kind="stable")
    ends = np.searchsorted(tile_number[order], np.arange(counts.prod() + 1))
    found: list[tuple[NDArray[np.float64], int]] = []
    home: list[NDArray[np.int64]] = []
    for number in np.unique(tile_number):
        own = np.array(divmod(int(number), int(counts[1])))
        around = [
            order[ends[k] : ends[k + 1]]
            for k in (r * counts[1] + c for r, c in _neighbourhood(own, counts))
        ]
        atoms = points[np.concatenate(around)]
        atoms = atoms[(np.abs(atoms - low - (own + 0.5) * size) <= size).all(axis=1)]
        grains = _grains(atoms, scale)
        found += grains
        home += [own] * len(grains)
    if not found:
        none = np.full((len(points), _MOST_SLOTS), -1, np.int64)
        return LocalBases(np.empty((0, 2, 2)), np.empty(0, np.int64), none)
    homes = np.stack(home)
    support = np.array([n_atoms for _, n_atoms in found])
    basis, family = _families(np.stack([one for one, _ in found]), support, homes)
    slots = np.full((int(counts.prod()), _MOST_SLOTS), -1, np.int64)
    for number in np.unique(tile_number):
        near = _bases_near(np.array(divmod(int(number), int(counts[1]))), homes, family)
        slots[number, : len(near)] = near
    return LocalBases(basis, family, slots[tile_number])


def _neighbourhood(own: NDArray[np.int64], counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Rows and columns of a part of the frame and of those next to it."""
    low, high = np.maximum(own - 1, 0), np.minimum(own + 2, counts)
    return [(r, c) for r in range(low[0], high[0]) for c in range(low[1], high[1])]


def _bases_near(
    own: NDArray[np.int64], home: NDArray[np.int64], family: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Bases that may hold in a part: its own, and those of other families next to it."""
    away = np.abs(home - own).max(axis=1)
    near = np.argsort(away, kind="stable")[: np.count_nonzero(away <= 1)]
    first = np.sort(np.unique(family[near], return_index=True)[1])
    return np.asarray(near[first][:_MOST_SLOTS])


def _grains(points: NDArray[np.float64], scale: float) -> list[tuple[NDArray[np.float64], int]]:
    """Basis of each grain among the atoms of a part of the frame, and how many support it."""
    pairs, left = near_pairs(points, REACH * scale), np.ones(len(points), bool)
    found: list[tuple[NDArray[np.float64], int]] = []
    for _ in range(_MOST_GRAINS):
        basis = _basis(points[left], pairs, left, scale) if left.sum() >= _LEAST_ATOMS else None
        if basis is None:
            break
        supported = _supported(pairs, basis, REACH * scale, len(points))
        if supported.sum() < max(_LEAST_ATOMS, _LEAST_SUPPORT * len(points)):
            break
        found.append((basis, int(supported.sum())))
        # the rim of a grain is its own, too
        rim = np.zeros(len(points), bool)
        rim[pairs.second[supported[pairs.first] & _leads(pairs.step, basis)]] = True
        left &= ~(supported | rim)
        pairs = pairs.of(left)
    return found


def whole_steps(
    step: NDArray[np.float64], basis: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Whole numbers (P, 2) of translations nearest to each step (P, 2), and what is left (P,).

    `basis` is one (2, 2), or one for each step.
    """
    (a, b), (c, d) = np.moveaxis(basis, (-2, -1), (0, 1))
    y, x = step.T
    det = a * d - b * c
    first, second = np.rint((y * d - x * c) / det), np.rint((x * a - y * b) / det)
    left = np.hypot(y - first * a - second * c, x - first * b - second * d)
    return np.stack([first, second], axis=1), left


def _leads(step: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which steps (P, 2) are one of the eight shortest combinations of a basis."""
    number, left = whole_steps(step, basis)
    size = np.maximum(np.abs(number[:, 0]), np.abs(number[:, 1]))
    return np.asarray((size == 1) & (left < TOLERANCE))


def _supported(
    pairs: Pairs, basis: NDArray[np.float64], reach: float, count: int
) -> NDArray[np.bool_]:
    """Which of `count` atoms have most of the eight neighbours that a basis predicts.

    Of the eight, those that are farther away than pairs were looked for are not asked for.
    """
    steps = _EIGHT @ basis
    asked = np.count_nonzero(np.hypot(*steps.T) < reach - TOLERANCE)
    hits = np.bincount(pairs.first[_leads(pairs.step, basis)], minlength=count)
    return np.asarray(hits >= max(3, _MOST_OF * asked))


def _basis(
    points: NDArray[np.float64], pairs: Pairs, left: NDArray[np.bool_], scale: float
) -> NDArray[np.float64] | None:
    """The two translations (2, 2) with the smallest cell that most of the atoms share."""
    if not len(pairs.first):
        return None
    steps, index = _candidates(points, pairs.step, REACH * scale)
    if len(steps) < 2:
        return None
    number = np.cumsum(left) - 1
    has = np.zeros((len(points), len(steps)), bool)
    member = index >= 0
    has[number[pairs.first[member]], index[member]] = True
    joint = has.T.astype(float) @ has  # atoms that both translations take to an atom
    length = np.hypot(*steps.T)
    area = np.abs(np.outer(steps[:, 0], steps[:, 1]) - np.outer(steps[:, 1], steps[:, 0]))
    wide = area > _LEAST_SINE * np.outer(length, length)
    if not wide.any():
        return None
    good = wide & (joint >= _AS_GOOD * joint[wide].max())
    # among equal cells, which rounding would choose from, the shortest sides
    cost = np.where(good, np.round(area, 1) + 1e-3 * (length[:, None] + length[None]), np.inf)
    tried: list[NDArray[np.float64]] = []
    support: list[int] = []
    for flat in np.argsort(cost, axis=None, kind="stable")[: 2 * _MOST_TRIALS : 2]:
        one, other = np.unravel_index(flat, cost.shape)
        if not good[one, other]:
            break
        tried.append(_reduced(np.stack([steps[one], steps[other]])))
        support.append(int(_supported(pairs, tried[-1], REACH * scale, len(left)).sum()))
        if support[-1] >= _CLEAR * left.sum():
            break
    # a smaller cell is better, if it stands for as many atoms
    good_enough = [n >= _AS_GOOD * max(support) for n in support]
    return tried[good_enough.index(True)]


def _candidates(
    points: NDArray[np.float64], step: NDArray[np.float64], reach: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Most common displacements (K, 2), the shortest first, and which one each step (P,) is."""
    cell = _CELL * TOLERANCE
    half = int(np.ceil(reach / cell)) + 4
    side = 2 * half + 1
    place = np.rint(step / cell).astype(np.int64) + half
    flat = place[:, 0] * side + place[:, 1]
    counts = np.bincount(flat, minlength=side**2).reshape(side, side).astype(float)
    window = 2 * round(1 / _CELL) + 1
    near = ndimage.uniform_filter(counts, window, mode="constant") * window**2
    grid = (np.arange(side) - half) * cell
    # of an atom's possible partners, those beyond the edge of the part are not seen
    span = np.ptp(points, axis=0) + 1.0
    inside = [np.clip(1 - np.abs(grid) / n, 0.2, 1.0) for n in span]
    share = near / (len(points) * inside[0][:, None] * inside[1][None])
    share[np.hypot(grid[:, None], grid[None]) < 0.6] = 0.0  # an atom found twice
    top = share >= max(_LEAST_SHARE, _COMMON * float(share.max()))
    top &= share == ndimage.maximum_filter(share, window)
    # one of each step and its reverse
    top[:half] = False
    top[half, : half + 1] = False
    rows, columns = np.nonzero(top)
    weights = [
        ndimage.uniform_filter(counts * g, window, mode="constant")[rows, columns]
        for g in (grid[:, None], grid[None])
    ]
    centre = np.stack(weights, axis=1) / near[rows, columns, None] * window**2
    order = _apart(centre, np.hypot(*centre.T))[:_MOST_CANDIDATES]
    steps = centre[order]
    index = np.full(len(step), -1, np.int64)
    if len(steps):
        distance, nearest = cKDTree(steps).query(step, distance_upper_bound=TOLERANCE)
        index = np.where(np.isfinite(distance), nearest, -1).astype(np.int64)
    return steps, index


def _apart(places: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers of the places, the shortest first, that are no copies of an earlier one."""
    kept: list[int] = []
    for k in np.argsort(size, kind="stable"):
        if all(np.hypot(*(places[k] - places[j])) > TOLERANCE for j in kept):
            kept.append(int(k))
    return np.array(kept, np.int64)


def _reduced(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Basis of the same lattice with the shortest vectors (Lagrange and Gauss)."""
    a, b = basis
    for _ in range(20):
        if a @ a > b @ b:
            a, b = b, a
        times = np.rint(a @ b / (a @ a))
        if times == 0:
            break
        b = b - times * a
    return np.stack([a, b])


def _families(
    basis: NDArray[np.float64], support: NDArray[np.int64], home: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Bases (L, 2, 2) written alike within each family, and the families (L,)."""
    basis = basis.copy()
    family = np.full(len(basis), -1, np.int64)
    for k in np.argsort(-support, kind="stable"):
        known = np.flatnonzero(family >= 0)
        if known.size:
            away = np.hypot(*(home[known] - home[k]).T)
            known = known[np.argsort(away, kind="stable")]
            whole, cell = _whole(basis[k][None], basis[known])
            # a part that shows only a multiple of the cell, or a share of it, goes with the others
            alike = np.flatnonzero((cell > 0) | (_whole(basis[known], basis[k][None])[1] > 0))
            if alike.size:
                j = alike[0]
                family[k] = family[known[j]]
                same = cell[j] == 1
                basis[k] = np.linalg.solve(whole[j], basis[k]) if same else basis[known[j]]
                continue
        family[k] = family.max() + 1
    return basis, family


def _whole(
    coarse: NDArray[np.float64], fine: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Whole numbers (K, 2, 2) of fine translations in coarse ones, and how many cells (K,).

    0 where they are no whole numbers, or more than four cells.
    """
    number = np.rint(coarse @ np.linalg.inv(fine))
    off = np.abs(coarse - number @ fine).max(axis=(1, 2))
    cells = np.abs(np.rint(np.linalg.det(number))).astype(np.int64)
    return number, np.where((off < TOLERANCE) & (cells <= 4), cells, 0)
