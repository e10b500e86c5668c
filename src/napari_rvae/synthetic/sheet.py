"""A graphene sheet as atoms and bonds: grain boundary, bond rotations, elastic relaxation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from napari_rvae.synthetic.lattice import bearing, rotated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.synthetic.lattice import Points

__all__ = [
    "BRIDGE",
    "ROTATED",
    "Sheet",
    "bonded_sheet",
    "bridge_bonds",
    "distorted_places",
    "relaxed",
    "ring_numbers",
    "rotate_bonds",
]

#: Sublattice numbers of the atoms of a rotated bond, and of an atom in the middle of a bond.
ROTATED, BRIDGE = -1, -2

#: Stiffness of the springs between second neighbours (bond angles) and of the springs that hold
#: every atom near its lattice point, both relative to a bond's.
_ANGLE_STIFFNESS, _PIN_STIFFNESS = 0.15, 0.01

#: Bonds across a grain boundary are at most this long, in neighbour distances.
_LONGEST_BOND = 1.5

#: A bond this far from its lattice vector counts as distorted, in neighbour distances.
_DISTORTION = 0.12


@dataclass(frozen=True, eq=False)
class Sheet:
    """Places of a graphene sheet, occupied or not, and the bonds between them."""

    position: NDArray[np.float64]  # (N, 2): lattice points, y, x
    sublattice: NDArray[np.int64]  # (N,)
    grain: NDArray[np.int64]  # (N,)
    bonds: NDArray[np.int64]  # (M, 2)
    boundary_distance: NDArray[np.float64]  # (N,) px
    five_seven: NDArray[np.bool_]  # (N,): in a ring of a rotated bond
    axis: NDArray[np.float64]  # (N,): angle of the bond that a bridge sits on, else NaN
    distance: float  # neighbour distance in px

    def neighbours(self, place: int) -> NDArray[np.int64]:
        """Places bonded to a place."""
        first, second = self.bonds.T
        return np.concatenate([second[first == place], first[second == place]])

    def degree(self, occupied: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the bonds (N,) of each place to occupied places."""
        first, second = self.bonds.T
        count = np.bincount(first, occupied[second], len(occupied))
        count += np.bincount(second, occupied[first], len(occupied))
        return count.astype(np.int64)


def bonded_sheet(points: Points, distance: float) -> Sheet:
    """Bond the points of each grain, then the grains across their boundary.

    Atoms at the boundary that would hang on fewer than two bonds are left out.
    """
    keep = np.ones(len(points.grain), bool)
    for _ in range(4):  # leaving one out can undo a bond of the next
        numbers = np.flatnonzero(keep)
        bonds = _bonds(points.position[keep], points.grain[keep], distance)
        degree = np.bincount(bonds.ravel(), minlength=numbers.size)
        dangling = (degree < 2) & (points.boundary_distance[keep] < 2 * distance)
        if not dangling.any():
            break
        keep[numbers[dangling]] = False
    bonds = _bonds(points.position[keep], points.grain[keep], distance)
    return Sheet(
        position=points.position[keep],
        sublattice=points.sublattice[keep],
        grain=points.grain[keep],
        bonds=bonds,
        boundary_distance=points.boundary_distance[keep],
        five_seven=np.zeros(keep.sum(), bool),
        axis=np.full(keep.sum(), math.nan),
        distance=distance,
    )


def _bonds(
    position: NDArray[np.float64], grain: NDArray[np.int64], distance: float
) -> NDArray[np.int64]:
    """Bonds (M, 2): all within a grain; across, the shortest first, up to three an atom."""
    pairs = cKDTree(position).query_pairs(_LONGEST_BOND * distance, output_type="ndarray")
    pairs = pairs.astype(np.int64)
    length = np.hypot(*(position[pairs[:, 0]] - position[pairs[:, 1]]).T)
    across = grain[pairs[:, 0]] != grain[pairs[:, 1]]
    inner = pairs[~across & (length < 1.1 * distance)]
    valence = np.bincount(inner.ravel(), minlength=len(position))
    bridges = []
    for pair in pairs[across][np.argsort(length[across], kind="stable")]:
        if (valence[pair] < 3).all():
            valence[pair] += 1
            bridges.append(pair)
    return np.concatenate([inner, np.array(bridges, np.int64).reshape(-1, 2)])


