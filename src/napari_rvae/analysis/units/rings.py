"""Rings of bonds as evidence beside the features: the group of unusual rings that a site is at.

A ring says exactly what the features of a crop say vaguely: which atoms a turned bond or a
dislocation owns. The rings of a lattice are of one size, or of a few; unusual ones that touch are a
group, such as the 5-5-7-7 of a turned bond. An atom that lacks a bond is told by the gap that it
lacks it to: that of a missing atom, another, or an edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_rvae import tables
from napari_rvae.analysis.bonds import RING_SIZES, Faces, bonded_pairs, find_faces
from napari_rvae.analysis.descriptors import neighbour_distances
from napari_rvae.analysis.units.ring_codes import (
    BITS,
    EDGE,
    GAP,
    LEAST_SEEN,
    OTHER,
    UNKNOWN,
    USUAL,
    VACANCY,
    RingGroups,
    is_named,
    is_part,
    ring_counts_of,
)
from napari_rvae.analysis.units.ring_motifs import common_motifs, with_motifs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["find_ring_groups"]

#: A gap of more than so many times the usual ring's bonds has an edge.
_LARGEST_GAP = 3
#: The most rings of a group that has a name.
_MOST_RINGS = 8
#: Sizes of this share of the closed rings are usual; all others together are the exception.
_USUAL_SHARE, _MOST_UNUSUAL = 0.2, 0.15


class _Frame(NamedTuple):
    """Atoms of one frame: their rows in the table, the faces between their bonds, bonds of each."""

    rows: Ids
    faces: Faces
    valence: Ids


def find_ring_groups(table: pd.DataFrame, tick: Callable[[], None] | None = None) -> RingGroups:
    """Find the group of unusual rings, or the gap, that each site is at.

    Rings of a fifth of all and more are usual; where others are more than 15 % of all, the
    material has no usual ones, and all is unknown. A ring of twice the usual size and more is that
    around a missing atom (leaving an atom out joins 2 m bonds, m the usual size), thus a gap. Only
    atoms that lack a bond belong to a gap, the others around it are as usual.

    Parameters
    ----------
    table
        Sites table; what is neither atom nor vacancy is unknown.
    tick
        Called twice for each frame; it may raise.
    """
    code = np.full(len(table), UNKNOWN, np.int64)
    group = np.full(len(table), -1, np.int64)
    whole = np.zeros(len(table), bool)
    points = table[["y", "x"]].to_numpy(float)
    is_atom = (table["kind"] == "atom").to_numpy()
    distances = neighbour_distances(table, None)
    found: dict[str, list[_Frame]] = {source: [] for source in distances}
    moment = np.zeros(len(table), np.int64)
    for number, (source, _, rows) in enumerate(tables.group_rows(table)):
        if tick is not None:
            tick()
        moment[rows] = number
        here = rows[np.isfinite(points[rows]).all(axis=1) & is_atom[rows]]
        if math.isfinite(distances[source]) and distances[source] > 0 and len(here) > 2:
            scaled = points[here] / distances[source]
            bonds = bonded_pairs(scaled, np.ones(len(here), bool))
            count = np.bincount(bonds.ravel(), minlength=len(here))
            found[source].append(_Frame(here, find_faces(scaled, bonds), count))
    n_groups = 0
    for frames in found.values():
        usual = _usual_sizes([frame.faces for frame in frames])
        valence = _valence([frame.valence for frame in frames])
        for frame, groups in zip(frames, _groups_of(frames, usual), strict=True) if usual else ():
            if tick is not None:
                tick()
            here, own = frame.rows, groups.group
            code[here], whole[here] = groups.code, groups.whole
            lacking = np.flatnonzero(frame.valence < valence)
            gaps = _gap_codes(frame.faces, usual, lacking)
            code[here[lacking]] = gaps
            # each is a place of its own: an edge recurs along itself
            own[lacking] = int(own.max(initial=-1)) + 1 + np.arange(len(lacking))
            whole[here[lacking]] = gaps != UNKNOWN
            group[here] = np.where(own >= 0, own + n_groups, -1)
            n_groups += int(own.max(initial=-1)) + 1
    return RingGroups(_completed(code, group, whole, moment), group, whole)


def _groups_of(frames: list[_Frame], usual: tuple[int, ...]) -> list[RingGroups]:
    """Groups of unusual rings in each frame; those that others hold are groups of their own."""
    odd, found = [], []
    for frame in frames:
        faces, is_gap = frame.faces, _gaps(frame.faces, usual)
        odd.append(~faces.is_open & ~is_gap & ~np.isin(faces.size, usual))
        found.append(_frame_groups(faces, is_gap, odd[-1], len(frame.rows)))
    every = [frame.faces for frame in frames]
    motifs = common_motifs(found, every, odd)
    return [with_motifs(*parts, motifs) for parts in zip(found, every, odd, strict=True)]


def _gaps(faces: Faces, usual: tuple[int, ...]) -> Mask:
    """Which faces (F,) are gaps within the frame."""
    gaps: Mask = ~faces.is_open & (faces.size > min(2 * min(usual) - 1, RING_SIZES[-1]))
    return gaps


def _completed(code: Ids, group: Ids, whole: Mask, moment: Ids) -> Ids:
    """Codes (N,), those of groups that the frame's edge cuts by what they are a part of.

    That is the only whole group that has one ring more, where most of the frames that show the part
    show it, too. A part of a ring or two may be of anything, and one that is seen whole elsewhere,
    or that a frame shows twice, is what it is.
    """
    named = is_named(code)
    candidates = np.unique(code[named & whole])
    parts = np.setdiff1d(code[named & ~whole], candidates)
    completed = code.copy()
    for part in parts.tolist():
        cut = named & ~whole & (code == part)
        n_rings = int(ring_counts_of(part).sum())
        shown = np.unique(moment[cut])
        if n_rings < LEAST_SEEN or len(np.unique(group[cut])) > len(shown):
            continue
        larger = [
            one
            for one in candidates.tolist()
            if is_part(part, one)
            and int(ring_counts_of(one).sum()) == n_rings + 1
            and 2 * np.isin(shown, moment[whole & (code == one)]).sum() > len(shown)
        ]
        if len(larger) == 1:
            completed[cut] = larger[0]
    return completed


def _usual_sizes(frames: list[Faces]) -> tuple[int, ...]:
    """Sizes of the rings that a lattice is made of; empty if it has no usual ones."""
    closed = [faces.size[~faces.is_open] for faces in frames]
    sizes = np.concatenate(closed) if closed else np.zeros(0, np.int64)
    share = np.bincount(sizes[sizes <= RING_SIZES[-1]], minlength=RING_SIZES[-1] + 1)
    share = share / max(share.sum(), 1)
    usual = np.flatnonzero(share >= _USUAL_SHARE)
    if not usual.size or 1 - share[usual].sum() > _MOST_UNUSUAL:
        return ()
    return tuple(usual.tolist())


def _valence(counts: list[Ids]) -> int:
    """Bonds of most atoms; 0 where there is no such number."""
    every = np.concatenate(counts) if counts else np.zeros(0, np.int64)
    number = np.bincount(every, minlength=1)
    return int(number.argmax()) if 2 * number.max() > number.sum() else 0


def _gap_codes(faces: Faces, usual: tuple[int, ...], sites: Ids) -> Ids:
    """Code (K,) of the largest gap that each of some sites (K,), which lack a bond, is at."""
    missing, largest = 2 * min(usual), _LARGEST_GAP * min(usual)
    size = np.zeros(int(max(faces.site.max(initial=0), sites.max(initial=0))) + 1, np.int64)
    is_open = np.zeros(len(size), bool)
    np.maximum.at(size, faces.site, faces.size[faces.face])
    is_open[faces.site[faces.is_open[faces.face]]] = True
    size, is_open = size[sites], is_open[sites]
    kinds = [is_open, size > largest, size == missing, size > RING_SIZES[-1]]
    return np.select(kinds, [UNKNOWN, EDGE, VACANCY, GAP], OTHER).astype(np.int64)


def _frame_groups(faces: Faces, is_gap: Mask, odd: Mask, n_sites: int) -> RingGroups:
    """Groups that the sites of one frame are at, from which of its faces are gaps or unusual."""

    def at(which: Mask) -> Mask:
        return np.bincount(faces.site[which[faces.face]], minlength=n_sites) > 0

    code = np.where(at(faces.is_open), UNKNOWN, USUAL).astype(np.int64)
    group = np.full(n_sites, -1, np.int64)
    mine = odd[faces.face]
    n_faces = len(faces.size)
    if not mine.any():
        return RingGroups(code, group, code == USUAL)
    ends = (faces.face[mine], n_faces + faces.site[mine])
    size = n_faces + n_sites
    graph = coo_array((np.ones(mine.sum()), ends), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    of_face, of_site = label[:n_faces], label[n_faces:]
    counts = np.zeros((label.max() + 1, len(RING_SIZES)), np.int64)
    np.add.at(counts, (of_face[odd], faces.size[odd] - RING_SIZES[0]), 1)
    own = (counts << (BITS * np.arange(len(RING_SIZES)))).sum(axis=1)
    own[counts.sum(axis=1) > _MOST_RINGS] = OTHER
    here = at(odd)
    own[of_site[here & at(is_gap)]] = OTHER
    is_cut = np.zeros(len(own), bool)
    is_cut[of_site[here & at(faces.is_open)]] = True
    whole = np.where(here, ~is_cut[of_site], code == USUAL)
    code[here] = own[of_site[here]]
    group[here] = np.unique(of_site[here], return_inverse=True)[1]
    return RingGroups(code, group, whole)
