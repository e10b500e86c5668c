"""The bond graph of a frame and its faces: which atoms are bonded, and which rings they form."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, QhullError, cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = [
    "CUTOFF",
    "LONGEST_BOND",
    "RING_COLUMNS",
    "RING_SIZES",
    "SAME_ATOM",
    "Faces",
    "bonded_pairs",
    "find_faces",
    "ring_counts",
]

#: Between the first and the second shell of every common lattice, in nearest distances.
CUTOFF = 1.28
#: A large dopant keeps its neighbours this much farther away, in neighbour distances.
LONGEST_BOND = 1.3
#: Nearer than this is the same atom found twice, not a neighbour.
SAME_ATOM = 0.2

#: A bond that is longer, up to so many neighbour distances, has no atom in between; so many near
#: atoms are looked at for that.
_LONGEST_RELATIVE, _AROUND = 1.5, 8

#: Rings that are counted by their size; larger ones are one class.
RING_SIZES = (3, 4, 5, 6, 7, 8)

#: Columns about bonds and rings; all float64.
RING_COLUMNS = ("bonds", *(f"ring{size}" for size in RING_SIZES), "ring_large", "ring_open")


class Faces(NamedTuple):
    """Faces of a plane bond graph: what the bonds enclose, as far as the frame shows it.

    Attributes
    ----------
    size
        Number of bonds (F,) around each face; 0 for the outside.
    is_open
        Whether a face (F,) is the outside: what the frame's edge cuts, or vacuum that reaches it.
    face, site
        Corners: face and site (K,) of each, every pair once.
    within
        Face (N,) that a point that is no corner lies in, such as a vacancy; -1 = none.
    """

    size: Ids
    is_open: Mask
    face: Ids
    site: Ids
    within: Ids


def bonded_pairs(points: Array, is_atom: Mask) -> Ids:
    """Bonds between atoms of one frame.

    Two atoms are bonded if they are nearer than 1.28 times the shortest bond of either of the two,
    that taken between 1 and 1.3 neighbour distances; or if they are nearer than 1.5 neighbour
    distances and no third atom is nearer to both than they are to each other (relative neighbours,
    G. T. Toussaint, Pattern Recognition 12, 261 (1980)). The latter finds the long ones of the
    unequal bonds of a distorted lattice, and not the diagonals of its rings.

    Parameters
    ----------
    points
        Finite positions (N, 2) in neighbour distances.
    is_atom
        Which of them (N,) can have bonds; vacancies have none.

    Returns
    -------
    ndarray of shape (M, 2)
        Row numbers, the smaller first, in ascending order.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.bonds import bonded_pairs
    >>> chain = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    >>> bonded_pairs(chain, np.ones(3, bool)).tolist()
    [[0, 1], [1, 2]]
    """
    atoms = np.flatnonzero(is_atom)
    if len(atoms) < 2:
        return np.empty((0, 2), np.int64)
    tree = cKDTree(points[atoms])
    pairs = tree.query_pairs(CUTOFF * LONGEST_BOND, output_type="ndarray").astype(np.int64)
    offset = points[atoms[pairs[:, 1]]] - points[atoms[pairs[:, 0]]]
    distance = np.hypot(offset[:, 0], offset[:, 1])
    apart = distance > SAME_ATOM
    pairs, distance = pairs[apart], distance[apart]
    shortest = np.full(len(atoms), np.inf)
    np.minimum.at(shortest, pairs.ravel(), np.repeat(distance, 2))
    shortest = np.clip(shortest, 1.0, LONGEST_BOND)
    near = distance < CUTOFF * shortest[pairs].max(axis=1)
    far = np.flatnonzero(~near & (distance < _LONGEST_RELATIVE))
    near[far] = ~_has_between(tree, pairs[far], distance[far])
    kept = pairs[near]
    bonds = np.sort(atoms[kept], axis=1)
    return np.asarray(bonds[np.lexsort(bonds.T[::-1])], np.int64)


def _has_between(tree: cKDTree[None, None], pairs: Ids, distance: Array) -> Mask:
    """Whether another atom is nearer to both of each pair (P, 2) than they are to each other."""
    points = np.asarray(tree.data)
    count = min(_AROUND + 1, len(points))
    near = np.asarray(tree.query(points[pairs[:, 0]], count)[1], np.int64).reshape(-1, count)
    others = (near != pairs[:, :1]) & (near != pairs[:, 1:])
    ways = [np.linalg.norm(points[near] - points[end][:, None], axis=2) for end in pairs.T]
    between = others & (np.maximum(*ways) < distance[:, None])
    return np.asarray(between.any(axis=1))


def find_faces(points: Array, bonds: Ids) -> Faces:
    """Faces of the bond graph of one frame.

    The triangles between the atoms (Delaunay) that no bond separates are one face. Those that
    reach the outer hull of the atoms without a bond in between are the outside: cut by the frame's
    edge, or vacuum that begins there. Bonds that end inside a face do not count for its size, and a
    face with an atom of its own inside, without a bond, counts as larger than 8.

    Parameters
    ----------
    points
        Finite positions (N, 2) in neighbour distances; such without bonds are no corners.
    bonds
        Pairs of row numbers (M, 2).

    Returns
    -------
    Faces
        The first is the outside.
    """
    corners = _corners(points, bonds)
    outside = np.zeros(1, np.int64)
    nowhere = np.full(len(points), -1, np.int64)
    none = Faces(outside, outside == 0, np.zeros(len(corners), np.int64), corners, nowhere)
    if len(corners) < 3:
        return none
    try:
        mesh = Delaunay(points[corners])
    except QhullError:  # all on one line
        return none
    triangles = corners[mesh.simplices]
    edges = np.sort(triangles[:, [[1, 2], [2, 0], [0, 1]]], axis=2).astype(np.int64)
    width = len(points)
    is_bond = np.isin(edges[..., 0] * width + edges[..., 1], bonds[:, 0] * width + bonds[:, 1])
    free = ~is_bond
    label, n_faces = _joined_triangles(mesh, free)
    is_open = np.arange(n_faces) == 0
    # a bond with the same face on both sides ends inside it
    beyond = np.where(mesh.neighbors >= 0, label[mesh.neighbors], -1)
    dangling = is_bond & (beyond == label[:, None])
    around = np.bincount(label, is_bond.sum(axis=1), n_faces)
    whole = around == np.bincount(label, minlength=n_faces) + 2
    size = (around - np.bincount(label, dangling.sum(axis=1), n_faces)).astype(np.int64)
    size = np.where(whole, size, np.maximum(size, RING_SIZES[-1] + 1))
    # the ends of such bonds are no corners of a ring, but lie at a gap
    is_gap = is_open | (size > RING_SIZES[-1])
    owner, place = np.nonzero(is_bond & (~dangling | is_gap[label][:, None]))
    rim = np.unique(edges[mesh.neighbors < 0])
    faced = np.concatenate([np.repeat(label[owner], 2), np.zeros(len(rim), np.int64)])
    ends = np.column_stack([faced, np.concatenate([edges[owner, place].ravel(), rim])])
    face, site = np.unique(ends, axis=0).T
    within = np.full(len(points), -1, np.int64)
    others = np.setdiff1d(np.arange(len(points)), corners)
    if len(others):
        hit = mesh.find_simplex(points[others])
        within[others] = np.where(hit >= 0, label[hit], -1)
    return Faces(np.where(is_open, 0, size), is_open, face, site, within)


def _joined_triangles(mesh: Delaunay, free: Mask) -> tuple[Ids, int]:
    """Face (T,) of each triangle, and the number of faces; the outside is 0.

    Triangles are one face where the edge (T, 3) between them is free of a bond.
    """
    one, side = np.nonzero(free & (mesh.neighbors >= 0))
    count = len(mesh.simplices)
    # all triangles at the hull hang together by one node more, which is the outside
    hull = np.flatnonzero((free & (mesh.neighbors < 0)).any(axis=1))
    here = np.concatenate([one, np.full(len(hull), count)])
    there = np.concatenate([mesh.neighbors[one, side], hull])
    links = coo_array((np.ones(len(here)), (here, there)), shape=(count + 1, count + 1))
    n_faces, every = connected_components(links, directed=False)
    every = (every.astype(np.int64) - every[-1]) % n_faces
    return every[:-1], int(n_faces)


def _corners(points: Array, bonds: Ids) -> Ids:
    """Sites that have bonds, without those found twice."""
    corners = np.unique(bonds)
    if not len(corners):
        return corners
    twice = cKDTree(points[corners]).query_pairs(SAME_ATOM, output_type="ndarray")
    return np.delete(corners, np.unique(twice.max(axis=1)) if len(twice) else [])


def ring_counts(points: Array, is_atom: Mask) -> Array:
    """Bonds and rings (N, 9) at each point of one frame, in the order of `RING_COLUMNS`.

    Parameters
    ----------
    points
        Finite positions (N, 2) in neighbour distances.
    is_atom
        False (N,) for vacancies: they have no bonds, and the ring that they lie in.
    """
    bonds = bonded_pairs(points, is_atom)
    faces = find_faces(points, bonds)
    counts = np.zeros((len(points), len(RING_COLUMNS)))
    counts[:, 0] = np.bincount(bonds.ravel(), minlength=len(points))
    column = np.where(faces.size > RING_SIZES[-1], len(RING_COLUMNS) - 2, faces.size - 2)
    column = np.where(faces.is_open, len(RING_COLUMNS) - 1, np.maximum(column, 1))
    np.add.at(counts, (faces.site, column[faces.face]), 1.0)
    inside = np.flatnonzero(~is_atom & (faces.within >= 0))
    np.add.at(counts, (inside, column[faces.within[inside]]), 1.0)
    return counts
