"""Local strain and rotation of the lattice, and how far atoms sit off the centre of their cage.

Where there is no lattice, as in a grain boundary, bonds still tell how much it turns from atom to
atom (`misorientations`).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = [
    "CAGE_COLUMNS",
    "STRAIN_COLUMNS",
    "LocalLattice",
    "bond_symmetry",
    "cage_offsets",
    "checked_reference",
    "local_lattice",
    "mean_lattice",
    "misorientations",
    "strain_of",
]

#: Columns about the local lattice; all float64.
STRAIN_COLUMNS = (
    "strain_yy",
    "strain_xx",
    "strain_xy",
    "dilatation",
    "shear_strain",
    "lattice_rotation",
)

#: Columns about the place in the cage; all float64.
CAGE_COLUMNS = ("off_centre_y", "off_centre_x", "off_centre", "off_centre_sd")

#: Steps to the atoms that are one translation away, the atom itself included.
_STEPS = np.array(list(itertools.product((-1, 0, 1), repeat=2)))

#: The translations are fitted to at least so many atoms, that spread along both directions: the
#: smaller principal spread of the steps is at least this (the full square has 0.67).
_LEAST_ATOMS, _LEAST_SPREAD = 6, 0.3

#: Bases of one lattice: whole numbers of translations that enclose one cell.
_SAME_LATTICE = np.array(
    [
        [[a, b], [c, d]]
        for a, b, c, d in itertools.product((-2, -1, 0, 1, 2), repeat=4)
        if a * d - b * c == 1
    ]
)

#: Bases that fit the reference as well as the best one, to so much strain, are turns of it by a
#: symmetry: the one with the smallest turn is taken.
_ALIKE = 0.03

#: A crystal whose mean strain (Frobenius norm) is larger has another lattice.
_OTHER_LATTICE = 0.25

#: Symmetries of bonds that an atom and one upside down share, so that two sublattices compare.
_SYMMETRIES = (2, 4, 6)

#: A number of neighbours is that of a whole cage if so many sites of the sublattice have it.
_LEAST_SHARE = 0.4


class LocalLattice(NamedTuple):
    """The two translations of the lattice about each atom of a frame."""

    crystal: Ids  # (N,) number of the crystal, -1 = none
    basis: Array  # (N, 2, 2) pixels, one translation (dy, dx) a row; NaN where none can be fitted


def local_lattice(points: Array, spacing: float) -> LocalLattice:
    """Fit the translations of the lattice around every atom of a frame.

    Parameters
    ----------
    points
        Finite positions (N, 2) in pixels.
    spacing
        Nearest-neighbour distance in pixels.

    Returns
    -------
    LocalLattice
        Translations by least squares, from the atom and the up to eight atoms that are one
        translation away; NaN where fewer than six of these nine are there, or on one side only.
    """
    # detect loads torch, which not everyone who reads a table wants
    from napari_rvae.detect.indexing import index_atoms

    index = index_atoms(points, spacing)
    basis = np.full((len(points), 2, 2), np.nan)
    on = np.flatnonzero(index.on_lattice)
    if not len(on):
        return LocalLattice(index.crystal, basis)
    near = _near_atoms(np.column_stack([index.crystal, index.place])[on], index.cell[on])
    there = near >= 0
    count = there.sum(axis=1)
    step = np.where(there[..., None], _STEPS, 0.0)
    place = np.where(there[..., None], points[on[near]] - points[on][:, None], 0.0)
    total = np.maximum(count, 1)[:, None]
    middle, centre = step.sum(axis=1) / total, place.sum(axis=1) / total
    spread = np.einsum("nki,nkj->nij", step, step) / total[..., None]
    spread -= middle[:, :, None] * middle[:, None, :]
    cross = np.einsum("nki,nkj->nij", step, place) / total[..., None]
    cross -= middle[:, :, None] * centre[:, None, :]
    good = (count >= _LEAST_ATOMS) & (np.linalg.eigvalsh(spread)[:, 0] >= _LEAST_SPREAD)
    basis[on[good]] = np.linalg.solve(spread[good], cross[good])
    return LocalLattice(index.crystal, basis)


def _near_atoms(label: Ids, cell: Ids) -> Ids:
    """Row (N, 9) of the atom of the same label (N, K) at each step from each cell, -1 = none."""
    low = cell.min(axis=0) - 1
    width = cell.max(axis=0) - low + 2
    _, kind = np.unique(label, axis=0, return_inverse=True)
    kind = kind.reshape(-1).astype(np.int64)

    def key(where: Ids) -> Ids:
        return np.asarray(
            (kind * width[0] + where[:, 0] - low[0]) * width[1] + where[:, 1] - low[1]
        )

    own = key(cell)
    order = np.argsort(own, kind="stable")
    near = np.full((len(cell), len(_STEPS)), -1, np.int64)
    for number, step in enumerate(_STEPS):
        wanted = key(cell + step)
        found = order[np.minimum(np.searchsorted(own, wanted, sorter=order), len(own) - 1)]
        near[:, number] = np.where(own[found] == wanted, found, -1)
    near[:, len(_STEPS) // 2] = np.arange(len(cell))  # itself, where it was found twice
    return near


def mean_lattice(lattices: list[LocalLattice]) -> Array | None:
    """Translations (2, 2) of the largest crystal of some frames; None without any."""
    best, most = None, 0
    for lattice in lattices:
        known = np.isfinite(lattice.basis).all(axis=(1, 2))
        sizes = np.bincount(lattice.crystal[known & (lattice.crystal >= 0)])
        if len(sizes) and sizes.max() > most:
            most = int(sizes.max())
            rows = known & (lattice.crystal == int(sizes.argmax()))
            best = np.median(lattice.basis[rows], axis=0)
    return best


def checked_reference(reference: ArrayLike | None) -> Array | None:
    """Two translations (2, 2); InputError if they span no lattice."""
    if reference is None:
        return None
    basis = np.asarray(reference, float)
    if basis.shape != (2, 2) or not np.isfinite(basis).all() or not abs(np.linalg.det(basis)) > 0:
        raise InputError(
            "reference must be two translations of the lattice, [[dy, dx], [dy, dx]] in pixels, "
            "that are not parallel."
        )
    return basis


def strain_of(lattice: LocalLattice, reference: Array) -> Array:
    """Strain and rotation (N, 6) against a reference, in the order of `STRAIN_COLUMNS`.

    Parameters
    ----------
    lattice
        The local translations.
    reference
        Translations (2, 2) of the reference lattice, in pixels, one a row.
    """
    values = np.full((len(lattice.crystal), len(STRAIN_COLUMNS)), np.nan)
    known = np.isfinite(lattice.basis).all(axis=(1, 2))
    for crystal in np.unique(lattice.crystal[known]):
        rows = np.flatnonzero(known & (lattice.crystal == crystal))
        change = _matching_basis(np.median(lattice.basis[rows], axis=0), reference)
        if change is None:
            continue
        stretch, turn = _polar(change @ lattice.basis[rows], reference)
        strain = stretch - np.eye(2)
        yy, xx, xy = strain[:, 0, 0], strain[:, 1, 1], strain[:, 0, 1]
        shear = np.hypot((yy - xx) / 2, xy)
        values[rows] = np.stack([yy, xx, xy, yy + xx, shear, turn], axis=1)
    return values


def _matching_basis(basis: Array, reference: Array) -> Array | None:
    """Whole numbers (2, 2) of translations that make a basis most like the reference.

    None if even that is another lattice, such as one of twice the cell.
    """
    if np.linalg.det(basis) * np.linalg.det(reference) < 0:  # the other way round
        change = _matching_basis(basis[::-1], reference)
        return None if change is None else change[:, ::-1]
    stretch, turn = _polar(_SAME_LATTICE @ basis, reference)
    misfit = np.linalg.norm(stretch - np.eye(2), axis=(1, 2))
    if misfit.min() > _OTHER_LATTICE:
        return None
    alike = misfit <= misfit.min() + _ALIKE
    best = np.flatnonzero(alike)[np.argmin(np.abs(turn[alike]))]
    return np.asarray(_SAME_LATTICE[best], float)


def _polar(basis: Array, reference: Array) -> tuple[Array, Array]:
    """Left stretch (N, 2, 2) and turn (N,) that take the reference to each basis (N, 2, 2)."""
    gradient = np.swapaxes(np.linalg.inv(reference) @ basis, 1, 2)  # for columns (dy, dx)
    left, size, right = np.linalg.svd(gradient)
    rotation = left @ right
    stretch = (left * size[:, None, :]) @ np.swapaxes(left, 1, 2)
    return stretch, np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])


def cage_offsets(points: Array, sd: Array, bonds: Ids, sublattice: Ids | None) -> Array:
    """How far each atom sits from the middle of its neighbours, (N, 4), see `CAGE_COLUMNS`.

    Parameters
    ----------
    points
        Positions (N, 2) in pixels.
    sd
        Their standard deviations (N, 2), NaN where unknown.
    bonds
        Pairs of row numbers (M, 2).
    sublattice
        Number (N,) of each atom's sublattice: only neighbours of another one are a cage. All
        neighbours, if left out.

    Returns
    -------
    ndarray of shape (N, 4)
        NaN where the cage is not complete: where it has another number of atoms than most of its
        sublattice have, or there is no number that most have.
    """
    count = len(points)
    here, there = np.concatenate([bonds, bonds[:, ::-1]]).T
    if sublattice is not None:
        other = (sublattice[here] != sublattice[there]) & (sublattice[here] >= 0)
        other &= sublattice[there] >= 0
        here, there = here[other], there[other]
    number = np.bincount(here, minlength=count)
    usual = _usual_number(number, sublattice)
    full = (number == usual) & (number >= 2)
    share = np.maximum(number, 1)

    def mean(values: Array) -> Array:
        return np.stack([np.bincount(here, v[there], count) / share for v in values.T], axis=1)

    offset = points - mean(points)
    variance = sd**2 + mean(sd**2) / share[:, None]
    size = np.hypot(*offset.T)
    # along the offset, so that it is the standard deviation of its length
    along = offset / np.maximum(size, 1e-12)[:, None]
    spread = np.sqrt((along**2 * variance).sum(axis=1))
    values = np.column_stack([offset, size, spread])
    values[~full] = np.nan
    return values


def _usual_number(number: Ids, sublattice: Ids | None) -> Ids:
    """Most frequent number (N,) of cage atoms on the sublattice of each atom."""
    kinds = np.zeros(len(number), np.int64) if sublattice is None else sublattice
    usual = np.full(len(number), -1, np.int64)
    for kind in np.unique(kinds):
        counted = np.bincount(number[(kinds == kind) & (number > 0)])
        if counted.any() and counted.max() >= _LEAST_SHARE * counted.sum():
            usual[kinds == kind] = counted.argmax()
    return usual


def bond_symmetry(order: Array) -> int:
    """Symmetry that most atoms' bonds have: 2, 4 or 6.

    Parameters
    ----------
    order
        Order parameters psi1 to psi6 (N, 6) of the atoms.
    """
    known = order[np.isfinite(order).all(axis=1)]
    if not len(known):
        return _SYMMETRIES[-1]
    return _SYMMETRIES[int(np.argmax([np.median(known[:, m - 1]) for m in _SYMMETRIES]))]


def misorientations(points: Array, bonds: Ids, symmetry: int) -> Array:
    """Kernel average misorientation (N,) of atoms: how much their bonds turn from each to the next.

    The mean angle between the bonds of an atom and those of each of its neighbours, up to the
    symmetry: 0 in a lattice, however it lies, and large where two lattices meet. The measure is
    that of electron backscatter diffraction (S. I. Wright, M. M. Nowell and D. P. Field, Microsc.
    Microanal. 17, 316 (2011)).

    Parameters
    ----------
    points
        Positions (N, 2).
    bonds
        Pairs of row numbers (M, 2).
    symmetry
        Order of the bonds' symmetry, even (:func:`bond_symmetry`).

    Returns
    -------
    ndarray of shape (N,)
        Radians, from 0 to pi / `symmetry`; NaN without neighbours.
    """
    count = len(points)
    here, there = np.concatenate([bonds, bonds[:, ::-1]]).T
    offset = points[there] - points[here]
    direction = np.exp(1j * symmetry * np.arctan2(offset[:, 0], offset[:, 1]))
    total = np.bincount(here, direction.real, count) + 1j * np.bincount(here, direction.imag, count)
    angle = np.abs(np.angle(total[here] * np.conj(total[there]))) / symmetry
    number = np.bincount(here, minlength=count)
    mean: Array = np.bincount(here, angle, count) / np.maximum(number, 1)
    return np.where(number > 0, mean, np.nan)