def rotate_bonds(sheet: Sheet, bonds: NDArray[np.int64]) -> Sheet:
    """Turn bonds (K, 2) by 90 degrees: each leaves two pentagons and two heptagons.

    The two atoms swap one neighbour each (Stone and Wales, Chem. Phys. Lett. 128, 501 (1986)).
    """
    position, five_seven = sheet.position.copy(), sheet.five_seven.copy()
    table = sheet.bonds.copy()
    for first, second in bonds:
        start, end = sheet.position[first], sheet.position[second]
        middle, bond = (start + end) / 2, end - start
        normal = rotated(bond, math.pi / 2)
        for centre in (
            start - bond,
            end + bond,
            *(middle + s * normal * math.sqrt(0.75) for s in (-1, 1)),
        ):
            five_seven |= np.hypot(*(sheet.position - centre).T) < 1.1 * sheet.distance
        # counter-clockwise: the first atom goes to -normal, the second to +normal
        position[first], position[second] = middle - normal / 2, middle + normal / 2
        above = _neighbour_on_side(sheet, first, second, normal)
        below = _neighbour_on_side(sheet, second, first, -normal)
        _rebond(table, first, above, second)
        _rebond(table, second, below, first)
    sublattice = sheet.sublattice.copy()
    sublattice[bonds.ravel()] = ROTATED
    return replace(
        sheet, position=position, sublattice=sublattice, bonds=table, five_seven=five_seven
    )


def bridge_bonds(sheet: Sheet, bonds: NDArray[np.int64]) -> tuple[Sheet, NDArray[np.int64]]:
    """Add a place in the middle of each bond (K, 2), bonded to the four atoms around.

    Returns
    -------
    tuple
        The larger sheet and the numbers (K,) of the new places.
    """
    n_places, n_new = len(sheet.position), len(bonds)
    new = np.arange(n_places, n_places + n_new)
    first, second = bonds.T
    around = [
        (number, other)
        for number, pair in zip(new, bonds, strict=True)
        for place in pair
        for other in sheet.neighbours(place)
        if other not in pair
    ]
    ends = sheet.position[second] - sheet.position[first]
    larger = Sheet(
        position=np.concatenate([sheet.position, sheet.position[first] + ends / 2]),
        sublattice=np.concatenate([sheet.sublattice, np.full(n_new, BRIDGE)]),
        grain=np.concatenate([sheet.grain, sheet.grain[first]]),
        bonds=np.concatenate([sheet.bonds, np.array(around, np.int64).reshape(-1, 2)]),
        boundary_distance=np.concatenate([sheet.boundary_distance, sheet.boundary_distance[first]]),
        five_seven=np.concatenate([sheet.five_seven, np.zeros(n_new, bool)]),
        axis=np.concatenate([sheet.axis, bearing(ends)]),
        distance=sheet.distance,
    )
    return larger, new


