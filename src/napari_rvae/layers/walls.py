"""Domain walls -> lines over the frames, and what holds them -> rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames
from napari_rvae.layers.place import LayerTuple, placement, provenance
from napari_rvae.layers.sites import coordinates, drawable
from napari_rvae.layers.styles import WallStyle

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pinning_layer", "walls_layer"]

#: A wall whose ends are this near, in its own steps, is closed.
_CLOSED = 1.6


def walls_layer(
    sites: pd.DataFrame,
    frames: Any = None,
    *,
    source: str | None = None,
    name: str | None = None,
    style: WallStyle | None = None,
) -> LayerTuple:
    """Make a Shapes layer of domain walls: a path for each connected wall of each frame.

    Parameters
    ----------
    sites
        Sites table with the columns that :func:`detect_walls` gives; other sites, and walls of one
        site, are left out.
    frames
        Frames that the walls lie on: gives scale, units and axis labels.
    source
        Draw the walls of this source; needed where the table holds several.
    name
        Name of the layer.
    style
        Colours and the width of a line.

    Returns
    -------
    tuple
        List of paths (N, 3) as (frame, y, x), or (N, 2) for one image; options; "shapes". The
        features are ``wall_id``, ``wall_type``, ``frame`` and ``length`` in pixels.

    Raises
    ------
    InputError
        If a column is missing, or the table holds several sources and none is named.

    Examples
    --------
    >>> from napari_rvae import detect_walls, simulate_walls, walls_layer
    >>> frames = simulate_walls(n_frames=1, size=96, seed=1).frames
    >>> paths, options, kind = walls_layer(detect_walls(frames), frames)
    >>> len(paths) == len(options["features"]), kind
    (True, 'shapes')
    """
    style = style or WallStyle()
    sites, _ = drawable(sites, source, ["wall_id", "wall_type", "wall_position"])
    movie = None if frames is None else as_frames(frames)
    walls = sites[(sites["kind"] == "wall") & (sites["wall_id"] >= 0)]
    n_axes = coordinates(walls, movie).shape[1]
    paths: list[NDArray[np.float64]] = []
    facts: list[dict[str, Any]] = []
    for (frame, number), rows in walls.groupby(["frame", "wall_id"], sort=True):
        ordered = rows.sort_values("wall_position")
        path = coordinates(ordered, movie)
        if len(path) < 2:
            continue
        steps = np.hypot(*np.diff(path[:, -2:], axis=0).T)
        gap = float(np.hypot(*(path[0] - path[-1])[-2:]))
        if len(path) > 3 and gap < _CLOSED * np.median(steps):
            path = np.concatenate([path, path[:1]])
        paths.append(path)
        kind = str(ordered["wall_type"].iloc[0])
        facts.append(
            {"wall_id": number, "wall_type": kind, "frame": frame, "length": float(steps.sum())}
        )
    features = pd.DataFrame(facts, columns=["wall_id", "wall_type", "frame", "length"])
    colours = [style.polar if f["wall_type"] == "180" else style.ferroelastic for f in facts]
    options = {
        "name": name or "walls",
        "features": features,
        "shape_type": "path",
        "edge_color": colours or style.polar,
        "face_color": "transparent",
        "edge_width": style.width,
        "metadata": provenance("walls", movie, source=source),
        **placement(movie, n_axes),
    }
    return paths, options, "shapes"


def pinning_layer(
    centres: pd.DataFrame,
    frames: Any = None,
    *,
    name: str = "pinning centres",
    style: WallStyle | None = None,
) -> LayerTuple:
    """Make a Points layer of pinning centres: a ring around each, seen in all frames.

    Parameters
    ----------
    centres
        What :func:`~napari_rvae.pinning_centres` gives.
    frames
        Frames that they lie on: gives scale, units and axis labels.
    name
        Name of the layer.
    style
        Colour and size of a ring.

    Returns
    -------
    tuple
        Points (N, 2) as (y, x) in pixels; options, the features being the other columns; "points".

    Raises
    ------
    InputError
        If it is no such table.

    Examples
    --------
    >>> from napari_rvae import pinning_centres, pinning_layer, signed_response, simulate_walls
    >>> response = signed_response(simulate_walls(n_frames=12, size=96, seed=1).frames)
    >>> points, options, kind = pinning_layer(pinning_centres(response), response)
    >>> points.shape == (len(options["features"]), 2), kind
    (True, 'points')
    """
    if not {"y", "x"} <= set(centres):
        raise InputError("The table has no columns y and x: give what pinning_centres found.")
    style = style or WallStyle()
    movie = None if frames is None else as_frames(frames)
    options = {
        "name": name,
        "features": centres.drop(columns=["y", "x"]).reset_index(drop=True),
        "symbol": "disc",
        "size": style.ring,
        "face_color": "transparent",
        "border_color": style.pinning,
        "border_width": style.width,
        "border_width_is_relative": False,
        "metadata": provenance("pinning", movie),
        **placement(movie, 2),
    }
    return centres[["y", "x"]].to_numpy(float), options, "points"
