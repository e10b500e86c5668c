"""What a crystal is mostly made of: one host, or the few large separate ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_rvae.analysis import appearance, gaussians

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["Hosts", "fit_hosts", "host_labels"]

#: Hosts differ in a descriptor by more than so many of its spreads within each: the halves of one
#: normal distribution, cut at its middle, by 2.7.
_APART = 3.0
#: A host is a mixture if a descriptor spreads this much more than in the largest host.
_MIXED = 2.0


def host_labels(scores: Array, central: Array, rng: np.random.Generator) -> Ids:
    """Host (N,) that each site is nearest to, from 0, the one with most sites first.

    Parameters
    ----------
    scores
        Principal scores (N, D), not whitened: that would hide the gap between hosts.
    central
        Descriptors (N, 10) of the central atoms.
    rng
        Draws samples and starts mixtures.
    """
    if not scores.size:
        return np.zeros(len(scores), np.int64)
    labels = _join_hosts(gaussians.split_hosts(scores, rng), central)
    labels = _without_mixtures(labels, central)
    numbers, counts = np.unique(labels, return_counts=True)
    rank = np.zeros(int(numbers.max()) + 1, np.int64)
    rank[numbers[np.argsort(-counts, kind="stable")]] = np.arange(len(numbers))
    return rank[labels]


@dataclass(frozen=True, eq=False)
class Hosts:
    """Normal distributions of the hosts of S points.

    Parameters
    ----------
    label
        Host (S,) that each point is nearest to.
    bodies
        Distribution of each host.
    distance
        Squared distance (S,) of each point from the middle of its host.
    """

    label: Ids
    bodies: list[gaussians.Gaussian]
    distance: Array

    def middles(self, environment: Ids, possible: Mask) -> Ids:
        """Environment in the middle of each host, from the environments (S,) of the points.

        Not the largest one: a host is cut into many, a compact cluster beside it is not. Only
        those that are `possible` (E,).
        """
        middles: list[int] = []
        for number in range(len(self.bodies)):
            own = self.label == number
            candidates = np.setdiff1d(np.unique(environment[own]), middles)
            candidates = candidates[possible[candidates]]
            if candidates.size:
                typical = [np.median(self.distance[own & (environment == k)]) for k in candidates]
                middles.append(int(candidates[int(np.argmin(typical))]))
        return np.array(middles, np.int64)

    def core(self, number: int) -> Mask:
        """Points (S,) in the inner half of a host."""
        own = self.label == number
        limit = np.median(self.distance[own]) if own.any() else 0.0
        return np.asarray(own & (self.distance <= limit))


def fit_hosts(points: Array, label: Ids) -> Hosts:
    """Fit a normal distribution to the points (S, D) of each host, from the labels (S,)."""
    bodies, distance = [], np.zeros(len(points))
    for number in range(int(label.max(initial=-1)) + 1):
        own = label == number
        bodies.append(gaussians.fit_host(points[own]))
        distance[own] = bodies[-1].squared_distance(points[own])
    return Hosts(label, bodies, distance)


def _without_mixtures(labels: Ids, central: Array) -> Ids:
    """Give hosts whose central atoms are of several kinds back to the largest: they are none."""
    known = appearance.comparable(central)

    def spread(number: int) -> Array:
        own = known[labels == number]
        off = np.abs(own - appearance.median_of_known(own))
        return np.nan_to_num(1.4826 * appearance.median_of_known(off))

    numbers, counts = np.unique(labels, return_counts=True)
    largest = int(numbers[np.argmax(counts)])
    most = np.maximum(appearance.TOLERANCE, _MIXED * spread(largest))
    mixed = [number for number in numbers if number != largest and (spread(number) > most).any()]
    return np.where(np.isin(labels, mixed), largest, labels)


def _join_hosts(labels: Ids, central: Array) -> Ids:
    """Join hosts whose central atoms cannot be told apart: features can fall in two by noise."""
    central = appearance.comparable(central)
    joined = labels.copy()
    for number in range(1, int(labels.max(initial=0)) + 1):
        for other in np.unique(joined[joined < number]):
            clouds = [central[joined == which] for which in (number, other)]
            middles = [appearance.median_of_known(cloud) for cloud in clouds]
            spread = [
                1.4826 * appearance.median_of_known(np.abs(cloud - middle))
                for cloud, middle in zip(clouds, middles, strict=True)
            ]
            least = np.maximum(_APART * np.mean(spread, axis=0), 0.02)
            apart = np.abs(middles[0] - middles[1]) > least
            if np.isfinite([middle[-1] for middle in middles]).all() and not apart.any():
                joined[joined == number] = other
                break
    return joined
