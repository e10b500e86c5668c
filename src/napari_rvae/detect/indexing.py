"""Which place of which lattice each atom of a frame stands on.

Atoms that a translation of the local lattice takes to each other are linked; what hangs together
is (a piece of) one sublattice. The displacements between neighbours of different pieces tell how
these lie in the cell. So strain, turns and missing atoms are followed from atom to atom, and no
atom is compared with a perfect lattice far away.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from napari_rvae.detect.translations import (
    REACH,
    TOLERANCE,
    Pairs,
    local_bases,
    near_pairs,
    whole_steps,
)

__all__ = ["LatticeIndex", "index_atoms"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Strain by which a step may differ from that of its part of the frame.
_STRAIN = 0.03

#: An atom is linked when at least so many of its eight neighbours by translation are there.
_LEAST_LINKS = 3

#: A piece of a sublattice has at least this many linked atoms, a crystal this many.
_LEAST_PIECE, _LEAST_CRYSTAL = 4, 12

#: Pieces are compared by neighbours up to this many times the square root of an atom's area.
_BESIDE = 1.5

#: Places nearer than this in the cell are the same, in neighbour distances.
_SAME_PLACE = 0.33

#: A place of the cell that is filled less often than this, compared with the fullest, is none.
_LEAST_FILLED = 0.25

#: Around an atom off the lattice so many neighbours stand on it, and all on that of one crystal.
_AROUND = 4


class LatticeIndex(NamedTuple):
    """Lattice and place of each atom of a frame; -1 = none."""

    scale: float  # square root of the area of an atom, in pixels
    pairs: Pairs  # near pairs, in neighbour distances
    crystal: Ints  # (N,)
    basis: Floats  # (N, 2, 2) in pixels: the translations about the atom; NaN without a lattice
    cell: Ints  # (N, 2): whole numbers of translations from the crystal's origin
    place: Ints  # (N,): which place of the cell, the fullest first
    off_lattice: NDArray[np.bool_]  # (N,): inside a crystal, but on no place of its lattice

    @property
    def on_lattice(self) -> NDArray[np.bool_]:
        """Whether each atom stands on a lattice."""
        return self.place >= 0


class _Pieces(NamedTuple):
    """Pieces of sublattices: sets of atoms that hang together by translations."""

    piece: Ints  # (N,)
    cell: Ints  # (N, 2), from an atom of the piece
    size: Ints  # (C,)


def _no_index(count: int, scale: float, pairs: Pairs) -> LatticeIndex:
    none = np.full(count, -1, np.int64)
    return LatticeIndex(
        scale=scale,
        pairs=pairs,
        crystal=none,
        basis=np.full((count, 2, 2), np.nan),
        cell=np.zeros((count, 2), np.int64),
        place=none,
        off_lattice=np.zeros(count, bool),
    )


def index_atoms(points: Floats, spacing: float) -> LatticeIndex:
    """Find the lattices of a frame and the place of every atom on them.

    Parameters
    ----------
    points
        Finite positions (N, 2) of the atoms of one frame, y and x in pixels.
    spacing
        Nearest-neighbour distance in pixels.

    Returns
    -------
    LatticeIndex
        Crystals are numbered by their number of atoms.
    """
    count = len(points)
    if count < _LEAST_CRYSTAL or not math.isfinite(spacing) or spacing <= 0:
        return _no_index(count, math.nan, near_pairs(np.zeros((0, 2)), 1.0))
    points = points / spacing
    scale = _area_scale(points)
    pairs = near_pairs(points, REACH * scale)
    bases = local_bases(points, scale)
    if not len(bases.basis):
        return _no_index(count, scale * spacing, pairs)
    basis, family = _chosen_bases(bases.basis, bases.family, bases.slots, pairs)
    pieces = _linked(pairs, basis, family)
    crystal, offset = _joined(pairs, basis, family, pieces, _BESIDE * scale)
    crystal, cell, place = _places(pieces, crystal, offset, basis)
    off = (place < 0) & _inside_crystal(pairs, crystal, place, _BESIDE * scale)
    return LatticeIndex(
        scale=scale * spacing,
        pairs=pairs,
        crystal=np.where((place >= 0) | off, crystal, -1),
        basis=basis * spacing,
        cell=cell,
        place=place,
        off_lattice=off,
    )


def _area_scale(points: Floats) -> float:
    """Square root of the area of an atom, where there are atoms."""
    k = np.arange(6, min(19, len(points) - 1) + 1)  # over shells, whose radii come in steps
    radius = np.median(np.asarray(cKDTree(points).query(points, k + 1)[0]), axis=0)
    return float(np.mean(radius * np.sqrt(math.pi / (k + 0.5))))


def _translated(step: Floats, basis: Floats) -> tuple[Ints, NDArray[np.bool_]]:
    """Numbers (P, 2) of translations in each step, and whether it is one of the eight shortest."""
    number, left = whole_steps(step, basis)
    size = np.maximum(np.abs(number[:, 0]), np.abs(number[:, 1]))
    near = left < TOLERANCE + _STRAIN * np.hypot(*step.T)
    return number.astype(np.int64), near & (size == 1)


def _chosen_bases(basis: Floats, family: Ints, slots: Ints, pairs: Pairs) -> tuple[Floats, Ints]:
    """Basis (N, 2, 2) and family (N,) of each atom: of its part's, the one with most neighbours."""
    count = len(slots)
    best, chosen = np.full(count, -1), np.full(count, -1, np.int64)
    for slot in slots.T:
        use = slot[pairs.first] >= 0
        first = pairs.first[use]
        _, leads = _translated(pairs.step[use], basis[slot[first]])
        hits = np.bincount(first[leads], minlength=count)
        better = (slot >= 0) & (hits > best)
        best[better], chosen[better] = hits[better], slot[better]
    known = chosen >= 0
    own = np.full((count, 2, 2), np.nan)
    own[known] = basis[chosen[known]]
    return own, np.where(known, family[chosen], -1)


