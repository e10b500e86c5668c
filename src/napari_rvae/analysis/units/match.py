"""Which new unit is an old one, found again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from napari_rvae.analysis import appearance
from napari_rvae.analysis.descriptors import DESCRIPTOR_COLUMNS
from napari_rvae.analysis.units.result import Identity, identities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units.result import Units

    Array = NDArray[np.float64]

__all__ = ["recognised"]

#: Sites are the same in two tables if so many of them have the same descriptors.
_SAME_SITES = 0.9
#: Two units of the same sites are one if they share so much of either.
_LEAST_OVERLAP = 0.5
#: Two units of other sites are one if their central atoms differ by so many tolerances in the mean.
_FARTHEST = 0.7


def recognised(new: Units, old: Units) -> dict[int, Identity]:
    """Identities of the old units by the numbers of the new ones that are recognisably the same.

    Where both are of the same sites, by the sites they share; else by what their central atoms
    look like.
    """
    if not len(new) or not len(old):
        return {}
    likeness = _overlap(new, old)
    least = _LEAST_OVERLAP
    if likeness is None:
        likeness, least = _resemblance(new, old), 0.0
    left, right = linear_sum_assignment(-likeness)
    mine, theirs = new.summary["unit"].tolist(), old.summary["unit"].tolist()
    known = identities(old)
    return {
        mine[i]: known[theirs[j]]
        for i, j in zip(left.tolist(), right.tolist(), strict=True)
        if likeness[i, j] > least
    }


def _overlap(new: Units, old: Units) -> Array | None:
    """Sites in both over sites in either (U, V); None where the tables are of other sites."""
    if new.evidence is None or old.evidence is None:
        return None
    position = pd.Index(old.table["site_id"]).get_indexer(new.table["site_id"])
    mine = np.flatnonzero(position >= 0)
    theirs = position[mine]
    if len(mine) < min(len(new.table), len(old.table)) / 2:
        return None
    difference = np.abs(new.evidence.central[mine] - old.evidence.central[theirs])
    same = np.nanmax(np.nan_to_num(difference), axis=1) < 1e-6
    if same.mean() < _SAME_SITES:
        return None
    here, there = new.table["unit"].to_numpy()[mine], old.table["unit"].to_numpy()[theirs]
    counts = np.array(
        [
            [np.sum((here == a) & (there == b)) for b in old.summary["unit"]]
            for a in new.summary["unit"]
        ],
        float,
    )
    total_here = np.array([np.sum(here == a) for a in new.summary["unit"]])
    total_there = np.array([np.sum(there == b) for b in old.summary["unit"]])
    either = total_here[:, None] + total_there - counts
    overlap: Array = counts / np.maximum(either, 1)
    return overlap


def _resemblance(new: Units, old: Units) -> Array:
    """How much less than allowed the central atoms differ (U, V); below 0 where they are others."""
    fingerprints = [
        appearance.comparable(units.summary[list(DESCRIPTOR_COLUMNS)].to_numpy(float))
        for units in (new, old)
    ]
    apart = np.abs(fingerprints[0][:, None] - fingerprints[1][None]) / appearance.TOLERANCE
    unknown = np.isnan(fingerprints[0])[:, None] != np.isnan(fingerprints[1])[None]
    distance = np.mean(np.where(unknown, 2.0, np.nan_to_num(apart)), axis=2)
    share = [
        np.log(np.maximum(units.summary["share"].to_numpy(float), 1e-6)) for units in (new, old)
    ]
    # of two that look alike, the one that is as common
    distance += 0.02 * np.abs(share[0][:, None] - share[1][None])
    host = [units.summary["is_host"].to_numpy(bool) for units in (new, old)]
    distance += np.where(host[0][:, None] != host[1][None], 1.0, 0.0)
    likeness: Array = _FARTHEST - distance
    return likeness
