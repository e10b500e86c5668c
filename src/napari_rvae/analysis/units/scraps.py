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

__all__ = ["alike_environments", "find_scraps", "with_environments"]


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


def alike_environments(environment: Ids, n_environments: int, sites: Evidence) -> Mask:
    """Which environments (E, E) are of atoms of the same kind and brightness.

    Parameters
    ----------
    environment
        Environment (N,) of each site.
    n_environments
        Their number, E.
    sites
        What is known of the sites.
    """
    brightness = appearance.comparable(sites.central)[:, -1:]
    rows = [environment == number for number in range(n_environments)]
    typical = np.array([appearance.median_of_known(brightness[own])[0] for own in rows])
    kind = np.array([kind_of(sites.kind[own]) if own.any() else "" for own in rows])
    apart = np.abs(typical[:, None] - typical) > appearance.TOLERANCE[-1]
    alike: Mask = ~apart & (kind[:, None] == kind)  # unknown brightnesses are not told apart
    return alike


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
