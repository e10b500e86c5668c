"""Rings of bonds as evidence beside the features: groups of unusual rings that recur.

A ring says exactly what the features of a crop say vaguely: which atoms a turned bond or a
dislocation owns. The rings of a lattice are of one size, or of a few; unusual ones that touch are a
group, such as the 5-5-7-7 of a turned bond. A group that is met again elsewhere is a building
block; what is met once, and what never holds from frame to frame, is none. An atom that lacks a
bond is told by the gap that it lacks it to: that of a missing atom, another, or an edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import softmax

from napari_rvae import tables
from napari_rvae.analysis.bonds import RING_SIZES, Faces, bonded_pairs, find_faces
from napari_rvae.analysis.descriptors import neighbour_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = [
    "UNKNOWN",
    "USUAL",
    "RingClasses",
    "RingGroups",
    "find_ring_classes",
    "find_ring_groups",
    "ring_words",
]

#: Codes of sites on usual rings only, of those whose rings nobody knows (the frame's edge cuts
#: them), and of those on rings that have no name of their own: at a gap, or of a large group.
USUAL, UNKNOWN, _OTHER = 0, -1, 1 << 24
#: Codes of atoms that lack a bond: to a missing atom, to an edge, to another small gap.
_VACANCY, _EDGE, _GAP = 1 << 25, (1 << 25) + 1, (1 << 25) + 2
#: A gap of more than so many times the usual ring's bonds has an edge.
_LARGEST_GAP = 3
#: Bits of a code for the number of rings of each size, and the most rings that have a name.
_BITS, _MOST_RINGS = 4, 8
#: A group that the frame's edge may cut is told by so many rings.
_LEAST_SEEN = 3
#: Sizes of this share of the closed rings are usual; all others together are the exception.
_USUAL_SHARE, _MOST_UNUSUAL = 0.2, 0.15
#: A group is a building block if it is met in so many places apart, and is still there in this
#: share of the next frames; where nothing is seen twice, in `min_places` places apart.
_LEAST_GROUPS, _LEAST_HELD = 2, 0.5
#: Rings are read wrong at one site in 20, as if seen at so many: what holds before any is counted.
_PRIOR_WRONG, _PRIOR_READ = 1.0, 20.0


@dataclass(frozen=True, eq=False)
class RingGroups:
    """The group of unusual rings that each of N sites is at.

    Parameters
    ----------
    code
        What the group is made of (N,): 0 for usual rings only, -1 where it is not known.
    group
        Number of the group (N,), -1 for none; each frame has groups of its own.
    whole
        False (N,) where the frame's edge may hide a part of the group.
    """

    code: Ids
    group: Ids
    whole: Mask

    def of(self, rows: Ids | Mask) -> RingGroups:
        """Return the groups of some rows."""
        return RingGroups(self.code[rows], self.group[rows], self.whole[rows])


@dataclass(frozen=True, eq=False)
class RingClasses:
    """Groups of unusual rings that recur, and how often they are read wrong.

    Parameters
    ----------
    code
        Code (K,) of each class, the usual rings (0) first.
    error
        Probability (K,) that a sighting of the class shows another one.
    """

    code: Ids
    error: Array

    def votes(self, code: Ids, stay: Ids, n_stays: int) -> Ids:
        """Count how often (S, K) each stay shows each class, from the codes (N,) of its sightings.

        Groups that are no class count as usual: they are certainly none of the others. Those that
        may hold one, and touch more, tell nothing.
        """
        which = np.searchsorted(self.code, code)
        which = np.minimum(which, len(self.code) - 1)
        which = np.where(self.code[which] == code, which, 0)
        found, inverse = np.unique(code, return_inverse=True)
        silent = [one == UNKNOWN or _may_hold(one, self.code) for one in found.tolist()]
        known = ~np.array(silent, bool)[inverse.reshape(-1)]
        votes = np.zeros((n_stays, len(self.code)), np.int64)
        np.add.at(votes, (stay[known], which[known]), 1)
        return votes

    def shares(self, votes: Ids, prior: Array) -> Array:
        """Probability (S, K) of each class; NaN for stays without a vote.

        Parameters
        ----------
        votes
            Sightings (S, K) of each class.
        prior
            Share (K,) of the stays in each class.
        """
        others = max(len(self.code) - 1, 1)
        read = np.log(self.error / others)[:, None].repeat(len(self.code), axis=1)
        np.fill_diagonal(read, np.log1p(-self.error))
        joint: Array = softmax(votes @ read.T + np.log(np.maximum(prior, 1e-6)), axis=1)
        return np.where(votes.any(axis=1, keepdims=True), joint, np.nan)


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
    found: dict[str, list[tuple[Ids, Faces, Ids]]] = {source: [] for source in distances}
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
            found[source].append((here, find_faces(scaled, bonds), count))
    n_groups = 0
    for frames in found.values():
        usual = _usual_sizes([faces for _, faces, _ in frames])
        valence = _valence([count for *_, count in frames])
        for here, faces, count in frames if usual else []:
            if tick is not None:
                tick()
            code[here], own, whole[here] = _frame_groups(faces, usual, len(here))
            lacking = np.flatnonzero(count < valence)
            gaps = _gap_codes(faces, usual, lacking)
            code[here[lacking]] = gaps
            # each is a place of its own: an edge recurs along itself
            own[lacking] = int(own.max(initial=-1)) + 1 + np.arange(len(lacking))
            whole[here[lacking]] = gaps != UNKNOWN
            group[here] = np.where(own >= 0, own + n_groups, -1)
            n_groups += int(own.max(initial=-1)) + 1
    return RingGroups(_completed(code, group, whole, moment), group, whole)


def _completed(code: Ids, group: Ids, whole: Mask, moment: Ids) -> Ids:
    """Codes (N,), those of groups that the frame's edge cuts by what they are a part of.

    That is the only whole group that has one ring more, where most of the frames that show the part
    show it, too. A part of a ring or two may be of anything, and one that is seen whole elsewhere,
    or that a frame shows twice, is what it is.
    """
    named = (code > USUAL) & (code < _OTHER)
    candidates = np.unique(code[named & whole])
    parts = np.setdiff1d(code[named & ~whole], candidates)
    completed = code.copy()
    for part in parts.tolist():
        cut = named & ~whole & (code == part)
        n_rings = int(_ring_counts(part).sum())
        shown = np.unique(moment[cut])
        if n_rings < _LEAST_SEEN or len(np.unique(group[cut])) > len(shown):
            continue
        larger = [
            one
            for one in candidates.tolist()
            if _is_part(part, one)
            and int(_ring_counts(one).sum()) == n_rings + 1
            and 2 * np.isin(shown, moment[whole & (code == one)]).sum() > len(shown)
        ]
        if len(larger) == 1:
            completed[cut] = larger[0]
    return completed


def _ring_counts(code: int) -> Ids:
    """Rings of each size (R,) that a named group is made of."""
    return (code >> (_BITS * np.arange(len(RING_SIZES)))) & ((1 << _BITS) - 1)


def _is_part(part: int, whole: int) -> bool:
    """Whether a named group has all rings of another one."""
    return bool((_ring_counts(part) <= _ring_counts(whole)).all())


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
    return np.select(kinds, [UNKNOWN, _EDGE, _VACANCY, _GAP], _OTHER).astype(np.int64)


def _frame_groups(faces: Faces, usual: tuple[int, ...], n_sites: int) -> tuple[Ids, Ids, Mask]:
    """Code, group, and whether it is whole (N,), of each site of one frame."""
    largest = min(2 * min(usual) - 1, RING_SIZES[-1])
    is_gap = ~faces.is_open & (faces.size > largest)
    odd = ~faces.is_open & ~is_gap & ~np.isin(faces.size, usual)

    def at(which: Mask) -> Mask:
        return np.bincount(faces.site[which[faces.face]], minlength=n_sites) > 0

    code = np.where(at(faces.is_open), UNKNOWN, USUAL).astype(np.int64)
    group = np.full(n_sites, -1, np.int64)
    mine = odd[faces.face]
    n_faces = len(faces.size)
    if not mine.any():
        return code, group, code == USUAL
    ends = (faces.face[mine], n_faces + faces.site[mine])
    size = n_faces + n_sites
    graph = coo_array((np.ones(mine.sum()), ends), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    of_face, of_site = label[:n_faces], label[n_faces:]
    counts = np.zeros((label.max() + 1, len(RING_SIZES)), np.int64)
    np.add.at(counts, (of_face[odd], faces.size[odd] - RING_SIZES[0]), 1)
    own = (counts << (_BITS * np.arange(len(RING_SIZES)))).sum(axis=1)
    own[counts.sum(axis=1) > _MOST_RINGS] = _OTHER
    here = at(odd)
    own[of_site[here & at(is_gap)]] = _OTHER
    is_cut = np.zeros(len(own), bool)
    is_cut[of_site[here & at(faces.is_open)]] = True
    whole = np.where(here, ~is_cut[of_site], code == USUAL)
    code[here] = own[of_site[here]]
    group[here] = np.unique(of_site[here], return_inverse=True)[1]
    return code, group, whole


def ring_words(code: int) -> str:
    """What a group is made of in words: "5-5-7-7 rings"; "" for usual or unknown ones."""
    if code >= _VACANCY:
        return {_VACANCY: "beside vacancy", _EDGE: "edge"}.get(code, "beside gap")
    if code <= USUAL or code >= _OTHER:
        return ""
    counts = zip(RING_SIZES, _ring_counts(code).tolist(), strict=True)
    sizes = [str(size) for size, count in counts for _ in range(count)]
    if len(sizes) == 2 and sizes[0] != sizes[1]:
        return f"{'-'.join(sizes)} pair"
    return f"{'-'.join(sizes)} ring{'s' if len(sizes) > 1 else ''}"


def find_ring_classes(rings: RingGroups, place: Ids, frame: Ids, min_places: int) -> RingClasses:
    """Find which groups of unusual rings recur, and how often they are read wrong.

    Parameters
    ----------
    rings
        Groups of the sites.
    place
        Lattice site (N,), below 0 where it is not known.
    frame
        Number of the frame (N,).
    min_places
        A class needs so many different places, and in single frames so many groups.
    """
    order = np.lexsort((frame, place))
    before, after = order[:-1], order[1:]
    known = (rings.code[before] != UNKNOWN) & (rings.code[after] != UNKNOWN)
    known &= (place[before] == place[after]) & (place[before] >= 0)
    before, after = rings.code[before[known]], rings.code[after[known]]
    codes, error = [USUAL], [_wrong(before == USUAL, before == after)]
    for code in np.unique(rings.code[(rings.code > USUAL) & (rings.code != _OTHER)]).tolist():
        rows = np.flatnonzero(rings.code == code)
        seen = before == code
        if len(np.unique(place[rows])) < min_places:
            continue
        if not rings.whole[rows].any() and _ring_counts(code).sum() < _LEAST_SEEN:
            continue
        if _groups_apart(rings.group[rows], place[rows]) < (
            _LEAST_GROUPS if seen.any() else min_places
        ):
            continue
        if seen.any() and np.mean(after[seen] == code) < _LEAST_HELD:
            continue
        codes.append(code)
        error.append(_wrong(seen, before == after))
    return RingClasses(np.array(codes, np.int64), np.array(error))


def _may_hold(code: int, classes: Ids) -> bool:
    """Whether a group that is no class is larger than one and may hold it, with others."""
    named = classes[(classes > USUAL) & (classes < _OTHER)]
    if code <= USUAL or code > _OTHER or code in named or not len(named):
        return False
    if code == _OTHER:  # nobody counted its rings
        return True
    return any(_is_part(one, code) for one in named.tolist())


def _wrong(seen: Mask, same: Mask) -> float:
    """Probability of a wrong reading, from how often the next one is the same.

    Two independent readings with errors e agree in about (1 - e)^2.
    """
    apart = float((seen & ~same).sum())
    agree = 1 - (2 * _PRIOR_WRONG + apart) / (_PRIOR_READ + float(seen.sum()))
    return float(np.clip(1 - math.sqrt(agree), 1e-4, 0.5))


def _groups_apart(group: Ids, place: Ids) -> int:
    """Number of groups that share no place: the same one in other frames is one."""
    one = np.unique(group, return_inverse=True)[1]
    other = np.unique(place, return_inverse=True)[1] + int(one.max()) + 1
    size = int(other.max()) + 1
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(size, size))
    return int(connected_components(graph, directed=False)[0])