def _between(pairs: Pairs, basis: Floats, family: Ints) -> tuple[Pairs, Floats]:
    """Pairs within a family, and the basis (P, 2, 2) half-way between both atoms'."""
    same = (family[pairs.first] == family[pairs.second]) & (family[pairs.first] >= 0)
    kept = Pairs(pairs.first[same], pairs.second[same], pairs.step[same])
    return kept, (basis[kept.first] + basis[kept.second]) / 2


def _linked(pairs: Pairs, basis: Floats, family: Ints) -> _Pieces:
    """Pieces of sublattices, linked by translations."""
    count = len(family)
    pairs, middle = _between(pairs, basis, family)
    number, leads = _translated(pairs.step, middle)
    first, second, number = pairs.first[leads], pairs.second[leads], number[leads]
    links = np.bincount(first, minlength=count)
    good = (links[first] >= _LEAST_LINKS) & (links[second] >= _LEAST_LINKS)
    first, second, number = first[good], second[good], number[good]
    graph = csr_array((np.arange(1, len(first) + 1), (first, second)), shape=(count, count))
    n_pieces, label = connected_components(graph, directed=False)
    piece = label.astype(np.int64)
    cell = _along_tree(graph, piece, n_pieces, number.astype(float))
    size = np.bincount(piece, minlength=n_pieces)
    return _Pieces(piece, np.rint(cell).astype(np.int64), size.astype(np.int64))


