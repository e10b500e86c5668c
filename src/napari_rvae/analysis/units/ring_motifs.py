"""Small groups of unusual rings that are a part of larger ones, by how their rings touch.

A turned bond beside a grain boundary shares rings with it, and the two are one group that occurs
nowhere else. What the turned bond is made of is still there: two heptagons that share a bond, and a
pentagon at either end of it. So a group that occurs by itself is looked for in larger ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array, triu

from napari_rvae.analysis.units.ring_codes import (
    LEAST_SEEN,
    OTHER,
    RingGroups,
    is_named,
    ring_counts_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import networkx as nx
    from numpy.typing import NDArray

    from napari_rvae.analysis.bonds import Faces

    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["common_motifs", "with_motifs"]


def common_motifs(
    groups: Sequence[RingGroups], faces: Sequence[Faces], odd: Sequence[Mask]
) -> dict[int, nx.Graph[int]]:
    """Groups of unusual rings that most frames show whole.

    Parameters
    ----------
    groups
        Groups that the sites of each frame are at.
    faces
        Faces of each frame.
    odd
        Which of them (F,) are unusual rings.

    Returns
    -------
    dict
        The rings of each and how they touch, by code, the largest first.
    """
    shown: dict[int, list[nx.Graph[int]]] = {}
    for found, own, unusual in zip(groups, faces, odd, strict=True):
        for code in np.unique(found.code[found.whole & is_named(found.code)]).tolist():
            if ring_counts_of(code).sum() > LEAST_SEEN:  # a few are a part of any
                first = found.group[found.whole & (found.code == code)][0]
                rings = _rings_at(own, unusual, found.group == first)
                shown.setdefault(code, []).append(_ring_graph(own, rings))
    most = [code for code, graphs in shown.items() if 2 * len(graphs) > len(groups)]
    most.sort(key=lambda code: (-len(shown[code][0]), code))
    return {code: shown[code][0] for code in most}


def with_motifs(
    groups: RingGroups, faces: Faces, odd: Mask, motifs: Mapping[int, nx.Graph[int]]
) -> RingGroups:
    """Groups of a frame, and motifs in the larger ones as groups of their own.

    The atoms of a motif are of no other group. A group that the frame shows twice is what it is,
    whatever it holds.
    """
    code, group, whole = groups.code.copy(), groups.group.copy(), groups.whole.copy()
    for number in np.unique(group[group >= 0]).tolist() if motifs else []:
        here = groups.group == number
        own = int(groups.code[here][0])
        if own != OTHER and len(np.unique(groups.group[groups.code == own])) > 1:
            continue
        graph = _ring_graph(faces, _rings_at(faces, odd, here))
        for motif, rings in motifs.items():
            for place in _places(graph, rings) if len(graph) > len(rings) else []:
                at = np.unique(faces.site[np.isin(faces.face, place)])
                code[at], group[at], whole[at] = motif, int(group.max()) + 1, True
                graph.remove_nodes_from(place.tolist())
    return RingGroups(code, group, whole)


def _rings_at(faces: Faces, odd: Mask, sites: Mask) -> Ids:
    """Numbers of the unusual rings that some sites (N,) are at, ascending."""
    rings: Ids = np.unique(faces.face[odd[faces.face] & sites[faces.site]])
    return rings


def _ring_graph(faces: Faces, rings: Ids) -> nx.Graph[int]:
    """Graph of rings: their sizes, which of them touch, and whether they share a bond."""
    import networkx as nx  # a fifth of a second, which only a movie with such groups costs

    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from((ring, {"size": int(faces.size[ring])}) for ring in rings.tolist())
    mine = np.isin(faces.face, rings)
    ends = (np.searchsorted(rings, faces.face[mine]), faces.site[mine])
    corner = coo_array((np.ones(mine.sum(), np.int64), ends)).tocsr()
    shared = triu(corner @ corner.T, 1).tocoo()
    for one, other, atoms in zip(rings[shared.row], rings[shared.col], shared.data, strict=True):
        graph.add_edge(int(one), int(other), bond=bool(atoms > 1))
    return graph


def _places(larger: nx.Graph[int], motif: nx.Graph[int]) -> list[Ids]:
    """Rings of a larger group that are a motif, for each place where they are.

    Where places overlap, it is not known which is meant: none is.
    """
    from networkx.algorithms.isomorphism import GraphMatcher

    matcher = GraphMatcher(
        larger,
        motif,
        node_match=lambda one, other: one["size"] == other["size"],
        edge_match=lambda one, other: one["bond"] == other["bond"],
    )
    found = {tuple(sorted(match)) for match in matcher.subgraph_isomorphisms_iter()}
    rings = [ring for place in found for ring in place]
    if len(rings) > len(set(rings)):
        return []
    return [np.array(place, np.int64) for place in sorted(found)]