def distorted_places(sheet: Sheet, position: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Places (N,) that the grain boundary distorts.

    They lack a bond, have one across the boundary, or one of their bonds is more than
    0.12 neighbour distances from its lattice vector.
    """
    first, second = sheet.bonds.T
    change = (position[second] - position[first]) - (sheet.position[second] - sheet.position[first])
    bad = np.hypot(*change.T) > _DISTORTION * sheet.distance
    bad |= sheet.grain[first] != sheet.grain[second]
    hurt = sheet.degree(np.ones(len(sheet.grain), bool)) < 3
    hurt[sheet.bonds[bad].ravel()] = True
    return np.asarray(hurt & (sheet.boundary_distance < 6 * sheet.distance))


def ring_numbers(
    position: NDArray[np.float64], bonds: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Number (N,) of rings of `size` bonds at each place of a plane sheet.

    Every face is walked around: at each atom the next bond in turn is taken.

    Parameters
    ----------
    position
        Places (N, 2).
    bonds
        Bonds (M, 2) between atoms that are there; none crosses another.
    size
        Number of bonds around a ring.
    """
    if not len(bonds):
        return np.zeros(len(position), np.int64)
    start, end = np.concatenate([bonds, bonds[:, ::-1]]).T
    order = np.lexsort((bearing(position[end] - position[start]), start))
    count = order.size
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    first = np.searchsorted(start[order], start)
    degree = np.bincount(start, minlength=len(position))[start]
    next_in_turn = order[first + (rank - first + 1) % degree]
    way_back = (np.arange(count) + count // 2) % count
    following = next_in_turn[way_back]
    walk = coo_array((np.ones(count), (np.arange(count), following)), shape=(count, count))
    _, face = connected_components(walk, directed=False)
    area = np.bincount(face, position[start, 0] * position[end, 1]) - np.bincount(
        face, position[start, 1] * position[end, 0]
    )
    # the walk around the outside goes the other way
    ring = (np.bincount(face) == size) & (area < 0)
    return np.bincount(start, ring[face], len(position)).astype(np.int64)


def _neighbour_on_side(sheet: Sheet, place: int, other: int, side: NDArray[np.float64]) -> int:
    """Neighbour of `place`, not `other`, that lies farthest towards `side`."""
    near = sheet.neighbours(place)
    near = near[near != other]
    return int(near[np.argmax((sheet.position[near] - sheet.position[place]) @ side)])


def _rebond(table: NDArray[np.int64], old: int, kept: int, new: int) -> None:
    """Replace, in place, the bond old-kept by the bond new-kept."""
    row = np.flatnonzero((np.sort(table, axis=1) == sorted((old, kept))).all(axis=1))[0]
    table[row] = (new, kept)


def angle_pairs(
    bonds: NDArray[np.int64], rest: NDArray[np.float64], n_places: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of second neighbours and their distance when bonds meet at 120 degrees.

    Parameters
    ----------
    bonds
        Bonds (M, 2).
    rest
        Their rest lengths (M,).
    n_places
        Number of places.

    Returns
    -------
    tuple of ndarray
        Pairs (P, 2) and distances (P,); places with four bonds give none.
    """
    centre = np.concatenate([bonds[:, 0], bonds[:, 1]])
    end = np.concatenate([bonds[:, 1], bonds[:, 0]])
    order = np.argsort(centre, kind="stable")
    centre, end, length = centre[order], end[order], np.concatenate([rest, rest])[order]
    degree = np.bincount(centre, minlength=n_places)
    slot = np.arange(centre.size) - (np.cumsum(degree) - degree)[centre]
    keep = degree[centre] <= 3
    ends = np.full((n_places, 3), -1, dtype=np.int64)
    lengths = np.zeros((n_places, 3))
    ends[centre[keep], slot[keep]] = end[keep]
    lengths[centre[keep], slot[keep]] = length[keep]
    pairs, distances = [], []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        there = (ends[:, i] >= 0) & (ends[:, j] >= 0)
        pairs.append(ends[there][:, [i, j]])
        a, b = lengths[there, i], lengths[there, j]
        distances.append(np.sqrt(a**2 + b**2 + a * b))
    return np.concatenate(pairs), np.concatenate(distances)


def relaxed(
    start: NDArray[np.float64],
    pins: NDArray[np.float64],
    bonds: NDArray[np.int64],
    rest: NDArray[np.float64],
    *,
    max_steps: int = 60,
) -> NDArray[np.float64]:
    """Let harmonic bonds and bond angles pull the atoms into place.

    Parameters
    ----------
    start
        Positions (N, 2) to begin with, in pixels.
    pins
        Points (N, 2) that weak springs tie the atoms to, so that the sheet stays where it is.
    bonds
        Bonds (M, 2) between atoms that are there.
    rest
        Rest lengths (M,) in pixels.
    max_steps
        Steps of the minimiser.

    Returns
    -------
    ndarray of shape (N, 2)
        Positions of least energy.
    """
    pairs, distances = angle_pairs(bonds, rest, len(start))
    springs = np.concatenate([bonds, pairs])
    length = np.concatenate([rest, distances])
    stiffness = np.repeat([1.0, _ANGLE_STIFFNESS], [len(bonds), len(pairs)])
    first, second = springs.T
    n_atoms = len(start)

    def energy(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        position = flat.reshape(n_atoms, 2)
        offset = position[second] - position[first]
        size = np.maximum(np.hypot(*offset.T), 1e-9)
        strain = size - length
        away = position - pins
        pull = (stiffness * strain / size)[:, None] * offset
        gradient = _PIN_STIFFNESS * away
        for axis in range(2):
            gradient[:, axis] += np.bincount(second, pull[:, axis], n_atoms)
            gradient[:, axis] -= np.bincount(first, pull[:, axis], n_atoms)
        total = 0.5 * (stiffness @ strain**2) + 0.5 * _PIN_STIFFNESS * (away**2).sum()
        return float(total), gradient.ravel()

    result = minimize(
        energy,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_steps, "ftol": 1e-9},
    )
    relaxed_position: NDArray[np.float64] = result.x.reshape(n_atoms, 2)
    return relaxed_position