def _along_tree(graph: csr_array, label: Ints, n_labels: int, step: Floats) -> Floats:
    """Sum of the steps from the root of each connected set to each of its nodes (N, 2).

    `graph` holds the number of each edge's step, counted from 1.
    """
    count = graph.shape[0]
    root = np.unique(label, return_index=True)[1]
    edges = graph.tocoo()
    rows = np.concatenate([edges.row, np.full(n_labels, count)])
    columns = np.concatenate([edges.col, root])
    data = np.concatenate([edges.data, np.full(n_labels, len(step) + 1)])
    whole = csr_array((data, (rows, columns)), shape=(count + 1, count + 1))
    parent = breadth_first_order(whole, count, directed=True)[1][:count]
    steps = np.concatenate([step, np.zeros((1, 2))])
    total = np.zeros((count + 1, 2))
    edge = _entries(whole, parent, np.arange(count))
    total[:count] = steps[edge - 1]
    parent = np.append(parent, count)
    while (parent != count).any():  # each round doubles the length of the way that is summed
        total += total[parent]
        parent = parent[parent]
    return total[:count]


def _entries(matrix: csr_array, rows: NDArray[Any], columns: NDArray[Any]) -> Ints:
    """Values (K,) of a matrix at given places, all of them stored."""
    stored = matrix.tocoo()
    width = matrix.shape[1]
    key = stored.row.astype(np.int64) * width + stored.col
    order = np.argsort(key)
    wanted = np.asarray(rows, np.int64) * width + columns
    found = order[np.searchsorted(key, wanted, sorter=order)]
    return np.asarray(stored.data[found], np.int64)


def _joined(
    pairs: Pairs, basis: Floats, family: Ints, pieces: _Pieces, reach: float
) -> tuple[Ints, Floats]:
    """Crystal (C,) of each piece, and its place (C, 2) there in units of the translations."""
    n_pieces = len(pieces.size)
    near = np.hypot(*pairs.step.T) < reach
    pairs, middle = _between(Pairs(*(part[near] for part in pairs)), basis, family)
    one, other = pieces.piece[pairs.first], pieces.piece[pairs.second]
    apart = one != other
    one, other = one[apart], other[apart]
    shift = np.einsum("pi,pij->pj", pairs.step[apart], np.linalg.inv(middle[apart]))
    shift -= (pieces.cell[pairs.second] - pieces.cell[pairs.first])[apart]
    one, other, shift, votes = _voted(one, other, shift, n_pieces)
    large = pieces.size >= _LEAST_PIECE
    both = large[one] & large[other]
    crystal, offset = _spanned(one[both], other[both], shift[both], votes[both], n_pieces)
    crystal[~large] = -1
    # a lone atom goes with the large piece that it touches most
    loose = large[one] & ~large[other]
    order = np.argsort(votes[loose], kind="stable")
    host, guest = one[loose][order], other[loose][order]
    crystal[guest] = crystal[host]
    offset[guest] = offset[host] + shift[loose][order]
    return crystal, offset


