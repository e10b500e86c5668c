"""Pathways -> the Points layer of their sites."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_rvae.errors import InputError
from napari_rvae.layers.place import layer_kind

if TYPE_CHECKING:
    from napari_rvae.analysis.kinetics.results import Pathways

__all__ = ["show_pathways"]

#: Columns of tracks, which come from the sites table.
_TRACKS = ("lattice_track_id", "track_id")


def show_pathways(layer: Any, pathways: Pathways, table: pd.DataFrame) -> None:
    """Put tracks and states into a Points layer of their sites, in place.

    Parameters
    ----------
    layer
        Points layer of :func:`~napari_rvae.points_layer`. Points that the table does not know, such
        as those set by hand since, have none.
    pathways
        What :func:`~napari_rvae.find_pathways` returned.
    table
        The linked sites table that it was found in.

    Raises
    ------
    InputError
        If it is no layer of sites.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import Pathways, add_layers, points_layer, show_pathways
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 1], y=[5.0, 5.0], x=[5.0, 5.0])
    >>> (layer,) = add_layers(ViewerModel(), points_layer(sites))
    >>> show_pathways(layer, Pathways(), sites.assign(track_id=4, lattice_track_id=4))
    >>> layer.features["track_id"].tolist(), layer.features["state"].tolist()
    ([4, 4], [-1, -1])
    """
    if layer_kind(layer) != "Points" or "site_id" not in layer.features:
        name = getattr(layer, "name", "")
        raise InputError(f"Layer {name!r} holds no sites: choose Points that were detected.")
    features: pd.DataFrame = layer.features
    states = pathways.table[["site_id", "state", "state_probability"]]
    tracks = [name for name in _TRACKS if name in table]
    known = table[["site_id", *tracks]].merge(states, on="site_id", how="left")
    old = [name for name in known if name in features and name != "site_id"]
    joined = features.drop(columns=old).merge(known, on="site_id", how="left", sort=False)
    for name in (*tracks, "state"):
        joined[name] = joined[name].fillna(-1).astype("int64")
    with warnings.catch_warnings():
        # napari says so of a column of colours that is put in anew
        warnings.filterwarnings("ignore", "property used for")
        layer.features = joined
