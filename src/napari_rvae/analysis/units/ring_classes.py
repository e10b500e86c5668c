"""Which groups of unusual rings recur, and so are building blocks of the material.

A group that is met again elsewhere is a building block; what is met once, and what never holds from
frame to frame, is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import softmax

from napari_rvae.analysis.units.ring_codes import (
    LEAST_SEEN,
    OTHER,
    UNKNOWN,
    USUAL,
    is_named,
    is_part,
    ring_counts_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units.ring_codes import RingGroups

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["RingClasses", "find_ring_classes"]

#: A group is a building block if it is met in so many places apart, and is still there in this
#: share of the next frames; where nothing is seen twice, in `min_places` places apart.
_LEAST_GROUPS, _LEAST_HELD = 2, 0.5
#: Rings are read wrong at one site in 20, as if seen at so many: what holds before any is counted.
_PRIOR_WRONG, _PRIOR_READ = 1.0, 20.0


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
    for code in np.unique(rings.code[(rings.code > USUAL) & (rings.code != OTHER)]).tolist():
        rows = np.flatnonzero(rings.code == code)
        seen = before == code
        if len(np.unique(place[rows])) < min_places:
            continue
        if not rings.whole[rows].any() and ring_counts_of(code).sum() < LEAST_SEEN:
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
    named = classes[is_named(classes)]
    if code <= USUAL or code > OTHER or code in named or not len(named):
        return False
    if code == OTHER:  # nobody counted its rings
        return True
    return any(is_part(one, code) for one in named.tolist())


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
