"""What the user adds, deletes and moves by hand -> a sites table that is true again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.errors import InputError
from napari_rvae.layers.place import layer_kind, record_of
from napari_rvae.tables import SITE_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Mask = NDArray[np.bool_]

__all__ = ["EDITED", "missing_value", "new_site", "settle_edits", "settle_layer"]

#: Column that says which sites a hand has set or moved.
EDITED = "edited"

_NEEDED = ("site_id", "frame", "y", "x")


def settle_edits(data: ArrayLike, features: pd.DataFrame, *, next_id: int = 0) -> pd.DataFrame:
    """Make the features of sites true again after points were added, deleted or moved by hand.

    An added point comes with a copy of the features of some other point. So, of several rows with
    one ``site_id``, the one whose position agrees with its point is the original (the first, where
    that does not decide); the others are new sites: with a new ``site_id``, kind "atom", and
    nothing measured. A point that was moved keeps ``site_id``, ``source`` and ``kind``; whatever
    else was measured, the fitted amplitude included, was measured elsewhere and is taken away.
    Both are marked in the column ``edited``.

    Parameters
    ----------
    data
        Points (N, 3) as (frame, y, x), or (N, 2) as (y, x) of one image, in pixels.
    features
        Features (N rows): a sites table as it was before the edits, with napari's copies.
    next_id
        New sites are numbered from here, or from the largest ``site_id`` + 1 if that is more.

    Returns
    -------
    DataFrame
        The features themselves if nothing has changed; else a table of the same columns in the
        order of the points, with NaN, -1 (whole numbers), "" (words) or False for what is not known
        any more, and ``edited``, 1 where a hand has set or moved the site and 0 elsewhere.

    Raises
    ------
    InputError
        If a column of positions is missing, or there is not one row for each point.

    Examples
    --------
    >>> from napari_rvae.layers import settle_edits
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[1.0, 5.0], x=[2.0, 6.0], z0=[0.1, 0.2])
    >>> settle_edits([[1.0, 2.0], [5.0, 7.0]], sites)["z0"].tolist()
    [0.1, nan]
    """
    points = _checked_points(data, features)
    ids = pd.to_numeric(features["site_id"]).fillna(-1).to_numpy(np.int64, copy=True)
    place = _places(points, features)
    # in the precision of the points, which napari may hold with fewer digits
    agree = np.ones(len(points), bool)
    for name, values in place.items():
        agree &= features[name].to_numpy(float).astype(values.dtype) == values
    added = _added(ids, agree)
    if agree.all() and not added.any():
        return features
    table = features.reset_index(drop=True)
    edited = table[EDITED].to_numpy(float) if EDITED in table else np.zeros(len(table))
    for name in table.columns.difference(list(SITE_COLUMNS)):
        table[name] = _without(table[name], added | ~agree)
    # a copy of an edited site that nobody has settled is edited by itself
    table[EDITED] = np.where(added | ~agree, 1.0, np.nan_to_num(edited))
    first = max(next_id, int(ids.max(initial=-1)) + 1)
    ids[added] = first + np.arange(added.sum())
    if points.shape[1] == 2 and not added.all():  # one image: a point cannot tell its frame
        place["frame"] = np.where(added, place["frame"][~added][0], place["frame"])
    table = table.assign(site_id=ids, frame=place["frame"].astype(np.int64))
    table = table.assign(**{name: place[name].astype(float) for name in ("y", "x")})
    if "kind" in table:
        table["kind"] = table["kind"].where(~added, "atom")
    return table


def _checked_points(data: ArrayLike, features: pd.DataFrame) -> NDArray[Any]:
    """Points (N, 2) or (N, 3), after the checks."""
    missing = [name for name in _NEEDED if name not in features]
    if missing:
        raise InputError(f"The features lack the column {', '.join(missing)}: give those of sites.")
    points = np.asarray(data)
    if points.size == 0:
        points = np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise InputError(f"Points of shape {points.shape}: give (N, 3) or, in one image, (N, 2).")
    if len(points) != len(features):
        raise InputError(f"There are {len(points)} points but {len(features)} rows of features.")
    return points if points.dtype.kind == "f" else points.astype(float)


def _places(points: NDArray[Any], features: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Frame, y and x (N,) of the points."""
    frame = (
        np.rint(points[:, 0])
        if points.shape[1] == 3
        else pd.to_numeric(features["frame"]).fillna(0).to_numpy(float)
    )
    return {"frame": frame, "y": points[:, -2], "x": points[:, -1]}


def _added(ids: NDArray[np.int64], agree: Mask) -> Mask:
    """Which rows are new sites: all but the original of each number."""
    if not pd.Index(ids).has_duplicates:
        return ids < 0
    # the rows of a number follow each other, those in their place first, then as they stand
    order = np.lexsort((np.arange(ids.size), ~agree, ids))
    added = np.zeros(ids.size, bool)
    added[order[1:]] = ids[order[1:]] == ids[order[:-1]]
    return added | (ids < 0)


def _without(column: pd.Series[Any], rows: Mask) -> pd.Series[Any]:
    """Column in which some rows have no value."""
    if column.dtype.kind == "u":
        column = column.astype("int64")
    return column.mask(rows, missing_value(column))


def missing_value(column: pd.Series[Any]) -> Any:
    """Value that stands for none in a column of this type: NaN, -1, False, "" or None."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return None
    return {"f": np.nan, "i": -1, "u": 0, "b": False}.get(column.dtype.kind, "")


def new_site(features: pd.DataFrame) -> dict[str, Any]:
    """Features of a point that is set by hand: napari's defaults would be another point's.

    Parameters
    ----------
    features
        Sites table.

    Returns
    -------
    dict
        One value a column: ``site_id`` -1, kind "atom", the source and the frame of the first
        site, and nothing measured.
    """
    values = {str(name): missing_value(features[name]) for name in features}
    known = {"frame": 0, "kind": "atom"}
    if len(features):
        known |= {name: features[name].iloc[0] for name in ("source", "frame") if name in features}
    return values | {name: value for name, value in known.items() if name in values}


def settle_layer(layer: Any) -> bool:
    """Make the features of a Points layer true again, in place; see :func:`settle_edits`.

    Parameters
    ----------
    layer
        A layer of :func:`~napari_rvae.points_layer`. Points of the user's own are left alone.

    Returns
    -------
    bool
        Whether anything had changed. The numbers of deleted sites are not used again: the layer's
        metadata remember where the new ones start.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import add_layers, points_layer
    >>> from napari_rvae.layers import settle_layer
    >>> from napari_rvae.tables import make_sites
    >>> (layer,) = add_layers(ViewerModel(), points_layer(make_sites(frame=0, y=[1.0], x=[2.0])))
    >>> layer.add([7.0, 8.0])
    >>> settle_layer(layer), layer.features["site_id"].tolist()
    (True, [0, 1])
    """
    if layer_kind(layer) != "Points" or any(name not in layer.features for name in _NEEDED):
        return False
    record = record_of(layer)
    features = settle_edits(layer.data, layer.features, next_id=record.get("next_site_id", 0))
    if features is layer.features:
        return False
    layer.features = features
    layer.feature_defaults = new_site(features)  # there is a row, or nothing had changed
    record["next_site_id"] = max(record.get("next_site_id", 0), int(features["site_id"].max()) + 1)
    return True
