"""Sites that are there, and sites found anew in some frames -> one table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.errors import InputError
from napari_rvae.layers.edits import EDITED, missing_value
from napari_rvae.tables import neighbour_distance, validate_sites

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["renew_sites"]

#: A site found nearer than this to one that a hand has set or deleted, in neighbour distances, is
#: that site.
_SAME_ND = 0.5


def renew_sites(
    sites: pd.DataFrame,
    found: pd.DataFrame,
    frames: Iterable[int],
    *,
    deleted: ArrayLike = (),
    keep_edited: bool = True,
    next_id: int = 0,
) -> pd.DataFrame:
    """Replace the sites of some frames by those that were found there anew.

    What a hand has done in these frames stays: sites that it has set or moved, and the gaps where
    it has deleted some. A new site within half a neighbour distance of either is left out. Sites
    of other frames stay as they are, whatever they are.

    Parameters
    ----------
    sites
        Sites table of one source; those set by hand have 1 in the column ``edited``.
    found
        Sites table of the frames that were looked at again.
    frames
        Numbers of these frames, of those in which nothing was found as well.
    deleted
        Places (N, 3) as (frame, y, x) in pixels of sites that were deleted by hand.
    keep_edited
        False to take what was found, whatever a hand has done in these frames.
    next_id
        New sites are numbered from here, or from the largest ``site_id`` + 1 if that is more.

    Returns
    -------
    DataFrame
        Sites table: first the sites that stay, in their order and with their ``site_id``, then the
        new ones, with numbers that were not there. It has the columns of both; what new sites
        lack, such as latents, is NaN, -1 (whole numbers), "" (words) or False.

    Raises
    ------
    InputError
        If either table is no sites table, or holds several sources; if `frames` are no whole
        numbers, or `deleted` no places.

    Examples
    --------
    >>> from napari_rvae import renew_sites
    >>> from napari_rvae.tables import make_sites
    >>> old = make_sites(frame=[0, 1], y=[5.0, 5.0], x=[6.0, 6.0])
    >>> new = make_sites(frame=1, y=[5.5, 9.0], x=[6.0, 6.0])
    >>> renew_sites(old, new, [1])[["site_id", "frame", "y"]].to_numpy().tolist()
    [[0.0, 0.0, 5.0], [2.0, 1.0, 5.5], [3.0, 1.0, 9.0]]
    """
    sites, found = validate_sites(sites), validate_sites(found)
    for table in (sites, found):
        if len(table["source"].unique()) > 1:
            raise InputError("The sites come from several movies: renew those of one at a time.")
    numbers, gaps = _numbers(frames), _places(deleted)
    again = sites["frame"].isin(numbers)
    by_hand = sites[EDITED] == 1 if EDITED in sites and keep_edited else again & False
    kept, new = sites[~again | by_hand], found[found["frame"].isin(numbers)]
    if keep_edited:
        place = ["frame", "y", "x"]
        hand = np.concatenate([sites.loc[again & by_hand, place].to_numpy(float), gaps])
        new = new[~_near(new[place].to_numpy(float), hand, _reach(found, sites))]
    first = max(next_id, int(sites["site_id"].max()) + 1 if len(sites) else 0)
    new = new.assign(site_id=first + np.arange(len(new)))
    if len(sites):
        new = new.assign(source=sites["source"].iloc[0])
    return _stacked(kept, new)


def _numbers(frames: Iterable[int]) -> NDArray[np.int64]:
    """Numbers of frames, each once."""
    try:
        given = np.asarray(list(frames), float)
    except (TypeError, ValueError):
        given = np.array([np.nan])
    if not (np.isfinite(given) & (given == np.rint(given))).all():
        raise InputError("frames are no whole numbers: give those of the frames to renew.")
    return np.unique(given.astype(np.int64))


def _places(deleted: ArrayLike) -> NDArray[np.float64]:
    """Places (N, 3) of sites that were deleted."""
    try:
        places = np.asarray(deleted, float)
    except (TypeError, ValueError):
        places = np.zeros(1)
    if places.size and places.shape[1:] != (3,):
        raise InputError("deleted has another shape than (N, 3): give frame, y and x of each site.")
    return places.reshape(-1, 3)


def _reach(found: pd.DataFrame, sites: pd.DataFrame) -> float:
    """Distance in pixels within which two sites are one; 0 where no scale is known."""
    known = [d for d in map(neighbour_distance, (found, sites)) if math.isfinite(d)]
    return _SAME_ND * known[0] if known else 0.0


def _near(
    places: NDArray[np.float64], others: NDArray[np.float64], reach: float
) -> NDArray[np.bool_]:
    """Which places (frame, y, x) lie within reach of one of the others in the same frame."""
    from scipy.spatial import cKDTree

    near = np.zeros(len(places), bool)
    for frame in np.unique(others[:, 0]):
        here = places[:, 0] == frame
        there = others[others[:, 0] == frame, 1:]
        near[here] = np.asarray(cKDTree(there).query(places[here, 1:])[0]) <= reach
    return near


def _stacked(kept: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Rows of both tables, with the columns of both, each of the type that it had."""
    columns: dict[str, Any] = {}
    for name in dict.fromkeys((*kept.columns, *new.columns)):
        kind = (kept if name in kept else new)[name]  # those that stay say which type it is
        fill = 0.0 if name == EDITED else missing_value(kind)
        parts = [
            table[name].astype(kind.dtype)
            if name in table
            else pd.Series([fill] * len(table), dtype=kind.dtype)
            for table in (kept, new)
        ]
        columns[name] = pd.concat([part for part in parts if len(part)] or parts[:1])
    return pd.DataFrame({name: values.array for name, values in columns.items()})
