"""Linked sites -> tracks over the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames
from napari_rvae.layers.place import LayerTuple, placement, provenance
from napari_rvae.layers.sites import drawable
from napari_rvae.layers.styles import TrackStyle

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["tracks_layer"]


def tracks_layer(
    sites: pd.DataFrame,
    frames: Any = None,
    *,
    column: str = "track_id",
    color_by: str | None = None,
    source: str | None = None,
    name: str | None = None,
    style: TrackStyle | None = None,
) -> LayerTuple:
    """Make a Tracks layer of linked sites.

    Parameters
    ----------
    sites
        Sites table after :func:`~napari_rvae.link_sites`.
    frames
        Frames that the sites lie on.
    column
        "track_id" for atoms, "lattice_track_id" for places of the lattice.
    color_by
        Column of numbers to colour by; the track itself when left out.
    source
        Draw the sites of this source; needed where the table holds several.
    name
        Name of the layer.
    style
        Colours and sizes.

    Returns
    -------
    tuple
        Data (N, 4) as (track, frame, y, x), tracks of one site left out; options; "tracks".

    Raises
    ------
    InputError
        If a column is missing, no track has two sites, or the table holds several sources and
        none is named.

    Examples
    --------
    >>> from napari_rvae import tracks_layer
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 1], y=[5.0, 5.0], x=[6.0, 6.5], track_id=[7, 7])
    >>> tracks_layer(sites)[0].tolist()
    [[7.0, 0.0, 5.0, 6.0], [7.0, 1.0, 5.0, 6.5]]
    """
    style = style or TrackStyle()
    sites, _ = drawable(sites, source, [column, *([color_by] if color_by else [])])
    frames = None if frames is None else as_frames(frames)
    sites = sites[sites[column] >= 0]
    sites = sites[sites.groupby(column)[column].transform("size") > 1]
    if not len(sites) or (frames is not None and "t" not in frames.axis_labels):
        raise InputError(f"No {column} has two sites: link a movie first (link_sites).")
    sites = sites.sort_values([column, "frame"], kind="stable", ignore_index=True)
    # napari colours by numbers only, and one missing value makes all tracks invisible
    chosen = dict.fromkeys(["site_id", *([color_by] if color_by else [])])
    features = pd.DataFrame({feature: _filled(sites[feature]) for feature in chosen})
    options = {
        "name": name or ("atom tracks" if column == "track_id" else "lattice tracks"),
        "features": features,
        "color_by": color_by or "track_id",
        "colormap": style.colormap,
        "tail_length": style.tail_length,
        "tail_width": style.tail_width,
        "metadata": provenance("tracks", frames, column=column, source=source),
        **placement(frames, 3),
    }
    return sites[[column, "frame", "y", "x"]].to_numpy(float), options, "tracks"


def _filled(column: pd.Series[Any]) -> NDArray[np.float64]:
    """Values (N,) of a column of numbers, the missing ones replaced by the median."""
    if column.dtype.kind not in "fiub":
        raise InputError(f"Column {column.name!r} holds no numbers: tracks cannot show it.")
    values = column.to_numpy(float)
    known = values[np.isfinite(values)]
    return np.where(np.isfinite(values), values, np.median(known) if known.size else 0.0)
