"""Atoms at the rim of a unit of distorted atoms: they are part of it, or of the host around it.

Environments are judged as a whole, by what is typical of them. Some hold atoms of both kinds: most
look like the host's, a few do not. What such an atom looks like, how it is turned against its
neighbours, and which unit these are of, together say where it belongs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_rvae.analysis import appearance
from napari_rvae.analysis.units.ring_codes import USUAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_rvae.analysis.units.model import UnitModel
    from napari_rvae.analysis.units.sites import Evidence

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["stay_means", "with_contacts"]

#: A crop shows two shells of neighbours: a unit reaches so many bonds farther at most.
_ROUNDS = 2
#: How far a host's atom looks from its host is told by all but its brightness and that of its
#: neighbours: these say which element it is.
_SHAPE = slice(0, -2)
#: Squared distance from a host's atoms beyond which an atom is plainly distorted: nearly that of
#: one whose looks and turn are both just not alike any more. 1.6 to 2.5 serve as well; with 1,
#: a boundary takes in more of the host's atoms than of its own.
_PLAINLY = 1.8
#: Odds are never taken for less.
_LEAST_ODDS = 1e-3


def with_contacts(
    membership: Array,
    groups: Sequence[Ids],
    model: UnitModel,
    sites: Evidence,
    bonds: Ids,
    turn: Array,
) -> Array:
    """Draw the line between a host and the units of distorted atoms in it, atom by atom.

    The odds that a sighted atom is of such a unit and not of its host are :math:`(d^2 + t^2) n /
    1.8`: d is how far it looks from the host's atoms, 1 where those would just not be taken for
    alike, t the same of the turn of its bonds against those of its neighbours, and n the number of
    its neighbours in the unit. An atom between two grains may have bonds like any other, and be
    turned. All are means over all sightings of its stay. A host's atom goes to the unit where the
    odds are above 1, and one of the unit to the host where they are below, as if it had a neighbour
    in the unit at least; but only where most atoms of the unit are plainly distorted. Two rounds,
    as in iterated conditional modes (J. Besag, J. R. Stat. Soc. B 48, 259 (1986)).

    Parameters
    ----------
    membership
        Probability (N, E) of each environment, NaN for sites that are of none.
    groups
        Environments of each unit.
    model
        Says which of them are hosts, and which are at unusual rings: what is at these is known by
        them, and takes no one in.
    sites
        What is known of the sites.
    bonds
        Pairs of rows (M, 2) that are bonded.
    turn
        Misorientation (N,) of each site in radians, NaN where it is not known
        (:func:`~napari_rvae.analysis.strain.misorientations`).

    Returns
    -------
    ndarray
        Probabilities (N, E); those of a host and of the unit's likeliest environment change.
    """
    member = membership.copy()
    known = np.isfinite(member).all(axis=1) & bool(member.shape[1])
    if not known.any() or not len(bonds):
        return member
    unit_of = np.full(model.n_environments, -1, np.int64)
    for number, members in enumerate(groups):
        unit_of[members] = number
    environment = np.where(known, np.nan_to_num(member).argmax(axis=1), -1)
    stay = np.unique(np.stack([sites.place, environment]), axis=1, return_inverse=True)[1]
    stay = stay.reshape(-1)
    count = np.bincount(stay)
    central = appearance.comparable(sites.central)
    seen = np.column_stack([central[:, _SHAPE], np.nan_to_num(turn)])
    unit = np.where(known, unit_of[environment], -1)
    hosts = sorted({int(unit_of[host]) for host in model.host})
    typical = [appearance.median_of_known(central[unit == number]) for number in range(len(groups))]
    rims = [
        number
        for number, members in enumerate(groups)
        if number not in hosts and (model.ring[members] == USUAL).all()
    ]
    for host in hosts:
        own = [number for number in rims if appearance.same_species(typical[number], typical[host])]
        off = _off_host(seen, stay, count, unit == host) / _PLAINLY if own else np.zeros(0)
        plain = [number for number in own if np.median(off[stay[unit == number]]) > 1]
        for _ in range(_ROUNDS if own else 0):
            beside = _neighbours(bonds, unit, own, stay, len(count)) / count[:, None]
            odds = (off * beside.max(axis=1))[stay]
            taker = np.array(own)[beside.argmax(axis=1)[stay]]
            kept = (off[:, None] * np.maximum(beside, 1))[stay]
            for number, stays in zip(own, kept.T, strict=True):
                rows = np.flatnonzero((unit == host) & (odds > 1) & (taker == number))
                unit[_take(member, rows, groups[host], groups[number], odds[rows])] = number
                if number in plain:
                    rows = np.flatnonzero((unit == number) & (stays < 1))
                    against = 1 / np.maximum(stays[rows], _LEAST_ODDS)
                    unit[_take(member, rows, groups[number], groups[host], against)] = host
    return member


def stay_means(values: Array, stay: Ids, count: Ids) -> Array:
    """Mean values (S, K) of the sightings of each stay; NaN where one is not known."""
    sums = [np.bincount(stay, column, len(count)) for column in values.T]
    return np.stack(sums, axis=1) / count[:, None]


def _off_host(seen: Array, stay: Ids, count: Ids, own: Mask) -> Array:
    """How far each stay (S,) looks from a host's atoms, squared; 1 is just not alike any more."""
    mean = stay_means(seen, stay, count)
    middle = appearance.median_of_known(mean[stay[own]])
    spread = appearance.median_of_known(np.abs(seen[own] - middle))
    noise = np.nan_to_num(1.4826 * spread) / np.sqrt(count)[:, None]
    least = appearance.SURELY_ALIKE * np.append(appearance.TOLERANCE[_SHAPE], appearance.TURNED)
    tolerance = np.maximum(least, appearance.ALIKE_SPREADS * noise)
    off = np.nan_to_num(np.abs(mean - middle) / tolerance)
    squared: Array = off[:, :-1].max(axis=1) ** 2 + off[:, -1] ** 2
    return squared


def _neighbours(bonds: Ids, unit: Ids, which: Sequence[int], stay: Ids, n_stays: int) -> Ids:
    """Neighbours (S, W) in each of some units that all sightings of each stay have together."""
    here, there = np.concatenate([bonds, bonds[:, ::-1]]).T
    counts = [np.bincount(stay[here[unit[there] == k]], minlength=n_stays) for k in which]
    return np.stack(counts, axis=1)


def _take(member: Array, rows: Ids, host: Ids, taker: Ids, odds: Array) -> Ids:
    """Give a part of a host's share to the likeliest environment of another unit, in place.

    Returns the rows whose likeliest environment it is now; the others are left alone.
    """
    share = (odds / (1 + odds))[:, None]
    taken = member[np.ix_(rows, host)] * share
    best = taker[member[np.ix_(rows, taker)].argmax(axis=1)]
    changed = member[rows]
    changed[:, host] -= taken
    each = np.arange(len(rows))
    changed[each, best] += taken.sum(axis=1)
    first = changed.argmax(axis=1) == best
    member[rows[first]] = changed[first]
    kept: Ids = rows[first]
    return kept
