"""What it costs to merge two groups of environments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

from napari_rvae.analysis import appearance
from napari_rvae.analysis.units.ring_codes import USUAL
from napari_rvae.analysis.units.sites import kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units.hosts import Hosts
    from napari_rvae.analysis.units.sites import Evidence
    from napari_rvae.analysis.units.stays import Stays

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["Likeness", "separation"]

#: Clouds whose middles are so many of their widths apart, along the line that joins them, have a
#: valley between them. The halves of one normal distribution are 2.7 apart.
_VALLEY = 3.0
#: The same where other starts did not find the valley, or what lies beyond it occurs at few places
#: only.
_UNSTABLE_VALLEY = 4.0
#: What middles of few points scatter by chance is taken off twice: the clouds were chosen to be
#: compact. So the nearest slices of one normal distribution of 4 to 40 axes are 3 widths apart or
#: less, whether they are of 10 points or of many.
_CHOSEN = 2.0
#: The width of a cloud is never below this, in standard deviations of the noise.
_LEAST_WIDTH = 0.5
#: Costs below 1 are of what is one unit. What is at the same unusual rings goes
#: first, then what looks like the host, what occurs only once, what has no valley between, and
#: parts of one defect that other starts cut otherwise.
_BY_RINGS, _BY_LOOKS, _BY_CHANCE, _BY_VALLEY, _BY_CONTACT, _LATE = 0.1, 0.2, 0.25, 0.3, 0.98, 0.99
#: Parts of one defect touch: this share of the smaller one's sightings is bonded to the larger.
_TOUCHING = 0.5
#: Misorientation of atoms that are just not alike any more.
_TURNED = np.array([appearance.TURNED])
#: What a host holds but for one site in a thousand.
_INSIDE = 0.999
#: Added where atoms look different from the host's: such mergers come last.
_LAST = 1e3
#: A stay counts as this many sightings at most.
MOST_SIGHTINGS = 20


@dataclass(frozen=True, eq=False)
class _Cloud:
    """What counts of weighted points."""

    middle: Array  # (D,)
    covariance: Array  # (D, D)
    variance: float  # of all axes together, unbiased
    size: float  # effective number of points


def _cloud(points: Array, weight: Array) -> _Cloud:
    total = weight.sum()
    middle = weight @ points / total
    away = points - middle
    covariance = (away.T * weight) @ away / total
    size = float(total**2 / np.sum(weight**2))
    return _Cloud(middle, covariance, float(np.trace(covariance)) * size / max(size - 1, 0.5), size)


def separation(one: _Cloud, other: _Cloud) -> float:
    """Distance of the middles of two clouds in their widths along the line that joins them.

    What a few points scatter by chance is taken off the distance.
    """
    line = other.middle - one.middle
    squared = float(line @ line)
    if squared == 0:
        return 0.0
    size = one.size + other.size
    within = (one.size * one.covariance + other.size * other.covariance) / size
    width = math.sqrt(max(float(line @ within @ line), 0.0) / squared)
    chance = _CHOSEN * sum(cloud.variance / cloud.size for cloud in (one, other))
    return math.sqrt(max(squared - chance, 0.0)) / max(width, _LEAST_WIDTH)


def _valley_cost(separated: float, least: float) -> float:
    """Cost of a merger of groups so many widths apart; 1 where a valley begins."""
    return _BY_VALLEY + (1 - _BY_VALLEY) * separated / least


class Likeness:
    """Cost of merging groups of E environments; below 1 they are one unit.

    Parameters
    ----------
    stays
        Stays of the sites, in the space where the noise is the identity.
    environment
        Environment (S,) of each stay.
    hosts
        Hosts of the stays.
    sites
        What the table tells of each site.
    ring
        Code (E,) of the group of unusual rings that each environment is at, 0 for usual ones.
    min_places
        What occurs at fewer places of the lattice is irregular.
    unstable
        Environments (E,) that other starts did not find again: they are irregular, too, or part
        of the host where they look like it at all.
    loose
        Environments (E,) of units that other starts cut otherwise: what recurs and looks like the
        host at all is part of it, and distorted atoms of a host that are bonded to others of such
        are one unit with them.
    bonds
        Pairs of sightings (M, 2) that are bonded; without them nothing is joined so.
    turn
        Misorientation (N,) of each sighting in radians, NaN where it is not known: atoms that are
        turned against their neighbours are no host's, however alike their neighbours lie.
    """

    def __init__(
        self,
        stays: Stays,
        environment: Ids,
        hosts: Hosts,
        sites: Evidence,
        ring: Ids,
        *,
        min_places: int,
        unstable: Mask | None = None,
        loose: Mask | None = None,
        bonds: Ids | None = None,
        turn: Array | None = None,
    ) -> None:
        weight = np.minimum(stays.count, MOST_SIGHTINGS).astype(float)
        own = environment[stays.label]
        central = appearance.comparable(sites.central)
        self._stays, self._weight, self._environment = stays, weight, environment
        self._hosts = hosts.middles(environment, ring == USUAL).tolist()
        self._ring = ring
        numbers = range(int(environment.max(initial=-1)) + 1)
        rows = [own == number for number in numbers]
        self._typical = [appearance.median_of_known(central[mine]) for mine in rows]
        self._kind = [kind_of(sites.kind[mine]) for mine in rows]
        self._once = [len(np.unique(sites.place[mine])) < min_places for mine in rows]
        self._unstable = np.zeros(len(rows), bool) if unstable is None else unstable
        self._once = [
            once or bool(out) for once, out in zip(self._once, self._unstable, strict=True)
        ]
        self._loose = np.zeros(len(rows), bool) if loose is None else loose
        self._rows, self._central, self._kinds = rows, central, sites.kind
        self._beside = np.zeros((len(own), len(rows)), bool)
        if bonds is not None and self._loose.any():
            self._beside = _beside(bonds, own, len(rows))
        turned = (np.full(len(own), np.nan) if turn is None else turn)[:, None]
        self._turn = [appearance.median_of_known(turned[mine]) for mine in rows]
        self._bodies = dict(zip(self._hosts, hosts.bodies, strict=False))
        self._tolerance, self._turn_tolerance = {}, {}
        for number, host in enumerate(self._hosts):
            core = hosts.core(number)[stays.label]
            self._typical[host] = appearance.median_of_known(central[core])
            self._tolerance[host] = _tolerance(central, stays, core, appearance.TOLERANCE)
            self._turn[host] = appearance.median_of_known(turned[core])
            self._turn_tolerance[host] = _tolerance(turned, stays, core, _TURNED)
        self._clouds: dict[tuple[int, ...], _Cloud] = {}

    def __call__(self, one: list[int], other: list[int]) -> float:
        """Cost of merging two groups; inf for two hosts."""
        hosts = [number for number in (*one, *other) if number in self._hosts]
        if len(hosts) > 1:
            return math.inf
        apart = separation(self._cloud_of(one), self._cloud_of(other))
        by_valley = _valley_cost(apart, _VALLEY)
        rings = {int(self._ring[number]) for number in (*one, *other)}
        if hosts and len(rings) == 1:
            return self._to_host(other if hosts[0] in one else one, hosts[0], apart)
        if len(rings) > 1:
            if hosts:
                return _LAST + by_valley
            # too rare to be a unit: its rings may be part of a larger group, which has no name
            rare = any(all(self._once[number] for number in group) for group in (one, other))
            return _BY_LOOKS if rare and self._look_alike(one, other) else max(by_valley, 1.0)
        return self._apart_from_host(one, other, apart)

    def _apart_from_host(self, one: list[int], other: list[int], separated: float) -> float:
        """Cost of merging two groups at the same rings of which none is a host."""
        by_valley = _valley_cost(separated, _VALLEY)
        if self._ring[one[0]] != USUAL and self._same_species(one[0], other[0]):
            return _BY_RINGS
        if self._ring.any() and self._look_alike(one, other):
            return _BY_LOOKS
        if self._one_defect(one, other):
            return _BY_CONTACT
        irregular = [all(self._once[number] for number in group) for group in (one, other)]
        unstable = [all(self._unstable[number] for number in group) for group in (one, other)]
        if all(irregular) and self._same_brightness(one[0], other[0]):
            return _LATE if any(unstable) else _BY_CHANCE
        if any(unstable):  # the valley was not seen again from other starts
            return _valley_cost(separated, _UNSTABLE_VALLEY)
        # an environment that recurs is no part of what does not
        return max(by_valley, 1.0) if any(irregular) else by_valley

    def _to_host(self, group: list[int], host: int, separated: float) -> float:
        """Cost of giving a group to a host."""
        by_valley = _valley_cost(separated, _VALLEY)
        if any(self._kind[number] != self._kind[host] for number in group):
            return _LAST + by_valley
        apart = [self._apart(number, host) for number in group]
        if all(difference < 1 for difference in apart):
            return _BY_LOOKS * max(apart)
        if math.isinf(max(apart)):  # nobody knows what the atoms look like
            inside = max(self._within_host(number, host) for number in group)
            if inside < 1:
                return _BY_LOOKS * inside
            if all(self._once[number] for number in group):  # a few in the host's outskirts
                return _valley_cost(separated, _UNSTABLE_VALLEY)
            return max(by_valley, 1.0)
        return _LAST + by_valley

    def _apart(self, number: int, host: int) -> float:
        """How much the atoms of an environment differ from a host's, and in how they are turned."""
        tolerance = self._tolerance_of(number, self._tolerance[host], appearance.TOLERANCE)
        looks = appearance.difference(self._typical[number], self._typical[host], tolerance)
        most = self._tolerance_of(number, self._turn_tolerance[host], _TURNED)
        turned = np.abs(self._turn[number] - self._turn[host]) / most
        return float(np.fmax(looks, turned)[0])  # without bonds it is not known

    def _tolerance_of(self, number: int, surely: Array, wide: Array) -> Array:
        """How far an environment may be from its host: surely alike, or alike at all.

        The flanks of a defect fade into the host, and where a slice of them ends is a matter of the
        start. So a slice that other starts cut otherwise is the host's if it looks like it at all;
        what does not recur is irregular, not a slice.
        """
        if self._unstable[number]:
            return surely / appearance.SURELY_ALIKE
        is_slice = self._loose[number] and not self._once[number]
        return np.maximum(surely, wide) if is_slice else surely

    def _within_host(self, number: int, host: int) -> float:
        """How far out an environment lies in the distribution of a host; below 1 it is part of it.

        The halves of a distribution cannot be told from separate clouds by a valley where there
        are more axes than points.
        """
        mine = self._environment == number
        points = self._stays.mean[mine]
        if not points.shape[1]:
            return 0.0
        distance = self._bodies[host].squared_distance(points)
        return float(np.median(distance) / chi2.ppf(_INSIDE, points.shape[1]))

    def _look_alike(self, one: list[int], other: list[int]) -> bool:
        """Whether atoms that are plainly no host's look alike, all of one and all of the other.

        Those that are only distorted fade into the host: they are left to the valleys.
        """
        group = (*one, *other)
        if any(self._same_species(number, host) for number in group for host in self._hosts):
            return False
        return all(
            self._kind[a] == self._kind[b]
            and appearance.difference(self._typical[a], self._typical[b]) < 1
            for a in one
            for b in other
        )

    def _same_species(self, one: int, other: int) -> bool:
        """Whether atoms have the same kind, number and brightness, and neighbours of the same."""
        if self._kind[one] != self._kind[other]:
            return False
        apart = np.abs(self._typical[one] - self._typical[other]) / appearance.TOLERANCE
        return not (apart[[0, -2, -1]] > 1).any()  # unknown ones are not told apart

    def _same_brightness(self, one: int, other: int) -> bool:
        if self._kind[one] != self._kind[other]:
            return False
        difference = abs(self._typical[one][-1] - self._typical[other][-1])
        return not difference > appearance.TOLERANCE[-1]  # unknown ones are not told apart

    def _one_defect(self, one: list[int], other: list[int]) -> bool:
        """Whether two groups are distorted atoms of a host, side by side, and cut by chance.

        A grain boundary fades into its host: where it is cut in two is a matter of the start. Where
        other starts did not find the smaller part at all, it need not touch the other.
        """
        if not any(self._loose[number] for number in (*one, *other)) or self._ring[one[0]] != USUAL:
            return False
        groups = [(np.any([self._rows[k] for k in group], axis=0), group) for group in (one, other)]
        (small, part), (large, whole) = sorted(groups, key=lambda rows: int(rows[0].sum()))
        touching = self._beside[small][:, whole].any(axis=1).mean() >= _TOUCHING
        if not touching and not any(self._unstable[k] for k in part):
            return False
        return all(self._like_a_host(rows) for rows in (small, large))

    def _like_a_host(self, rows: Mask) -> bool:
        """Whether sites (N,) have the kind, brightness and number of neighbours of a host's."""
        middle = appearance.median_of_known(self._central[rows])
        kind = kind_of(self._kinds[rows])
        return any(
            self._kind[host] == kind and appearance.same_species(middle, self._typical[host])
            for host in self._hosts
        )

    def _cloud_of(self, group: list[int]) -> _Cloud:
        key = tuple(sorted(group))
        if key not in self._clouds:
            mine = np.isin(self._environment, group)
            self._clouds[key] = _cloud(self._stays.mean[mine], self._weight[mine])
        return self._clouds[key]


def _tolerance(central: Array, stays: Stays, rows: NDArray[np.bool_], wide: Array) -> Array:
    """How far something may be from a host's: a matter of the host's own spread, too."""
    middle = appearance.median_of_known(central[rows])
    spread = appearance.median_of_known(np.abs(central[rows] - middle))
    seen = math.sqrt(max(float(np.median(stays.count[stays.label[rows]])), 1.0))
    noise = np.nan_to_num(1.4826 * spread) / seen
    tolerance: Array = np.maximum(appearance.SURELY_ALIKE * wide, appearance.ALIKE_SPREADS * noise)
    return tolerance


def _beside(bonds: Ids, environment: Ids, n_environments: int) -> Mask:
    """Whether each sighting (N,) has a neighbour in each environment (N, E)."""
    beside = np.zeros((len(environment), n_environments), bool)
    here, there = np.concatenate([bonds, bonds[:, ::-1]]).T
    beside[here, environment[there]] = True
    return beside
