"""Sites of another movie that few of the units may describe, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae.analysis import appearance
from napari_rvae.analysis.units.contact import stay_means
from napari_rvae.analysis.units.ring_classes import find_ring_classes
from napari_rvae.analysis.units.ring_codes import USUAL
from napari_rvae.config import UnitConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_rvae.analysis.units.model import UnitModel
    from napari_rvae.analysis.units.result import Units
    from napari_rvae.analysis.units.ring_codes import RingGroups
    from napari_rvae.analysis.units.sites import Evidence

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["at_new_rings", "without_strange"]

#: Number of neighbours, their brightness, and the atom's own: what says which atom it is.
_SPECIES = [0, -2, -1]
#: The range of a unit's atoms leaves out so much at either end.
_RARE = 0.01


def without_strange(
    units: Units, groups: Sequence[Ids], membership: Array, beyond: Mask, sites: Evidence, cut: Mask
) -> Array:
    """Memberships (N, E) of which those that cannot be are gone; NaN where none is left.

    Where the features lie beyond all that the units were found by, a unit is possible only if it
    has atoms such as this one: in the range of its own, within the tolerances, in the number of
    neighbours, its brightness, and theirs. Either by itself says little: another movie has other
    noise and focus, and a grain boundary is nowhere the same.

    Parameters
    ----------
    units
        Units that were found.
    groups
        Environments of each unit, in the order of their summary.
    membership
        Probability (N, E) of each environment, NaN for sites that are of none.
    beyond
        Sites (N,) whose features lie outside of all environments.
    sites
        What is known of the sites.
    cut
        Sites (N,) that the frame's edge, or an unknown one, may cut: neighbours may be missing.
    """
    known = np.isfinite(membership).all(axis=1)
    rows = np.flatnonzero(known & beyond)
    model, learned = units.model, units.evidence
    if not len(rows) or model is None or learned is None:
        return membership
    own = [units.table["unit"].to_numpy() == unit for unit in units.summary["unit"]]
    main = next((k for k, part in enumerate(groups) if np.isin(model.host[:1], part).any()), 0)
    before = _described(learned.central, own[main])
    low, high = np.stack([_range(before[mine]) for mine in own], axis=1)
    environment = np.where(known, np.nan_to_num(membership).argmax(axis=1), -1)
    stay = np.unique(np.stack([sites.place, environment]), axis=1, return_inverse=True)[1]
    stay = stay.reshape(-1)
    seen = _described(sites.central, np.isin(environment, groups[main]))
    seen[cut, 0] = np.nan
    mean = stay_means(seen, stay, np.bincount(stay))[stay[rows]][:, None]
    # what is unknown is no difference
    possible: Mask = ~np.any((mean < low) | (mean > high), axis=2)
    owner = np.zeros(membership.shape[1], np.int64)
    for number, members in enumerate(groups):
        owner[members] = number
    prior = np.bincount(model.environment, model.weight, membership.shape[1])
    changed = membership.copy()
    share = (membership[rows] + 1e-300 * (prior + 1e-6)) * possible[:, owner]
    total = share.sum(axis=1, keepdims=True)
    changed[rows] = np.where(total > 0, share / np.where(total > 0, total, 1.0), np.nan)
    return changed


def at_new_rings(model: UnitModel, rings: RingGroups, sites: Evidence) -> tuple[Mask, list[int]]:
    """Sites (N,) at groups of unusual rings that recur here and that no unit is at; their codes.

    Atoms of such a group look like known ones, each by itself: a turned bond is made of carbon with
    three neighbours. What a group needs to be a building block is the same as in a search
    (:func:`~napari_rvae.analysis.units.ring_classes.find_ring_classes`).

    Parameters
    ----------
    model
        What the units are recognised by.
    rings
        Group of unusual rings that each site is at.
    sites
        What is known of the sites.
    """
    if not model.bonded:  # nobody looked at rings then
        return np.zeros(len(rings.code), bool), []
    found = find_ring_classes(rings, sites.place, sites.frame, UnitConfig().min_places)
    new = np.setdiff1d(found.code, np.append(model.ring, USUAL))
    return np.isin(rings.code, new), new.tolist()


def _described(central: Array, host: Mask) -> Array:
    """What says which atom each is (N, 3), amplitudes relative to those of a host's sites (N,)."""
    relative = central.copy()
    relative[:, -2:] /= appearance.median_of_known(central[host])[-1]
    return appearance.comparable(relative)[:, _SPECIES]


def _range(seen: Array) -> Array:
    """Lowest and highest (2, 3) that a unit's atoms (N, 3) may be."""
    known = pd.DataFrame(seen).quantile([_RARE, 1 - _RARE]).to_numpy(float)
    wide = appearance.TOLERANCE[_SPECIES]
    return np.stack([known[0] - wide, known[1] + wide])
