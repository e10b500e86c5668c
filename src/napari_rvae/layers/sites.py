"""Sites -> points over the frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.config import CropConfig
from napari_rvae.errors import InputError
from napari_rvae.frames import Frames, as_frames
from napari_rvae.layers.colours import colour_features, note_categories
from napari_rvae.layers.edits import new_site
from napari_rvae.layers.place import LayerTuple, placement, provenance
from napari_rvae.layers.styles import MISSING_COLOUR, PointStyle

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "coordinates",
    "drawable",
    "near_border",
    "plain_colours",
    "points_layer",
    "spacing_to_draw",
]


def points_layer(
    sites: pd.DataFrame,
    frames: Any = None,
    *,
    color_by: str | None = None,
    symmetry: int = 1,
    contrast_limits: tuple[float, float] | None = None,
    categories: Mapping[int, str] | None = None,
    colors: Mapping[int, str] | None = None,
    window: float | None = None,
    source: str | None = None,
    name: str | None = None,
    style: PointStyle | None = None,
) -> LayerTuple:
    """Make a Points layer of the sites.

    Parameters
    ----------
    sites
        Sites table; all its columns become the layer's features. Sites without a position are
        left out; vacancies are rings.
    frames
        Frames that the sites lie on: gives scale, units and axis labels. Sites so near their
        border that no whole window fits are grey where no column is shown.
    color_by
        Column to colour by: numbers by a colormap, angles by a cyclic one and in degrees, whole
        numbers and words by one colour each. Sites without a value are grey.
    symmetry
        Order by which an angle is folded before it is coloured.
    contrast_limits
        Ends of the colormap, in degrees for angles; the 1st and 99th percentile over all frames
        when left out.
    categories
        Names of whole numbers for the legend, such as :attr:`~napari_rvae.Units.names`.
    colors
        Colours of whole numbers, such as :attr:`~napari_rvae.Units.colors`; those of the
        palette when left out.
    window
        Side of the window in pixels that sites at the border lack; that of
        :class:`~napari_rvae.CropConfig` (3.5 neighbour distances) when left out.
    source
        Draw the sites of this source; needed where the table holds several.
    name
        Name of the layer.
    style
        Colours and sizes.

    Returns
    -------
    tuple
        Data (N, 3) as (frame, y, x), or (N, 2) as (y, x) for one image; options; "points".

    Raises
    ------
    InputError
        If the column is missing, or the table holds several sources and none is named.

    Examples
    --------
    >>> from napari_rvae import points_layer
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 1], y=[5.0, 5.0], x=[6.0, 7.0], z0=[0.1, 0.2])
    >>> data, options, kind = points_layer(sites, color_by="z0")
    >>> data.shape, options["name"], kind
    ((2, 3), 'z0', 'points')
    """
    style = style or PointStyle()
    sites, distance = drawable(sites, source, [] if color_by is None else [color_by])
    movie = None if frames is None else as_frames(frames)
    data = coordinates(sites, movie)
    features = sites.reset_index(drop=True)
    record = _border_record(data, movie, window, distance)
    faces, rims = plain_colours(near_border(data, record), style)
    if color_by is not None:
        colouring = colour_features(
            features,
            color_by,
            symmetry=symmetry,
            contrast_limits=contrast_limits,
            style=style,
            categories=categories,
            colors=colors,
        )
        features = colouring.features
        faces = {"color_properties": colouring.feature, **colouring.options}
        rims = style.border_colour
        record |= colouring.record
        note_categories(record, color_by, categories, colors)
    symbols = np.where(sites["kind"] == "vacancy", style.vacancy_symbol, style.symbol)
    along_walls = len(sites) > 0 and bool((sites["kind"] == "wall").all())
    size = style.wall_size if along_walls else style.size
    options: dict[str, Any] = {
        "name": name or color_by or "sites",
        "features": features,
        "feature_defaults": new_site(features),
        "size": size * spacing_to_draw(distance),
        "border_width": style.border_width,
        "border_color": rims,
        "face_color": faces,
        "symbol": symbols.tolist(),
        "metadata": provenance(
            "sites",
            movie,
            source=source,
            next_site_id=int(sites["site_id"].max()) + 1 if len(sites) else 0,
            **record,
        ),
        **placement(movie, data.shape[1]),
    }
    return data, options, "points"


def _border_record(
    data: NDArray[np.float64], frames: Frames | None, window: float | None, distance: float
) -> dict[str, Any]:
    """What the metadata say of the border; nothing where it is not known."""
    if window is None:
        window = CropConfig().window_nd * distance
    if frames is None or not math.isfinite(window):
        return {}
    record = {"frame_shape": list(frames.frame_shape), "window": float(window)}
    return {**record, "n_border": int(near_border(data, record).sum())}


def near_border(data: NDArray[Any], record: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which points (N,) have no whole window inside the frame; none where that is not known.

    The rule is that of :func:`~napari_rvae.extract_crops`: all samples lie inside.
    """
    if "window" not in record:
        return np.zeros(len(data), bool)
    half = (1 - 1 / CropConfig().pixels) / 2 * record["window"]
    points, last = data[:, -2:], np.asarray(record["frame_shape"]) - 1
    return np.asarray(((points < half) | (points > last - half)).any(axis=1))


def plain_colours(border: NDArray[np.bool_], style: PointStyle) -> tuple[Any, Any]:
    """Colours of the faces and rims of points that show no column, as napari takes them."""
    if not border.any():
        return style.colour, style.border_colour
    from matplotlib.colors import to_rgba

    def either(one: str, other: str) -> dict[str, Any]:
        # the second one is for points that are set by hand
        colours = np.where(border[:, None], to_rgba(one), to_rgba(other))
        return {"colors": colours, "current_color": other}

    return (
        either(MISSING_COLOUR, style.colour),
        either(style.missing_border_colour, style.border_colour),
    )


def drawable(
    sites: pd.DataFrame, source: str | None, need: list[str]
) -> tuple[pd.DataFrame, float]:
    """Sites of one source that have a position, and their neighbour distance in pixels or NaN."""
    sites = tables.validate_sites(sites, need=need)
    if source is not None:
        sites = sites[sites["source"] == source]
    names = sites["source"].unique()
    if len(names) > 1:
        raise InputError(f"The table holds {len(names)} sources: name one, source={names[0]!r}.")
    distance = tables.neighbour_distance(sites)
    return sites[np.isfinite(sites[["y", "x"]].to_numpy(float)).all(1)], distance


def spacing_to_draw(distance: float) -> float:
    """Neighbour distance in pixels that sizes are drawn by, a usual one where it is not known."""
    return distance if math.isfinite(distance) else 10.0


def coordinates(sites: pd.DataFrame, frames: Frames | None) -> NDArray[np.float64]:
    """Positions (N, 3) as (frame, y, x), or (N, 2) as (y, x) for one image."""
    moves = "t" in frames.axis_labels if frames is not None else bool((sites["frame"] > 0).any())
    return sites[["frame", "y", "x"] if moves else ["y", "x"]].to_numpy(float)