def _voted(one: Ints, other: Ints, shift: Floats, n_pieces: int) -> tuple[Ints, Ints, Floats, Ints]:
    """Middle of the shifts between each two pieces, and how many agree with it."""
    key = one * n_pieces + other
    unique, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    middle = np.empty((len(unique), 2))
    start = np.cumsum(count) - count
    for axis in range(2):
        order = np.lexsort((shift[:, axis], inverse))
        ordered = shift[order, axis]
        half = start + (count - 1) // 2
        middle[:, axis] = (ordered[half] + ordered[start + count // 2]) / 2 if len(half) else 0.0
    agree = (np.abs(shift - middle[inverse]) < 0.15).all(axis=1)
    votes = np.bincount(inverse[agree], minlength=len(unique))
    kept = votes > 0
    return unique[kept] // n_pieces, unique[kept] % n_pieces, middle[kept], votes[kept]


def _spanned(
    one: Ints, other: Ints, shift: Floats, votes: Ints, n_pieces: int
) -> tuple[Ints, Floats]:
    """Join pieces by the shifts with most votes: connected sets (C,) and offsets (C, 2)."""
    shape = (n_pieces, n_pieces)
    tree = minimum_spanning_tree(csr_array((1.0 / np.maximum(votes, 1), (one, other)), shape=shape))
    edges = tree.tocoo()
    number = csr_array((np.arange(1, len(one) + 1), (one, other)), shape=shape)
    forth = _entries(number, edges.row, edges.col)
    rows = np.concatenate([edges.row, edges.col])
    columns = np.concatenate([edges.col, edges.row])
    step = np.concatenate([shift[forth - 1], -shift[forth - 1]])
    graph = csr_array((np.arange(1, len(rows) + 1), (rows, columns)), shape=shape)
    n_sets, label = connected_components(graph, directed=False)
    joined = label.astype(np.int64)
    return joined, _along_tree(graph, joined, n_sets, step)


def _places(
    pieces: _Pieces, crystal: Ints, offset: Floats, basis: Floats
) -> tuple[Ints, Ints, Ints]:
    """Crystal (N,), cell (N, 2) and place (N,) of each atom."""
    owner = crystal[pieces.piece]
    place, cell = np.full(len(owner), -1, np.int64), np.zeros((len(owner), 2), np.int64)
    where = pieces.cell + offset[pieces.piece]
    number = np.full(len(owner), -1, np.int64)
    size = np.bincount(owner[owner >= 0]) if (owner >= 0).any() else np.zeros(0, np.int64)
    large = np.argsort(-size, kind="stable")[: np.count_nonzero(size >= _LEAST_CRYSTAL)]
    for following, k in enumerate(large):
        atoms = np.flatnonzero(owner == k)
        local = np.nanmean(basis[atoms], axis=0)
        centres = _cell_places(np.flatnonzero(crystal == k), pieces, offset, local)
        away = where[atoms, None] - centres[None]
        whole = np.rint(away)
        gap = np.hypot(*np.moveaxis((away - whole) @ local, -1, 0))
        nearest = gap.argmin(axis=1)
        rows = np.arange(len(atoms))
        fits = gap[rows, nearest] < _SAME_PLACE
        place[atoms] = np.where(fits, nearest, -1)
        cell[atoms] = whole[rows, nearest].astype(np.int64)
        number[atoms] = following
    return number, cell, place


def _cell_places(members: Ints, pieces: _Pieces, offset: Floats, basis: Floats) -> Floats:
    """Places (K, 2) of the cell of one crystal that are filled often, the fullest first."""
    centres: list[Floats] = []
    filled: list[int] = []
    members = members[pieces.size[members] >= _LEAST_PIECE]
    for piece in members[np.argsort(-pieces.size[members], kind="stable")]:
        for k, centre in enumerate(centres):
            away = offset[piece] - centre
            if np.hypot(*((away - np.rint(away)) @ basis)) < _SAME_PLACE:
                filled[k] += int(pieces.size[piece])
                break
        else:
            centres.append(offset[piece] - np.floor(offset[piece]))
            filled.append(int(pieces.size[piece]))
    count = np.array(filled)
    order = np.argsort(-count, kind="stable")
    order = order[count[order] >= _LEAST_FILLED * count.max()]
    places: Floats = np.stack(centres)[order]
    return places


def _inside_crystal(pairs: Pairs, crystal: Ints, place: Ints, reach: float) -> NDArray[np.bool_]:
    """Atoms (N,) whose neighbours all stand on the lattice of one crystal."""
    near = np.hypot(*pairs.step.T) < reach
    first, second = pairs.first[near], pairs.second[near]
    count = len(crystal)
    on = place[second] >= 0
    high = np.full(count, -1, np.int64)
    low = np.full(count, np.iinfo(np.int64).max)
    np.maximum.at(high, first[on], crystal[second[on]])
    np.minimum.at(low, first[on], crystal[second[on]])
    there = np.bincount(first[on], minlength=count)
    strange = np.bincount(first[~on], minlength=count)
    return np.asarray((low == high) & (there >= _AROUND) & (strange <= there / 4))
