"""Units <-> the Points layer of their sites."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.errors import InputError
from napari_rvae.layers.colours import known_categories, known_colours, note_categories
from napari_rvae.layers.place import METADATA_KEY, layer_kind, provenance, record_of
from napari_rvae.layers.recolour import color_points

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_rvae.analysis.units import Units

__all__ = ["points_of", "rows_of_sites", "show_units", "units_from_layer", "units_of_points"]

#: Columns of units in the features of a layer.
_COLUMNS = ("unit", "unit_probability", "environment", "environment_probability")


def show_units(layer: Any, units: Units, *, color: bool = True) -> None:
    """Put units into a Points layer of their sites, in place.

    Parameters
    ----------
    layer
        Points layer of :func:`~napari_rvae.points_layer`. Points that the units do not know, such
        as those set by hand since, have none.
    units
        What :func:`~napari_rvae.find_units` returned, or an edit of it.
    color
        Colour the points by their unit, with the units' names in the legend.

    Raises
    ------
    InputError
        If it is no layer of sites.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import Units, add_layers, points_layer, show_units
    >>> from napari_rvae.tables import make_sites
    >>> import pandas as pd
    >>> sites = make_sites(frame=0, y=[1.0, 5.0], x=[1.0, 1.0])
    >>> table = sites[["site_id"]].assign(unit=[0, 1], unit_probability=1.0)
    >>> summary = pd.DataFrame({"unit": [0, 1], "name": ["host", "edge"], "count": 1})
    >>> (layer,) = add_layers(ViewerModel(), points_layer(sites))
    >>> show_units(layer, Units(table, summary))
    >>> layer.features["unit"].tolist(), layer.name
    ([0, 1], 'unit')
    """
    features = _features_of(layer)
    known = units.table[["site_id", *(name for name in _COLUMNS if name in units.table)]]
    old = [name for name in _COLUMNS if name in features]
    joined = features.drop(columns=old).merge(known, on="site_id", how="left", sort=False)
    for name in ("unit", "environment"):
        if name in joined:
            joined[name] = joined[name].fillna(-1).astype("int64")
    record = layer.metadata.setdefault(METADATA_KEY, provenance("sites", None)[METADATA_KEY])
    note_categories(record, "unit", units.names, units.colors)
    with warnings.catch_warnings():
        # napari says so of a column of colours that is put in anew
        warnings.filterwarnings("ignore", "property used for")
        layer.features = joined
    if color or record.get("column") == "unit":
        color_points(layer, "unit", categories=units.names, colors=units.colors)


def units_from_layer(layer: Any) -> Units | None:
    """Units as the features of a layer know them, without what merging and splitting needs.

    Parameters
    ----------
    layer
        Points layer of sites.

    Returns
    -------
    Units or None
        Counted anew; None where the features have no column ``unit``, or all of it is -1.

    Raises
    ------
    InputError
        If it is no layer of sites.

    Examples
    --------
    >>> from napari.layers import Points
    >>> from napari_rvae import units_from_layer
    >>> points = Points([[5, 5], [5, 9]], features={"site_id": [0, 1], "unit": [0, 3]})
    >>> units_from_layer(points).names
    {0: 'unit 0', 3: 'unit 3'}
    """
    from napari_rvae.analysis.units import Units  # loads scikit-learn

    features = _features_of(layer)
    if "unit" not in features or not (features["unit"].fillna(-1) >= 0).any():
        return None
    record = record_of(layer)
    names, colors = known_categories(record, "unit"), known_colours(record, "unit")
    table = features[["site_id", *(name for name in _COLUMNS if name in features)]]
    table = table.assign(unit=table["unit"].fillna(-1).astype("int64")).reset_index(drop=True)
    if "unit_probability" not in table:
        table["unit_probability"] = np.nan
    counts = table.loc[table["unit"] >= 0, "unit"].value_counts().sort_index()
    summary = pd.DataFrame({"unit": counts.index, "count": counts.to_numpy()})
    summary["name"] = [names.get(str(unit), f"unit {unit}") for unit in summary["unit"]]
    summary["share"] = summary["count"] / max(int(summary["count"].sum()), 1)
    if colors:
        fallback = Units(table, summary).colors
        summary["color"] = [colors.get(str(unit), fallback[unit]) for unit in summary["unit"]]
    return Units(table, summary)


def points_of(layer: Any, units: list[int], *, frame: int | None = None) -> NDArray[np.int64]:
    """Numbers of the points of some units, of one frame or of all."""
    features = _features_of(layer)
    if "unit" not in features:
        return np.empty(0, np.int64)
    chosen = features["unit"].isin(units)
    if frame is not None and "frame" in features:
        chosen &= features["frame"] == frame
    return np.flatnonzero(chosen)


def units_of_points(layer: Any, rows: Iterable[int]) -> list[int]:
    """Units of some points, by their numbers; ascending, without -1."""
    features = _features_of(layer)
    if "unit" not in features:
        return []
    units = features["unit"].to_numpy(np.int64)[list(rows)]
    return [int(unit) for unit in np.unique(units) if unit >= 0]


def rows_of_sites(layer: Any, site_id: ArrayLike) -> NDArray[np.int64]:
    """Numbers of the points of some sites that are still there."""
    return np.flatnonzero(_features_of(layer)["site_id"].isin(np.asarray(site_id, np.int64)))


def _features_of(layer: Any) -> pd.DataFrame:
    if layer_kind(layer) != "Points":
        name = getattr(layer, "name", "")
        raise InputError(f"Layer {name!r} is a {layer_kind(layer)} layer: choose a Points layer.")
    features: pd.DataFrame = layer.features
    if "site_id" not in features:
        raise InputError(f"Layer {layer.name!r} holds no sites: detect atoms first.")
    return features
