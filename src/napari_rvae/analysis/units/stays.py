"""Sightings of a place that look the same, averaged: the noise of single frames goes.

A place of the lattice is seen in many frames. As long as nothing changes there, its sightings
differ by noise alone, and their mean is nearly free of it; where something changes, a new stay
begins. The noise is measured from successive sightings, so nothing is assumed about it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.linalg import cholesky, solve_triangular
from scipy.spatial.distance import pdist
from scipy.stats import chi2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Stays", "find_stays", "noise_covariance", "whitening"]

#: Share of the pairs of sightings of one stay that are judged to be alike.
_ALIKE = 0.99
#: Successive sightings that changed are left out of the noise: so much of the pairs, twice.
_TRIMMED = 0.9
#: The noise needs so many pairs of sightings for each axis.
_PAIRS_PER_AXIS = 5


@dataclass(frozen=True, eq=False)
class Stays:
    """Stays of N sightings.

    Parameters
    ----------
    label
        Number of the stay (N,) of each sighting.
    count
        Sightings (S,) of each stay.
    mean
        Mean scores (S, D) of each stay.
    """

    label: Ids
    count: Ids
    mean: Array

    def first(self, values: Ids) -> Ids:
        """Value (S,) of one sighting of each stay, of values (N,) that are the same in a stay."""
        picked = np.zeros(len(self.count), np.int64)
        picked[self.label[::-1]] = values[::-1]
        return picked


def noise_covariance(scores: Array, place: Ids, frame: Ids) -> Array | None:
    """Covariance (D, D) of the noise of one sighting; None where places are not seen again.

    Half the covariance of the differences of successive sightings, those of real changes trimmed;
    scaled so that the median squared distance is that of a normal distribution.
    """
    order = np.lexsort((frame, place))
    before, after = order[:-1], order[1:]
    same = (place[before] == place[after]) & (place[before] >= 0)
    n_axes = scores.shape[1]
    if same.sum() < _PAIRS_PER_AXIS * n_axes:
        return None
    change = (scores[after[same]] - scores[before[same]]) / math.sqrt(2)
    kept = change
    ridge = 1e-6 * np.diag(np.maximum(scores.var(axis=0), 1e-12))
    for _ in range(3):
        covariance = kept.T @ kept / len(kept) + ridge
        distance = np.sum((change @ whitening(covariance)) ** 2, axis=1)
        kept = change[distance <= np.quantile(distance, _TRIMMED)]
    scaled: Array = covariance * (np.median(distance) / chi2.median(n_axes))
    return scaled


def whitening(covariance: Array) -> Array:
    """Matrix (D, D) that, multiplied from the right, makes the covariance the identity."""
    root = cholesky(covariance, lower=True)
    inverse: Array = solve_triangular(root, np.eye(len(root)), lower=True).T
    return inverse


def find_stays(
    scores: Array, place: Ids, *, noisy: bool, tick: Callable[[], None] | None = None
) -> Stays:
    """Average the sightings of each place that look the same.

    Parameters
    ----------
    scores
        Scores (N, D) whose noise has the identity as its covariance.
    place
        Lattice site (N,); below 0: not linked, a stay of its own.
    noisy
        Whether the noise is known; else every sighting is a stay.
    tick
        Called for each place; it may raise.
    """
    label = np.arange(len(scores), dtype=np.int64)
    if noisy and len(scores):
        farthest = math.sqrt(2 * chi2.ppf(_ALIKE, scores.shape[1]))
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=place[order[0]] - 1))
        number = 0
        for rows in np.split(order, starts[1:]):
            if tick is not None:
                tick()
            if place[rows[0]] < 0 or len(rows) == 1:
                label[rows] = number + np.arange(len(rows))
                number += len(rows)
                continue
            found = fcluster(linkage(pdist(scores[rows]), "average"), farthest, "distance")
            label[rows] = number + found - 1
            number += int(found.max())
    count = np.bincount(label)
    sums = [np.bincount(label, column) for column in scores.T]
    mean = np.stack(sums, axis=1) / count[:, None] if sums else np.zeros((len(count), 0))
    return Stays(label, count, mean)
