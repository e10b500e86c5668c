"""What occurs at fewer places than a unit needs: it goes to another unit, or to none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_rvae.analysis import appearance
from napari_rvae.analysis.units.sites import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_rvae.analysis.units.model import UnitModel
    from napari_rvae.analysis.units.sites import Evidence

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["find_scraps", "unlike_others", "with_environments"]


def find_scraps(
    environment: Ids, groups: Sequence[Ids], host: Ids, place: Ids, min_places: int
) -> Mask:
    """Environments (E,) of groups, without a host, at fewer than `min_places` places.

    Parameters
    ----------
    environment
        Environment (N,) of each site.
    groups
        Environments of each group.
    host
        Environments that are hosts.
    place
        Lattice site (N,).
    min_places
        Places that a unit needs.
    """
    scraps = np.zeros(sum(len(members) for members in groups), bool)
    for members in groups:
        rows = np.isin(environment, members)
        if not np.isin(members, host).any() and len(np.unique(place[rows])) < min_places:
            scraps[members] = True
    return scraps


def unlike_others(environment: Ids, new: Ids, scraps: Mask, sites: Evidence) -> Mask:
    """Sites (N,) of scraps that are no atoms of the kind and brightness of where they would go.

    Parameters
    ----------
    environment
        Environment (N,) of each site.
    new
        The same without the scraps, numbered alike.
    scraps
        Environments (E,) that are scraps.
    sites
        What is known of the sites.
    """
    brightness = appearance.comparable(sites.central)[:, -1]
    unlike = np.zeros(len(environment), bool)
    for number in np.flatnonzero(scraps):
        mine = environment == number
        for other in np.unique(new[mine]):
            rows, there = mine & (new == other), (environment == other)
            typical = [
                appearance.median_of_known(brightness[own, None])[0] for own in (rows, there)
            ]
            other_kind = kind_of(sites.kind[rows]) != kind_of(sites.kind[there])
            apart = abs(typical[0] - typical[1]) > appearance.TOLERANCE[-1]
            unlike[rows] = other_kind or bool(apart)
    return unlike


def with_environments(model: UnitModel, membership: Array, kept: Mask) -> tuple[UnitModel, Array]:
    """Model and memberships (S, E) with some environments (E,) only; all others go to these.

    The model has one distribution for each environment; its hosts are numbered anew where they are
    kept.
    """
    number = np.cumsum(kept) - 1
    own = membership[:, kept] + 1e-300
    model = replace(
        model,
        mean=model.mean[kept],
        covariance=model.covariance[kept],
        weight=model.weight[kept],
        environment=np.arange(int(kept.sum())),
        host=number[model.host[kept[model.host]]].astype(np.int64),
        starts=model.starts[kept],
        ring=model.ring[kept],
        ring_error=model.ring_error[kept],
    )
    return model, own / own.sum(axis=1, keepdims=True)
